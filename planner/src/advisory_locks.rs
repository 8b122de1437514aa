//! Advisory locks: `pg_advisory_lock(key)` and its kin, by which tools that migrate schemas keep out of each other's way.
//!
//! In: keys that mean something to clients alone; out: locks of this server, which a session or its transaction block holds
//! until it ends. Servers that share a warehouse know nothing of each other's locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use tokio::sync::Notify;

use crate::engine::{Engine, lock};
use crate::error::{Error, Result};
use crate::session::Session;

/// What a lock is of: a bigint, or two integers, which are keys of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    One(i64),
    Pair(i32, i32),
}

/// Whom a lock keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Mode {
    /// Those who want it alone.
    Shared,
    /// All others.
    Exclusive,
}

/// An advisory lock that a session holds or waits for, as `pg_locks` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockFacts {
    /// The key: the halves of a bigint, or two integers.
    pub key: [u32; 2],
    /// Whether the key is two integers.
    pub is_pair: bool,
    /// The session's number.
    pub process_id: i32,
    /// Whether others may share it.
    pub is_shared: bool,
    /// Whether the session holds it.
    pub is_granted: bool,
}

impl LockFacts {
    fn new(process_id: i32, key: Key, mode: Mode, is_granted: bool) -> LockFacts {
        // The bits count, as in PostgreSQL.
        let (key, is_pair) = match key {
            Key::One(key) => ([(key >> 32) as u32, key as u32], false),
            Key::Pair(first, second) => ([first as u32, second as u32], true),
        };
        LockFacts {
            key,
            is_pair,
            process_id,
            is_shared: mode == Mode::Shared,
            is_granted,
        }
    }
}

/// The advisory locks of an engine.
#[derive(Debug, Default)]
pub(crate) struct AdvisoryLocks {
    table: Mutex<LockTable>,
    released: Notify,
}

#[derive(Debug, Default)]
struct LockTable {
    /// The sessions that hold a key, each as often as it took it.
    held: BTreeMap<Key, Vec<(i32, Mode)>>,
    /// What sessions wait for.
    wanted: BTreeMap<i32, (Key, Mode)>,
}

impl LockTable {
    /// The sessions that keep another from a lock.
    fn in_the_way(&self, session: i32, key: Key, mode: Mode) -> impl Iterator<Item = i32> {
        let holders = self.held.get(&key).map_or(&[][..], Vec::as_slice);
        holders
            .iter()
            .filter(move |(holder, held)| {
                *holder != session && (mode == Mode::Exclusive || *held == Mode::Exclusive)
            })
            .map(|(holder, _)| *holder)
    }

    /// Whether a session waits, through others, for itself.
    fn waits_for_itself(&self, session: i32) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![session];
        while let Some(waiting) = next.pop() {
            let Some((key, mode)) = self.wanted.get(&waiting) else {
                continue;
            };
            for holder in self.in_the_way(waiting, *key, *mode) {
                if holder == session {
                    return true;
                }
                if seen.insert(holder) {
                    next.push(holder);
                }
            }
        }
        false
    }
}

/// A lock, as long as it lives.
#[derive(Debug)]
pub(crate) struct HeldLock {
    locks: Arc<AdvisoryLocks>,
    session: i32,
    key: Key,
    mode: Mode,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let mut table = lock(&self.locks.table);
        if let Some(holders) = table.held.get_mut(&self.key) {
            let mine = (self.session, self.mode);
            if let Some(at) = holders.iter().position(|holder| *holder == mine) {
                holders.swap_remove(at);
            }
            if holders.is_empty() {
                table.held.remove(&self.key);
            }
        }
        drop(table);
        self.locks.released.notify_waiters();
    }
}

/// The wish of a session that waits, as long as it lives.
struct Wish<'a> {
    locks: &'a AdvisoryLocks,
    session: i32,
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        lock(&self.locks.table).wanted.remove(&self.session);
    }
}

