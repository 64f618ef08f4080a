//! The limits and times of the cluster core, as an operator writes them.
//!
//! Every queue, map and wait of `cluster/` takes its bound from here. Durations are milliseconds
//! in configuration (`heartbeat_interval_ms = 5000`), sizes are bytes. What a transport or a
//! capability may use is configured elsewhere.

use std::time::Duration;

use serde::Deserialize;

/// Limits and times of one [`Cluster`](super::Cluster).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterOptions {
    /// How often every namespace says that this node is alive. Default 5 s, as in Node.js.
    #[serde(rename = "heartbeat_interval_ms", with = "millis")]
    pub heartbeat_interval: Duration,
    /// A node of which nothing was heard for longer than this is gone. Default 10 s, as in
    /// Node.js. At least twice the interval, or one late heartbeat loses a node.
    #[serde(rename = "heartbeat_timeout_ms", with = "millis")]
    pub heartbeat_timeout: Duration,
    /// How long a request waits for other nodes when the caller names no time, and how long the
    /// local clients have for an acknowledgement when the asking node names none. Default 5 s.
    #[serde(rename = "request_timeout_ms", with = "millis")]
    pub request_timeout: Duration,
    /// How long `close` goes on sending what the outbox holds. Default 5 s.
    #[serde(rename = "close_timeout_ms", with = "millis")]
    pub close_timeout: Duration,
    /// Requests of this node that wait for answers at one time; one more is refused with
    /// [`SendError::TooManyRequests`](super::SendError::TooManyRequests). Default 10,000.
    pub max_pending_requests: usize,
    /// Bytes that the answers to one request may hold until its caller takes them. Answers beyond
    /// are dropped and counted, and a fetch lists their nodes as missing. Default 64 MiB.
    pub max_reply_bytes: usize,
    /// Acknowledgements of one broadcast that wait for its caller to take them. More are dropped
    /// and counted. Default 16,384.
    pub max_buffered_acks: usize,
    /// Broadcasts of other nodes for which acknowledgements of local clients are collected at one
    /// time. One more is delivered as usual, but its asker gets a single error that names this
    /// option instead of the acknowledgements. Default 1,024.
    pub max_ack_tasks: usize,
    /// Calls of this server's handlers (server events and custom queries of other nodes, and own
    /// queries) that wait or run at one time. One more is refused: its asker gets an error that
    /// names this option, and an event that wants no answer is dropped; both are counted and
    /// logged. A handler that never ends keeps its place for ever. Default 1,024.
    pub max_calls: usize,
    /// Bytes that those calls were given. A single larger call is taken when there is no other;
    /// what is refused is treated as above. Default 64 MiB.
    pub max_call_bytes: usize,
    /// Bytes of handshakes and data in one answer to a node that asks for sockets (and in one list
    /// of this server's own). Sockets beyond it, whichever these are, go with their ids and rooms
    /// only; they are counted and logged. Keep it well below what the transport takes in one
    /// message and what a plugin may use of memory. Default 8 MiB.
    pub max_description_bytes: usize,
    /// Other nodes that are known in one namespace. More are heard, but not waited for. Default
    /// 4,096.
    pub max_nodes: usize,
    /// Namespaces of this server that take part in the cluster. More are served locally only, with
    /// an error in the log. Default 10,000.
    pub max_namespaces: usize,
    /// Connection state recovery, as in Node.js: every event for clients gets its offset in the
    /// backend's log as a last argument, which a client tells when it comes back, to get what it
    /// has missed ([`Board::restore_session`](crate::Board::restore_session)). Needs a transport
    /// that keeps sessions ([`Board::supports_recovery`](crate::Board::supports_recovery)); without
    /// one the log says so at start, and nothing is appended. Default false.
    ///
    /// With it, this server's own sockets get its events when the backend has accepted them, in the
    /// order of publication, not at once: while the backend is away they wait in the outbox, within
    /// its limits. Changes of rooms and disconnections through the operators keep their place among
    /// them. These act at once, before what waits: events that are volatile, want
    /// acknowledgements or are for this server only, and what is done to a socket itself
    /// (`socket.emit`, `socket.leave`, `socket.disconnect`); they have no offsets. An event that is
    /// given up or refused goes to this server's sockets without one
    /// ([`Stats::unlogged`](super::Stats::unlogged)).
    ///
    /// As in Node.js, a server gives its own events to its sockets without waiting for those of
    /// others that came into the log just before: events of *different* servers may reach its
    /// clients in another order than the log has, and a client that is cut off in that moment may
    /// miss one or get it twice.
    pub connection_state_recovery: bool,
    /// The queue towards the transport.
    pub outbox: OutboxOptions,
    /// The way in from the transport.
    pub inbox: InboxOptions,
    /// Changing the transport of the whole cluster while it runs.
    pub switch: SwitchOptions,
}

