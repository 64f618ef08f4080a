//! The namespaces that this server serves in the cluster, and the local side of each.
//!
//! Entering is a note here, which the inbox works off in the background: so it never waits, and
//! however often a namespace comes and goes meanwhile, nothing piles up.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{error::SendError, local::Local, message::Namespace, switch::is_control};

/// The register.
pub(super) struct Namespaces {
    limit: usize,
    register: Mutex<Register>,
    changed: Notify,
}

#[derive(Default)]
struct Register {
    /// Few, and looked up for each message: faster than hashing.
    served: BTreeMap<Namespace, Served>,
    entries: u64,
    closed: bool,
}

struct Served {
    local: Arc<dyn Local>,
    /// Which entry this is: the same namespace entered again is another.
    entry: u64,
}

impl Namespaces {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            register: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Registers a namespace, or replaces its local side. False: the limit is reached, or the
    /// cluster is closed.
    pub(super) fn enter(&self, local: Arc<dyn Local>) -> bool {
        let namespace = local.namespace().clone();
        let mut register = self.lock();
        let known = register.served.contains_key(&namespace);
        if register.closed || (!known && register.served.len() >= self.limit) {
            return false;
        }
        register.entries += 1;
        let entry = register.entries;
        let replaced = register.served.insert(namespace, Served { local, entry });
        drop(register);
        // Dropped outside the lock: it is foreign code.
        drop(replaced);
        self.changed.notify_one();
        true
    }

    /// Forgets a namespace. False: it was not there.
    pub(super) fn leave(&self, namespace: &Namespace) -> bool {
        let removed = self.lock().served.remove(namespace);
        self.changed.notify_one();
        removed.is_some()
    }

    /// Forgets all and takes no more. Gives the names of those that were there.
    pub(super) fn close(&self) -> Vec<Namespace> {
        let served = {
            let mut register = self.lock();
            register.closed = true;
            std::mem::take(&mut register.served)
        };
        self.changed.notify_one();
        served.into_keys().collect()
    }

    /// The local side of a namespace.
    pub(super) fn local(&self, namespace: &Namespace) -> Option<Arc<dyn Local>> {
        self.lock()
            .served
            .get(namespace)
            .map(|served| served.local.clone())
    }

    pub(super) fn contains(&self, namespace: &Namespace) -> bool {
        self.lock().served.contains_key(namespace)
    }

    /// May this server ask the others in this namespace?
    pub(super) fn check_served(&self, namespace: &Namespace) -> Result<(), SendError> {
        let register = self.lock();
        match register.served.contains_key(namespace) {
            true => Ok(()),
            false if register.closed => Err(SendError::Closed),
            false => Err(SendError::NotServed {
                namespace: namespace.clone(),
            }),
        }
    }

    /// The names.
    pub(super) fn names(&self) -> Vec<Namespace> {
        self.lock().served.keys().cloned().collect()
    }

    /// What is served, and which entry each is.
    pub(super) fn entries(&self) -> HashMap<Namespace, u64> {
        self.lock()
            .served
            .iter()
            .map(|(name, served)| (name.clone(), served.entry))
            .collect()
    }

    /// Is this entry still the one that counts?
    pub(super) fn is_current(&self, namespace: &Namespace, entry: u64) -> bool {
        let register = self.lock();
        register
            .served
            .get(namespace)
            .is_some_and(|served| served.entry == entry)
    }

    /// How many of applications there are.
    pub(super) fn len(&self) -> usize {
        let register = self.lock();
        register
            .served
            .keys()
            .filter(|name| !is_control(name))
            .count()
    }

    /// Ends when something has changed since the last call that ended.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
