//! What becomes known of other servers, kept so that a test can look at it later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use switchboard::{Board, LeftReason};
use tokio::task::JoinSet;

use crate::protocol::{NodeEvent, ServerEvent};

/// Events kept of each kind; more is a fault of the test.
const MAX_EVENTS: usize = 100_000;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// By namespace.
    server_events: HashMap<String, Vec<ServerEvent>>,
    node_events: Vec<NodeEvent>,
}

impl Records {
    /// From now on keeps what the board tells of other servers. The task ends with the board, or
    /// with the set that owns it.
    pub(crate) fn follow(&self, board: &Board) -> JoinSet<()> {
        let records = self.clone();
        let mut events = board.node_events();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(event) = events.next().await {
                push(&mut records.kept().node_events, describe(event));
            }
        });
        task
    }

    pub(crate) fn push(&self, nsp: &str, event: ServerEvent) {
        let mut kept = self.kept();
        push(kept.server_events.entry(nsp.to_owned()).or_default(), event);
    }

    pub(crate) fn server_events(&self, nsp: &str) -> Vec<ServerEvent> {
        let kept = self.kept();
        kept.server_events.get(nsp).cloned().unwrap_or_default()
    }

    pub(crate) fn node_events(&self) -> Vec<NodeEvent> {
        self.kept().node_events.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(events: &mut Vec<T>, event: T) {
    assert!(
        events.len() < MAX_EVENTS,
        "more than {MAX_EVENTS} events of other servers"
    );
    events.push(event);
}

fn describe(event: switchboard::NodeEvent) -> NodeEvent {
    match event {
        switchboard::NodeEvent::Joined { node, namespace } => NodeEvent::Joined {
            node: node.to_string(),
            nsp: namespace.to_string(),
        },
        switchboard::NodeEvent::Left {
            node,
            namespace,
            reason,
        } => NodeEvent::Left {
            node: node.to_string(),
            nsp: namespace.to_string(),
            reason: match reason {
                LeftReason::Goodbye => "goodbye".into(),
                LeftReason::ReportedGone => "reported_gone".into(),
                LeftReason::Silent => "silent".into(),
                other => format!("{other:?}"),
            },
        },
        switchboard::NodeEvent::Missed(count) => NodeEvent::Missed(count),
        other => panic!("an event that the test server does not know: {other:?}"),
    }
}
