//! The HTTP port: health for those who restart servers, metrics for those who watch them.
//!
//! In: `GET` of three paths; out: small texts. Knows of HTTP/1.1 what that needs: one request a connection, no body. It
//! changes nothing and shows no statement, so that it asks for no password; it listens where the operator says.
//! Written by hand since the HTTP library is built here as a client, and three texts need no more.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auspex_planner::{Engine, WorkerWatch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::protocol::{ListenError, Listener};

/// Bytes of a request's head; a longer one is refused.
const MAX_HEAD: usize = 8 * 1024;
/// How long a client may take to send its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that are answered at a time.
const MAX_CLIENTS: usize = 64;
/// Clients whose request is awaited; who comes beyond them takes the place of the one that came first.
const MAX_WAITING: usize = 64;
/// How long the catalog may take to answer for the server to be called ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the port tells of.
#[derive(Debug, Clone)]
pub enum Watched {
    /// A server.
    Server(Arc<Engine>),
    /// A worker of a cluster.
    Worker(WorkerWatch),
}

impl From<Arc<Engine>> for Watched {
    fn from(engine: Arc<Engine>) -> Watched {
        Watched::Server(engine)
    }
}

impl From<WorkerWatch> for Watched {
    fn from(worker: WorkerWatch) -> Watched {
        Watched::Worker(worker)
    }
}

/// The HTTP port at work; ends when dropped.
pub struct HttpServer {
    address: SocketAddr,
    stopped: CancellationToken,
}

impl HttpServer {
    /// Takes a port and answers in the background until `draining`, from which on it says that the server is not ready.
    pub async fn start(
        watched: impl Into<Watched>,
        listen: &str,
        draining: CancellationToken,
    ) -> Result<HttpServer, ListenError> {
        let watched = watched.into();
        let (listener, address) = Listener::bind(listen).await?.into_parts();
        let stopped = CancellationToken::new();
        let ended = stopped.clone();
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
        tokio::spawn(async move {
            let mut waiting: VecDeque<CancellationToken> = VecDeque::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = ended.cancelled() => return,
                };
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                if waiting.len() == MAX_WAITING
                    && let Some(oldest) = waiting.pop_front()
                {
                    // It hears this only while it has sent no request.
                    oldest.cancel();
                }
                let leaves = CancellationToken::new();
                waiting.push_back(leaves.clone());
                let (watched, draining) = (watched.clone(), draining.clone());
                let clients = Arc::clone(&clients);
                tokio::spawn(async move {
                    // A client that is slow or gone is nobody's loss.
                    let _ = attend(stream, &leaves, &clients, (&watched, &draining)).await;
                });
            }
        });
        Ok(HttpServer { address, stopped })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

/// An answer.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: &'static str, body: impl Into<String>) -> Answer {
        Answer {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

/// Waits for a client's request, unless others push it out, and answers. Beyond so many requests, it is hung up on.
async fn attend(
    mut stream: TcpStream,
    leaves: &CancellationToken,
    clients: &Semaphore,
    server: (&Watched, &CancellationToken),
) -> std::io::Result<()> {
    let head = tokio::select! {
        head = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut stream)) => head,
        () = leaves.cancelled() => return Ok(()),
    };
    let head = head.ok().transpose()?;
    let Ok(_permit) = clients.try_acquire() else {
        return Ok(());
    };
    let answered = tokio::time::timeout(TIMEOUT, respond(stream, head, server)).await;
    answered.unwrap_or(Ok(()))
}

