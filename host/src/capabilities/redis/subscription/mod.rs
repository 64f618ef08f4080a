//! Subscriptions to Pub/Sub channels and streams: they belong to the host, outlive the plugin's
//! instances, and come back with all their names after every loss of a connection.
//!
//! * `names`: what is wanted, and what of it Redis has confirmed.
//! * `shards`: which connections there are.
//! * `feed`: one connection. It is this module's own reading of the protocol, because the queue
//!   has to be bounded by not reading: a client library that hands messages on without a bound
//!   would only move the place where they pile up.
//! * `push`: the bytes of what arrives.
//! * `ignored`: what of it the plugin does not want.
//! * `streams`: the streams, each with a connection of its own.

mod feed;
mod ignored;
mod names;
mod push;
mod shards;
mod streams;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use self::{
    ignored::Ignored,
    names::{Home, Key, Names, Settled},
    streams::{MAX_ASKED, MAX_STREAMS, Streams},
};
pub(crate) use self::{
    names::Kind,
    streams::{EntryId, Start, StreamEntry},
};
use super::{
    RedisError, commands,
    grants::RedisPermit,
    pipeline::{Backend, Router, unavailable},
    status::SubscriptionStatus,
    trouble::Trouble,
};
use crate::capabilities::handout::{HandOut, HandedOut, Lagged, Rollback};

/// Longest name of a channel, pattern or stream, in bytes.
const MAX_NAME_BYTES: usize = 64 << 10;
/// What an event counts beside its bytes.
const EVENT_BYTES: usize = 64;
/// Events in a queue, whatever their size.
const MAX_EVENTS: usize = 1 << 20;
/// Redis that is away for so long is reported to the plugin. Most losses are over sooner.
const TROUBLE_AFTER: Duration = Duration::from_secs(1);
/// The most that `next` waits, so that no wait is too long for the clock.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// A full queue is looked at again so often at least.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Something that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RedisEvent {
    Message {
        source: Arc<Source>,
        payload: Bytes,
    },
    Entry(StreamEntry),
    Lagged {
        missed: Option<u32>,
        reason: Arc<str>,
    },
}

/// Where a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// Which pattern matched.
    pub(crate) pattern: Option<Bytes>,
    pub(crate) channel: Bytes,
}

impl Source {
    fn len(&self) -> usize {
        self.pattern.as_ref().map_or(0, Bytes::len) + self.channel.len()
    }
}

impl From<StreamEntry> for RedisEvent {
    fn from(entry: StreamEntry) -> Self {
        Self::Entry(entry)
    }
}

impl RedisEvent {
    fn size(&self) -> usize {
        let bytes = match self {
            Self::Message { source, payload } => source.len() + payload.len(),
            Self::Entry(entry) => entry.len(),
            Self::Lagged { reason, .. } => reason.len(),
        };
        bytes + EVENT_BYTES
    }
}

impl Lagged for RedisEvent {
    fn lagged(missed: u32) -> Self {
        Self::Lagged {
            missed: Some(missed),
            reason: Arc::from("the plugin died over this event repeatedly"),
        }
    }
}

/// A plugin's subscription. Clones share it; it ends with `end`, or when the last
/// clone is dropped.
#[derive(Clone)]
pub struct Subscription(Arc<Owner>);

struct Owner {
    core: Arc<Core>,
    task: JoinHandle<()>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What its tasks and the plugin's calls share.
struct Core {
    /// The plugin and its name for it.
    name: String,
    router: Arc<Router>,
    /// Where in the list of a cluster's nodes the search begins.
    seed: usize,
    /// Events were added, or can be had again.
    arrived: Notify,
    /// Events were taken.
    drained: Notify,
    /// One connection at a time waits for room, in the order in which they came: or one that is
    /// quick would keep the others from the queue.
    turn: Semaphore,
    /// Names or streams were confirmed or refused.
    settled: Notify,
    /// Names have to find their connections again.
    reassign: Notify,
    /// Streams were added or left.
    restream: Notify,
    state: Mutex<State>,
}

struct State {
    queue: HandOut<RedisEvent>,
    names: Names,
    ignored: Ignored,
    streams: Streams,
    gaps: u64,
    /// Who opened it last may close it.
    generation: u64,
    connection: String,
}

impl State {
    fn push(&mut self, event: RedisEvent) {
        let size = event.size();
        self.queue.push(event, size);
    }