impl AdvisoryLocks {
    /// The locks by key and session: those that are held, each once, then those that are waited for.
    fn facts(&self) -> Vec<LockFacts> {
        let table = lock(&self.table);
        let mut facts = Vec::new();
        for (key, holders) in &table.held {
            let holders: BTreeSet<_> = holders.iter().copied().collect();
            let fact = |(session, mode)| LockFacts::new(session, *key, mode, true);
            facts.extend(holders.into_iter().map(fact));
        }
        for (session, (key, mode)) in &table.wanted {
            facts.push(LockFacts::new(*session, *key, *mode, false));
        }
        facts
    }

    /// Takes a lock, unless others hold it.
    fn try_take(self: &Arc<Self>, session: i32, key: Key, mode: Mode) -> Option<HeldLock> {
        let mut table = lock(&self.table);
        if table.in_the_way(session, key, mode).next().is_some() {
            return None;
        }
        table.held.entry(key).or_default().push((session, mode));
        Some(HeldLock {
            locks: Arc::clone(self),
            session,
            key,
            mode,
        })
    }

    /// Takes a lock as soon as nobody is in the way. Dropping the future, which cancelling does, ends the wait.
    ///
    /// Errors: 40P01 if those who are in the way wait for this session.
    async fn take(self: &Arc<Self>, session: i32, key: Key, mode: Mode) -> Result<HeldLock> {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // A lock that is released between the attempt and the wait must not be missed.
            released.as_mut().enable();
            if let Some(held) = self.try_take(session, key, mode) {
                return Ok(held);
            }
            let _wish = self.wish(session, key, mode)?;
            released.await;
        }
    }

    fn wish(&self, session: i32, key: Key, mode: Mode) -> Result<Wish<'_>> {
        let mut table = lock(&self.table);
        table.wanted.insert(session, (key, mode));
        let is_deadlock = table.waits_for_itself(session);
        drop(table);
        let wish = Wish {
            locks: self,
            session,
        };
        match is_deadlock {
            true => Err(Error::invalid(
                "40P01",
                "deadlock detected",
                Some("Take advisory locks in the same order everywhere."),
            )),
            false => Ok(wish),
        }
    }
}

impl Engine {
    /// The advisory locks that sessions hold or wait for.
    pub fn lock_facts(&self) -> Vec<LockFacts> {
        self.advisory_locks.facts()
    }
}

/// The locks that a session holds beyond its blocks.
#[derive(Debug, Default)]
pub(crate) struct SessionLocks(Mutex<Vec<HeldLock>>);

impl SessionLocks {
    fn keep(&self, held: HeldLock) {
        lock(&self.0).push(held);
    }

    /// Gives back one lock; whether it was held.
    fn release(&self, key: Key, mode: Mode) -> bool {
        let mut held = lock(&self.0);
        let at = held
            .iter()
            .rposition(|held| held.key == key && held.mode == mode);
        at.map(|at| held.remove(at)).is_some()
    }

    /// Gives back all.
    pub(crate) fn release_all(&self) {
        lock(&self.0).clear();
    }
}

/// What keeps a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// The session.
    Session,
    /// The transaction block. Where there is none, the statement, which is over when the lock is taken.
    Block,
}

/// What a function does with a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Waits for it.
    Take(Keeper),
    /// Takes it if it is free.
    Try(Keeper),
    /// Gives it back.
    Release,
    /// Gives back all of the session.
    ReleaseAll,
}

const FUNCTIONS: [(&str, Action, Mode); 11] = {
    use Action::{Release, ReleaseAll, Take, Try};
    use Keeper::{Block, Session};
    use Mode::{Exclusive, Shared};
    [
        ("pg_advisory_lock", Take(Session), Exclusive),
        ("pg_advisory_lock_shared", Take(Session), Shared),
        ("pg_advisory_xact_lock", Take(Block), Exclusive),
        ("pg_advisory_xact_lock_shared", Take(Block), Shared),
        ("pg_try_advisory_lock", Try(Session), Exclusive),
        ("pg_try_advisory_lock_shared", Try(Session), Shared),
        ("pg_try_advisory_xact_lock", Try(Block), Exclusive),
        ("pg_try_advisory_xact_lock_shared", Try(Block), Shared),
        ("pg_advisory_unlock", Release, Exclusive),
        ("pg_advisory_unlock_shared", Release, Shared),
        ("pg_advisory_unlock_all", ReleaseAll, Exclusive),
    ]
};