/// Answers a request; `None`: it did not come in time.
async fn respond(
    mut stream: TcpStream,
    head: Option<Option<String>>,
    (watched, draining): (&Watched, &CancellationToken),
) -> std::io::Result<()> {
    let request = head.as_ref().map(|head| head.as_deref().and_then(parse));
    let (answer, with_body) = match request {
        None => (Answer::text("408 Request Timeout", "no request\n"), true),
        Some(None) => (Answer::text("400 Bad Request", "bad request\n"), true),
        Some(Some((method @ ("GET" | "HEAD"), path))) => {
            (answer(path, watched, draining).await, method == "GET")
        }
        Some(Some(_)) => (
            Answer::text("405 Method Not Allowed", "only GET is known here\n"),
            true,
        ),
    };
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if with_body {
        stream.write_all(answer.body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// The head of a request; `None` if it is too long, ends early, or is no text, which is said as soon as it shows.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while head.len() < MAX_HEAD {
        let n_read = stream.read(&mut chunk).await?;
        if n_read == 0 {
            return Ok(None);
        }
        head.extend_from_slice(&chunk[..n_read]);
        if !may_be_request(&head) {
            return Ok(None);
        }
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(String::from_utf8(head).ok());
        }
    }
    Ok(None)
}

/// Whether bytes may be the beginning of a request: its first line so far is text, and has all words when it ends.
fn may_be_request(head: &[u8]) -> bool {
    let mut lines = head.splitn(2, |byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    let is_whole = lines.next().is_some();
    let is_text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\r');
    line.iter().all(is_text) && (!is_whole || std::str::from_utf8(line).is_ok_and(is_request))
}

fn is_request(line: &str) -> bool {
    parse(line).is_some()
}

/// The method and the path of a request.
fn parse(head: &str) -> Option<(&str, &str)> {
    let mut words = head.lines().next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = target.split('?').next()?;
    let is_http = version.starts_with("HTTP/1.") && words.next().is_none();
    (is_http && path.starts_with('/')).then_some((method, path))
}

async fn answer(path: &str, watched: &Watched, draining: &CancellationToken) -> Answer {
    match path {
        "/healthz" => Answer::text("200 OK", "ok\n"),
        "/readyz" => ready(watched, draining).await,
        "/metrics" => Answer {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            ..Answer::text("200 OK", watched.metrics_text())
        },
        "/" => Answer::text("200 OK", "auspex: /healthz, /readyz, /metrics\n"),
        _ => Answer::text("404 Not Found", "not found\n"),
    }
}

impl Watched {
    fn metrics_text(&self) -> String {
        match self {
            Watched::Server(engine) => engine.metrics_text(),
            Watched::Worker(worker) => worker.metrics_text(),
        }
    }
}

/// Ready is who lets clients in and can read the catalog; of workers, whoever was taken in.
async fn ready(watched: &Watched, draining: &CancellationToken) -> Answer {
    const NOT: &str = "503 Service Unavailable";
    if draining.is_cancelled() {
        return Answer::text(NOT, "stopping\n");
    }
    let engine = match watched {
        Watched::Server(engine) => engine,
        Watched::Worker(worker) if worker.is_ready() => return Answer::text("200 OK", "ready\n"),
        Watched::Worker(_) => {
            return Answer::text(NOT, "no coordinator has taken it in, or it drains\n");
        }
    };
    match tokio::time::timeout(READY_TIMEOUT, engine.check_ready()).await {
        Ok(Ok(())) => Answer::text("200 OK", "ready\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the catalog cannot be read");
            Answer::text(NOT, "the catalog cannot be read\n")
        }
        Err(_) => Answer::text(NOT, "the catalog does not answer\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_shows_early() {
        for beginning in ["", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nHost: \u{e4}"] {
            assert!(may_be_request(beginning.as_bytes()), "{beginning}");
        }
        for wrong in [&b"\x16\x03\x01"[..], b"\xff", b"hello\r\n", b"\r\n"] {
            assert!(!may_be_request(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn requests_are_read() {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(parse(&get("/metrics")), Some(("GET", "/metrics")));
        assert_eq!(parse(&get("/metrics?x=1")), Some(("GET", "/metrics")));
        assert_eq!(parse("POST / HTTP/1.0\r\n\r\n"), Some(("POST", "/")));
        for wrong in [
            "",
            "GET",
            "GET /",
            "GET / FTP/1.1\r\n",
            "GET x HTTP/1.1",
            "GET / x HTTP/1.1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
