//! Which other nodes are in which namespace, as far as this one has heard.
//!
//! A node is in a namespace when any message of it in that namespace was heard, and until it says
//! goodbye, the backend reports it gone, or nothing at all was heard of it for too long. Following
//! Node's `ClusterAdapterWithHeartbeat`, any message in any namespace is a
//! sign of life. Each change is told to those who listen, in the order of the changes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    health::Throttle,
    message::{Namespace, NodeId},
    node_events::{LeftReason, NodeEvent, NodeEvents, NodeNews},
    stats::Counters,
    switch::is_control,
};

/// Another node, as seen from one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Who.
    pub id: NodeId,
    /// When it was first heard in this namespace, by this server's clock.
    pub since: SystemTime,
    /// When it was last heard, in any namespace; never before `since`.
    pub last_heard: SystemTime,
}

/// Another node, with all namespaces that it shares with this server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterNode {
    /// Who. A Node.js server has an id for each namespace, over some backends.
    pub id: NodeId,
    /// The namespaces of this server in which it was heard, sorted.
    pub namespaces: Vec<Namespace>,
    /// When it was first heard in any of this server's namespaces, by this server's clock.
    pub since: SystemTime,
    /// When it was last heard; never before `since`.
    pub last_heard: SystemTime,
}

/// The sender of messages that come from no member: Node's emitters, processes that only send, and
/// servers in namespaces that they do not serve. No node counts it as a server.
pub const EMITTER: &str = "emitter";

/// The registry.
#[derive(Debug)]
pub(super) struct Nodes {
    limit: usize,
    registry: Mutex<Registry>,
    /// Told under the registry's lock, so that readers see its changes in their order.
    news: NodeNews,
    counters: Arc<Counters>,
    refusals: Throttle,
}

#[derive(Debug, Default)]
struct Registry {
    /// Invariant: a node is in `lives` exactly as long as it is in a namespace.
    lives: HashMap<NodeId, Life>,
    members: HashMap<Namespace, HashMap<NodeId, SystemTime>>,
}

#[derive(Debug)]
struct Life {
    since: SystemTime,
    /// For the timeout, which must not depend on a clock that is set.
    last_heard: Instant,
    namespaces: HashSet<Namespace>,
}

impl Life {
    fn new(namespace: &Namespace, since: SystemTime) -> Self {
        Self {
            since,
            last_heard: Instant::now(),
            namespaces: HashSet::from([namespace.clone()]),
        }
    }

    /// The namespaces of applications that it is in.
    fn applications(&self) -> Vec<Namespace> {
        let namespaces = self.namespaces.iter();
        namespaces
            .filter(|name| !is_control(name))
            .cloned()
            .collect()
    }

    /// When it was last heard by the clock on the wall, which may have been set since.
    fn last_heard(&self, since: SystemTime) -> SystemTime {
        let ago = self.last_heard.elapsed();
        let time = SystemTime::now().checked_sub(ago);
        time.map_or(since, |time| time.max(since))
    }
}

/// A node that is gone, and from where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) node: NodeId,
    pub(super) namespaces: Vec<Namespace>,
}

/// May this sender be a member at all?
pub(super) fn counts_as_node(sender: &NodeId) -> bool {
    !sender.as_str().is_empty() && sender.as_str() != EMITTER
}

impl Nodes {
    pub(super) fn new(limit: usize, counters: Arc<Counters>) -> Self {
        Self {
            limit,
            registry: Mutex::default(),
            news: NodeNews::new(),
            counters,
            refusals: Throttle::default(),
        }
    }

    /// Something was heard of a node, in a namespace that this server serves or in another one
    /// (None). True: it is new there.
    pub(super) fn heard(&self, node: &NodeId, namespace: Option<&Namespace>) -> bool {
        let now = Instant::now();
        let mut registry = self.lock();
        let Registry { lives, members } = &mut *registry;
        let mut life = lives.get_mut(node);
        if let Some(life) = &mut life {
            life.last_heard = now;
        }
        let Some(namespace) = namespace else {
            return false;
        };
        if life
            .as_ref()
            .is_some_and(|life| life.namespaces.contains(namespace))
        {
            return false;
        }

        let here = members.entry(namespace.clone()).or_default();
        if here.len() >= self.limit {
            drop(registry);
            self.refuse(node, namespace);
            return false;
        }
        let since = SystemTime::now();
        here.insert(node.clone(), since);
        match life {
            Some(life) => _ = life.namespaces.insert(namespace.clone()),
            None => _ = lives.insert(node.clone(), Life::new(namespace, since)),
        }
        self.news.tell(NodeEvent::Joined {
            node: node.clone(),
            namespace: namespace.clone(),
        });
        true
    }

