//! Connections that count their bytes, and such that may be encrypted and end if nobody known is behind them.
//!
//! In: a connection that was accepted; out: the same, whose bytes the machine's counters have.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::strangers::{Visitor, Waiting};
use super::tls::ClusterTls;

/// Bytes of a machine's port.
#[derive(Debug, Default)]
pub(super) struct WireBytes {
    sent: AtomicU64,
    received: AtomicU64,
}

impl WireBytes {
    /// Those that left.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Those that came.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// A connection that counts.
pub(super) struct Counted {
    stream: TcpStream,
    bytes: Arc<WireBytes>,
}

impl Counted {
    pub(super) fn new(stream: TcpStream, bytes: &Arc<WireBytes>) -> Counted {
        Counted {
            stream,
            bytes: Arc::clone(bytes),
        }
    }

    fn count_sent(&self, n_bytes: usize) {
        self.bytes.sent.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }
}

impl Connected for Counted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let n_before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let n_read = buffer.filled().len() - n_before;
        self.bytes
            .received
            .fetch_add(n_read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let n_sent = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.count_sent(n_sent);
        Poll::Ready(Ok(n_sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let n_sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        self.count_sent(n_sent);
        Poll::Ready(Ok(n_sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection of a machine's port, encrypted or not.
pub(super) struct PortStream {
    stream: Box<dyn Stream>,
    visitor: Arc<Visitor>,
    /// Until the machine is known.
    waiting: Option<Waiting>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl PortStream {
    /// Encrypts where there is something to encrypt with. Errors: the other machine's certificate is missing or bad.
    pub(super) async fn of(
        stream: Counted,
        tls: Option<&ClusterTls>,
        waiting: Waiting,
    ) -> Result<PortStream> {
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.accept(stream).await?),
        };
        Ok(PortStream {
            stream,
            visitor: Arc::clone(waiting.visitor()),
            waiting: Some(waiting),
        })
    }
}

impl Connected for PortStream {
    type ConnectInfo = Arc<Visitor>;

    fn connect_info(&self) -> Arc<Visitor> {
        Arc::clone(&self.visitor)
    }
}

impl AsyncRead for PortStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let known = self
            .waiting
            .as_mut()
            .map(|waiting| waiting.poll_known(context));
        if let Some(Poll::Ready(known)) = known {
            known?;
            self.waiting = None;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
