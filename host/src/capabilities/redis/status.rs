//! How a Redis connection is doing, for the operator: addresses, but no secrets.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::{backoff::return_pause, trouble::Trouble};

/// What a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedisState {
    /// Nothing has used it yet.
    Idle,
    /// The last thing that happened was good.
    Connected,
    /// Redis cannot be reached.
    Away,
    /// Redis refuses this server: a setting has to change.
    Refused,
}

/// How a Redis connection is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RedisStatus {
    /// What it is.
    pub state: RedisState,
    /// For how long, in milliseconds.
    pub since_ms: u64,
    /// The last thing that went wrong, also if it is over.
    pub last_error: Option<String>,
    /// How often a connection to a server was lost.
    pub lost_connections: u64,
    /// Bytes of commands that are not answered yet.
    pub pending_bytes: usize,
    /// Subscriptions of plugins.
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// How one subscription is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// The plugin and its name for it.
    pub name: String,
    /// Channels, patterns and shard channels that it wants.
    pub names: usize,
    /// Streams that it reads.
    pub streams: usize,
    /// Names and streams that Redis has not confirmed.
    pub unconfirmed: usize,
    /// Events that wait for the plugin.
    pub queued_events: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Gaps since it was opened.
    pub gaps: u64,
    /// Why it is not connected.
    pub trouble: Option<String>,
}

/// Shared by all that connect for one `[connections.redis.NAME]`.
#[derive(Debug)]
pub(super) struct Health {
    name: String,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
struct Facts {
    /// When an attempt last failed, and whether it was a refusal.
    failed: Option<(Instant, bool)>,
    state: RedisState,
    since: Instant,
    last_error: Option<String>,
    lost: u64,
}

impl Health {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            facts: Mutex::new(Facts {
                failed: None,
                state: RedisState::Idle,
                since: Instant::now(),
                last_error: None,
                lost: 0,
            }),
        }
    }

    /// The name of the connection.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection stands.
    pub(super) fn up(&self) {
        if self.change(RedisState::Connected, None) {
            tracing::info!(connection = %self.name, "Redis is connected");
        }
    }

    /// A connection that stood is lost.
    pub(super) fn lost(&self, trouble: &Trouble) {
        self.lock().lost += 1;
        self.failed(trouble);
    }

    /// A connection could not be made.
    pub(super) fn failed(&self, trouble: &Trouble) {
        let state = match trouble.is_refusal {
            true => RedisState::Refused,
            false => RedisState::Away,
        };
        self.lock().failed = Some((Instant::now(), trouble.is_refusal));
        let is_news = self.change(state, Some(trouble.detail.clone()));
        if trouble.is_refusal {
            // Each time: nothing gets better until somebody reads it.
            tracing::error!(connection = %self.name, "{}", trouble.detail);
        } else if is_news {
            tracing::warn!(connection = %self.name, "Redis is away: {}", trouble.detail);
        }
    }

    /// Is Redis away, or was it a moment ago? If so: was it a refusal?
    pub(super) fn trouble(&self) -> Option<bool> {
        let (at, is_refusal) = self.lock().failed?;
        (at.elapsed() < return_pause(is_refusal)).then_some(is_refusal)
    }

    fn change(&self, state: RedisState, error: Option<String>) -> bool {
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

    pub(super) fn status(&self) -> RedisStatus {
        let facts = self.lock();
        RedisStatus {
            state: facts.state,
            since_ms: u64::try_from(facts.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            last_error: facts.last_error.clone(),
            lost_connections: facts.lost,
            pending_bytes: 0,
            subscriptions: Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