    fn refuse(&self, node: &NodeId, namespace: &Namespace) {
        self.counters.refused_nodes.add(1);
        if let Some(more) = self.refusals.pass() {
            tracing::warn!(
                %node, %namespace, more,
                "cluster: more than max_nodes = {} nodes in one namespace: its messages are \
                 applied, but requests do not wait for it",
                self.limit
            );
        }
    }

    /// A node said goodbye in a namespace. True: it was there.
    pub(super) fn left(&self, node: &NodeId, namespace: &Namespace) -> bool {
        let mut registry = self.lock();
        let was_there = registry.leave(node, namespace);
        if was_there {
            self.tell_left(node, namespace, LeftReason::Goodbye);
        }
        was_there
    }

    /// Takes a node out of a namespace that this server does not serve any more.
    pub(super) fn forget(&self, node: &NodeId, namespace: &Namespace) {
        self.lock().leave(node, namespace);
    }

    /// The backend says that a node is gone from everywhere. None: it was nowhere.
    pub(super) fn gone(&self, node: &NodeId) -> Option<Gone> {
        let mut registry = self.lock();
        let gone = registry.remove(node)?;
        self.tell_gone(&gone, LeftReason::ReportedGone);
        Some(gone)
    }

    /// Takes out the nodes of which nothing was heard for longer than `timeout`.
    pub(super) fn expire(&self, timeout: Duration) -> Vec<Gone> {
        let now = Instant::now();
        let mut registry = self.lock();
        let silent: Vec<NodeId> = registry
            .lives
            .iter()
            .filter(|(_, life)| now.duration_since(life.last_heard) > timeout)
            .map(|(node, _)| node.clone())
            .collect();
        let gone: Vec<Gone> = silent
            .iter()
            .filter_map(|node| registry.remove(node))
            .collect();
        for gone in &gone {
            self.tell_gone(gone, LeftReason::Silent);
        }
        gone
    }

    fn tell_gone(&self, gone: &Gone, reason: LeftReason) {
        for namespace in &gone.namespaces {
            self.tell_left(&gone.node, namespace, reason);
        }
    }

    fn tell_left(&self, node: &NodeId, namespace: &Namespace, reason: LeftReason) {
        self.news.tell(NodeEvent::Left {
            node: node.clone(),
            namespace: namespace.clone(),
            reason,
        });
    }

    /// What changes from now on.
    pub(super) fn listen(&self) -> NodeEvents {
        self.news.listen()
    }

    /// The same of the servers that can change their transport together.
    pub(super) fn listen_to_control(&self) -> NodeEvents {
        self.news.listen_to_control()
    }

    /// Nothing more is told.
    pub(super) fn close_news(&self) {
        self.news.close();
    }

    /// This server has left a namespace: who else is there is no longer of interest, and they have
    /// not left, so nothing is told.
    pub(super) fn forget_namespace(&self, namespace: &Namespace) {
        let mut registry = self.lock();
        let members = registry.members.remove(namespace).unwrap_or_default();
        for node in members.into_keys() {
            registry.leave(&node, namespace);
        }
    }

    /// The nodes in a namespace.
    pub(super) fn ids(&self, namespace: &Namespace) -> Vec<NodeId> {
        self.lock()
            .members
            .get(namespace)
            .map_or_else(Vec::new, |m| m.keys().cloned().collect())
    }

    /// How many they are.
    pub(super) fn count(&self, namespace: &Namespace) -> usize {
        self.lock().members.get(namespace).map_or(0, HashMap::len)
    }

    /// More about each.
    pub(super) fn infos(&self, namespace: &Namespace) -> Vec<NodeInfo> {
        let registry = self.lock();
        let members = registry.members.get(namespace).into_iter().flatten();
        members
            .map(|(id, since)| NodeInfo {
                id: id.clone(),
                since: *since,
                last_heard: registry
                    .lives
                    .get(id)
                    .map_or(*since, |life| life.last_heard(*since)),
            })
            .collect()
    }

