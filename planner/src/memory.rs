//! Memory that the query engine's operators do not account for: batches on their way, values that functions make, rows
//! that are kept for a client or wait for it, messages that it sends.
//!
//! In: the pool of a session and numbers of bytes; out: room, or the error 53200 before the memory is taken. Sorts, joins and aggregates
//! reserve what they keep; the pool is four fifths of the limit, and what is small is left to the last fifth.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::engine::Engine;
use crate::error::Error;
use crate::session::Session;
use crate::workload::{of_role, pool_below};

/// Batches of so many bytes are not accounted for: there are few at a time, and most queries have no others.
const SMALL_BYTES: usize = 2 << 20;
/// What a session takes by itself: the functions that it may name, its settings and its connection.
const SESSION_BYTES: usize = 192 << 10;
/// What waits for a client and has no more bytes counts as nothing.
const SMALL_SENT_BYTES: usize = 64 << 10;
/// What a client has sent is accounted in steps of so many bytes; less counts as nothing.
const RECEIVED_STEP_BYTES: usize = 1 << 20;
/// What is not spilled may take so much beyond a pool however small it is, for a moment.
const MIN_SLACK_BYTES: usize = 16 << 20;
/// What the constants of a statement may take that functions make while it is planned. Each is there several times by then: in plans, in
/// names of columns and among the operators.
const FOLDED_BYTES: usize = 8 << 20;

tokio::task_local! {
    static CURRENT: Room;
}

/// Where what is computed now finds memory.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pool: Arc<dyn MemoryPool>,
    /// Counts the bytes of the values that functions make.
    made_bytes: Arc<AtomicUsize>,
    /// Which of the values that functions make are there at once.
    together: Together,
}

/// Which values are there at once, so that there must be room for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Together {
    /// Each is gone when the next one is made, as far as anybody knows.
    None,
    /// All of them since the count began anew: the columns of a row.
    Counted,
    /// All that become constants of a plan.
    Constants,
}

impl Room {
    pub(crate) fn new(pool: &Arc<dyn MemoryPool>) -> Room {
        Room::counting(pool, &Arc::default())
    }

    /// The same with a count that others read.
    pub(crate) fn counting(pool: &Arc<dyn MemoryPool>, made_bytes: &Arc<AtomicUsize>) -> Room {
        Room {
            pool: Arc::clone(pool),
            made_bytes: Arc::clone(made_bytes),
            together: Together::None,
        }
    }

    /// The same where all values that are counted are there at once.
    pub(crate) fn together(self) -> Room {
        Room {
            together: Together::Counted,
            ..self
        }
    }

    /// Whether a function may make values of so many bytes.
    fn ask(&self, n_bytes: usize) -> Result<()> {
        if self.together == Together::Constants {
            return self.ask_for_constant(n_bytes);
        }
        if n_bytes <= SMALL_BYTES {
            return Ok(());
        }
        let before = self.made_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        check(
            &self.pool,
            match self.together {
                Together::Counted => before.saturating_add(n_bytes),
                Together::None | Together::Constants => n_bytes,
            },
        )
    }

    /// The same for a constant. What fails here is left in the plan and computed where it is run.
    fn ask_for_constant(&self, n_bytes: usize) -> Result<()> {
        let before = self.made_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        if before.saturating_add(n_bytes) <= FOLDED_BYTES {
            return Ok(());
        }
        self.made_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        Err(DataFusionError::ResourcesExhausted(format!(
            "out of memory: constants of a plan make {before} of {FOLDED_BYTES} bytes, and {n_bytes} more were asked for"
        )))
    }

    /// Computes something whose functions ask for room here.
    pub(crate) fn within<T>(&self, compute: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), compute)
    }

    /// Runs what computes something whose functions ask for room here.
    pub(crate) async fn scope<T>(&self, run: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), run).await
    }
}

impl Session {
    /// Where what is computed for it outside of its plans finds memory.
    pub(crate) fn room(&self) -> Room {
        Room::new(&self.context().runtime_env().memory_pool)
    }

    /// The memory of rows that are kept for its client: those of a cursor.
    pub fn kept_rows(&self) -> KeptRows {
        let consumer = MemoryConsumer::new("rows of a cursor");
        KeptRows(consumer.register(&self.context().runtime_env().memory_pool))
    }
}

