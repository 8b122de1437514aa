//! The rows of a COPY that were passed on last, with their lines: a failure of a constraint is told where its row stood.
//!
//! In: batches; out: the context of a failure. So many bytes of them are kept at most, and no more than there is memory for: a
//! failure about a row that is not kept names no line.

use std::collections::VecDeque;

use auspex_planner::{CopiedLines, ReceivedBytes};
use datafusion::arrow::array::RecordBatch;
use tokio::runtime::Handle;

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
    /// What they take of the session's memory.
    memory: ReceivedBytes,
    /// Whether none was let go.
    is_whole: bool,
}

impl SentRows {
    pub(super) fn new(table: &str, finder: CopiedLines, memory: ReceivedBytes) -> SentRows {
        SentRows {
            table: table.to_owned(),
            finder,
            batches: VecDeque::new(),
            n_bytes: 0,
            memory,
            is_whole: true,
        }
    }

    /// Keeps one more batch; its rows go on.
    pub(super) fn keep(&mut self, batch: SentBatch) -> RecordBatch {
        let rows = batch.rows.clone();
        self.n_bytes += n_bytes(&batch);
        self.batches.push_back(batch);
        while self.n_bytes > KEPT_BYTES && self.batches.len() > 1 {
            self.let_go();
        }
        while !self.memory.hold(self.n_bytes) && !self.batches.is_empty() {
            self.let_go();
        }
        rows
    }

    /// Keeps the first batch no longer.
    fn let_go(&mut self) {
        if let Some(first) = self.batches.pop_front() {
            self.n_bytes -= n_bytes(&first);
            self.is_whole = false;
        }
    }

    /// A failure with the line of the row that it is about. To look for it takes a while, and is done on threads that may
    /// compute without a pause; without them it is not.
    pub(super) async fn placed(self, failure: Failure, queries: Option<Handle>) -> Failure {
        let (Some(detail), Some(queries)) = (failure.detail().map(ToOwned::to_owned), queries)
        else {
            return failure;
        };
        match queries.spawn(async move { self.context(&detail) }).await {
            Ok(Some(context)) => failure.with_context(context),
            _ => failure,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, StringArray};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::*;

    const MB: usize = 1 << 20;

    /// A batch of one row of so many bytes, of a line.
    fn batch(line: u64, n_bytes: usize) -> SentBatch {
        let value = format!("{line}{}", "x".repeat(n_bytes));
        let values = Arc::new(StringArray::from(vec![value])) as ArrayRef;
        SentBatch {
            rows: RecordBatch::try_from_iter([("a", values)]).unwrap(),
            lines: vec![line],
            texts: LineTexts::default(),
        }
    }

    fn sent(pool: &Arc<dyn MemoryPool>) -> SentRows {
        let finder = CopiedLines::of_columns(&["a"]);
        SentRows::new("t", finder, ReceivedBytes::new(pool, "rows of a COPY"))
    }

    /// Whether the row of a line is kept.
    fn has(rows: &SentRows, line: u64) -> bool {
        let mut lines = rows.batches.iter().flat_map(|batch| &batch.lines);
        lines.any(|kept| *kept == line)
    }

    #[test]
    fn no_more_is_kept_than_there_is_memory_for() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(8 * MB));
        let mut rows = sent(&pool);
        for line in 1..=9 {
            rows.keep(batch(line, 2 * MB));
            assert!(has(&rows, line));
        }
        assert!(!has(&rows, 1) && !rows.is_whole);
        assert!(pool.reserved() > 2 * MB && pool.reserved() <= 8 * MB);
        // One for which there is no room at all goes on all the same.
        let passed = rows.keep(batch(10, 20 * MB));
        assert_eq!(passed.num_rows(), 1);
        assert!(rows.batches.is_empty());
        assert_eq!(pool.reserved(), 0);
        rows.keep(batch(11, MB));
        assert!(has(&rows, 11));
        drop(rows);
        assert_eq!(pool.reserved(), 0);
    }

    #[tokio::test]
    async fn a_failure_about_a_row_that_is_not_kept_names_no_line() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(8 * MB));
        let failure = || {
            let failure = Failure::error("23505", "duplicate key");
            failure.with_detail("Key (a)=(7) already exists.")
        };
        let handle = Handle::current();
        for (n_bytes, context) in [(0, Some("COPY t, line 7")), (20 * MB, None)] {
            let mut rows = sent(&pool);
            rows.keep(batch(7, 0));
            rows.keep(batch(8, n_bytes));
            let placed = rows.placed(failure(), Some(handle.clone())).await;
            assert_eq!(placed.into_info().where_context.as_deref(), context);
        }
    }
}
