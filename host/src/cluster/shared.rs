//! What the tasks of one cluster share with each other and with the handle.
//!
//! Only state and the few steps that touch several parts of it; who does what when is in the
//! tasks (`publish.rs`, `inbox.rs`, `call_task.rs`, `heartbeat.rs`) and in the handle.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{
    calls::CallLoad,
    handlers::Handlers,
    health::{Health, Throttle},
    message::NodeId,
    namespaces::Namespaces,
    nodes::{Gone, Nodes},
    options::ClusterOptions,
    outbox::Outbox,
    requests::Requests,
    stats::{Counters, Stats},
};

/// The shared state.
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) options: ClusterOptions,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) nodes: Nodes,
    pub(super) requests: Arc<Requests>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) counters: Arc<Counters>,
    pub(super) publish_health: Arc<Health>,
    pub(super) poll_health: Health,
    /// How many tasks collect acknowledgements.
    pub(super) ack_tasks: Gauge,
    pub(super) handlers: Handlers,
    pub(super) call_load: Arc<CallLoad>,
    packet_drops: Throttle,
    /// See [`Shared::slice`].
    slice: AtomicUsize,
}

/// Half of the smallest default buffer of a socket.
const DEFAULT_SLICE: usize = 64;
/// Beyond this nothing is gained, and sockets would wait for the first packet.
const MAX_OWN_SLICE: usize = 512;

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicUsize);

impl Gauge {
    pub(super) fn set(&self, n: usize) {
        self.0.store(n, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// `options` must be normalised.
    pub(super) fn new(node: NodeId, options: ClusterOptions) -> Self {
        let counters = Arc::<Counters>::default();
        let namespaces = Arc::new(Namespaces::new(options.max_namespaces));
        Self {
            nodes: Nodes::new(options.max_nodes, counters.clone()),
            requests: Arc::new(Requests::new(
                options.max_pending_requests,
                options.max_reply_bytes,
                counters.clone(),
            )),
            outbox: Arc::new(Outbox::new(
                node.clone(),
                options.outbox.clone(),
                namespaces.clone(),
                counters.clone(),
            )),
            namespaces,
            publish_health: Arc::new(Health::new("the way out to the backend")),
            poll_health: Health::new("the way in from the backend"),
            ack_tasks: Gauge::default(),
            handlers: Handlers::default(),
            call_load: Arc::default(),
            packet_drops: Throttle::default(),
            slice: AtomicUsize::new(options.inbox.slice.unwrap_or(DEFAULT_SLICE)),
            counters,
            node,
            options,
        }
    }

    /// How many messages may be handled in one go, before the sockets' writers get a turn.
    pub(super) fn slice(&self) -> usize {
        self.slice.load(Ordering::Relaxed)
    }

    /// The server's sockets have room for so many packets each.
    pub(super) fn sockets_hold(&self, packets: usize) {
        if self.options.inbox.slice.is_none() {
            let slice = (packets / 2).clamp(1, MAX_OWN_SLICE);
            self.slice.store(slice, Ordering::Relaxed);
        }
    }

    /// A node that was just taken out of the registry is taken out of every wait, too.
    pub(super) fn node_gone(&self, gone: &Gone, why: &str) {
        let Gone { node, namespaces } = gone;
        tracing::info!(%node, ?namespaces, "cluster: a node left: {why}");
        self.requests.node_gone(node, None);
    }

    /// Books packets that local sockets lost, whoever sent them.
    pub(super) fn packets_dropped(&self, dropped: usize) {
        if dropped == 0 {
            return;
        }
        self.counters.dropped_packets.add(dropped);
        if let Some(more) = self.packet_drops.pass() {
            tracing::warn!(
                dropped,
                more,
                "cluster: local sockets lost packets, because their buffers are full: a client \
                 reads too slowly, or the server's per-socket buffer is too small"
            );
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let (outbox_messages, outbox_bytes, outbox_answers) = self.outbox.depth();
        let (calls, call_bytes) = self.call_load.depth();
        Stats {
            outbox_messages,
            outbox_bytes,
            outbox_answers,
            pending_requests: self.requests.len(),
            ack_tasks: self.ack_tasks.get(),
            calls,
            call_bytes,
            namespaces: self.namespaces.len(),
            nodes: self.nodes.total(),
            publisher_up: self.publish_health.is_up(),
            subscriber_up: self.poll_health.is_up(),
            last_publish_error: self.publish_health.last_error(),
            last_poll_error: self.poll_health.last_error(),
            ..self.counters.snapshot()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::options::InboxOptions;

    fn shared(slice: Option<usize>) -> Shared {
        let inbox = InboxOptions {
            slice,
            ..InboxOptions::default()
        };
        let options = ClusterOptions {
            inbox,
            ..ClusterOptions::default()
        };
        Shared::new(NodeId::from("a"), options.normalised())
    }

    #[test]
    fn a_slice_fits_into_the_buffers_of_the_sockets_unless_it_is_configured() {
        let shared = |slice| {
            let shared = shared(slice);
            [None, Some(128), Some(1024), Some(1 << 20), Some(1), Some(0)].map(|packets| {
                packets
                    .iter()
                    .for_each(|packets| shared.sockets_hold(*packets));
                shared.slice()
            })
        };
        assert_eq!(shared(None), [64, 64, 512, 512, 1, 1]);
        assert_eq!(shared(Some(7)), [7; 6]);
        assert_eq!(shared(Some(0)), [1; 6]);
    }
}