/// The queue towards the transport, and the batches it leaves in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboxOptions {
    /// Messages that wait or are on their way. Default 16,384.
    pub max_messages: usize,
    /// Bytes of those messages, at most 4 GiB. A single larger message waits until the queue is
    /// empty and goes alone. Default 64 MiB.
    pub max_bytes: usize,
    /// What a sender meets when one of the two is reached. Default `wait`.
    pub when_full: OutboxFull,
    /// Messages of one batch. At most 512, which is what a plugin must take. Default 512.
    pub batch_max_messages: usize,
    /// Bytes of one batch; a single larger message is a batch of its own. Default 1 MiB.
    pub batch_max_bytes: usize,
    /// Answers to other nodes that wait or are on their way. They have room of their own, because
    /// the inbox gives them without waiting; more are dropped, counted and logged. Default 16,384.
    pub max_answers: usize,
    /// Bytes of those answers; a single larger one is taken when no other waits. Default 64 MiB.
    pub max_answer_bytes: usize,
}

/// What a sender meets when the outbox is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboxFull {
    /// It waits for room, first come, first served.
    #[default]
    Wait,
    /// It gets [`SendError::Full`](super::SendError::Full) at once.
    Fail,
}

/// The way in from the transport.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InboxOptions {
    /// Messages handled in one go; then the sockets' writers get a turn to drain their buffers.
    /// Keep it below the per-socket buffer of the Socket.IO server (`max_buffer_size`, 128 packets
    /// by default). Unset: half of that buffer, at most 512, once the server is attached to its
    /// board; 64 before.
    pub slice: Option<usize>,
    /// Events asked of the transport at one time. Default 512.
    pub max_events: usize,
    /// How long one poll of the transport waits. Default 10 s.
    #[serde(rename = "poll_timeout_ms", with = "millis")]
    pub poll_timeout: Duration,
}

/// Changing the transport of the whole cluster while it runs: how long each phase may take. Should be
/// the same on all servers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwitchOptions {
    /// How long the servers may take to open the new transport and to hear each other there; then
    /// the switch is called off. Default 10 s.
    #[serde(rename = "prepare_timeout_ms", with = "millis")]
    pub prepare_timeout: Duration,
    /// How long a server waits, once the switch is decided, for the old transport to take what is
    /// in its outbox; then it sends the rest over the new one. Default 10 s.
    #[serde(rename = "leave_timeout_ms", with = "millis")]
    pub leave_timeout: Duration,
    /// How long a server waits for the last messages of another one on the old transport, after
    /// that one has left it; then they count as missed. Default 10 s.
    #[serde(rename = "drain_timeout_ms", with = "millis")]
    pub drain_timeout: Duration,
    /// How long the old transport stays open after a switch, so that a server that starts with an
    /// old configuration finds there where the others are. 0: not at all. Default 10 min.
    #[serde(rename = "signpost_ms", with = "millis")]
    pub signpost: Duration,
}

impl Default for SwitchOptions {
    fn default() -> Self {
        Self {
            prepare_timeout: Duration::from_secs(10),
            leave_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            signpost: Duration::from_secs(600),
        }
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            max_pending_requests: 10_000,
            max_reply_bytes: 64 * MIB,
            max_buffered_acks: 16_384,
            max_ack_tasks: 1_024,
            max_calls: 1_024,
            max_call_bytes: 64 * MIB,
            max_description_bytes: 8 * MIB,
            max_nodes: 4_096,
            max_namespaces: 10_000,
            connection_state_recovery: false,
            outbox: OutboxOptions::default(),
            inbox: InboxOptions::default(),
            switch: SwitchOptions::default(),
        }
    }
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            max_messages: 16_384,
            max_bytes: 64 * MIB,
            when_full: OutboxFull::Wait,
            batch_max_messages: MAX_BATCH_MESSAGES,
            batch_max_bytes: MIB,
            max_answers: 16_384,
            max_answer_bytes: 64 * MIB,
        }
    }
}

