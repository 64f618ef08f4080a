//! News of the other nodes, for an application that wants to know when one comes or goes.
//!
//! The registry (`nodes.rs`) tells them in the order of its own changes.

use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};

use super::{
    message::{Namespace, NodeId},
    switch::is_control,
};

/// Events that may wait for the slowest reader; more push out the oldest.
const MAX_NODE_EVENTS: usize = 1024;

/// Another node came to a namespace of this server, or left it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A node was heard in a namespace for the first time, or again after it had left.
    Joined {
        /// Who.
        node: NodeId,
        /// Where.
        namespace: Namespace,
    },
    /// A node is not in a namespace any more. One that is gone altogether gives one event for each
    /// of its namespaces.
    Left {
        /// Who.
        node: NodeId,
        /// From where.
        namespace: Namespace,
        /// How this server knows.
        reason: LeftReason,
    },
    /// So many events were lost, because this reader was too slow. Where everybody is now says
    /// [`Cluster::all_nodes`](super::Cluster::all_nodes).
    Missed(u64),
}

/// How it became known that a node has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeftReason {
    /// It said so itself.
    Goodbye,
    /// The backend reported that it is gone.
    ReportedGone,
    /// Nothing was heard of it for longer than `heartbeat_timeout`.
    Silent,
}

/// The events from the moment this was made; see [`Cluster::node_events`](super::Cluster).
#[derive(Debug)]
pub struct NodeEvents {
    events: broadcast::Receiver<NodeEvent>,
    /// Those of the namespace in which servers talk among themselves, and no others.
    only_control: bool,
}

impl NodeEvents {
    /// The next event; None when the cluster is closed and all have been read.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        loop {
            match self.events.recv().await {
                Ok(event) if event.is_control() != self.only_control => {}
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => return Some(NodeEvent::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl NodeEvent {
    fn is_control(&self) -> bool {
        match self {
            Self::Joined { namespace, .. } | Self::Left { namespace, .. } => is_control(namespace),
            Self::Missed(_) => false,
        }
    }
}

/// Where the events are told.
#[derive(Debug)]
pub(super) struct NodeNews(Mutex<Option<broadcast::Sender<NodeEvent>>>);

impl NodeNews {
    pub(super) fn new() -> Self {
        let (news, _) = broadcast::channel(MAX_NODE_EVENTS);
        Self(Mutex::new(Some(news)))
    }

    pub(super) fn tell(&self, event: NodeEvent) {
        if let Some(news) = &*self.lock() {
            // Fails when nobody listens.
            let _ = news.send(event);
        }
    }

    pub(super) fn listen(&self) -> NodeEvents {
        self.listen_to(false)
    }

    /// To the servers that can change their transport together.
    pub(super) fn listen_to_control(&self) -> NodeEvents {
        self.listen_to(true)
    }

    fn listen_to(&self, only_control: bool) -> NodeEvents {
        let listening = self.lock().as_ref().map(broadcast::Sender::subscribe);
        let events = listening.unwrap_or_else(|| {
            // Closed: a channel whose sender is gone, so the first read says the end.
            let (_, ended) = broadcast::channel(1);
            ended
        });
        NodeEvents {
            events,
            only_control,
        }
    }

    /// No more events: readers end after those that wait.
    pub(super) fn close(&self) {
        let news = self.lock().take();
        drop(news);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<broadcast::Sender<NodeEvent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