    /// Every node that is in any namespace, sorted by id.
    pub(super) fn all(&self) -> Vec<ClusterNode> {
        let mut all: Vec<ClusterNode> = {
            let registry = self.lock();
            let lives = registry.lives.iter();
            lives
                .map(|(id, life)| ClusterNode {
                    id: id.clone(),
                    namespaces: life.applications(),
                    since: life.since,
                    last_heard: life.last_heard(life.since),
                })
                .filter(|node| !node.namespaces.is_empty())
                .collect()
        };
        for node in &mut all {
            node.namespaces.sort_unstable();
        }
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// How many nodes are known in any namespace.
    pub(super) fn total(&self) -> usize {
        let registry = self.lock();
        let lives = registry.lives.values();
        lives.filter(|life| !life.applications().is_empty()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Takes a node out of one namespace. True: it was there.
    fn leave(&mut self, node: &NodeId, namespace: &Namespace) -> bool {
        let Some(life) = self.lives.get_mut(node) else {
            return false;
        };
        let was_there = life.namespaces.remove(namespace);
        if life.namespaces.is_empty() {
            self.lives.remove(node);
        }
        self.forget_member(node, namespace);
        was_there
    }

    fn remove(&mut self, node: &NodeId) -> Option<Gone> {
        let life = self.lives.remove(node)?;
        let namespaces: Vec<Namespace> = life.namespaces.into_iter().collect();
        for namespace in &namespaces {
            self.forget_member(node, namespace);
        }
        Some(Gone {
            node: node.clone(),
            namespaces,
        })
    }

    fn forget_member(&mut self, node: &NodeId, namespace: &Namespace) {
        if let Some(members) = self.members.get_mut(namespace) {
            members.remove(node);
            if members.is_empty() {
                self.members.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nodes(limit: usize) -> Nodes {
        Nodes::new(limit, Arc::default())
    }

    fn node(id: &str) -> NodeId {
        NodeId::from(id)
    }

    fn namespace(name: &str) -> Namespace {
        Namespace::from(name)
    }

    #[tokio::test]
    async fn a_node_is_known_where_it_was_heard() {
        let nodes = nodes(10);
        assert!(nodes.heard(&node("a"), Some(&namespace("/"))));
        assert!(
            !nodes.heard(&node("a"), Some(&namespace("/"))),
            "not new a second time"
        );
        assert_eq!(nodes.count(&namespace("/")), 1);
        assert_eq!(nodes.count(&namespace("/admin")), 0);
        assert!(!nodes.heard(&node("b"), None), "heard elsewhere only");
        assert_eq!(nodes.total(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn any_message_in_any_namespace_keeps_a_node_alive_everywhere() {
        let timeout = Duration::from_secs(10);
        let nodes = nodes(10);
        nodes.heard(&node("a"), Some(&namespace("/")));
        nodes.heard(&node("b"), Some(&namespace("/")));
        tokio::time::advance(timeout).await;
        nodes.heard(&node("a"), None);
        assert_eq!(
            nodes.expire(timeout),
            [],
            "exactly the timeout is not too long"
        );
        tokio::time::advance(Duration::from_millis(1)).await;
        let gone = nodes.expire(timeout);
        assert_eq!(
            gone,
            [Gone {
                node: node("b"),
                namespaces: vec![namespace("/")]
            }]
        );
        assert_eq!(nodes.ids(&namespace("/")), [node("a")]);
    }

    #[tokio::test]
    async fn leaving_one_namespace_is_not_leaving_the_others() {
        let nodes = nodes(10);
        nodes.heard(&node("a"), Some(&namespace("/")));
        nodes.heard(&node("a"), Some(&namespace("/admin")));
        assert!(nodes.left(&node("a"), &namespace("/")));
        assert!(!nodes.left(&node("a"), &namespace("/")));
        assert_eq!(nodes.ids(&namespace("/admin")), [node("a")]);
        assert_eq!(
            nodes.gone(&node("a")).unwrap().namespaces,
            [namespace("/admin")]
        );
        assert_eq!(nodes.gone(&node("a")), None);
        assert_eq!(nodes.total(), 0);
    }

    #[tokio::test]
    async fn a_namespace_takes_no_more_nodes_than_its_limit() {
        let nodes = nodes(2);
        for id in ["a", "b", "c"] {
            nodes.heard(&node(id), Some(&namespace("/")));
        }
        assert_eq!(nodes.count(&namespace("/")), 2);
        assert_eq!(nodes.total(), 2);
        assert_eq!(nodes.counters.refused_nodes.get(), 1);
    }

    #[tokio::test]
    async fn a_namespace_that_this_server_left_keeps_no_nodes() {
        let nodes = nodes(10);
        nodes.heard(&node("a"), Some(&namespace("/")));
        nodes.forget_namespace(&namespace("/"));
        assert_eq!(nodes.total(), 0);
        assert!(nodes.infos(&namespace("/")).is_empty());
    }

    #[test]
    fn emitters_and_anonymous_senders_are_not_nodes() {
        assert!(!counts_as_node(&node("")));
        assert!(!counts_as_node(&node("emitter")));
        assert!(counts_as_node(&node("emitter2")));
    }
}
