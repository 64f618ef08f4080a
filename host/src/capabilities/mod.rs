//! What plugins may do in the outside world, and who grants it.
//!
//! Each capability is a module of the same shape: the host's side of the I/O without any Wasm, and
//! `link.rs`, which offers it to guests over a WIT interface. A plugin names a connection; address
//! and secrets stay here. What a call takes counts as taken when the call returns (`Effects`), so that
//! a plugin which traps half-way has lost nothing; what it sends through the bus leaves then, too. A
//! request that is answered in the call itself, as by Redis, has taken effect at once.

mod backoff;
pub mod bus;
pub mod handout;
#[cfg(test)]
mod ports;
pub mod postgres;
mod prefix;
pub mod redis;
mod secret;
pub mod tcp;
mod tls;
mod wake;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bus::{Bus, BusError, BusOptions, BusStatus};
use handout::Rollback;
use postgres::{
    Postgres, PostgresError, PostgresOptions, PostgresPermit, PostgresState, PostgresStatus,
    Subscription as PostgresSubscription,
};
pub use prefix::Prefix;
use redis::{Redis, RedisError, RedisOptions, RedisPermit, RedisState, RedisStatus, Subscription};
pub use secret::Secret;
use tcp::{Flow, SocketState, Tcp, TcpError, TcpOptions, TcpPermit, TcpStatus};
pub use tls::TlsOptions;
pub(crate) use wake::Wake;

use crate::config::Resolved;

/// The connections of this server, opened when a plugin first uses them and kept until the server
/// closes: they outlive every plugin instance.
pub(crate) struct Connections {
    node: Arc<str>,
    buses: Mutex<HashMap<String, Bus>>,
    redis: Mutex<HashMap<String, Redis>>,
    postgres: Mutex<HashMap<String, Postgres>>,
    tcp: Mutex<HashMap<String, Tcp>>,
}

impl Connections {
    pub(crate) fn new(node: Arc<str>) -> Self {
        Self {
            node,
            buses: Mutex::default(),
            redis: Mutex::default(),
            postgres: Mutex::default(),
            tcp: Mutex::default(),
        }
    }

    fn bus(&self, name: &str, options: &BusOptions) -> Result<Bus, BusError> {
        let mut buses = self.lock();
        if let Some(bus) = buses.get(name) {
            return Ok(bus.clone());
        }
        let bus = Bus::start(Arc::clone(&self.node), options.clone())?;
        buses.insert(name.to_owned(), bus.clone());
        Ok(bus)
    }

    fn redis(&self, name: &str, options: &RedisOptions) -> Result<Redis, RedisError> {
        let mut all = self.lock_redis();
        if let Some(redis) = all.get(name) {
            return Ok(redis.clone());
        }
        let redis = Redis::new(name, options.clone())?;
        all.insert(name.to_owned(), redis.clone());
        Ok(redis)
    }

    fn postgres(&self, name: &str, options: &PostgresOptions) -> Result<Postgres, PostgresError> {
        let mut all = self.lock_postgres();
        if let Some(postgres) = all.get(name) {
            return Ok(postgres.clone());
        }
        let postgres = Postgres::new(name, options.clone())?;
        all.insert(name.to_owned(), postgres.clone());
        Ok(postgres)
    }

    fn tcp(&self, name: &str, options: &TcpOptions) -> Result<Tcp, TcpError> {
        let mut all = self.lock_tcp();
        if let Some(tcp) = all.get(name) {
            return Ok(tcp.clone());
        }
        let tcp = Tcp::new(name, options.clone())?;
        all.insert(name.to_owned(), tcp.clone());
        Ok(tcp)
    }

    /// How each open connection over TCP is doing.
    pub(crate) fn tcp_status(&self) -> BTreeMap<String, TcpStatus> {
        self.lock_tcp()
            .iter()
            .map(|(name, tcp)| (name.clone(), tcp.status()))
            .collect()
    }

    /// How each open Postgres connection is doing.
    pub(crate) fn postgres_status(&self) -> BTreeMap<String, PostgresStatus> {
        self.lock_postgres()
            .iter()
            .map(|(name, postgres)| (name.clone(), postgres.status()))
            .collect()
    }

