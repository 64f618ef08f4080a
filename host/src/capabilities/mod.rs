//! What plugins may do in the outside world, and who grants it.
//!
//! Each capability is a module of the same shape: the host's side of the I/O without any Wasm, and
//! `link.rs`, which offers it to guests over a WIT interface. A plugin names a connection; address
//! and secrets stay here. What a call does through a capability takes effect when the call returns
//! (`Effects`), so that a plugin which traps half-way has done nothing.

pub mod bus;
pub mod handout;
mod wake;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bus::{Bus, BusError, BusOptions, BusStatus};
use handout::Rollback;
pub(crate) use wake::Wake;

use crate::config::Resolved;

/// The connections of this server, opened when a plugin first uses them and kept until the server
/// closes: they outlive every plugin instance.
pub(crate) struct Connections {
    node: Arc<str>,
    buses: Mutex<HashMap<String, Bus>>,
}

impl Connections {
    pub(crate) fn new(node: Arc<str>) -> Self {
        Self {
            node,
            buses: Mutex::default(),
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
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bus>> {
        self.buses.lock().unwrap_or_else(PoisonError::into_inner)
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
}

/// What one instance has of the capabilities.
pub(crate) struct CapabilityState {
    /// Only one instance may take events, or one would acknowledge what another took.
    pub(crate) may_subscribe: bool,
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
