//! How many rows an operator is handed at a time, if what it computes of a row may be large.
//!
//! In: a batch; out: pieces of it, few rows at first, more while what is made of them stays small. Batches have 8,192 rows,
//! whatever a row becomes: `repeat(x, 1000000)` of all of them would be 8 GB at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;

use crate::functions::{Growth, growth};

/// What is made of one piece, as far as the pieces before it tell. Several pieces wait where a client does not read.
const PIECE_BYTES: usize = 1 << 20;
/// A piece has at most so many times the rows of the one before.
const GROWTH: usize = 8;
/// The rows of the first piece where values are joined.
const FIRST_OF_JOINED: usize = 64;
/// Shorter constants are no matter.
const LONG_CONSTANT_BYTES: usize = 512;

/// What an operator makes of the rows that it is handed.
#[derive(Debug)]
pub(super) struct Ration {
    first_rows: usize,
    lanes: Vec<Lane>,
}

/// The same for one partition, since the last piece.
#[derive(Debug, Default)]
struct Lane {
    /// The bytes of values that functions made.
    values: Arc<AtomicUsize>,
    /// The bytes of rows that the operator gave.
    rows: AtomicUsize,
}

impl Ration {
    /// For an operator whose expressions may make much of little.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<Ration>>> {
        let Some(first_rows) = first_rows(plan)? else {
            return Ok(None);
        };
        let partitions = plan
            .children()
            .into_iter()
            .chain([plan])
            .map(|plan| plan.properties().partitioning.partition_count());
        let lanes = (0..partitions.max().unwrap_or(1)).map(|_| Lane::default());
        Ok(Some(Arc::new(Ration {
            first_rows,
            lanes: lanes.collect(),
        })))
    }

    /// Where functions count what they make in a partition.
    pub(super) fn values_of(&self, partition: usize) -> Option<&Arc<AtomicUsize>> {
        self.lanes.get(partition).map(|lane| &lane.values)
    }

    /// The operator gave rows of so many bytes.
    pub(super) fn gave(&self, partition: usize, n_bytes: usize) {
        if let Some(lane) = self.lanes.get(partition) {
            lane.rows.fetch_add(n_bytes, Ordering::Relaxed);
        }
    }

    /// What was made since the last time.
    fn take(&self, partition: usize) -> usize {
        let taken = self.lanes.get(partition).map(|lane| {
            let values = lane.values.swap(0, Ordering::Relaxed);
            values.max(lane.rows.swap(0, Ordering::Relaxed))
        });
        taken.unwrap_or(0)
    }
}