    /// How each open Redis connection is doing.
    pub(crate) fn redis_status(&self) -> BTreeMap<String, RedisStatus> {
        self.lock_redis()
            .iter()
            .map(|(name, redis)| (name.clone(), redis.status()))
            .collect()
    }

    /// Is one of them not connected now?
    pub(crate) fn is_cut_off(&self) -> bool {
        let redis = self.redis_status();
        let mut redis = redis.values();
        let bus = self.bus_status();
        let mut buses = bus.values();
        let postgres = self.postgres_status();
        let mut postgres = postgres.values().map(|postgres| postgres.state);
        let tcp = self.tcp_status();
        let mut sockets = tcp.values().flat_map(|tcp| &tcp.sockets);
        sockets.any(|socket| socket.state == SocketState::Away)
            || redis.any(|redis| matches!(redis.state, RedisState::Away | RedisState::Refused))
            || postgres.any(|state| matches!(state, PostgresState::Away | PostgresState::Refused))
            || buses.any(|bus| bus.trouble.is_some())
    }

    /// How each open bus is doing.
    pub(crate) fn bus_status(&self) -> BTreeMap<String, BusStatus> {
        self.lock()
            .iter()
            .map(|(name, bus)| (name.clone(), bus.status()))
            .collect()
    }

    /// Leaves everything. What was accepted is flushed first.
    pub(crate) async fn close(&self) {
        let buses: Vec<Bus> = self.lock().drain().map(|(_, bus)| bus).collect();
        for bus in buses {
            bus.close().await;
        }
        self.lock_redis()
            .drain()
            .for_each(|(_, redis)| redis.close());
        self.lock_postgres()
            .drain()
            .for_each(|(_, postgres)| postgres.close());
        let tcp: Vec<Tcp> = self.lock_tcp().drain().map(|(_, tcp)| tcp).collect();
        for tcp in tcp {
            tcp.close().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bus>> {
        self.buses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_redis(&self) -> MutexGuard<'_, HashMap<String, Redis>> {
        self.redis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_tcp(&self) -> MutexGuard<'_, HashMap<String, Tcp>> {
        self.tcp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_postgres(&self) -> MutexGuard<'_, HashMap<String, Postgres>> {
        self.postgres.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one plugin may use: what its manifest asks and the operator allows.
pub(crate) struct Granted {
    pub(crate) resolved: Resolved,
    pub(crate) connections: Arc<Connections>,
}

impl Granted {
    /// The bus that a plugin names; the error is for the plugin's eyes and names the key to set.
    fn bus(&self, name: &str) -> Result<Bus, String> {
        let options = self
            .resolved
            .bus(name)
            .map_err(|denied| denied.to_string())?;
        self.connections
            .bus(name, options)
            .map_err(|error| format!("[connections.bus.{name}]: {error}"))
    }

    /// The Redis connection that a plugin names, and what it may do there; the error is for the
    /// plugin's eyes and names the key to set.
    fn redis(&self, name: &str) -> Result<(Redis, Arc<RedisPermit>), String> {
        let granted = self.resolved.redis(name);
        let (options, permit) = granted.map_err(|denied| denied.to_string())?;
        let redis = self
            .connections
            .redis(name, options)
            .map_err(|error| format!("[connections.redis.{name}]: {error}"))?;
        Ok((redis, Arc::clone(permit)))
    }
}

impl Granted {
    /// The Postgres connection that a plugin names, and what it may do there; the error is for the
    /// plugin's eyes and names the key to set.
    fn postgres(&self, name: &str) -> Result<(Postgres, Arc<PostgresPermit>), String> {
        let granted = self.resolved.postgres(name);
        let (options, permit) = granted.map_err(|denied| denied.to_string())?;
        let postgres = self
            .connections
            .postgres(name, options)
            .map_err(|error| format!("[connections.postgres.{name}]: {error}"))?;
        Ok((postgres, Arc::clone(permit)))
    }
}

impl Granted {
    /// The connection over TCP that a plugin names, and what it may do there; the error is for the
    /// plugin's eyes and names the key to set.
    fn tcp(&self, name: &str) -> Result<(Tcp, Arc<TcpPermit>), String> {
        let granted = self.resolved.tcp(name);
        let (options, permit) = granted.map_err(|denied| denied.to_string())?;
        let tcp = self
            .connections
            .tcp(name, options)
            .map_err(|error| format!("[connections.tcp.{name}]: {error}"))?;
        Ok((tcp, Arc::clone(permit)))
    }
}

/// What one instance has of the capabilities.
pub(crate) struct CapabilityState {
    /// Only one instance may take events, or one would acknowledge what another took.
    pub(crate) may_subscribe: bool,
    /// Which export the instance is for: what is kept for a successor is for one of the same role.
    pub(crate) role: &'static str,
    pub(crate) granted: Arc<Granted>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) effects: Effects,
}

/// A host state that has capabilities.
pub(crate) trait HasCapabilities: Send {
    fn capabilities(&mut self) -> &mut CapabilityState;
}

/// What the call in progress has done. Dropped without a word (the call was abandoned), it counts
/// as not done.
#[derive(Default)]
pub(crate) struct Effects {
    /// Frames with room reserved for them, not yet on the wire.
    staged: Vec<bus::Staged>,
    /// Buses whose events were handed out.
    taken: Vec<Bus>,
    /// Redis subscriptions whose messages were handed out.
    taken_messages: Vec<Subscription>,
    /// Postgres subscriptions whose notifications were handed out.
    taken_notifications: Vec<PostgresSubscription>,
    /// Connections over TCP of which bytes were handed out or consumed.
    taken_bytes: Vec<Arc<Flow>>,
}

impl Effects {
    fn stage(&mut self, staged: bus::Staged) {
        self.staged.push(staged);
    }

    fn took_from(&mut self, bus: &Bus) {
        if !self.taken.iter().any(|known| known.is_same(bus)) {
            self.taken.push(bus.clone());
        }
    }

    fn took_messages_from(&mut self, subscription: &Subscription) {
        let mut known = self.taken_messages.iter();
        if !known.any(|known| known.is_same(subscription)) {
            self.taken_messages.push(subscription.clone());
        }
    }

    fn took_notifications_from(&mut self, subscription: &PostgresSubscription) {
        let mut known = self.taken_notifications.iter();
        if !known.any(|known| known.is_same(subscription)) {
            self.taken_notifications.push(subscription.clone());
        }
    }

    fn took_bytes_from(&mut self, flow: &Arc<Flow>) {
        let mut known = self.taken_bytes.iter();
        if !known.any(|known| Arc::ptr_eq(known, flow)) {
            self.taken_bytes.push(Arc::clone(flow));
        }
    }

    /// The call returned: what it sent goes out, and what it took is acknowledged if `delivered`.
    pub(crate) fn commit(&mut self, delivered: bool) {
        for staged in self.staged.drain(..) {
            staged.commit();
        }
        for bus in self.taken.drain(..) {
            if delivered {
                bus.commit()
            } else {
                bus.rollback(Rollback::Harmless)
            }
        }
        for subscription in self.taken_messages.drain(..) {
            if delivered {
                subscription.commit()
            } else {
                subscription.rollback(Rollback::Harmless)
            }
        }
        for subscription in self.taken_notifications.drain(..) {
            if delivered {
                subscription.commit()
            } else {
                subscription.rollback(Rollback::Harmless)
            }
        }
        for flow in self.taken_bytes.drain(..) {
            // Whether it returned ok or not: a plugin knows what it has parsed, and only it does.
            flow.commit();
        }
    }

    /// The plugin died in the call: nothing was sent, and what it took is handed out again.
    pub(crate) fn fault(&mut self) {
        self.undo(Rollback::Fault);
    }

    fn undo(&mut self, reason: Rollback) {
        self.staged.clear();
        for bus in self.taken.drain(..) {
            bus.rollback(reason);
        }
        for subscription in self.taken_messages.drain(..) {
            subscription.rollback(reason);
        }
        for subscription in self.taken_notifications.drain(..) {
            subscription.rollback(reason);
        }
        for flow in self.taken_bytes.drain(..) {
            if flow.rollback(reason) {
                tracing::error!(
                    "a connection over TCP is given up, because instances of the plugin died over \
                     what it has to read, one after the other"
                );
            }
        }
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        self.undo(Rollback::Harmless);
    }
}

impl From<&BusError> for crate::bindings::switchboard::bus::bus::Error {
    fn from(error: &BusError) -> Self {
        match error {
            BusError::TooLarge { limit } => {
                Self::TooLarge(u32::try_from(*limit).unwrap_or(u32::MAX))
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}
