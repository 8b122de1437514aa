//! Faults by a seeded plan, between a client and a server that works.
//!
//! A request and what answers it flow in, an answer flows out: the server's, a refusal, half of one, or none. Which it is
//! depends on the seed and the number of the request alone.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame;
use s3s::{Body, HttpResponse};

pub type Answer = Result<HttpResponse, io::Error>;

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It is refused for now.
    Refused(StatusCode),
    /// Its connection is cut before it arrives.
    CutBefore,
    /// It is done, but the answer says that it failed.
    DoneButRefused,
    /// It is done, but its connection is cut before the answer.
    CutAfter,
    /// Half of the answer arrives.
    HalfAnswer,
    /// The answer takes its time.
    Slow,
}

const KINDS: &[Fault] = &[
    Fault::Refused(StatusCode::SERVICE_UNAVAILABLE),
    Fault::Refused(StatusCode::TOO_MANY_REQUESTS),
    Fault::CutBefore,
    Fault::DoneButRefused,
    Fault::CutAfter,
    Fault::HalfAnswer,
    Fault::Slow,
];

/// The plan.
#[derive(Debug)]
pub struct Plan {
    seed: u64,
    /// Of a thousand requests.
    rate: u64,
    n_requests: AtomicU64,
}

impl Plan {
    pub fn new(seed: u64, rate: u64) -> Self {
        Self {
            seed,
            rate,
            n_requests: AtomicU64::new(0),
        }
    }

    /// The finalizer of SplitMix64 over the number of the request.
    fn next(&self) -> Option<Fault> {
        let n = self.n_requests.fetch_add(1, Ordering::Relaxed);
        let z = (self.seed + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = z ^ (z >> 31);
        let kind = KINDS[(drawn / 1000) as usize % KINDS.len()];
        (drawn % 1000 < self.rate).then_some(kind)
    }

    /// The answer to a request, or what becomes of it.
    pub async fn answer(&self, request: impl Future<Output = Answer>) -> Answer {
        match self.next() {
            Some(Fault::Refused(status)) => refusal(status),
            Some(Fault::CutBefore) => Err(io::Error::other("cut before")),
            Some(Fault::DoneButRefused) => {
                request.await?;
                refusal(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Some(Fault::CutAfter) => {
                request.await?;
                Err(io::Error::other("cut after"))
            }
            Some(Fault::HalfAnswer) => half(request.await?).await,
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                request.await
            }
            None => request.await,
        }
    }
}

fn refusal(status: StatusCode) -> Answer {
    let text = "<Error><Code>SlowDown</Code><Message>a fault of the plan</Message></Error>";
    let mut response = HttpResponse::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    Ok(response)
}

/// The first half of a body, then the end of its connection.
async fn half(response: HttpResponse) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let bytes = body.to_bytes();
    let frames = [
        Ok(Frame::data(bytes.slice(..bytes.len() / 2))),
        Err(io::Error::other("cut in the middle")),
    ];
    let body = Body::http_body_unsync(StreamBody::new(stream::iter(frames)));
    Ok(HttpResponse::from_parts(parts, body))
}