/// The rows of an operator's first piece; `None`: it makes little of any row.
fn first_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<usize>> {
    let mut first: Option<usize> = None;
    plan.apply_expressions(&mut |root| {
        let found = rows_at_first(root)?;
        first = match (first, found) {
            (Some(known), Some(found)) => Some(known.min(found)),
            (known, found) => known.or(found),
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(first)
}

/// Of how many rows an expression may be computed before it is known how large its values are; `None`: of any number.
pub(crate) fn rows_at_first(root: &Arc<dyn PhysicalExpr>) -> Result<Option<usize>> {
    if let Some(constant) = root.downcast_ref::<Literal>() {
        let n_bytes = constant.value().size();
        let is_long = n_bytes > LONG_CONSTANT_BYTES;
        return Ok(is_long.then(|| (PIECE_BYTES / n_bytes).max(1)));
    }
    let mut most = Growth::Bounded;
    root.apply(|expr| {
        let growth = expr
            .downcast_ref::<ScalarFunctionExpr>()
            .map_or(Growth::Bounded, |call| growth(call.fun()));
        match growth {
            Growth::Bounded => {}
            Growth::Joined => most = Growth::Joined,
            Growth::Unbounded => {
                most = growth;
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(match most {
        Growth::Bounded => None,
        Growth::Joined => Some(FIRST_OF_JOINED),
        Growth::Unbounded => Some(1),
    })
}

/// The batches of one partition in pieces.
#[derive(Debug)]
pub(super) struct Pieces {
    ration: Arc<Ration>,
    partition: usize,
    /// A batch, and its first row that was not handed out.
    rest: Option<(RecordBatch, usize)>,
    n_rows: usize,
    last_rows: usize,
}

impl Pieces {
    pub(super) fn new(ration: &Arc<Ration>, partition: usize) -> Pieces {
        Pieces {
            ration: Arc::clone(ration),
            partition,
            rest: None,
            n_rows: ration.first_rows,
            last_rows: 0,
        }
    }

    /// Begins a batch, once the one before has been handed out.
    pub(super) fn begin(&mut self, batch: RecordBatch) -> RecordBatch {
        self.learn();
        let n_rows = batch.num_rows();
        if n_rows <= self.n_rows {
            self.last_rows = n_rows;
            return batch;
        }
        let piece = batch.slice(0, self.n_rows);
        self.last_rows = self.n_rows;
        self.rest = Some((batch, self.n_rows));
        piece
    }

    /// The next piece of the batch that was begun.
    pub(super) fn next(&mut self) -> Option<RecordBatch> {
        let (batch, start) = self.rest.take()?;
        self.learn();
        let left = batch.num_rows() - start;
        let n_rows = self.n_rows.min(left);
        let piece = batch.slice(start, n_rows);
        self.last_rows = n_rows;
        if n_rows < left {
            self.rest = Some((batch, start + n_rows));
        }
        Some(piece)
    }

    /// Takes into account what was made of the last piece.
    fn learn(&mut self) {
        let made = self.ration.take(self.partition);
        if self.last_rows == 0 {
            return;
        }
        let fitting = PIECE_BYTES / made.div_ceil(self.last_rows).max(1);
        let most = self.n_rows.saturating_mul(GROWTH);
        self.n_rows = fitting.clamp(1, most);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(n_rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n_rows));
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    /// The rows of the pieces of batches, of which rows of `n_bytes` are made.
    fn pieces(n_bytes: usize, batches: &[i64]) -> Vec<usize> {
        let ration = Arc::new(Ration {
            first_rows: 1,
            lanes: vec![Lane::default()],
        });
        let mut pieces = Pieces::new(&ration, 0);
        let mut found = Vec::new();
        for n_rows in batches {
            let mut next = Some(pieces.begin(batch(*n_rows)));
            while let Some(piece) = next {
                found.push(piece.num_rows());
                ration.gave(0, piece.num_rows() * n_bytes);
                next = pieces.next();
            }
        }
        found
    }

    #[test]
    fn pieces_grow_while_rows_stay_small() {
        assert_eq!(pieces(10, &[600, 5000]), [1, 8, 64, 512, 15, 5000]);
        assert_eq!(pieces(0, &[3, 3, 3]), [1, 2, 3, 3]);
        assert_eq!(pieces(10, &[0, 2]), [0, 1, 1]);
    }

    #[test]
    fn large_rows_come_alone() {
        assert_eq!(pieces(1 << 18, &[10]), [1, 4, 4, 1]);
        assert_eq!(pieces(1 << 30, &[3]), [1, 1, 1]);
    }

    #[test]
    fn what_functions_make_counts_as_well() {
        let ration = Arc::new(Ration {
            first_rows: 1,
            lanes: vec![Lane::default()],
        });
        let mut pieces = Pieces::new(&ration, 0);
        assert_eq!(pieces.begin(batch(100)).num_rows(), 1);
        let values = ration.values_of(0).unwrap();
        values.fetch_add(PIECE_BYTES / 2, Ordering::Relaxed);
        assert_eq!(pieces.next().unwrap().num_rows(), 2);
        assert_eq!(pieces.next().unwrap().num_rows(), 16);
    }

    #[test]
    fn long_constants_are_few_at_a_time() {
        let constant = |n: usize| -> Arc<dyn PhysicalExpr> {
            datafusion::physical_expr::expressions::lit("x".repeat(n))
        };
        assert_eq!(rows_at_first(&constant(10)).unwrap(), None);
        let first = rows_at_first(&constant(1 << 18)).unwrap();
        assert!(first.is_some_and(|rows| rows <= 4), "{first:?}");
    }
}
