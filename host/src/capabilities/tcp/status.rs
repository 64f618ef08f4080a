//! How connections over TCP are doing, for the operator: addresses, but no contents.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;

/// What a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketState {
    /// Nobody wants it to be connected.
    Idle,
    /// It is connected.
    Connected,
    /// It cannot be connected, or no longer is.
    Away,
}

/// How a `[connections.tcp.NAME]` is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TcpStatus {
    /// The sockets of plugins, by name.
    pub sockets: Vec<SocketStatus>,
}

/// How one socket is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SocketStatus {
    /// The plugin, its role, and its name for the socket.
    pub name: String,
    /// What it is.
    pub state: SocketState,
    /// For how long, in milliseconds.
    pub since_ms: u64,
    /// Where it is connected, or was.
    pub endpoint: Option<String>,
    /// The last thing that went wrong, also if it is over.
    pub last_error: Option<String>,
    /// How often a connection was lost.
    pub lost_connections: u64,
    /// Bytes that wait for the plugin, those included that it has read and not consumed.
    pub waiting_bytes: usize,
    /// Bytes that wait to be sent.
    pub unsent_bytes: usize,
    /// Bytes that have arrived on the connection that stands.
    pub received_bytes: u64,
    /// Bytes that were sent on it.
    pub sent_bytes: u64,
}

/// What is known of one socket; says in the log what is new.
#[derive(Debug)]
pub(super) struct Health {
    connection: String,
    pub(super) name: String,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
struct Facts {
    state: SocketState,
    since: Instant,
    endpoint: Option<String>,
    last_error: Option<String>,
    lost: u64,
}

impl Health {
    pub(super) fn new(connection: &str, name: String) -> Self {
        Self {
            connection: connection.to_owned(),
            name,
            facts: Mutex::new(Facts {
                state: SocketState::Idle,
                since: Instant::now(),
                endpoint: None,
                last_error: None,
                lost: 0,
            }),
        }
    }

    pub(super) fn up(&self, endpoint: String) {
        let mut facts = self.lock();
        if facts.set(SocketState::Connected) {
            let Self {
                connection, name, ..
            } = self;
            tracing::info!(connection, socket = name, "connected to {endpoint}");
        }
        facts.endpoint = Some(endpoint);
    }

    /// A connection that stood is lost. Is it `wanted` still? If the plugin has seen the end and closed
    /// it, the socket is somewhere else already.
    pub(super) fn lost(&self, why: &str, wanted: bool) {
        let mut facts = self.lock();
        facts.lost += 1;
        let endpoint = facts.endpoint.as_deref().unwrap_or_default();
        let why = format!("{endpoint}: {why}");
        if wanted {
            drop(facts);
            self.failed(why);
        } else {
            facts.last_error = Some(why);
        }
    }

    /// A connection could not be made.
    pub(super) fn failed(&self, why: String) {
        let mut facts = self.lock();
        if facts.set(SocketState::Away) {
            tracing::warn!(
                connection = self.connection,
                socket = self.name,
                "away: {why}"
            );
        }
        facts.last_error = Some(why);
    }

    /// Nobody wants it any more.
    pub(super) fn idle(&self) {
        self.lock().set(SocketState::Idle);
    }

    pub(super) fn status(&self) -> SocketStatus {
        let facts = self.lock();
        SocketStatus {
            name: self.name.clone(),
            state: facts.state,
            since_ms: u64::try_from(facts.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            endpoint: facts.endpoint.clone(),
            last_error: facts.last_error.clone(),
            lost_connections: facts.lost,
            waiting_bytes: 0,
            unsent_bytes: 0,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// True: that is new.
    fn set(&mut self, state: SocketState) -> bool {
        if self.state == state {
            return false;
        }
        self.state = state;
        self.since = Instant::now();
        true
    }
}