/// The memory of a session that is about to begin. Errors: 53200 if there is no room for it; a superuser, who may end others,
/// comes in all the same.
pub(crate) fn of_session(
    engine: &Engine,
    is_superuser: bool,
) -> crate::error::Result<MemoryReservation> {
    let state = engine.base_state();
    let memory = MemoryConsumer::new("a session").register(&state.runtime_env().memory_pool);
    if is_superuser {
        memory.grow(SESSION_BYTES);
        return Ok(memory);
    }
    match memory.try_grow(SESSION_BYTES) {
        Ok(()) => Ok(memory),
        Err(_) => {
            let message = "out of memory: there is no room for one more session";
            let hint = "Sessions that end, and statements, give their memory back.";
            Err(Error::invalid("53200", message, Some(hint)))
        }
    }
}

impl Session {
    /// The memory of rows that wait for its client, beside those that operators work on. Errors: 53200 if there is no room
    /// for them.
    pub fn sent_rows(&self, rows: &RecordBatch) -> crate::error::Result<SentRows> {
        let runtime = self.context().runtime_env();
        Ok(SentRows::new(&runtime.memory_pool, rows_bytes(rows))?)
    }

    /// The memory of what its client has sent and is not read yet.
    pub fn received_bytes(&self) -> ReceivedBytes {
        let pool = &self.context().runtime_env().memory_pool;
        ReceivedBytes::new(pool, "a message of a client")
    }

    /// The memory of the rows of a COPY that are kept to tell where a wrong one stood.
    pub fn copied_bytes(&self) -> ReceivedBytes {
        let pool = &self.context().runtime_env().memory_pool;
        ReceivedBytes::new(pool, "rows of a COPY")
    }
}

/// Whether a function may make values of so many bytes. Errors: 53200 if not.
pub(crate) fn ask_for(n_bytes: usize) -> Result<()> {
    // Outside of a statement nobody has a limit.
    CURRENT.try_with(|room| room.ask(n_bytes)).unwrap_or(Ok(()))
}

/// Computes constants of a plan: functions fail where the values that they made for its statement become too many.
pub(crate) fn folding<T>(compute: impl FnOnce() -> T) -> T {
    let room = CURRENT.try_with(|room| Room {
        together: Together::Constants,
        ..room.clone()
    });
    match room {
        Ok(room) => room.within(compute),
        Err(_) => compute(),
    }
}

/// The bytes of a pool, or of the smallest of those above it.
pub(crate) fn limit_bytes(pool: &Arc<dyn MemoryPool>) -> usize {
    let above = pool_below(pool).map_or(usize::MAX, limit_bytes);
    match pool.memory_limit() {
        MemoryLimit::Finite(limit) => limit.min(above),
        _ => above,
    }
}

/// Whether a pool, and those above it, have room for more bytes.
fn check(pool: &Arc<dyn MemoryPool>, more_bytes: usize) -> Result<()> {
    if let MemoryLimit::Finite(limit) = pool.memory_limit() {
        let allowed = limit.saturating_add((limit / 4).max(MIN_SLACK_BYTES));
        let used = pool.reserved();
        if used.saturating_add(more_bytes) > allowed {
            let whose = of_role(pool);
            return Err(DataFusionError::ResourcesExhausted(match more_bytes {
                0 => format!(
                    "out of memory{whose}: rows on their way make {used} bytes of {limit} that may be used"
                ),
                more => format!(
                    "out of memory{whose}: {used} of {limit} bytes are used, and {more} more were asked for"
                ),
            }));
        }
    }
    pool_below(pool).map_or(Ok(()), |engine| check(engine, more_bytes))
}

/// The memory of a batch that one operator has given and the next one works on.
#[derive(Debug)]
pub(crate) struct InFlight {
    pool: Arc<dyn MemoryPool>,
    reservation: Option<MemoryReservation>,
}

impl InFlight {
    pub(crate) fn new(pool: &Arc<dyn MemoryPool>) -> InFlight {
        InFlight {
            pool: Arc::clone(pool),
            reservation: None,
        }
    }

    /// From now on it is so many bytes. What can spill then finds less; if all is used, the statement fails.
    pub(crate) fn hold(&mut self, n_bytes: usize) -> Result<()> {
        if n_bytes <= SMALL_BYTES {
            self.release();
            return Ok(());
        }
        let pool = &self.pool;
        let reservation = self
            .reservation
            .get_or_insert_with(|| MemoryConsumer::new("rows on their way").register(pool));
        reservation.resize(n_bytes);
        let checked = check(&self.pool, 0);
        if checked.is_err() {
            self.release();
        }
        checked
    }

    /// The batch is gone.
    pub(crate) fn release(&mut self) {
        if let Some(reservation) = &self.reservation {
            reservation.free();
        }
    }
}

