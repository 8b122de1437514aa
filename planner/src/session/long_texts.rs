//! Long texts, which take many times their bytes while they are read as statements.
//!
//! In: a text and what cancels it; out: its statements, and the memory that they take as long as they are kept. The session's
//! pool is asked before the memory is taken, so that a text for which there is no room fails alone. It is a computation without a
//! pause: whoever asks for it has other threads for those who wait.

use auspex_sql::{ParseErrorKind, ParsedStatement, Stop};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::error::{Error, Result};
use crate::workload::of_role;

/// The memory of a long text's statements, as long as this is kept.
#[derive(Debug)]
pub struct SyntaxMemory(MemoryReservation);

impl Session {
    /// The memory of one statement of a long text, which takes so many bytes of so many and stays when the text is gone. Errors:
    /// 53200 if there is no room for it.
    pub fn syntax_to_keep(
        &self,
        text: &SyntaxMemory,
        n_bytes: usize,
        n_text_bytes: usize,
    ) -> Result<SyntaxMemory> {
        let part_bytes = text.0.size() as u128 * n_bytes as u128 / n_text_bytes.max(1) as u128;
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        Ok(SyntaxMemory(self.memory_to_keep(part_bytes)?))
    }

    /// The statements of a client's text that may be long. Errors: those of [`parse`](Self::parse); 53200 if there is no room for
    /// what it is read into; 57014 once it is cancelled.
    pub fn parse_long(
        &self,
        text: &str,
        cancel: &CancellationToken,
    ) -> Result<(Vec<ParsedStatement>, SyntaxMemory)> {
        let runtime = self.context.runtime_env();
        let pool = &runtime.memory_pool;
        let memory = MemoryConsumer::new("a statement that is read").register(pool);
        let mut refused = None;
        let mut asked = |n_bytes: usize| {
            refused = match (cancel.is_cancelled(), memory.try_resize(n_bytes)) {
                (true, _) => Some(Error::Cancelled),
                (false, Err(_)) => Some(no_room(n_bytes, &of_role(pool))),
                (false, Ok(())) => None,
            };
            refused.is_none()
        };
        let token = cancel.clone();
        let stop = Stop::when(move || token.is_cancelled());
        let parsed = auspex_sql::parse_long(text, self.settings.dialect(), &stop, &mut asked);
        match (parsed, refused) {
            (Ok(statements), _) => Ok((statements, SyntaxMemory(memory))),
            (Err(_), Some(refused)) => Err(refused),
            (Err(error), None) if error.kind == ParseErrorKind::Stopped => Err(Error::Cancelled),
            (Err(error), None) => Err(error.into()),
        }
    }
}

fn no_room(n_bytes: usize, whose: &str) -> Error {
    let message = format!(
        "out of memory{whose}: there is no room for the {n_bytes} bytes that reading the statement takes"
    );
    let hint = "Send it in parts, or its rows by COPY.";
    Error::invalid("53200", message, Some(hint))
}