impl Default for InboxOptions {
    fn default() -> Self {
        Self {
            slice: None,
            max_events: 512,
            poll_timeout: Duration::from_secs(10),
        }
    }
}

/// What a plugin must take in one batch (`publish` in `wit/transport/transport.wit`).
const MAX_BATCH_MESSAGES: usize = 512;
const MIB: usize = 1024 * 1024;
/// No wait is longer than this; it keeps sums of times away from overflow.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// An option with a value that cannot work. The operator's to correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster option `{option}` {problem}")]
pub struct InvalidOption {
    /// The key, with its table, as it stands in the configuration.
    pub option: &'static str,
    /// What is wrong and what would be right.
    pub problem: &'static str,
}

impl ClusterOptions {
    /// Checks that every limit allows at least one and that the times fit together.
    ///
    /// [`Cluster::start`](super::Cluster::start) does not fail: it reads a 0 as 1 and a time over
    /// a day as a day. Whoever reads configuration asks here first, to tell the operator.
    pub fn validate(&self) -> Result<(), InvalidOption> {
        let outbox = &self.outbox;
        let inbox = &self.inbox;
        let switch = &self.switch;
        for (option, value) in [
            ("max_pending_requests", self.max_pending_requests),
            ("max_reply_bytes", self.max_reply_bytes),
            ("max_buffered_acks", self.max_buffered_acks),
            ("max_ack_tasks", self.max_ack_tasks),
            ("max_calls", self.max_calls),
            ("max_call_bytes", self.max_call_bytes),
            ("max_description_bytes", self.max_description_bytes),
            ("max_nodes", self.max_nodes),
            ("max_namespaces", self.max_namespaces),
            ("outbox.max_messages", outbox.max_messages),
            ("outbox.max_bytes", outbox.max_bytes),
            ("outbox.batch_max_messages", outbox.batch_max_messages),
            ("outbox.batch_max_bytes", outbox.batch_max_bytes),
            ("outbox.max_answers", outbox.max_answers),
            ("outbox.max_answer_bytes", outbox.max_answer_bytes),
            ("inbox.slice", inbox.slice.unwrap_or(1)),
            ("inbox.max_events", inbox.max_events),
        ] {
            if value == 0 {
                return Err(InvalidOption {
                    option,
                    problem: "is 0: it must be at least 1",
                });
            }
        }
        for (option, value) in [
            ("heartbeat_interval_ms", self.heartbeat_interval),
            ("heartbeat_timeout_ms", self.heartbeat_timeout),
            ("request_timeout_ms", self.request_timeout),
            ("inbox.poll_timeout_ms", inbox.poll_timeout),
            ("switch.prepare_timeout_ms", switch.prepare_timeout),
            ("switch.leave_timeout_ms", switch.leave_timeout),
            ("switch.drain_timeout_ms", switch.drain_timeout),
        ] {
            if value.is_zero() {
                return Err(InvalidOption {
                    option,
                    problem: "is 0: it must be at least 1 ms",
                });
            }
        }
        for (option, value) in [
            ("heartbeat_interval_ms", self.heartbeat_interval),
            ("heartbeat_timeout_ms", self.heartbeat_timeout),
            ("request_timeout_ms", self.request_timeout),
            ("close_timeout_ms", self.close_timeout),
            ("inbox.poll_timeout_ms", inbox.poll_timeout),
            ("switch.prepare_timeout_ms", switch.prepare_timeout),
            ("switch.leave_timeout_ms", switch.leave_timeout),
            ("switch.drain_timeout_ms", switch.drain_timeout),
            ("switch.signpost_ms", switch.signpost),
        ] {
            if value > MAX_WAIT {
                return Err(InvalidOption {
                    option,
                    problem: "is over a day (86,400,000)",
                });
            }
        }
        if self.heartbeat_timeout < self.heartbeat_interval.saturating_mul(2) {
            return Err(InvalidOption {
                option: "heartbeat_timeout_ms",
                problem: "is less than twice heartbeat_interval_ms: one late heartbeat would \
                          lose a node",
            });
        }
        if outbox.batch_max_messages > MAX_BATCH_MESSAGES {
            return Err(InvalidOption {
                option: "outbox.batch_max_messages",
                problem: "is over 512, which is the most that a transport plugin must take",
            });
        }
        if u32::try_from(outbox.max_bytes).is_err() {
            return Err(InvalidOption {
                option: "outbox.max_bytes",
                problem: "is over 4 GiB: it must be at most 4294967295",
            });
        }
        Ok(())
    }

