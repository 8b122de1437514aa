//! A clock that runs whatever the threads for queries do: an operator may keep all of them busy, and a
//! statement must time out nevertheless.
//!
//! In: futures that wait; out: nothing but their effect. Computes nothing.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// One thread that only waits; ends when dropped.
#[derive(Debug)]
pub(crate) struct Timers {
    handle: Handle,
    _ends_thread: oneshot::Sender<()>,
}

impl Timers {
    pub(crate) fn start() -> io::Result<Timers> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (ends_thread, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("auspex-timer".to_owned())
            .spawn(move || {
                // Fails when the sender is dropped, which is the end that is waited for.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Timers {
            handle,
            _ends_thread: ends_thread,
        })
    }

    /// Lets something wait, apart from the caller.
    pub(crate) fn spawn(&self, waiting: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(waiting);
    }
}
