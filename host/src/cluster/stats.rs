//! What the cluster core counts, and the snapshot of it that others read.
//!
//! Counting is one relaxed atomic addition, so it may stand on every path. Nothing here decides
//! anything.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A snapshot of one [`Cluster`](super::Cluster). Counters run from its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that wait in the outbox or are on their way, answers included.
    pub outbox_messages: usize,
    /// Bytes of them.
    pub outbox_bytes: usize,
    /// How many of them are answers.
    pub outbox_answers: usize,
    /// Requests of this node that wait for answers.
    pub pending_requests: usize,
    /// Broadcasts of other nodes for which acknowledgements of local clients are collected. Those
    /// that have just ended are still in it until the inbox runs again.
    pub ack_tasks: usize,
    /// Calls of this server's handlers that wait or run.
    pub calls: usize,
    /// Bytes that they were given.
    pub call_bytes: usize,
    /// Namespaces of this server in the cluster.
    pub namespaces: usize,
    /// Other nodes that are known, in any namespace.
    pub nodes: usize,

    /// Messages that the backend has accepted.
    pub sent: u64,
    /// Batches that were handed to the transport, repeated ones included.
    pub batches: u64,
    /// Times that a batch or its rest had to be tried again.
    pub retries: u64,
    /// Messages that can never go and were given up, each with a line in the log.
    pub rejected: u64,
    /// Batches over which the plugin died.
    pub faulted: u64,
    /// Messages still in the outbox when its time to close was over.
    pub unsent: u64,
    /// Times that a sender found the outbox full.
    pub full: u64,
    /// With `connection_state_recovery`: own events that the sockets of this server got without an
    /// offset, because the outbox refused them, the transport gave them up, or the cluster was
    /// closed first. Clients cannot be given them again.
    pub unlogged: u64,

    /// Messages that arrived, own ones included.
    pub received: u64,
    /// Own messages that came back, and answers for others.
    pub ignored: u64,
    /// Gaps that the backend reported.
    pub lagged: u64,
    /// Messages missed in those gaps, as far as that is known.
    pub missed: u64,
    /// Polls of the transport that failed.
    pub poll_failures: u64,
    /// Answers to other nodes that found no room and were dropped.
    pub dropped_answers: u64,
    /// Answers of other nodes that were dropped because their request held too much already.
    pub dropped_replies: u64,
    /// Packets that local sockets lost because their own buffers were full: of events of other
    /// nodes, and of this node's own unless socketioxide's operators told the sender.
    pub dropped_packets: u64,
    /// Broadcasts whose local acknowledgements were not collected, because too many others were.
    pub refused_ack_tasks: u64,
    /// Calls of handlers that were refused, because too many others wait or run.
    pub refused_calls: u64,
    /// Server events that could not be read.
    pub unreadable_calls: u64,
    /// Calls in which the handler panicked.
    pub panicked_calls: u64,
    /// Heartbeats and the like that found no room and were dropped.
    pub dropped_control: u64,
    /// Nodes that were not remembered because a namespace had too many.
    pub refused_nodes: u64,

    /// The transport takes messages.
    pub publisher_up: bool,
    /// The transport delivers messages.
    pub subscriber_up: bool,
    /// The latest trouble on the way out, also when it is over.
    pub last_publish_error: Option<String>,
    /// The latest trouble on the way in, also when it is over.
    pub last_poll_error: Option<String>,
}

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is counted, under the names of [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: Counter,
    pub(super) batches: Counter,
    pub(super) retries: Counter,
    pub(super) rejected: Counter,
    pub(super) faulted: Counter,
    pub(super) unsent: Counter,
    pub(super) full: Counter,
    pub(super) unlogged: Counter,
    pub(super) received: Counter,
    pub(super) ignored: Counter,
    pub(super) lagged: Counter,
    pub(super) missed: Counter,
    pub(super) poll_failures: Counter,
    pub(super) dropped_answers: Counter,
    pub(super) dropped_replies: Counter,
    pub(super) dropped_packets: Counter,
    pub(super) refused_ack_tasks: Counter,
    pub(super) refused_calls: Counter,
    pub(super) unreadable_calls: Counter,
    pub(super) panicked_calls: Counter,
    pub(super) dropped_control: Counter,
    pub(super) refused_nodes: Counter,
}

impl Counters {
    /// The counters as numbers; the gauges of [`Stats`] are left at their defaults.
    pub(super) fn snapshot(&self) -> Stats {
        Stats {
            sent: self.sent.get(),
            batches: self.batches.get(),
            retries: self.retries.get(),
            rejected: self.rejected.get(),
            faulted: self.faulted.get(),
            unsent: self.unsent.get(),
            full: self.full.get(),
            unlogged: self.unlogged.get(),
            received: self.received.get(),
            ignored: self.ignored.get(),
            lagged: self.lagged.get(),
            missed: self.missed.get(),
            poll_failures: self.poll_failures.get(),
            dropped_answers: self.dropped_answers.get(),
            dropped_replies: self.dropped_replies.get(),
            dropped_packets: self.dropped_packets.get(),
            refused_ack_tasks: self.refused_ack_tasks.get(),
            refused_calls: self.refused_calls.get(),
            unreadable_calls: self.unreadable_calls.get(),
            panicked_calls: self.panicked_calls.get(),
            dropped_control: self.dropped_control.get(),
            refused_nodes: self.refused_nodes.get(),
            ..Stats::default()
        }
    }
}
