//! What is known of an instance, for the operator.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::plugin::Role;

/// How an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InstanceState {
    /// Not opened yet, or its backend cannot be reached.
    Opening,
    /// At work.
    Running,
    /// It died and is being replaced.
    Restarting,
    /// Given up until it is replaced by the operator.
    Failed,
}

/// One instance, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InstanceReport {
    /// `publisher`, `subscriber` or `recovery`.
    pub role: &'static str,
    /// Whether it works.
    pub state: InstanceState,
    /// How often it has died since the server started, whichever version of the plugin it was.
    pub faults: u32,
    /// Its linear memory in bytes, after its last call.
    pub memory_bytes: usize,
    /// What last went wrong, also when it has recovered since.
    pub last_error: Option<String>,
}

/// What is known of the instances that fill one role, one after the other; updated as they work.
#[derive(Debug)]
pub(crate) struct InstanceStatus(Mutex<InstanceReport>);

impl InstanceStatus {
    pub(super) fn new(role: Role) -> Arc<Self> {
        Arc::new(Self(Mutex::new(InstanceReport {
            role: role.name(),
            state: InstanceState::Opening,
            faults: 0,
            memory_bytes: 0,
            last_error: None,
        })))
    }

    pub(crate) fn report(&self) -> InstanceReport {
        self.lock().clone()
    }

    /// Given up?
    pub(super) fn has_failed(&self) -> bool {
        self.lock().state == InstanceState::Failed
    }

    pub(super) fn set(&self, state: InstanceState) {
        self.lock().state = state;
    }

    pub(super) fn uses(&self, memory_bytes: usize) {
        self.lock().memory_bytes = memory_bytes;
    }

    /// It works.
    pub(super) fn runs(&self, memory_bytes: usize) {
        let mut report = self.lock();
        report.state = InstanceState::Running;
        report.memory_bytes = memory_bytes;
    }

    pub(super) fn died(&self, error: String) {
        let mut report = self.lock();
        report.faults += 1;
        report.last_error = Some(error);
    }

    pub(super) fn note(&self, error: String) {
        self.lock().last_error = Some(error);
    }

    fn lock(&self) -> MutexGuard<'_, InstanceReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
