//! How a bus is doing, for the operator.

use serde::Serialize;

/// What a process is on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusRole {
    /// Looking for the hub.
    Connecting,
    /// Connected to it.
    Member,
    /// Connected to it, and serving it.
    Hub,
}

/// How a bus is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BusStatus {
    /// What this process is.
    pub role: BusRole,
    /// Who serves the bus, as far as is known.
    pub hub: Option<String>,
    /// The others, sorted.
    pub members: Vec<String>,
    /// Events that wait for the plugin.
    pub queued_events: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Own frames that some member has not taken.
    pub unstable_frames: usize,
    /// Their bytes.
    pub unstable_bytes: usize,
    /// Frames of others that were missed here since the start.
    pub missed_frames: u64,
    /// Why it is not connected.
    pub trouble: Option<String>,
}
