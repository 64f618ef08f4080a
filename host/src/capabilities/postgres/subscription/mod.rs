//! LISTEN: subscriptions belong to the host, outlive the plugin's instances, and come back with all
//! their channels after every loss of a connection.
//!
//! * `channels`: what is wanted, and what of it Postgres has confirmed. No I/O.
//! * `feed`: the connection. It is not read while the queue is full: then Postgres keeps what comes.
//! * `probe`: finds a pooler that swallows notifications.

mod channels;
mod feed;
mod probe;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::channels::Channels;
use super::{
    PostgresError,
    connect::Connector,
    grants::PostgresPermit,
    options::PostgresOptions,
    pool::{Pool, unavailable},
    statement::check_channel,
    status::{Health, PostgresSubscriptionStatus},
};
use crate::capabilities::handout::{HandOut, Lagged, Rollback};

/// What an event counts beside its bytes.
const EVENT_BYTES: usize = 64;
/// Events in a queue, whatever their size.
const MAX_EVENTS: usize = 1 << 20;
/// Postgres that is away for so long is reported to the plugin. Most losses are over sooner.
const TROUBLE_AFTER: Duration = Duration::from_secs(1);
/// The most that `next` waits, so that no wait is too long for the clock.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Something that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PostgresEvent {
    Notification {
        channel: Arc<str>,
        /// UTF-8.
        payload: Bytes,
        /// Of the session that sent it.
        pid: u32,
    },
    Lagged {
        missed: Option<u32>,
        reason: Arc<str>,
    },
}

impl PostgresEvent {
    fn size(&self) -> usize {
        let bytes = match self {
            Self::Notification {
                channel, payload, ..
            } => channel.len() + payload.len(),
            Self::Lagged { reason, .. } => reason.len(),
        };
        bytes + EVENT_BYTES
    }
}

