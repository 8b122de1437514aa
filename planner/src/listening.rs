//! What a session asks of channels: `LISTEN`, `UNLISTEN`, `NOTIFY`, and the functions `pg_notify`, `pg_listening_channels`
//! and `pg_notification_queue_usage`.
//!
//! In: statements and calls; out: changes and notifications, which are kept until their transaction is committed, and what
//! others have sent, which a client is told outside of blocks. A transaction sends each text of a channel once.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, Weak};

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::channels::{Change, Channels, Inbox, Notification};
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::transaction::TransactionState;

/// The bytes that a channel's name has at most, as all of PostgreSQL's names.
pub(crate) const MAX_CHANNEL_BYTES: usize = 63;
/// The bytes that a notification's text has at most.
const MAX_PAYLOAD_BYTES: usize = 7999;

/// What a session listens to, and what its transaction asked for.
#[derive(Debug)]
pub(crate) struct Listening {
    channels: Arc<Channels>,
    inbox: Arc<Inbox>,
    asked: Mutex<Asked>,
}

/// What is done when a transaction is committed.
#[derive(Debug, Default)]
struct Asked {
    changes: Vec<Change>,
    sent: Vec<Arc<Notification>>,
    /// The texts of what is sent, by channel.
    known: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

/// How much a transaction had asked for at a savepoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedMark {
    n_changes: usize,
    n_sent: usize,
}

impl Asked {
    fn knows(&self, channel: &str, payload: &str) -> bool {
        let texts = self.known.get(channel);
        texts.is_some_and(|texts| texts.contains(payload))
    }

    fn return_to(&mut self, mark: AskedMark) {
        self.changes.truncate(mark.n_changes);
        for notification in self.sent.drain(mark.n_sent.min(self.sent.len())..) {
            let (channel, payload) = notification.texts();
            if let Some(texts) = self.known.get_mut(&channel) {
                texts.remove(&payload);
            }
        }
    }
}

impl Listening {
    pub(crate) fn new(channels: &Arc<Channels>, process_id: i32) -> Listening {
        Listening {
            channels: Arc::clone(channels),
            inbox: Arc::new(Inbox::new(process_id)),
            asked: Mutex::default(),
        }
    }

    /// Changes what the session listens to when its transaction is committed.
    pub(crate) fn ask(&self, change: Change) -> Result<()> {
        let changes = &mut lock(&self.asked).changes;
        self.channels.check_changes(&change, changes.len())?;
        changes.push(change);
        Ok(())
    }

    /// Sends a notification when the session's transaction is committed, unless it has sent the same.
    pub(crate) fn notify(&self, channel: &str, payload: &str, process_id: i32) -> Result<()> {
        let refused = |message: &str| Err(Error::invalid("22023", message, None));
        if channel.is_empty() {
            return refused("channel name cannot be empty");
        }
        if channel.len() > MAX_CHANNEL_BYTES {
            return refused("channel name too long");
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            return refused("payload string too long");
        }
        let mut asked = lock(&self.asked);
        if asked.knows(channel, payload) {
            return Ok(());
        }
        let notification = self.channels.notification(channel, payload, process_id)?;
        let (channel, payload) = notification.texts();
        asked.known.entry(channel).or_default().insert(payload);
        asked.sent.push(notification);
        Ok(())
    }

    /// How much the transaction has asked for.
    pub(crate) fn mark(&self) -> AskedMark {
        let asked = lock(&self.asked);
        AskedMark {
            n_changes: asked.changes.len(),
            n_sent: asked.sent.len(),
        }
    }

    /// Takes back what was asked for behind a savepoint.
    pub(crate) fn return_to(&self, mark: AskedMark) {
        lock(&self.asked).return_to(mark);
    }

    /// Takes back all that was asked for: the transaction failed.
    pub(crate) fn forget(&self) {
        drop(self.take_asked());
    }

    /// Does what was asked for: the transaction is committed.
    pub(crate) fn commit(self: &Arc<Listening>) {
        self.begin_commit().done();
    }

    /// What was asked for, while the transaction is being committed, perhaps by a task that outlives its session.
    pub(crate) fn begin_commit(self: &Arc<Listening>) -> Committing {
        Committing {
            asked: self.take_asked(),
            listening: Arc::clone(self),
        }
    }

    fn take_asked(&self) -> Asked {
        std::mem::take(&mut *lock(&self.asked))
    }

    /// Listens to nothing any more.
    pub(crate) fn leave(&self) {
        if !self.inbox.channels().is_empty() {
            let all = vec![Change::UnlistenAll];
            self.channels.commit(&self.inbox, all, &[]);
        }
    }
}

/// What a transaction asked for that is being committed; if that fails, it is dropped.
#[derive(Debug)]
pub(crate) struct Committing {
    listening: Arc<Listening>,
    asked: Asked,
}

