//! An S3 server on loopback over a folder, for tests that speak to a real one.
//!
//! In: a folder with one folder for each bucket, a key and its secret, as arguments, and for a server that fails the seed
//! of its faults and how many of a thousand requests meet one; out: the address as the first line of standard output. It
//! serves until it is killed.

mod faults;

use std::error::Error;
use std::io;
use std::sync::Arc;

use faults::Plan;
use futures_util::TryFutureExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("missing argument: {what}"));
    let (folder, key_id, secret) = (next("folder")?, next("key")?, next("secret")?);
    let files = s3s_fs::FileSystem::new(folder).map_err(|error| format!("{error:?}"))?;
    let number = |text: Option<String>| text.map_or(Ok(0), |text| text.parse());
    let (seed, rate) = (number(arguments.next())?, number(arguments.next())?);
    let plan = Arc::new(Plan::new(seed, rate));
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(key_id, secret));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    // The library looks whether an object is there, then writes it. Amazon's server does both at once, so writes take
    // turns here.
    let turn = Arc::new(Mutex::new(()));
    loop {
        let (socket, _) = listener.accept().await?;
        let (service, turn, plan) = (service.clone(), Arc::clone(&turn), Arc::clone(&plan));
        let serve = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (service, turn, plan) = (service.clone(), Arc::clone(&turn), Arc::clone(&plan));
            async move {
                let writes = *request.method() != hyper::Method::GET
                    && *request.method() != hyper::Method::HEAD;
                let _turn = match writes {
                    true => Some(turn.lock().await),
                    false => None,
                };
                let call = service.call(request.map(s3s::Body::from));
                plan.answer(call.map_err(|error| io::Error::other(format!("{error:?}"))))
                    .await
            }
        });
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            // Ends with the client.
            let _ = connection
                .serve_connection(TokioIo::new(socket), serve)
                .await;
        });
    }
}