impl Lagged for PostgresEvent {
    fn lagged(missed: u32) -> Self {
        Self::Lagged {
            missed: Some(missed),
            reason: Arc::from("the plugin died over this notification repeatedly"),
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

/// What its task and the plugin's calls share.
struct Core {
    /// The plugin and its name for it.
    name: String,
    connector: Connector,
    /// For the probe.
    pool: Arc<Pool>,
    options: PostgresOptions,
    health: Arc<Health>,
    /// Events were added, or can be had again.
    arrived: Notify,
    /// Events were taken.
    drained: Notify,
    /// Channels were confirmed, or the connection was lost.
    settled: Notify,
    /// Channels were added or taken out.
    changed: Notify,
    state: Mutex<State>,
}

struct State {
    queue: HandOut<PostgresEvent>,
    channels: Channels,
    received: u64,
    gaps: u64,
    /// Who opened it last may close it.
    generation: u64,
}

impl State {
    fn push(&mut self, event: PostgresEvent) {
        let size = event.size();
        self.queue.push(event, size);
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Starts to connect. Needs a tokio runtime.
    pub(super) fn start(
        name: String,
        connector: Connector,
        pool: Arc<Pool>,
        options: PostgresOptions,
        health: Arc<Health>,
    ) -> Self {
        let state = State {
            queue: HandOut::new(MAX_EVENTS, options.max_queued_bytes),
            channels: Channels::default(),
            received: 0,
            gaps: 0,
            generation: 0,
        };
        let core = Arc::new(Core {
            name,
            connector,
            pool,
            options,
            health,
            arrived: Notify::new(),
            drained: Notify::new(),
            settled: Notify::new(),
            changed: Notify::new(),
            state: Mutex::new(state),
        });
        let task = tokio::spawn(feed::run(Arc::clone(&core)));
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

    /// Adds channels and waits until Postgres has confirmed them, for `command_timeout` at most.
    ///
    /// # Errors
    /// [`PostgresError::Denied`], [`PostgresError::Invalid`]: none is added.
    /// [`PostgresError::Unavailable`]: they are added, but not confirmed yet.
    pub(crate) async fn listen(
        &self,
        permit: &PostgresPermit,
        names: Vec<String>,
    ) -> Result<(), PostgresError> {
        let core = &self.0.core;
        for name in &names {
            check_channel(name)?;
            permit.check_channel(name).map_err(PostgresError::Denied)?;
        }
        let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        {
            let mut state = core.lock();
            let limit = core.options.max_channels;
            if !state.channels.add(&names, limit) {
                return Err(PostgresError::Denied(format!(
                    "a subscription may hold {limit} channels: set `max_channels` in \
                     [connections.postgres.{}]",
                    core.health.name()
                )));
            }
        }
        core.changed.notify_one();
        let until = Instant::now() + core.options.command_timeout;
        loop {
            let settled = core.settled.notified();
            tokio::pin!(settled);
            // Registered before the channels are looked at, so that nothing slips between.
            settled.as_mut().enable();
            {
                let state = core.lock();
                if state.channels.are_settled(&names) {
                    return Ok(());
                }
                if let Some((_, trouble)) = state.channels.trouble() {
                    return Err(unavailable(trouble));
                }
            }
            if timeout_at(until, settled).await.is_err() {
                return Err(PostgresError::Unavailable(
                    "it has not confirmed the channels yet".to_owned(),
                ));
            }
        }
    }

    /// Takes channels out. Does not wait.
    pub(crate) fn unlisten(&self, names: &[String]) {
        let core = &self.0.core;
        core.lock().channels.remove(names);
        core.changed.notify_one();
    }

    /// The channels, sorted.
    pub(crate) fn channels(&self) -> Vec<Arc<str>> {
        self.0.core.lock().channels.wanted().cloned().collect()
    }

    /// Waits up to `wait` (a day at most) for events and hands them out: at most `max_events`, and
    /// about `max_bytes` bytes, but one if there is one. They stay until [`Subscription::commit`];
    /// another call before that returns what comes after them. May be dropped at any time.
    ///
    /// # Errors
    /// [`PostgresError::Unavailable`] when time is up,
    /// nothing is there, and Postgres has been away for more than a second.
    pub(crate) async fn next(
        &self,
        wait: Duration,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<PostgresEvent>, PostgresError> {
        let core = &self.0.core;
        let until = Instant::now() + wait.min(MAX_WAIT);
        loop {
            let arrived = core.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the queue is looked at, so that nothing slips between.
            arrived.as_mut().enable();
            {
                let mut state = core.lock();
                let events = state.queue.take(max_events, max_bytes);
                if !events.is_empty() || state.queue.is_holding_back() {
                    return Ok(events);
                }
            }
            if timeout_at(until, arrived).await.is_err() {
                let state = core.lock();
                return match state.channels.trouble() {
                    Some((since, trouble)) if since.elapsed() >= TROUBLE_AFTER => {
                        Err(unavailable(trouble))
                    }
                    _ => Ok(Vec::new()),
                };
            }
        }
    }

    /// What was handed out has been delivered.
    pub(crate) fn commit(&self) {
        let core = &self.0.core;
        core.lock().queue.commit();
        core.drained.notify_one();
        core.arrived.notify_waiters();
    }

    /// What was handed out has not been delivered: it is handed out again.
    pub(crate) fn rollback(&self, reason: Rollback) {
        let core = &self.0.core;
        let skipped = {
            let mut state = core.lock();
            let skipped = state.queue.rollback(reason).is_some();
            state.gaps += u64::from(skipped);
            skipped
        };
        if skipped {
            tracing::error!(
                subscription = %core.name,
                "a notification is skipped, because the plugin died over it repeatedly"
            );
        }
        core.drained.notify_one();
        core.arrived.notify_waiters();
    }

    /// Is this the same subscription?
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn status(&self) -> PostgresSubscriptionStatus {
        let core = &self.0.core;
        let state = core.lock();
        PostgresSubscriptionStatus {
            name: core.name.clone(),
            channels: state.channels.wanted().count(),
            unconfirmed: state.channels.unconfirmed(),
            queued_events: state.queue.len(),
            queued_bytes: state.queue.bytes(),
            received: state.received,
            gaps: state.gaps,
            trouble: state.channels.trouble().map(|(_, why)| why.detail.clone()),
        }
    }

    /// Stops listening, at once: its connection is closed.
    pub(super) fn end(&self) {
        self.0.task.abort();
    }
}