impl Committing {
    /// Does it: the transaction is committed.
    pub(crate) fn done(self) {
        let Asked { changes, sent, .. } = self.asked;
        if !changes.is_empty() || !sent.is_empty() {
            let Listening {
                channels, inbox, ..
            } = &*self.listening;
            channels.commit(inbox, changes, &sent);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Session {
    /// Does what statements outside of blocks have asked of channels; they are done, and will not fail.
    pub fn settle_notifications(&self) {
        if self.transaction() == TransactionState::Idle {
            self.listening.commit();
        }
    }

    /// Takes out the notifications that the client is to be told; within a block, none.
    pub fn take_notifications(&self) -> Vec<Arc<Notification>> {
        match self.transaction() {
            TransactionState::Idle => self.listening.inbox.take(),
            _ => Vec::new(),
        }
    }

    /// Waits until there are some; within a block, for ever.
    pub async fn notified(&self) {
        match self.transaction() {
            TransactionState::Idle => self.listening.inbox.filled().await,
            _ => std::future::pending().await,
        }
    }
}

/// The functions of a session.
pub(crate) fn functions(session: &Arc<Session>) -> impl Iterator<Item = ScalarUDF> {
    let session = Arc::downgrade(session);
    let function = move |kind: Kind| {
        let signature = match kind {
            Kind::Notify => Signature::exact(vec![DataType::Utf8; 2], Volatility::Volatile),
            Kind::Channels | Kind::Usage => Signature::nullary(Volatility::Volatile),
        };
        ScalarUDF::from(ChannelFunction {
            kind,
            session: Weak::clone(&session),
            signature,
        })
    };
    [Kind::Notify, Kind::Channels, Kind::Usage]
        .into_iter()
        .map(function)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Notify,
    /// What the session listens to: an array here, rows to whoever calls it.
    Channels,
    /// How full the queue is.
    Usage,
}

#[derive(Debug)]
struct ChannelFunction {
    kind: Kind,
    session: Weak<Session>,
    signature: Signature,
}

// A session has one function of a name.
impl PartialEq for ChannelFunction {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for ChannelFunction {}

impl Hash for ChannelFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

/// Notifies of each row; a NULL is an empty text.
fn notify_rows(session: &Session, args: &ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    let texts = |idx: usize| -> DfResult<ArrayRef> { args.args[idx].to_array(args.number_rows) };
    let (channels, payloads) = (texts(0)?, texts(1)?);
    let (channels, payloads) = (channels.as_string::<i32>(), payloads.as_string::<i32>());
    for (channel, payload) in channels.iter().zip(payloads) {
        let (channel, payload) = (channel.unwrap_or_default(), payload.unwrap_or_default());
        let process_id = session.process_id();
        session.listening.notify(channel, payload, process_id)?;
    }
    // PostgreSQL's type void is shown as an empty text.
    let nothing = StringArray::from_iter_values(std::iter::repeat_n("", channels.len()));
    Ok(ColumnarValue::Array(Arc::new(nothing)))
}

impl ScalarUDFImpl for ChannelFunction {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Notify => "pg_notify",
            Kind::Channels => "pg_listening_channels",
            Kind::Usage => "pg_notification_queue_usage",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.kind {
            Kind::Notify => DataType::Utf8,
            Kind::Channels => DataType::new_list(DataType::Utf8, true),
            Kind::Usage => DataType::Float64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let ended = || DataFusionError::Internal("the session has ended".to_owned());
        let session = self.session.upgrade().ok_or_else(ended)?;
        let value = match self.kind {
            Kind::Notify => return notify_rows(&session, &args),
            Kind::Channels => {
                let names = session.listening.inbox.channels().into_iter();
                let names: Vec<ScalarValue> = names.map(ScalarValue::from).collect();
                ScalarValue::List(ScalarValue::new_list(&names, &DataType::Utf8, true))
            }
            Kind::Usage => ScalarValue::from(session.engine.channels.usage()),
        };
        Ok(ColumnarValue::Scalar(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session that listens to the channel `a`.
    fn listening() -> Arc<Listening> {
        let channels = Arc::new(Channels::new(usize::MAX));
        let listening = Arc::new(Listening::new(&channels, 1));
        listening.ask(Change::Listen("a".to_owned())).unwrap();
        listening.commit();
        listening
    }

    fn told(listening: &Listening) -> Vec<String> {
        let all = listening.inbox.take().into_iter();
        all.map(|told| told.payload().to_owned()).collect()
    }

    #[test]
    fn a_transaction_sends_each_text_once() {
        let listening = listening();
        for payload in ["x", "y", "x", ""] {
            listening.notify("a", payload, 1).unwrap();
        }
        assert!(told(&listening).is_empty());
        listening.commit();
        listening.notify("a", "x", 1).unwrap();
        listening.commit();
        assert_eq!(told(&listening), ["x", "y", "", "x"]);
    }

    #[test]
    fn what_stands_behind_a_savepoint_is_taken_back() {
        let listening = listening();
        listening.notify("a", "before", 1).unwrap();
        let mark = listening.mark();
        listening.notify("a", "behind", 1).unwrap();
        listening.ask(Change::UnlistenAll).unwrap();
        listening.return_to(mark);
        listening.notify("a", "before", 1).unwrap();
        listening.notify("a", "behind", 1).unwrap();
        listening.commit();
        assert_eq!(told(&listening), ["before", "behind"]);
    }

    #[test]
    fn what_fails_sends_nothing() {
        let listening = listening();
        listening.notify("a", "lost", 1).unwrap();
        listening.ask(Change::Unlisten("a".to_owned())).unwrap();
        listening.forget();
        listening.commit();
        assert!(told(&listening).is_empty());
        assert_eq!(listening.inbox.channels(), ["a"]);
        assert!(listening.channels.usage() == 0.0);
    }

    #[test]
    fn names_and_texts_have_bounds() {
        let listening = listening();
        let message = |channel: &str, payload: &str| {
            let refused = listening.notify(channel, payload, 1).err();
            refused.map(|error| error.report().message)
        };
        let (long, longest) = ("c".repeat(64), "x".repeat(7999));
        assert_eq!(message(&long[..63], &longest), None);
        let expected = |message: &str| Some(message.to_owned());
        assert_eq!(message("", "x"), expected("channel name cannot be empty"));
        assert_eq!(message(&long, "x"), expected("channel name too long"));
        let more = format!("{longest}x");
        assert_eq!(message("a", &more), expected("payload string too long"));
    }
}