/// The memory of rows that are kept as long as this is.
#[derive(Debug)]
pub struct KeptRows(MemoryReservation);

impl KeptRows {
    /// These rows are kept, too. Errors: 53200 if there is no room for them.
    pub fn keep(&self, rows: &RecordBatch) -> crate::error::Result<()> {
        Ok(self.0.try_grow(rows_bytes(rows))?)
    }

    /// The bytes of the rows.
    pub fn n_bytes(&self) -> usize {
        self.0.size()
    }
}

/// The memory of rows that wait for a client, as long as this is kept.
#[derive(Debug)]
pub struct SentRows {
    memory: Option<MemoryReservation>,
}

impl SentRows {
    fn new(pool: &Arc<dyn MemoryPool>, n_bytes: usize) -> Result<SentRows> {
        if n_bytes <= SMALL_SENT_BYTES {
            return Ok(SentRows { memory: None });
        }
        let memory = MemoryConsumer::new("rows for a client").register(pool);
        memory.grow(n_bytes);
        check(pool, 0)?;
        Ok(SentRows {
            memory: Some(memory),
        })
    }

    /// The bytes of the rows; 0 if they count as nothing.
    pub fn n_bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, MemoryReservation::size)
    }
}

/// The memory of what a client has sent, as long as this is kept.
#[derive(Debug)]
pub struct ReceivedBytes(MemoryReservation);

impl ReceivedBytes {
    /// That of nothing yet, which is named so where memory is told of.
    pub fn new(pool: &Arc<dyn MemoryPool>, what: &str) -> ReceivedBytes {
        ReceivedBytes(MemoryConsumer::new(what).register(pool))
    }

    /// From now on it is so many bytes; whether there is room for them. If not, it is what it was.
    pub fn hold(&self, n_bytes: usize) -> bool {
        let steps = n_bytes / RECEIVED_STEP_BYTES;
        let n_bytes = steps.saturating_mul(RECEIVED_STEP_BYTES);
        n_bytes == self.0.size() || self.0.try_resize(n_bytes).is_ok()
    }
}

/// The bytes of a batch's rows: of a slice, those of its own rows.
pub(crate) fn rows_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(array_bytes).sum()
}