    fn lagged(&mut self, missed: Option<u32>, why: String) {
        match missed {
            Some(missed) => {
                tracing::warn!(connection = %self.connection, missed, "events were missed: {why}");
            }
            None => tracing::warn!(connection = %self.connection, "events were missed: {why}"),
        }
        self.gaps += 1;
        let reason = why.into();
        self.push(RedisEvent::Lagged { missed, reason });
    }

    /// What has been away for the longest time, since when and why.
    fn trouble(&self) -> Option<(std::time::Instant, &Trouble)> {
        let troubles = [self.names.trouble(), self.streams.trouble()];
        let troubles = troubles.into_iter().flatten();
        troubles.min_by_key(|(since, _)| *since)
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, home: &Home, trouble: &Trouble) {
        self.lock().names.lost(home, trouble);
        self.settled.notify_waiters();
    }

    /// Waits for room in the queue, if it is full. As long as the permit is kept, nobody else who
    /// waited is let in.
    async fn room(&self) -> Option<SemaphorePermit<'_>> {
        if !self.lock().queue.is_full() {
            return None;
        }
        let turn = self.turn.acquire().await.ok();
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before the queue is looked at, so that nothing slips between.
            drained.as_mut().enable();
            if !self.lock().queue.is_full() {
                return turn;
            }
            let _ = timeout(LOOK_AGAIN, drained).await;
        }
    }
}

