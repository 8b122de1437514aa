//! Texts of files as values, as the engine's statements read them.
//!
//! Texts and the column that they are of flow in; values flow out, or the first text that is none, and why. What reads them
//! is the engine's, which notes it in the configuration of its sessions; this crate knows how the texts of most files are
//! read.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, StringArray};
use datafusion::arrow::datatypes::Field;
use datafusion::catalog::Session;

/// Why a text is no value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFault {
    /// The condition, as PostgreSQL names it.
    pub sqlstate: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Makes values of texts, of a column's type, on the clock of a time zone; NULL stays NULL.
pub type ReadTexts = fn(&StringArray, &Field, &str) -> std::result::Result<ArrayRef, TextFault>;

/// What an engine reads texts with, as its sessions' configurations note it.
#[derive(Debug, Clone, Copy)]
pub struct TextReader {
    /// The function.
    pub read: ReadTexts,
}

/// How the texts of one scan are read.
#[derive(Debug, Clone)]
pub(crate) struct TextInput {
    reader: TextReader,
    zone: Arc<str>,
}

impl TextInput {
    pub(crate) fn new(reader: TextReader, zone: &str) -> Self {
        Self {
            reader,
            zone: zone.into(),
        }
    }

    /// As the statements of a session read them; `None`: its engine noted nothing.
    pub(crate) fn of(session: &dyn Session) -> Option<Self> {
        let reader = session.config().get_extension::<TextReader>()?;
        let zone = session.config_options().execution.time_zone.as_deref();
        Some(Self::new(*reader, zone.unwrap_or("UTC")))
    }

    /// The time zone that a moment without one is of.
    pub(crate) fn zone(&self) -> &str {
        &self.zone
    }

    /// The values, or the place of the first text that is none.
    pub(crate) fn values(
        &self,
        texts: &StringArray,
        column: &Field,
    ) -> std::result::Result<ArrayRef, (usize, TextFault)> {
        let read = |texts: &StringArray| (self.reader.read)(texts, column, &self.zone);
        read(texts).map_err(|fault| {
            let faults = (0..texts.len()).map(|at| (at, read(&texts.slice(at, 1)).err()));
            let mut faults = faults.filter_map(|(at, fault)| Some((at, fault?)));
            faults.next().unwrap_or((0, fault))
        })
    }
}
