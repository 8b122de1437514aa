//! A worker of another version, which is a stub that speaks as much HTTP/2 as it takes to refuse and to be refused.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::machines::Machines;
use crate::watching::wait_for;

/// The stub's version.
const VERSION: &str = "9.9.9";

const DATA_FOLLOWS: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header as HPACK writes it without a table.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Answers each request of a connection with the refusal of another version.
fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    stream.write_all(&frame(SETTINGS, DATA_FOLLOWS, 0, &[]))?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        let request = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match head[3] {
            SETTINGS if head[4] & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if head[4] & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload))?,
            HEADERS => {
                // `:status 200`, which has a number.
                let mut headers = vec![0x88];
                headers.extend(header("content-type", "application/grpc"));
                headers.extend(header("grpc-status", "9"));
                headers.extend(header("grpc-message", VERSION));
                let flags = END_HEADERS | END_STREAM;
                stream.write_all(&frame(HEADERS, flags, request, &headers))?;
            }
            _ => {}
        }
    }
}

/// Asks a coordinator to be taken in at an address; the connection lives as long as what is returned.
fn join(port: u16, address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    stream
        .write_all(&frame(SETTINGS, DATA_FOLLOWS, 0, &[]))
        .unwrap();
    // `:method POST` and `:scheme http`, which have numbers, and the names of `:path` and `:authority`.
    let mut headers = vec![0x83, 0x86];
    for (name, value) in [(4, "/auspex.Node/Call"), (1, "coordinator")] {
        headers.extend([name, u8::try_from(value.len()).unwrap()]);
        headers.extend(value.as_bytes());
    }
    headers.extend(header("content-type", "application/grpc"));
    headers.extend(header("te", "trailers"));
    headers.extend(header("x-auspex-version", VERSION));
    headers.extend(header("x-auspex-address", address));
    let flags = END_HEADERS | END_STREAM;
    stream
        .write_all(&frame(HEADERS, flags, 1, &headers))
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_version_is_refused_and_listed() {
    let mut machines = Machines::start(0).await;
    let client = machines.client().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever asks closes the connection.
            std::thread::spawn(move || refuse(stream));
        }
    });
    let joined = join(machines.worker_port(), &address);
    let refused = format!(
        "SELECT count(*) FROM ml.workers WHERE address = '{address}' AND state = 'refused' AND reason LIKE '%{VERSION}%'"
    );
    wait_for(&client, &refused, "1").await;
    drop(joined);
    // So it is with one that the coordinator was told of.
    let second = machines.add_coordinator(&[address]).await;
    wait_for(&second, &refused, "1").await;
}