    /// The same with every value in its range, so that nothing below needs to look.
    pub(super) fn normalised(mut self) -> Self {
        for value in [
            &mut self.max_pending_requests,
            &mut self.max_reply_bytes,
            &mut self.max_buffered_acks,
            &mut self.max_ack_tasks,
            &mut self.max_calls,
            &mut self.max_call_bytes,
            &mut self.max_description_bytes,
            &mut self.max_nodes,
            &mut self.max_namespaces,
            &mut self.outbox.max_messages,
            &mut self.outbox.max_bytes,
            &mut self.outbox.batch_max_messages,
            &mut self.outbox.batch_max_bytes,
            &mut self.outbox.max_answers,
            &mut self.outbox.max_answer_bytes,
            &mut self.inbox.max_events,
        ] {
            *value = (*value).clamp(1, u32::MAX as usize);
        }
        self.inbox.slice = self.inbox.slice.map(|slice| slice.max(1));
        for value in [
            &mut self.heartbeat_interval,
            &mut self.heartbeat_timeout,
            &mut self.request_timeout,
            &mut self.inbox.poll_timeout,
            &mut self.switch.prepare_timeout,
            &mut self.switch.leave_timeout,
            &mut self.switch.drain_timeout,
        ] {
            *value = (*value).clamp(Duration::from_millis(1), MAX_WAIT);
        }
        self.switch.signpost = self.switch.signpost.min(MAX_WAIT);
        self.close_timeout = self.close_timeout.min(MAX_WAIT);
        let batch = &mut self.outbox.batch_max_messages;
        *batch = (*batch).min(MAX_BATCH_MESSAGES);
        self
    }
}

/// Keeps a caller's own time within what the clock can add.
pub(super) fn bounded_wait(wait: Duration) -> Duration {
    wait.min(MAX_WAIT)
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ClusterOptions, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_written_means_the_defaults() {
        assert_eq!(parse("{}").unwrap(), ClusterOptions::default());
        assert_eq!(ClusterOptions::default().validate(), Ok(()));
    }

    #[test]
    fn times_are_written_in_milliseconds() {
        let options = parse(r#"{"heartbeat_interval_ms": 250, "outbox": {"when_full": "fail"}}"#);
        let options = options.unwrap();
        assert_eq!(options.heartbeat_interval, Duration::from_millis(250));
        assert_eq!(options.outbox.when_full, OutboxFull::Fail);
        assert_eq!(
            options.outbox.max_messages,
            OutboxOptions::default().max_messages
        );
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = parse(r#"{"inbox": {"slices": 3}}"#).unwrap_err();
        assert!(error.contains("slices"), "{error}");
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        let mut options = ClusterOptions::default();
        options.outbox.max_messages = 0;
        assert_eq!(
            options.validate().unwrap_err().option,
            "outbox.max_messages"
        );
        assert_eq!(options.normalised().outbox.max_messages, 1);

        let mut options = ClusterOptions::default();
        options.outbox.batch_max_messages = 513;
        let problem = options.validate().unwrap_err();
        assert_eq!(problem.option, "outbox.batch_max_messages");
        assert_eq!(options.normalised().outbox.batch_max_messages, 512);

        let options = ClusterOptions {
            heartbeat_timeout: Duration::from_secs(6),
            ..ClusterOptions::default()
        };
        assert_eq!(
            options.validate().unwrap_err().option,
            "heartbeat_timeout_ms"
        );
    }
}
