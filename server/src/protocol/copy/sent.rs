//! The rows of a COPY that were passed on last, with their lines: a failure of a constraint is told where its row stood.
//!
//! In: batches; out: the context of a failure. So many bytes of them are kept at most.

use std::collections::VecDeque;

use auspex_planner::CopiedLines;
use datafusion::arrow::array::RecordBatch;

use crate::sqlstate::Failure;

/// Bytes of rows and their texts, at most, beside those of the last batch.
const KEPT_BYTES: usize = 24 << 20;
/// Characters of a line or a value that an error shows.
const SHOWN_CHARACTERS: usize = 100;

/// The rows of a batch, and where they stood.
#[derive(Debug)]
pub(super) struct SentBatch {
    pub(super) rows: RecordBatch,
    pub(super) lines: Vec<u64>,
    pub(super) texts: LineTexts,
}

/// The texts of lines, one behind the other.
#[derive(Debug, Default)]
pub(super) struct LineTexts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl LineTexts {
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        let end = *self.ends.get(row)?;
        let before = row.checked_sub(1).and_then(|before| self.ends.get(before));
        self.bytes.get(before.copied().unwrap_or(0)..end)
    }
}

/// Those that are kept.
#[derive(Debug)]
pub(super) struct SentRows {
    table: String,
    finder: CopiedLines,
    batches: VecDeque<SentBatch>,
    n_bytes: usize,
    /// Whether none was let go.
    is_whole: bool,
}

impl SentRows {
    pub(super) fn new(table: &str, finder: CopiedLines) -> SentRows {
        SentRows {
            table: table.to_owned(),
            finder,
            batches: VecDeque::new(),
            n_bytes: 0,
            is_whole: true,
        }
    }

    /// Keeps one more batch; its rows go on.
    pub(super) fn keep(&mut self, batch: SentBatch) -> RecordBatch {
        let rows = batch.rows.clone();
        self.n_bytes += n_bytes(&batch);
        self.batches.push_back(batch);
        while self.n_bytes > KEPT_BYTES
            && self.batches.len() > 1
            && let Some(first) = self.batches.pop_front()
        {
            self.n_bytes -= n_bytes(&first);
            self.is_whole = false;
        }
        rows
    }

    /// A failure with the line of the row that it is about.
    pub(super) fn placed(&self, failure: Failure) -> Failure {
        let context = failure.detail().and_then(|detail| self.context(detail));
        match context {
            Some(context) => failure.with_context(context),
            None => failure,
        }
    }

    fn context(&self, detail: &str) -> Option<String> {
        let batches = self.batches.iter().map(|batch| &batch.rows);
        let mut row = self.finder.find(detail, batches, self.is_whole)?;
        for batch in &self.batches {
            let Some(line) = batch.lines.get(row) else {
                row -= batch.lines.len();
                continue;
            };
            // As in PostgreSQL, keys are looked at when the text of the line is gone.
            let text = batch.texts.get(row).filter(|_| !detail.starts_with("Key "));
            return Some(line_context(&self.table, *line, text));
        }
        None
    }
}

fn n_bytes(batch: &SentBatch) -> usize {
    let places = size_of_val(batch.lines.as_slice()) + size_of_val(batch.texts.ends.as_slice());
    batch.rows.get_array_memory_size() + batch.texts.bytes.len() + places
}

/// What PostgreSQL says of a line of a COPY.
pub(super) fn line_context(table: &str, line: u64, text: Option<&[u8]>) -> String {
    let text = text.map(|text| format!(": \"{}\"", shown(&String::from_utf8_lossy(text))));
    format!("COPY {table}, line {line}{}", text.unwrap_or_default())
}

/// The start of a line or a value.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
