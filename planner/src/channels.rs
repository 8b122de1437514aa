//! The channels of a server, by which its sessions wake each other: `LISTEN` and `NOTIFY`.
//!
//! In: what transactions asked for, when they are committed; out: an inbox for each session, in the order of the commits.
//! What waits in transactions and inboxes has a bound, beyond which `NOTIFY` fails, as in PostgreSQL: sessions that take
//! nothing out of their inboxes hold no more. Servers that share a warehouse know nothing of each other's channels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::engine::lock;
use crate::error::{Error, Result};

/// What notifications take at most that are not delivered yet; PostgreSQL has 8 GB of disk for them.
const MAX_BYTES: usize = 64 << 20;
/// The same as a part of the server's memory.
const PART_OF_MEMORY: usize = 16;
/// What a notification takes beside its texts.
const NOTIFICATION_BYTES: usize = 160;
/// What it takes in an inbox.
const PLACE_BYTES: usize = 16;
/// How often sessions may listen, all together: each takes some 200 bytes beside its name.
const MAX_LISTENED: usize = 100_000;

/// A message to those who listen to its channel.
#[derive(Debug)]
pub struct Notification {
    channel: Arc<str>,
    payload: Arc<str>,
    process_id: i32,
    /// Given back when nobody is to be told any more.
    _room: Room,
}

impl Notification {
    /// Its channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Its text; empty if it has none.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The session that sent it.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// Its channel and its text, to keep.
    pub(crate) fn texts(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.channel), Arc::clone(&self.payload))
    }
}

/// Bytes of all that notifications may take.
#[derive(Debug)]
struct Room {
    used_bytes: Arc<Mutex<usize>>,
    n_bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        *lock(&self.used_bytes) -= self.n_bytes;
    }
}

/// What a committed transaction does to the channels that its session listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Listen(String),
    Unlisten(String),
    UnlistenAll,
}

/// What a session listens to, and what it has not been told.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    process_id: i32,
    content: Mutex<Content>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Content {
    /// In the order in which it began to listen to them.
    channels: Vec<String>,
    waiting: Vec<Arc<Notification>>,
}

impl Inbox {
    pub(crate) fn new(process_id: i32) -> Inbox {
        Inbox {
            process_id,
            ..Inbox::default()
        }
    }

    /// What the session listens to.
    pub(crate) fn channels(&self) -> Vec<String> {
        lock(&self.content).channels.clone()
    }

    /// Takes out all that is there. It keeps its room until each is told.
    pub(crate) fn take(&self) -> Vec<Arc<Notification>> {
        std::mem::take(&mut lock(&self.content).waiting)
    }

    /// Waits until there is a notification. One session waits at a time.
    pub(crate) async fn filled(&self) {
        while lock(&self.content).waiting.is_empty() {
            self.arrived.notified().await;
        }
    }

    fn put(&self, notification: &Arc<Notification>) {
        let waiting = &mut lock(&self.content).waiting;
        waiting.push(Arc::clone(notification));
        self.arrived.notify_one();
    }

    /// Leaves a channel, and what came from it.
    fn leave(&self, channel: &str) {
        let mut content = lock(&self.content);
        content.channels.retain(|known| known != channel);
        let waiting = &mut content.waiting;
        waiting.retain(|notification| notification.channel() != channel);
    }

    /// Leaves all channels, which it gives.
    fn leave_all(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.content)).channels
    }
}

/// The channels of an engine.
#[derive(Debug)]
pub(crate) struct Channels {
    listeners: Mutex<Listeners>,
    used_bytes: Arc<Mutex<usize>>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Listeners {
    by_channel: BTreeMap<String, BTreeMap<i32, Arc<Inbox>>>,
    n_listened: usize,
}

impl Listeners {
    fn change(&mut self, inbox: &Arc<Inbox>, change: Change) {
        match change {
            Change::Listen(channel) => self.listen(inbox, channel),
            Change::Unlisten(channel) => self.unlisten(inbox, &channel),
            Change::UnlistenAll => {
                for channel in inbox.leave_all() {
                    self.remove(inbox, &channel);
                }
            }
        }
    }

    fn listen(&mut self, inbox: &Arc<Inbox>, channel: String) {
        let listeners = self.by_channel.entry(channel.clone()).or_default();
        let known = listeners.insert(inbox.process_id, Arc::clone(inbox));
        if known.is_none() {
            self.n_listened += 1;
            lock(&inbox.content).channels.push(channel);
        }
    }

