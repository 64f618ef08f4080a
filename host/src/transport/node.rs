//! What a plugin learns of the server it runs in, and its voice in the log:
//! `switchboard:transport/node`.

use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::from_guest;
use crate::{
    bindings::switchboard::transport::{
        lifecycle, messages,
        node::{self, Level, Room as GuestRoom},
    },
    capabilities::{CapabilityState, HasCapabilities},
    cluster::{Cluster, Namespace, NodeId, Room, Target, WeakCluster},
    runtime::GuestState,
};

/// Limits that the WIT promises.
const MAX_NAMES: usize = 100_000;
const MAX_RANDOM_BYTES: u32 = 1024;
const MAX_LOG_BYTES: usize = 4096;

/// A server as its plugins see it. Made before the cluster, which needs the plugin first.
pub(crate) struct NodeView {
    id: NodeId,
    // Weak: the cluster owns the transport that owns this.
    cluster: OnceLock<WeakCluster>,
}

impl NodeView {
    pub(crate) fn new(id: NodeId) -> Self {
        Self {
            id,
            cluster: OnceLock::new(),
        }
    }

    /// From now on plugins see this cluster's namespaces.
    pub(crate) fn attach(&self, cluster: &Cluster) {
        // A second cluster on one view would be a mistake of ours; the first one stays.
        let _ = self.cluster.set(cluster.downgrade());
    }

    fn local<R: Default>(
        &self,
        namespace: String,
        ask: impl FnOnce(&dyn crate::cluster::Local) -> R,
    ) -> R {
        let cluster = self.cluster.get().and_then(WeakCluster::upgrade);
        let local = cluster.and_then(|cluster| cluster.local(&Namespace::from(namespace)));
        local.map(|local| ask(&*local)).unwrap_or_default()
    }
}

/// The host's state of one instance.
pub(crate) struct PluginState {
    pub(super) plugin: String,
    pub(super) role: &'static str,
    pub(super) view: Arc<NodeView>,
    pub(super) log: Arc<LogLimit>,
    pub(super) capabilities: CapabilityState,
}

impl HasCapabilities for PluginState {
    fn capabilities(&mut self) -> &mut CapabilityState {
        &mut self.capabilities
    }
}

impl messages::Host for GuestState<PluginState> {}
impl lifecycle::Host for GuestState<PluginState> {}

impl node::Host for GuestState<PluginState> {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let PluginState {
            plugin, role, log, ..
        } = &self.ext;
        log.message(plugin, role, level, &message);
        Ok(())
    }

    fn id(&mut self) -> wasmtime::Result<String> {
        Ok(self.ext.view.id.to_string())
    }

    fn has_room(&mut self, namespace: String, room: GuestRoom) -> wasmtime::Result<bool> {
        let room = from_guest::room(room);
        Ok(self
            .ext
            .view
            .local(namespace, |local| local.has_room(&room)))
    }

    fn rooms(&mut self, namespace: String) -> wasmtime::Result<Vec<GuestRoom>> {
        Ok(self.ext.view.local(namespace, |local| {
            let rooms = local.rooms(&Target::default()).into_iter();
            rooms.take(MAX_NAMES).map(guest_room).collect()
        }))
    }

    fn sockets_in(&mut self, namespace: String, room: GuestRoom) -> wasmtime::Result<Vec<String>> {
        let target = Target {
            rooms: [from_guest::room(room)].into(),
            ..Target::default()
        };
        Ok(self.ext.view.local(namespace, |local| {
            let ids = local.socket_ids(&target).into_iter();
            ids.take(MAX_NAMES).map(|id| id.to_string()).collect()
        }))
    }

    fn now_ms(&mut self) -> wasmtime::Result<f64> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(since.as_secs_f64() * 1000.0)
    }

    fn random_bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = vec![0; len.min(MAX_RANDOM_BYTES) as usize];
        getrandom::fill(&mut bytes)
            .map_err(|error| wasmtime::format_err!("no random numbers: {error}"))?;
        Ok(bytes)
    }
}

fn guest_room(room: Room) -> GuestRoom {
    match room {
        Room::Text(text) => GuestRoom::Text(text.to_string()),
        Room::Number(number) => GuestRoom::Number(number),
    }
}

/// Lets a plugin say so much in a second. Shared by its instances.
pub(super) struct LogLimit {
    lines_per_second: u64,
    started: Instant,
    /// Current second since `started` in the upper half, lines of it in the lower.
    window: AtomicU64,
    dropped: AtomicU64,
}

impl LogLimit {
    pub(super) fn new(lines_per_second: u32) -> Self {
        Self {
            lines_per_second: lines_per_second.into(),
            started: Instant::now(),
            window: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// A line of standard output or error.
    pub(super) fn info(&self, plugin: &str, role: &str, message: &str) {
        self.message(plugin, role, Level::Info, message);
    }

    /// A message of the plugin, which may have several lines.
    fn message(&self, plugin: &str, role: &str, level: Level, message: &str) {
        let message = message
            .get(..message.floor_char_boundary(MAX_LOG_BYTES))
            .unwrap_or(message);
        for line in message.lines() {
            self.line(plugin, role, level, &one_line(line));
        }
    }

    fn line(&self, plugin: &str, role: &str, level: Level, line: &str) {
        if !self.admit(self.started.elapsed().as_secs()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                plugin,
                "{dropped} log lines were dropped: over limits.log_lines_per_second = {}",
                self.lines_per_second
            );
        }
        match level {
            Level::Trace => tracing::trace!(plugin, role, "{line}"),
            Level::Debug => tracing::debug!(plugin, role, "{line}"),
            Level::Info => tracing::info!(plugin, role, "{line}"),
            Level::Warn => tracing::warn!(plugin, role, "{line}"),
            Level::Error => tracing::error!(plugin, role, "{line}"),
        }
    }

    /// May one more line be written in this second?
    fn admit(&self, second: u64) -> bool {
        let second = second & u64::from(u32::MAX);
        let admit = |window: u64| {
            let (of, lines) = (window >> 32, window & u64::from(u32::MAX));
            let lines = if of == second { lines + 1 } else { 1 };
            (lines <= self.lines_per_second).then_some(second << 32 | lines)
        };
        self.window
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit)
            .is_ok()
    }
}

/// Without control characters, with which a plugin could write lines that look like the server's.
fn one_line(line: &str) -> Cow<'_, str> {
    let breaks = |c: char| c != '\t' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
    if line.contains(breaks) {
        line.replace(breaks, "\u{fffd}").into()
    } else {
        line.into()
    }
}

#[cfg(test)]
mod tests {
    use super::{LogLimit, one_line};

    #[test]
    fn a_flood_of_lines_is_cut_in_each_second() {
        let limit = LogLimit::new(3);
        let admitted: Vec<bool> = (0..5).map(|_| limit.admit(7)).collect();
        assert_eq!(admitted, [true, true, true, false, false]);
        assert!(limit.admit(8), "the next second starts anew");
    }

    #[test]
    fn a_plugin_cannot_write_a_line_that_looks_like_the_servers() {
        assert_eq!(one_line("a\tb é"), "a\tb é");
        assert_eq!(
            one_line("a\rERROR \u{1b}[2K\u{2028}b"),
            "a\u{fffd}ERROR \u{fffd}[2K\u{fffd}b"
        );
    }

    #[test]
    fn a_limit_of_zero_silences_the_plugin() {
        assert!(!LogLimit::new(0).admit(1));
    }
}
