//! How a server stands in its cluster, for its operator.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::{
    capabilities::{bus::BusStatus, postgres::PostgresStatus, redis::RedisStatus, tcp::TcpStatus},
    cluster::{ClusterNode, Stats, SwitchReport},
    transport::TransportStatus,
};

/// How a server stands in its cluster: its transport and plugin, the other nodes, queues, counters,
/// gaps, last errors.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// This server's id.
    pub node: String,
    /// Milliseconds since it joined.
    pub uptime_ms: u64,
    /// Its plugin; none with `transport = "none"`.
    pub transport: Option<TransportStatus>,
    /// The plugins of other transports that are open beside it: the one that the cluster goes over
    /// to, or has left.
    pub other_transports: Vec<TransportStatus>,
    /// Where the cluster stands in changing its transport; none with `transport = "none"`.
    pub switch: Option<SwitchReport>,
    /// The other nodes that are known, in any namespace.
    pub nodes: Vec<NodeStatus>,
    /// Queues and counters.
    pub cluster: Stats,
    /// Messages in a second, if that was measured; see [`Board::measure`](crate::Board::measure).
    pub rates: Option<Rates>,
    /// The buses that it is on, by connection name.
    pub buses: BTreeMap<String, BusStatus>,
    /// The Redis connections that it uses, by name.
    pub redis: BTreeMap<String, RedisStatus>,
    /// The Postgres connections that it uses, by name.
    pub postgres: BTreeMap<String, PostgresStatus>,
    /// The connections over TCP that it uses, by name.
    pub tcp: BTreeMap<String, TcpStatus>,
}

/// Another node, as this server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its id. A Node.js server has one for each namespace, over some backends.
    pub id: String,
    /// The namespaces of this server in which it was heard, sorted.
    pub namespaces: Vec<String>,
    /// Milliseconds since it was first heard.
    pub known_for_ms: u64,
    /// Milliseconds since it was last heard.
    pub silent_for_ms: u64,
}

/// Messages of the cluster in a second, between two looks at the counters.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rates {
    /// Between the two looks, in milliseconds.
    pub over_ms: u64,
    /// Taken by the backend from this server.
    pub sent_per_second: f64,
    /// Arrived here, own ones that came back included.
    pub received_per_second: f64,
}

impl NodeStatus {
    pub(crate) fn new(node: ClusterNode, now: SystemTime) -> Self {
        // The clock may have been set back.
        let since = |then: SystemTime| millis(now.duration_since(then).unwrap_or_default());
        Self {
            known_for_ms: since(node.since),
            silent_for_ms: since(node.last_heard),
            id: node.id.to_string(),
            namespaces: node.namespaces.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Rates {
    /// `earlier` and `later` are looks at the same counters.
    pub(crate) fn between(earlier: &Stats, later: &Stats, time: Duration) -> Self {
        let rate = |earlier: u64, later: u64| {
            let seconds = time.as_secs_f64();
            match seconds > 0.0 {
                true => later.saturating_sub(earlier) as f64 / seconds,
                false => 0.0,
            }
        };
        Self {
            over_ms: millis(time),
            sent_per_second: rate(earlier.sent, later.sent),
            received_per_second: rate(earlier.received, later.received),
        }
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(sent: u64, received: u64) -> Stats {
        Stats {
            sent,
            received,
            ..Stats::default()
        }
    }

    #[test]
    fn rates_are_what_was_counted_in_the_time_between() {
        let rates = Rates::between(&stats(10, 5), &stats(40, 5), Duration::from_millis(500));
        let expected = Rates {
            over_ms: 500,
            sent_per_second: 60.0,
            received_per_second: 0.0,
        };
        assert_eq!(rates, expected);
        let at_once = Rates::between(&stats(1, 1), &stats(9, 9), Duration::ZERO);
        assert_eq!(at_once.sent_per_second, 0.0, "never infinite");
    }

    #[test]
    fn a_node_of_the_future_is_known_for_no_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let node = ClusterNode {
            id: "a".into(),
            namespaces: vec!["/".into()],
            since: now - Duration::from_secs(3),
            last_heard: now + Duration::from_secs(3),
        };
        let status = NodeStatus::new(node, now);
        assert_eq!((status.known_for_ms, status.silent_for_ms), (3000, 0));
        assert_eq!(status.namespaces, ["/"]);
    }
}