    fn unlisten(&mut self, inbox: &Inbox, channel: &str) {
        if self.remove(inbox, channel) {
            inbox.leave(channel);
        }
    }

    /// Takes a session out of a channel; whether it was in it.
    fn remove(&mut self, inbox: &Inbox, channel: &str) -> bool {
        let Some(listeners) = self.by_channel.get_mut(channel) else {
            return false;
        };
        let was_in = listeners.remove(&inbox.process_id).is_some();
        if listeners.is_empty() {
            self.by_channel.remove(channel);
        }
        self.n_listened -= usize::from(was_in);
        was_in
    }
}

impl Channels {
    /// Of a server with so much memory.
    pub(crate) fn new(memory_bytes: usize) -> Channels {
        Channels {
            listeners: Mutex::default(),
            used_bytes: Arc::default(),
            max_bytes: MAX_BYTES.min(memory_bytes / PART_OF_MEMORY),
        }
    }

    /// A notification, which nobody is told before it is committed.
    ///
    /// Errors: 54000 if too much was not delivered yet.
    pub(crate) fn notification(
        &self,
        channel: &str,
        payload: &str,
        process_id: i32,
    ) -> Result<Arc<Notification>> {
        let listeners = lock(&self.listeners)
            .by_channel
            .get(channel)
            .map(BTreeMap::len);
        let places = listeners.unwrap_or(0) * PLACE_BYTES;
        let room = self.room(NOTIFICATION_BYTES + channel.len() + payload.len() + places)?;
        Ok(Arc::new(Notification {
            channel: channel.into(),
            payload: payload.into(),
            process_id,
            _room: room,
        }))
    }

    fn room(&self, n_bytes: usize) -> Result<Room> {
        let mut used_bytes = lock(&self.used_bytes);
        if self.max_bytes - *used_bytes < n_bytes {
            let hint = "Sessions that listen take notifications outside of transaction blocks; \
                        one of them stays in a block, or its client reads nothing.";
            let message = "too many notifications in the NOTIFY queue";
            return Err(Error::invalid("54000", message, Some(hint)));
        }
        *used_bytes += n_bytes;
        Ok(Room {
            used_bytes: Arc::clone(&self.used_bytes),
            n_bytes,
        })
    }

    /// How much of the room for notifications is taken, from 0 to 1.
    pub(crate) fn usage(&self) -> f64 {
        let used_bytes = *lock(&self.used_bytes);
        used_bytes as f64 / self.max_bytes.max(1) as f64
    }

    /// Fails if a transaction has asked for more changes than there may be. Who leaves channels makes room.
    pub(crate) fn check_changes(&self, next: &Change, n_asked: usize) -> Result<()> {
        let n_listened = match next {
            Change::Listen(_) => lock(&self.listeners).n_listened,
            Change::Unlisten(_) | Change::UnlistenAll => 0,
        };
        if n_listened + n_asked < MAX_LISTENED {
            return Ok(());
        }
        let message = "sessions listen to too many channels";
        let hint = format!("All sessions together may listen {MAX_LISTENED} times.");
        Err(Error::invalid("54000", message, Some(&hint)))
    }