/// The functions of a session.
pub(crate) fn functions(session: &Arc<Session>) -> impl Iterator<Item = ScalarUDF> {
    let session = Arc::downgrade(session);
    FUNCTIONS.into_iter().map(move |(name, action, mode)| {
        let keys = match action {
            Action::ReleaseAll => vec![TypeSignature::Nullary],
            _ => vec![
                TypeSignature::Exact(vec![DataType::Int64]),
                TypeSignature::Exact(vec![DataType::Int64, DataType::Int64]),
            ],
        };
        let function = LockFunction {
            name,
            action,
            mode,
            session: Weak::clone(&session),
            signature: Signature::one_of(keys, Volatility::Volatile),
        };
        match action {
            Action::Take(_) => AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf(),
            _ => ScalarUDF::from(function),
        }
    })
}

#[derive(Debug)]
struct LockFunction {
    name: &'static str,
    action: Action,
    mode: Mode,
    session: Weak<Session>,
    signature: Signature,
}

// A session has one function of a name.
impl PartialEq for LockFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for LockFunction {}

impl std::hash::Hash for LockFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The keys of a call, a row each; those of NULL are none.
fn keys(args: &ScalarFunctionArgs) -> DfResult<Vec<Option<Key>>> {
    let columns = args
        .args
        .iter()
        .map(|arg| arg.to_array(args.number_rows))
        .collect::<DfResult<Vec<ArrayRef>>>()?;
    let half = |value: i64| {
        i32::try_from(value)
            .map_err(|_| Error::invalid("22003", format!("integer out of range: {value}"), None))
    };
    let value = |column: &ArrayRef, row: usize| {
        let column = column.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let key = |row: usize| -> DfResult<Option<Key>> {
        let values: Option<Vec<i64>> = columns.iter().map(|column| value(column, row)).collect();
        Ok(match values.as_deref() {
            Some([one]) => Some(Key::One(*one)),
            Some([first, second]) => Some(Key::Pair(half(*first)?, half(*second)?)),
            _ => None,
        })
    };
    (0..args.number_rows).map(key).collect()
}

/// Says of each key what was done.
fn answers(args: &ScalarFunctionArgs, act: impl Fn(Key) -> bool) -> DfResult<ColumnarValue> {
    let done: BooleanArray = keys(args)?.into_iter().map(|key| key.map(&act)).collect();
    Ok(ColumnarValue::Array(Arc::new(done)))
}

fn keep(session: &Session, held: HeldLock, keeper: Keeper) {
    match keeper {
        Keeper::Session => session.advisory_locks.keep(held),
        Keeper::Block => session.keep_in_block(held),
    }
}

impl LockFunction {
    fn session(&self) -> DfResult<Arc<Session>> {
        let ended = || DataFusionError::Internal("the session has ended".to_owned());
        self.session.upgrade().ok_or_else(ended)
    }

    /// Waits for a lock.
    async fn take(&self, session: &Session, key: Key) -> Result<HeldLock> {
        let locks = &session.engine.advisory_locks;
        let taking = locks.take(session.process_id(), key, self.mode);
        match session.settings().duration("lock_timeout") {
            None => taking.await,
            Some(limit) => {
                let taken = tokio::time::timeout(limit, taking).await;
                taken.unwrap_or_else(|_| {
                    let message = "canceling statement due to lock timeout";
                    Err(Error::invalid("55P03", message, None))
                })
            }
        }
    }
}

impl ScalarUDFImpl for LockFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// PostgreSQL's type void is shown as an empty text.
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.action {
            Action::Take(_) | Action::ReleaseAll => DataType::Utf8,
            Action::Try(_) | Action::Release => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = self.session()?;
        match self.action {
            Action::Take(_) => {
                let what = format!("{} in this place", self.name);
                Err(Error::unsupported(what).into())
            }
            Action::Try(keeper) => answers(&args, |key| {
                let locks = &session.engine.advisory_locks;
                let held = locks.try_take(session.process_id(), key, self.mode);
                held.map(|held| keep(&session, held, keeper)).is_some()
            }),
            Action::Release => answers(&args, |key| session.advisory_locks.release(key, self.mode)),
            Action::ReleaseAll => {
                session.advisory_locks.release_all();
                Ok(ColumnarValue::Scalar(ScalarValue::from("")))
            }
        }
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for LockFunction {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let Action::Take(keeper) = self.action else {
            return self.invoke_with_args(args);
        };
        let session = self.session()?;
        let mut done: Vec<Option<&str>> = Vec::with_capacity(args.number_rows);
        for key in keys(&args)? {
            if let Some(key) = key {
                let held = self.take(&session, key).await?;
                keep(&session, held, keeper);
            }
            done.push(key.map(|_| ""));
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(done))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key::One(7);

    fn take(locks: &Arc<AdvisoryLocks>, session: i32, mode: Mode) -> Option<HeldLock> {
        locks.try_take(session, KEY, mode)
    }

    #[test]
    fn an_exclusive_lock_keeps_all_others_out() {
        let locks = Arc::new(AdvisoryLocks::default());
        let held = take(&locks, 1, Mode::Exclusive);
        let again = take(&locks, 1, Mode::Exclusive);
        assert!(held.is_some() && again.is_some());
        assert!(take(&locks, 2, Mode::Shared).is_none());
        drop(held);
        assert!(take(&locks, 2, Mode::Exclusive).is_none());
        drop(again);
        assert!(take(&locks, 2, Mode::Exclusive).is_some());
    }

    #[test]
    fn shared_locks_stand_beside_each_other() {
        let locks = Arc::new(AdvisoryLocks::default());
        let (one, two) = (take(&locks, 1, Mode::Shared), take(&locks, 2, Mode::Shared));
        assert!(one.is_some() && two.is_some());
        assert!(take(&locks, 2, Mode::Exclusive).is_none());
        drop(one);
        assert!(take(&locks, 2, Mode::Exclusive).is_some());
    }

    #[tokio::test]
    async fn locks_are_listed_as_postgresql_does() {
        let locks = Arc::new(AdvisoryLocks::default());
        let _held = locks.try_take(1, Key::One((5 << 32) + 7), Mode::Exclusive);
        let _again = locks.try_take(1, Key::One((5 << 32) + 7), Mode::Exclusive);
        let _pair = locks.try_take(2, Key::Pair(-1, 3), Mode::Shared);
        let waiting = locks.take(2, Key::One((5 << 32) + 7), Mode::Shared);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let fact = |fact: LockFacts| (fact.process_id, fact.key, fact.is_pair, fact.is_granted);
        let facts: Vec<_> = locks.facts().into_iter().map(fact).collect();
        assert_eq!(
            facts,
            [
                (1, [5, 7], false, true),
                (2, [u32::MAX, 3], true, true),
                (2, [5, 7], false, false),
            ]
        );
    }

    #[test]
    fn pairs_are_keys_of_their_own() {
        let locks = Arc::new(AdvisoryLocks::default());
        let _held = locks.try_take(1, Key::Pair(0, 7), Mode::Exclusive);
        assert!(take(&locks, 2, Mode::Exclusive).is_some());
    }

    #[tokio::test]
    async fn who_waits_for_itself_is_told() {
        let locks = Arc::new(AdvisoryLocks::default());
        let _one = locks.try_take(1, Key::One(1), Mode::Exclusive).unwrap();
        let two = locks.try_take(2, Key::One(2), Mode::Exclusive).unwrap();
        let waiting = locks.take(1, Key::One(2), Mode::Exclusive);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let error = locks.take(2, Key::One(1), Mode::Exclusive).await;
        assert_eq!(error.unwrap_err().report().sqlstate, "40P01");
        drop(two);
        assert!(waiting.await.is_ok());
        assert!(lock(&locks.table).wanted.is_empty());
    }
}
