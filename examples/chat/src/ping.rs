//! Ping everyone: one event to every client of the cluster, and what they acknowledge, by node.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use socketioxide::{
    AdapterError, EmitWithAckError, SocketIo,
    adapter::Adapter,
    extract::{AckSender, SocketRef},
};
use tracing::{debug, warn};

/// How long clients may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Nodes that a report tells apart; answers from further ones are only counted.
const MAX_NODES: usize = 64;
/// Bytes of a node's id. A page could send any text instead of it.
const MAX_NODE_ID_BYTES: usize = 64;

#[derive(Debug, thiserror::Error)]
enum PingError {
    #[error("the clients could not be counted: {0}")]
    Count(#[from] AdapterError),
    #[error("the event could not be sent: {0}")]
    Send(#[from] EmitWithAckError),
}

/// What a page answers: which node it is connected to.
#[derive(Deserialize)]
struct Pong {
    node: String,
}

/// What the visitor who asked gets to see.
#[derive(Default, Serialize)]
struct Report {
    /// Clients that the cluster has, by `fetch_sockets`.
    clients: usize,
    /// How many of them have answered.
    answered: usize,
    /// Milliseconds until the last answer.
    ms: f64,
    /// By the node's id.
    nodes: BTreeMap<String, FromNode>,
    error: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct FromNode {
    answered: usize,
    /// Milliseconds until the last of its clients has answered.
    ms: f64,
}

impl Report {
    fn add(&mut self, node: String, ms: f64) {
        self.answered += 1;
        self.ms = ms;
        let room_for_another = self.nodes.len() < MAX_NODES && node.len() <= MAX_NODE_ID_BYTES;
        if room_for_another || self.nodes.contains_key(&node) {
            let from_node = self.nodes.entry(node).or_default();
            from_node.answered += 1;
            from_node.ms = ms;
        }
    }
}

/// Asks every client of the cluster for an answer and reports to the one who wanted to know.
pub(crate) async fn everyone<A: Adapter>(io: SocketIo<A>, socket: SocketRef<A>, ack: AckSender<A>) {
    let report = ping(&io).await.unwrap_or_else(|error| {
        warn!(%error, "a ping to everyone failed");
        Report {
            error: Some("the other servers could not be asked"),
            ..Report::default()
        }
    });
    if let Err(error) = ack.send(&report) {
        debug!(%error, socket = %socket.id, "a visitor left before the report");
    }
}

async fn ping<A: Adapter>(io: &SocketIo<A>) -> Result<Report, PingError> {
    let clients = io.fetch_sockets().await.map_err(Into::into)?.len();
    let mut report = Report {
        clients,
        ..Report::default()
    };
    let start = Instant::now();
    let answers = io
        .timeout(PING_TIMEOUT)
        .emit_with_ack::<_, Pong>("are-you-there", &())
        .await?;
    let mut answers = pin!(answers);
    while let Some((client, answer)) = answers.next().await {
        match answer {
            Ok(Pong { node }) => report.add(node, start.elapsed().as_secs_f64() * 1e3),
            Err(error) => debug!(%client, %error, "a client did not answer"),
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_node() {
        let mut report = Report::default();
        report.add("a".into(), 1.0);
        report.add("b".into(), 2.0);
        report.add("a".into(), 3.0);
        assert_eq!((report.answered, report.ms), (3, 3.0));
        assert_eq!((report.nodes["a"].answered, report.nodes["a"].ms), (2, 3.0));
        assert_eq!((report.nodes["b"].answered, report.nodes["b"].ms), (1, 2.0));
    }

    #[test]
    fn invented_nodes_do_not_make_a_report_grow_without_limit() {
        let mut report = Report::default();
        report.add("x".repeat(MAX_NODE_ID_BYTES + 1), 1.0);
        assert!(report.nodes.is_empty());
        for node in 0..1000 {
            report.add(node.to_string(), 1.0);
        }
        assert_eq!(report.nodes.len(), MAX_NODES);
        assert_eq!(report.answered, 1001);
    }
}