    /// Carries out what a transaction of an inbox's session asked for. It is told of its own notifications, too, also
    /// if it began to listen behind them.
    pub(crate) fn commit(
        &self,
        inbox: &Arc<Inbox>,
        changes: Vec<Change>,
        sent: &[Arc<Notification>],
    ) {
        let mut listeners = lock(&self.listeners);
        for change in changes {
            listeners.change(inbox, change);
        }
        for notification in sent {
            let told = listeners.by_channel.get(notification.channel());
            for listener in told.into_iter().flat_map(BTreeMap::values) {
                listener.put(notification);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const NO_MEMORY_LIMIT: usize = usize::MAX;

    fn listener(channels: &Channels, process_id: i32, names: &[&str]) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::new(process_id));
        let listen = |name: &&str| Change::Listen((*name).to_owned());
        channels.commit(&inbox, names.iter().map(listen).collect(), &[]);
        inbox
    }

    fn send(channels: &Channels, channel: &str, payload: &str) -> Result<()> {
        let nobody = Arc::new(Inbox::new(99));
        let sent = [channels.notification(channel, payload, 99)?];
        channels.commit(&nobody, Vec::new(), &sent);
        Ok(())
    }

    fn told(inbox: &Inbox) -> Vec<String> {
        let all = inbox.take().into_iter();
        all.map(|told| format!("{}:{}", told.channel(), told.payload()))
            .collect()
    }

    #[test]
    fn those_who_listen_are_told_in_order() {
        let channels = Channels::new(NO_MEMORY_LIMIT);
        let one = listener(&channels, 1, &["a", "b", "a"]);
        let two = listener(&channels, 2, &["b"]);
        for (channel, payload) in [("b", "1"), ("a", "2"), ("b", "3"), ("c", "4")] {
            send(&channels, channel, payload).unwrap();
        }
        assert_eq!(one.channels(), ["a", "b"]);
        assert_eq!(told(&one), ["b:1", "a:2", "b:3"]);
        assert_eq!(told(&two), ["b:1", "b:3"]);
        assert!(channels.usage() == 0.0);
    }

    #[test]
    fn a_transaction_is_told_what_it_sent_before_it_listened() {
        let channels = Channels::new(NO_MEMORY_LIMIT);
        let inbox = Arc::new(Inbox::new(7));
        let sent = [channels.notification("a", "mine", 7).unwrap()];
        let changes = vec![Change::UnlistenAll, Change::Listen("a".to_owned())];
        channels.commit(&inbox, changes, &sent);
        drop(sent);
        let own = inbox.take();
        assert_eq!(own.len(), 1);
        assert_eq!((own[0].payload(), own[0].process_id()), ("mine", 7));
    }

    #[test]
    fn who_leaves_a_channel_is_told_no_more_of_it() {
        let channels = Channels::new(NO_MEMORY_LIMIT);
        let inbox = listener(&channels, 1, &["a", "b"]);
        send(&channels, "a", "1").unwrap();
        send(&channels, "b", "2").unwrap();
        let leave = vec![
            Change::Unlisten("a".to_owned()),
            Change::Unlisten("c".to_owned()),
        ];
        channels.commit(&inbox, leave, &[]);
        assert_eq!(told(&inbox), ["b:2"]);
        channels.commit(&inbox, vec![Change::UnlistenAll], &[]);
        send(&channels, "b", "3").unwrap();
        assert!(told(&inbox).is_empty() && inbox.channels().is_empty());
        let listeners = lock(&channels.listeners);
        assert!(listeners.by_channel.is_empty() && listeners.n_listened == 0);
    }

    #[test]
    fn an_inbox_that_nobody_empties_stops_senders_in_the_end() {
        let channels = Channels::new(16 * PART_OF_MEMORY * NOTIFICATION_BYTES);
        let inbox = listener(&channels, 1, &["a"]);
        let mut n_sent = 0;
        let error = loop {
            match send(&channels, "a", "x") {
                Ok(()) => n_sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.report().sqlstate, "54000");
        // 16 would fit without their texts and places.
        assert_eq!(n_sent, 14);
        assert!(channels.usage() > 0.9, "{}", channels.usage());
        // There is room again when they were told.
        let mut taken = inbox.take();
        assert!(send(&channels, "a", "y").is_err());
        taken.pop();
        send(&channels, "a", "y").unwrap();
        drop(taken);
        assert_eq!(told(&inbox), ["a:y"]);
        // What nobody listens to takes nothing.
        for _ in 0..100 {
            send(&channels, "b", "x").unwrap();
        }
        assert!(channels.usage() == 0.0);
    }

    #[test]
    fn sessions_cannot_listen_without_end() {
        let channels = Channels::new(NO_MEMORY_LIMIT);
        listener(&channels, 1, &["a"]);
        let listen = Change::Listen("b".to_owned());
        assert!(channels.check_changes(&listen, MAX_LISTENED - 2).is_ok());
        let error = channels.check_changes(&listen, MAX_LISTENED - 1);
        assert_eq!(error.unwrap_err().report().sqlstate, "54000");
        let leave = Change::UnlistenAll;
        assert!(channels.check_changes(&leave, MAX_LISTENED - 1).is_ok());
        assert!(channels.check_changes(&leave, MAX_LISTENED).is_err());
    }

    #[tokio::test]
    async fn a_wait_ends_with_a_notification() {
        let channels = Channels::new(NO_MEMORY_LIMIT);
        let inbox = listener(&channels, 1, &["a"]);
        let filled = inbox.filled();
        tokio::pin!(filled);
        assert!(filled.as_mut().now_or_never().is_none());
        send(&channels, "a", "1").unwrap();
        assert!(filled.now_or_never().is_some());
        // One that was taken meanwhile wakes nobody.
        assert_eq!(told(&inbox), ["a:1"]);
        assert!(inbox.filled().now_or_never().is_none());
        send(&channels, "a", "2").unwrap();
        assert!(inbox.filled().now_or_never().is_some());
    }
}
