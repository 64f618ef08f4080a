//! How a Postgres connection is doing, for the operator: addresses, but no secrets.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde::Serialize;

use super::{PostgresError, trouble::Trouble};
use crate::capabilities::backoff::return_pause;

/// What a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresState {
    /// Nothing has used it yet.
    Idle,
    /// The last thing that happened was good.
    Connected,
    /// Postgres cannot be reached.
    Away,
    /// Postgres refuses this server: a setting has to change.
    Refused,
}

/// How a Postgres connection is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PostgresStatus {
    /// What it is.
    pub state: PostgresState,
    /// For how long, in milliseconds.
    pub since_ms: u64,
    /// The last thing that went wrong, also if it is over.
    pub last_error: Option<String>,
    /// How often a connection was lost.
    pub lost_connections: u64,
    /// Batches that were executed.
    pub batches: u64,
    /// Batches that Postgres refused.
    pub failed_batches: u64,
    /// Batches of which nobody knows whether they were executed.
    pub unknown_batches: u64,
    /// Connections of the pool that are in use.
    pub busy: usize,
    /// Connections of the pool that are open and not in use.
    pub idle: usize,
    /// Subscriptions of plugins.
    pub subscriptions: Vec<PostgresSubscriptionStatus>,
}

/// How one subscription is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PostgresSubscriptionStatus {
    /// The plugin and its name for it.
    pub name: String,
    /// Channels that it wants.
    pub channels: usize,
    /// Those of them that Postgres has not confirmed.
    pub unconfirmed: usize,
    /// Events that wait for the plugin.
    pub queued_events: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Notifications that arrived.
    pub received: u64,
    /// Gaps since it was opened.
    pub gaps: u64,
    /// Why it is not connected.
    pub trouble: Option<String>,
}

/// Shared by all that connect for one `[connections.postgres.NAME]`.
#[derive(Debug)]
pub(super) struct Health {
    name: String,
    batches: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
struct Facts {
    state: PostgresState,
    since: Instant,
    last_error: Option<String>,
    lost: u64,
    /// The last attempt to connect that failed, and whether it was refused.
    failed: Option<(Instant, bool)>,
}

impl Health {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            batches: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            facts: Mutex::new(Facts {
                state: PostgresState::Idle,
                since: Instant::now(),
                last_error: None,
                lost: 0,
                failed: None,
            }),
        }
    }

    /// The name of the connection.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection stands.
    pub(super) fn up(&self) {
        if self.change(PostgresState::Connected, None) {
            tracing::info!(connection = %self.name, "Postgres is connected");
        }
    }

    /// A connection that stood is lost.
    pub(super) fn lost(&self, trouble: &Trouble) {
        self.lock().lost += 1;
        self.away(trouble);
    }

    /// A connection could not be made.
    pub(super) fn failed(&self, trouble: &Trouble) {
        self.lock().failed = Some((Instant::now(), trouble.is_refusal));
        self.away(trouble);
    }

    /// Was Postgres away a moment ago, so that others may not be connected again yet? If so: had it
    /// refused this server?
    pub(super) fn trouble(&self) -> Option<bool> {
        let (at, is_refusal) = self.lock().failed?;
        (at.elapsed() < return_pause(is_refusal)).then_some(is_refusal)
    }

    fn away(&self, trouble: &Trouble) {
        let state = match trouble.is_refusal {
            true => PostgresState::Refused,
            false => PostgresState::Away,
        };
        let is_news = self.change(state, Some(trouble.detail.clone()));
        if trouble.is_refusal {
            // Each time: nothing gets better until somebody reads it.
            tracing::error!(connection = %self.name, "{}", trouble.detail);
        } else if is_news {
            tracing::warn!(connection = %self.name, "Postgres is away: {}", trouble.detail);
        }
    }

    /// How a plugin's batch ended.
    pub(super) fn count<T>(&self, result: &Result<T, PostgresError>) {
        let counter = match result {
            Ok(_) => &self.batches,
            Err(PostgresError::Failed(_)) => &self.failed,
            Err(PostgresError::Unknown(_)) => &self.unknown,
            Err(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn change(&self, state: PostgresState, error: Option<String>) -> bool {
        let mut facts = self.lock();
        if error.is_some() {
            facts.last_error = error;
        }
        if facts.state == state {
            return false;
        }
        facts.state = state;
        facts.since = Instant::now();
        true
    }

    pub(super) fn status(&self) -> PostgresStatus {
        let facts = self.lock();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PostgresStatus {
            state: facts.state,
            since_ms: u64::try_from(facts.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            last_error: facts.last_error.clone(),
            lost_connections: facts.lost,
            batches: count(&self.batches),
            failed_batches: count(&self.failed),
            unknown_batches: count(&self.unknown),
            busy: 0,
            idle: 0,
            subscriptions: Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