/// The bytes of the values of an array.
pub(crate) fn array_bytes(array: &ArrayRef) -> usize {
    let n_rows = array.len();
    let span = |first: usize, last: usize| last.saturating_sub(first);
    let nulls = array.nulls().map_or(0, |_| n_rows.div_ceil(8));
    nulls
        + match array.data_type() {
            DataType::Utf8 => {
                let offsets = array.as_string::<i32>().value_offsets();
                4 * n_rows + span(offsets[0] as usize, offsets[n_rows] as usize)
            }
            DataType::LargeUtf8 => {
                let offsets = array.as_string::<i64>().value_offsets();
                8 * n_rows + span(offsets[0] as usize, offsets[n_rows] as usize)
            }
            DataType::Binary => {
                let offsets = array.as_binary::<i32>().value_offsets();
                4 * n_rows + span(offsets[0] as usize, offsets[n_rows] as usize)
            }
            DataType::LargeBinary => {
                let offsets = array.as_binary::<i64>().value_offsets();
                8 * n_rows + span(offsets[0] as usize, offsets[n_rows] as usize)
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets();
                let first = offsets[0] as usize;
                let elements = list
                    .values()
                    .slice(first, span(first, offsets[n_rows] as usize));
                4 * n_rows + array_bytes(&elements)
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                let offsets = list.value_offsets();
                let first = offsets[0] as usize;
                let elements = list
                    .values()
                    .slice(first, span(first, offsets[n_rows] as usize));
                8 * n_rows + array_bytes(&elements)
            }
            DataType::Struct(_) => array.as_struct().columns().iter().map(array_bytes).sum(),
            DataType::Dictionary(key, _) if **key == DataType::Int32 => {
                4 * n_rows + array_bytes(array.as_dictionary::<Int32Type>().values())
            }
            DataType::Dictionary(key, _) if **key == DataType::Int64 => {
                8 * n_rows + array_bytes(array.as_dictionary::<Int64Type>().values())
            }
            DataType::Boolean => n_rows.div_ceil(8),
            other => match other.primitive_width() {
                Some(width) => width * n_rows,
                // Others are as large as the buffers that they share.
                None => array.get_buffer_memory_size(),
            },
        }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, ListArray, StringArray};
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;
    use crate::spill_shares::SpillShares;

    const MB: usize = 1 << 20;

    fn pool(n_bytes: usize) -> Arc<dyn MemoryPool> {
        Arc::new(SpillShares::new(n_bytes))
    }

    #[test]
    fn a_slice_is_as_large_as_its_own_rows() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "bbbb", "cc"]));
        assert_eq!(array_bytes(&texts), 3 * 4 + 7);
        assert_eq!(array_bytes(&texts.slice(1, 1)), 4 + 4);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        assert_eq!(array_bytes(&numbers.slice(0, 2)), 1 + 16);
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(3)]),
        ]));
        assert_eq!(array_bytes(&lists.slice(1, 1)), 4 + 8);
        assert_eq!(array_bytes(&texts.slice(3, 0)), 0);
    }

    #[test]
    fn small_batches_are_free_and_large_ones_are_given_back() {
        let pool = pool(100 * MB);
        let mut rows = InFlight::new(&pool);
        rows.hold(SMALL_BYTES).unwrap();
        assert_eq!(pool.reserved(), 0);
        rows.hold(60 * MB).unwrap();
        assert_eq!(pool.reserved(), 60 * MB);
        let mut others = InFlight::new(&pool);
        let error = others.hold(70 * MB).unwrap_err();
        assert!(matches!(error, DataFusionError::ResourcesExhausted(_)));
        others.hold(50 * MB).unwrap();
        others.release();
        drop(rows);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn functions_ask_the_pool_of_their_statement() {
        ask_for(1 << 40).unwrap();
        let made = Arc::default();
        let room = Room::counting(&pool(10 * MB), &made);
        room.within(|| ask_for(20 * MB)).unwrap();
        let error = room.within(|| ask_for(40 * MB)).unwrap_err();
        assert!(error.to_string().contains("more were asked for"), "{error}");
        assert_eq!(made.load(Ordering::Relaxed), 60 * MB);
    }

    #[test]
    fn values_that_are_there_at_once_need_room_for_all() {
        let made = Arc::default();
        let room = Room::counting(&pool(10 * MB), &made).together();
        room.within(|| ask_for(20 * MB)).unwrap();
        assert!(room.within(|| ask_for(20 * MB)).is_err());
        made.store(0, Ordering::Relaxed);
        room.within(|| ask_for(20 * MB)).unwrap();
    }

    #[test]
    fn constants_of_a_plan_are_small_together() {
        let room = Room::new(&pool(1000 * MB));
        let fold = |n_bytes| room.within(|| folding(|| ask_for(n_bytes)));
        assert!(fold(FOLDED_BYTES + 1).is_err());
        for _ in 0..FOLDED_BYTES / MB {
            fold(MB).unwrap();
        }
        assert!(fold(1).is_err());
        room.within(|| ask_for(100 * MB)).unwrap();
        folding(|| ask_for(1 << 40)).unwrap();
    }

    #[test]
    fn a_role_has_no_more_room_than_the_engine() {
        let engine: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(MB));
        let workload = crate::workload::Workload::default();
        let role = crate::access::HeldRole::default();
        let role = workload.load(&role).pool(1 << 40, &engine);
        assert!(Room::new(&role).within(|| ask_for(100 * MB)).is_err());
    }

    #[test]
    fn rows_that_wait_for_clients_are_bounded() {
        let pool = pool(10 * MB);
        let small = SentRows::new(&pool, SMALL_SENT_BYTES).unwrap();
        assert_eq!(pool.reserved(), 0);
        let one = SentRows::new(&pool, 20 * MB).unwrap();
        let error = SentRows::new(&pool, 20 * MB).unwrap_err();
        assert!(matches!(error, DataFusionError::ResourcesExhausted(_)));
        assert_eq!(pool.reserved(), 20 * MB);
        drop((small, one));
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_clients_send_is_bounded() {
        let pool = pool(10 * MB);
        let received = ReceivedBytes(MemoryConsumer::new("message").register(&pool));
        assert!(received.hold(MB - 1));
        assert_eq!(pool.reserved(), 0);
        assert!(received.hold(8 * MB + 1));
        assert_eq!(pool.reserved(), 8 * MB);
        assert!(!received.hold(11 * MB));
        assert_eq!(pool.reserved(), 8 * MB);
        assert!(received.hold(100));
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn kept_rows_are_bounded() {
        let pool = pool(100);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1; 10]));
        let rows = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let kept = KeptRows(MemoryConsumer::new("cursor").register(&pool));
        kept.keep(&rows).unwrap();
        assert_eq!(kept.n_bytes(), 80);
        assert_eq!(kept.keep(&rows).unwrap_err().report().sqlstate, "53200");
        drop(kept);
        assert_eq!(pool.reserved(), 0);
    }
}