impl Subscription {
    /// Starts to connect. Needs a tokio runtime.
    pub(super) fn start(name: String, router: Arc<Router>) -> Self {
        let is_cluster = matches!(router.backend, Backend::Cluster(_));
        // Spread over the nodes by the name: two subscriptions of a process go to different ones,
        // and those of different processes by their pids.
        let seed = name.bytes().fold(std::process::id() as usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        let state = State {
            queue: HandOut::new(MAX_EVENTS, router.options.max_queued_bytes),
            names: Names::new(is_cluster),
            ignored: Ignored::default(),
            streams: Streams::default(),
            gaps: 0,
            generation: 0,
            connection: router.health.name().to_owned(),
        };
        let core = Arc::new(Core {
            name,
            router,
            // Room to count attempts up from it.
            seed: seed % (1 << 20),
            arrived: Notify::new(),
            drained: Notify::new(),
            turn: Semaphore::new(1),
            settled: Notify::new(),
            reassign: Notify::new(),
            restream: Notify::new(),
            state: Mutex::new(state),
        });
        let shared = Arc::clone(&core);
        let task = tokio::spawn(async move {
            tokio::join!(
                shards::run(Arc::clone(&shared)),
                streams::run(Arc::clone(&shared))
            );
        });
        Self(Arc::new(Owner { core, task }))
    }

    /// A new owner; only the last one may end it.
    pub(super) fn adopt(&self) -> u64 {
        let mut state = self.0.core.lock();
        state.generation += 1;
        state.generation
    }

    pub(super) fn generation(&self) -> u64 {
        self.0.core.lock().generation
    }

    /// Adds names and waits until Redis has confirmed them, for `command_timeout` at most.
    ///
    /// # Errors
    /// [`RedisError::Denied`]: none is added, or Redis refused some. [`RedisError::Unavailable`]:
    /// they are added, but not confirmed yet.
    pub(crate) async fn subscribe(
        &self,
        permit: &RedisPermit,
        kind: Kind,
        names: Vec<String>,
    ) -> Result<(), RedisError> {
        let core = &self.0.core;
        for name in &names {
            if name.len() > MAX_NAME_BYTES {
                return Err(RedisError::TooLarge {
                    limit: MAX_NAME_BYTES,
                });
            }
            permit.check_name(kind, name).map_err(RedisError::Denied)?;
        }
        let keys = keys(kind, names);
        {
            let mut state = core.lock();
            let limit = core.router.options.max_names;
            if state.names.len() + state.names.missing(&keys).len() > limit {
                return Err(RedisError::Denied(format!(
                    "a subscription may hold {limit} names: set `max_names` in \
                     [connections.redis.{}]",
                    state.connection
                )));
            }
            keys.iter().for_each(|key| state.names.add(key));
        }
        core.reassign.notify_one();
        self.settled("subscription", |state| {
            let settled = state.names.settle(&keys);
            (settled, state.names.trouble().map(|(_, why)| why.clone()))
        })
        .await
    }

    /// Waits until Redis has answered to what was asked for. `look` also says why it cannot.
    async fn settled(
        &self,
        what: &str,
        look: impl Fn(&mut State) -> (Settled, Option<Trouble>),
    ) -> Result<(), RedisError> {
        let core = &self.0.core;
        let until = Instant::now() + core.router.options.command_timeout;
        loop {
            let settled = core.settled.notified();
            tokio::pin!(settled);
            // Registered before the names are looked at, so that nothing slips between.
            settled.as_mut().enable();
            let (stand, trouble) = look(&mut core.lock());
            match (stand, trouble) {
                (Settled::All, _) => return Ok(()),
                (Settled::Refused(why), _) => {
                    return Err(RedisError::Denied(format!(
                        "Redis refuses the {what}: {why}"
                    )));
                }
                (Settled::NotYet, Some(trouble)) => return Err(unavailable(&trouble)),
                (Settled::NotYet, None) => {}
            }
            if timeout_at(until, settled).await.is_err() {
                return Err(RedisError::Unavailable(format!(
                    "Redis has not confirmed the {what} yet"
                )));
            }
        }
    }

    /// Takes names out. Does not wait.
    pub(crate) fn unsubscribe(&self, kind: Kind, names: Vec<String>) {
        let mut state = self.0.core.lock();
        for key in keys(kind, names) {
            state.names.remove(&key);
        }
    }

    /// From now on, messages that begin or end like this are left out.
    pub(crate) fn ignore(&self, beginnings: Vec<Vec<u8>>, endings: Vec<Vec<u8>>) {
        self.0.core.lock().ignored = Ignored::new(beginnings, endings);
    }

    /// The names of a kind, sorted.
    pub(crate) fn names(&self, kind: Kind) -> BTreeSet<Arc<str>> {
        self.0.core.lock().names.of(kind)
    }

    /// Reads these streams as well, and waits until it is known where each is read on, for
    /// `command_timeout` at most. Those that are there already go on where they are. `count` is how
    /// many entries are read at a time while the reader keeps up, 1 to 1000.
    ///
    /// # Errors
    /// [`RedisError::Denied`]: none is added, or Redis refused some. [`RedisError::Unavailable`]:
    /// they are added, but have no place yet.
    pub(crate) async fn read_streams(
        &self,
        permit: &RedisPermit,
        names: Vec<String>,
        start: Start,
        count: u32,
    ) -> Result<(), RedisError> {
        let core = &self.0.core;
        if !(1..=MAX_ASKED).contains(&count) {
            return Err(RedisError::Denied(format!(
                "1 to {MAX_ASKED} entries can be read at a time, not {count}"
            )));
        }
        for name in &names {
            if name.len() > MAX_NAME_BYTES {
                return Err(RedisError::TooLarge {
                    limit: MAX_NAME_BYTES,
                });
            }
            let command = ["XREAD", "STREAMS", name, "0"];
            commands::find(&command)
                .and_then(|spec| permit.check_command(spec, &command))
                .map_err(RedisError::Denied)?;
        }
        let names: BTreeSet<Arc<str>> = names.into_iter().map(Arc::from).collect();
        {
            let mut state = core.lock();
            if state.streams.len_with(&names) > MAX_STREAMS {
                return Err(RedisError::Denied(format!(
                    "a subscription reads at most {MAX_STREAMS} streams: leave some first"
                )));
            }
            for name in &names {
                state.streams.add(name, start, count);
            }
        }
        core.restream.notify_one();
        self.settled("stream", |state| {
            let settled = state.streams.settle(&names);
            (settled, state.streams.trouble_with(&names))
        })
        .await
    }

    /// Reads these streams no more. Does not wait.
    pub(crate) fn leave_streams(&self, names: &[String]) {
        let core = &self.0.core;
        let mut state = core.lock();
        names.iter().for_each(|name| state.streams.remove(name));
        drop(state);
        core.restream.notify_one();
    }

    /// The streams, sorted.
    pub(crate) fn streams(&self) -> Vec<Arc<str>> {
        self.0.core.lock().streams.names()
    }

    /// Waits up to `wait` (a day at most) for events and hands them out: at most `max_events`, and
    /// about `max_bytes` bytes, but one if there is one. They stay until [`Subscription::commit`];
    /// another call before that returns what comes after them. May be dropped at any time.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] when time is up, nothing is there, and Redis has been away for
    /// more than a second.
    pub(crate) async fn next<R: Default>(
        &self,
        wait: Duration,
        max_events: usize,
        max_bytes: usize,
        read: impl Fn(HandedOut<'_, RedisEvent>) -> R,
    ) -> Result<R, RedisError> {
        let core = &self.0.core;
        let until = Instant::now() + wait.min(MAX_WAIT);
        loop {
            let arrived = core.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the queue is looked at, so that nothing slips between.
            arrived.as_mut().enable();
            {
                let mut state = core.lock();
                let is_holding_back = state.queue.is_holding_back();
                let events = state.queue.hand_out(max_events, max_bytes);
                if events.len() > 0 || is_holding_back {
                    return Ok(read(events));
                }
            }
            if timeout_at(until, arrived).await.is_err() {
                let state = core.lock();
                return match state.trouble() {
                    Some((since, trouble)) if since.elapsed() >= TROUBLE_AFTER => {
                        Err(unavailable(trouble))
                    }
                    _ => Ok(R::default()),
                };
            }
        }
    }

    /// What was handed out has been delivered.
    pub(crate) fn commit(&self) {
        let core = &self.0.core;
        core.lock().queue.commit();
        core.drained.notify_one();
        core.drained.notify_waiters();
        core.arrived.notify_waiters();
    }

    /// What was handed out has not been delivered: it is handed out again.
    pub(crate) fn rollback(&self, reason: Rollback) {
        let core = &self.0.core;
        if core.lock().queue.rollback(reason).is_some() {
            core.lock().gaps += 1;
            tracing::error!(
                subscription = %core.name,
                "an event is skipped, because the plugin died over it repeatedly"
            );
        }
        core.drained.notify_one();
        core.drained.notify_waiters();
        core.arrived.notify_waiters();
    }

    /// Is this the same subscription?
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn status(&self) -> SubscriptionStatus {
        let core = &self.0.core;
        let state = core.lock();
        SubscriptionStatus {
            name: core.name.clone(),
            names: state.names.len(),
            unconfirmed: state.names.unconfirmed() + state.streams.unplaced(),
            streams: state.streams.len(),
            queued_events: state.queue.len(),
            queued_bytes: state.queue.bytes(),
            gaps: state.gaps,
            trouble: state.trouble().map(|(_, why)| why.detail.clone()),
        }
    }

    /// Leaves all channels and streams, at once: its connections are closed.
    pub(super) fn end(&self) {
        self.0.task.abort();
    }
}

fn keys(kind: Kind, names: Vec<String>) -> Vec<Key> {
    let name = |name: String| Key {
        kind,
        name: name.into(),
    };
    names.into_iter().map(name).collect()
}
