//! The handle on a running cluster: start, namespaces, sending, close. Requests that wait for
//! answers are in `ask.rs` and `servers.rs`, the handlers of other nodes' calls in `handlers.rs`.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OnceCell, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{
    CLOSE_GRACE,
    call_task::{self, CallTask},
    calls::Calls,
    error::SendError,
    heartbeat,
    inbox::Inbox,
    link::{Publisher, Subscriber, TransportInfo},
    local::Local,
    message::{Body, Namespace, NodeId},
    node_events::NodeEvents,
    nodes::{ClusterNode, NodeInfo},
    options::{ClusterOptions, bounded_wait},
    parked::Admission,
    publish::{CountQuery, PublishTask},
    shared::Shared,
    stats::Stats,
};

/// Questions for the number of nodes that may wait for the publishing task; more wait to wait.
const MAX_COUNT_QUERIES: usize = 256;

/// This server's membership in a cluster, over one transport. Cheap to clone.
///
/// Call [`close`](Self::close) before the last clone goes: dropping it only aborts its tasks, and
/// what the outbox still holds is lost. If a handler owns a clone, only `close` ends the cluster.
#[derive(Clone)]
pub struct Cluster(pub(super) Arc<Inner>);

/// A [`Cluster`] that does not keep it alive.
#[derive(Clone)]
pub struct WeakCluster(Weak<Inner>);

impl WeakCluster {
    /// The cluster, while somebody else still holds it.
    pub fn upgrade(&self) -> Option<Cluster> {
        self.0.upgrade().map(Cluster)
    }
}

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    /// For the publishing task, which owns the publisher.
    pub(super) counts: mpsc::Sender<CountQuery>,
    /// None until the transport has worked once.
    pub(super) info: watch::Receiver<Option<TransportInfo>>,
    /// Some: closing, and until when the outbox may be emptied.
    closing: watch::Sender<Option<Instant>>,
    /// Taken by `close`; dropping it aborts them.
    tasks: Mutex<Option<JoinSet<()>>>,
    pub(super) calls: Arc<Calls>,
    /// The task that runs the handlers, apart from the others because one of its handlers may be
    /// the one who closes.
    call_task: Mutex<Option<RunningCalls>>,
    closed: OnceCell<()>,
}

/// Dropping it aborts the handlers.
struct RunningCalls {
    task: JoinSet<()>,
    stop: oneshot::Sender<()>,
}

impl Cluster {
    /// Joins a cluster: spawns the tasks that publish, poll and send heartbeats.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(
        node: NodeId,
        options: ClusterOptions,
        publisher: Box<dyn Publisher>,
        subscriber: Box<dyn Subscriber>,
    ) -> Self {
        let shared = Arc::new(Shared::new(node, options.normalised()));
        let (counts, count_queries) = mpsc::channel(MAX_COUNT_QUERIES);
        let (learned, info) = watch::channel(None);
        let (closing, closing_seen) = watch::channel(None);
        let publish = PublishTask::new(publisher, shared.clone(), count_queries, learned);
        let (calls, queued_calls) = Calls::new(shared.clone());
        let calls = Arc::new(calls);
        let inbox = Inbox::new(shared.clone(), calls.clone(), subscriber);

        let mut tasks = JoinSet::new();
        tasks.spawn(publish.run(closing_seen.clone()));
        tasks.spawn(inbox.run(closing_seen.clone()));
        tasks.spawn(until_closing(heartbeat::run(shared.clone()), closing_seen));
        let tasks = Mutex::new(Some(tasks));
        let (stop, stopped) = oneshot::channel();
        let call_task = CallTask::new(shared.clone(), queued_calls);
        let mut task = JoinSet::new();
        task.spawn(call_task.run(closing.subscribe(), stopped));
        let call_task = Mutex::new(Some(RunningCalls { task, stop }));
        Self(Arc::new(Inner {
            shared,
            counts,
            info,
            closing,
            tasks,
            calls,
            call_task,
            closed: OnceCell::new(),
        }))
    }

    /// This node's id.
    pub fn node(&self) -> &NodeId {
        &self.shared().node
    }

    /// The options in effect: those given to [`start`](Self::start), with impossible values
    /// brought into range.
    pub fn options(&self) -> &ClusterOptions {
        &self.shared().options
    }

    /// This server now serves a namespace. Takes effect at once: messages that arrive from now on
    /// reach `local`. Telling the transport, and then the other nodes, follows in the background.
    ///
    /// The cluster holds `local` until [`leave`](Self::leave) or [`close`](Self::close): a `Local`
    /// must not own what decides about leaving, or neither is ever dropped. Entering a namespace
    /// again replaces its `local`.
    ///
    /// Over `max_namespaces`, and after `close`, the namespace is served locally only; an error in
    /// the log says so.
    pub fn enter(&self, local: Arc<dyn Local>) {
        let namespace = local.namespace().clone();
        if !self.shared().namespaces.enter(local) {
            tracing::error!(
                %namespace,
                "cluster: the namespace is served by this server alone, because the cluster is \
                 closed or max_namespaces = {} is reached",
                self.options().max_namespaces
            );
        }
    }

    /// The local side of a namespace; None when this server has not entered it.
    pub fn local(&self, namespace: &Namespace) -> Option<Arc<dyn Local>> {
        self.shared().namespaces.local(namespace)
    }

    /// A handle that does not keep the cluster alive, for what the cluster itself owns: its
    /// transport, its locals.
    pub fn downgrade(&self) -> WeakCluster {
        WeakCluster(Arc::downgrade(&self.0))
    }

    /// This server no longer serves a namespace: forgets its [`Local`] and the nodes in it, ends
    /// the requests that wait there, and says goodbye to the other nodes. Does not wait for the
    /// transport. A namespace that was not entered is ignored.
    pub async fn leave(&self, namespace: &Namespace) {
        if self.shared().namespaces.leave(namespace) {
            self.forget(namespace);
        }
    }

    fn forget(&self, namespace: &Namespace) {
        let shared = self.shared();
        shared.outbox.farewell(namespace);
        shared.requests.end_namespace(namespace);
        shared.nodes.forget_namespace(namespace);
    }

    /// Queues a message for all other nodes. Messages of one caller arrive everywhere in the
    /// order of these calls.
    ///
    /// In a namespace that this server has not entered, or has left, the message goes out under the
    /// sender [`EMITTER`](super::EMITTER), so that the others do not take this server for a member:
    /// they would wait for its answers.
    ///
    /// Waits only while the outbox is full and its policy is to wait; never for a round trip.
    /// Dropping the future before it ends sends nothing, unless there was room just then.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] under the policy `fail`, [`SendError::Closed`] after
    /// [`close`](Self::close) has begun, [`SendError::NotServed`] for a question or an answer in a
    /// namespace that this server has not entered.
    pub async fn send(&self, namespace: &Namespace, body: Body) -> Result<(), SendError> {
        self.shared().outbox.send(namespace, body).await
    }

    /// The same in two steps: if it has to wait, what has to be waited for.
    pub(crate) fn send_now(
        &self,
        namespace: &Namespace,
        body: Body,
    ) -> Result<Result<(), SendError>, Admission<'_>> {
        self.shared().outbox.send_now(namespace, body)
    }

    /// The same, for callers with a deadline.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::NoRoomInTime`] when there was no room in the outbox
    /// until then: nothing was sent.
    pub async fn send_until(
        &self,
        deadline: Instant,
        namespace: &Namespace,
        body: Body,
    ) -> Result<(), SendError> {
        let sent = timeout_at(deadline, self.send(namespace, body)).await;
        sent.unwrap_or(Err(SendError::NoRoomInTime))
    }

    /// The deadline of a request that may take so long (default: `request_timeout`) from now, cut
    /// to the longest wait that the cluster allows.
    pub fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + bounded_wait(timeout.unwrap_or(self.options().request_timeout))
    }

    /// This server and the other nodes that were heard in a namespace; none are in one that this
    /// server has not entered. Over a transport whose
    /// nodes are counted, [`count_servers`](Self::count_servers) knows better.
    pub fn server_count(&self, namespace: &Namespace) -> usize {
        1 + self.shared().nodes.count(namespace)
    }

    /// The other nodes that were heard in a namespace, in no particular order.
    pub fn nodes(&self, namespace: &Namespace) -> Vec<NodeInfo> {
        self.shared().nodes.infos(namespace)
    }

    /// The other nodes that were heard in any namespace of this server, sorted by id.
    pub fn all_nodes(&self) -> Vec<ClusterNode> {
        self.shared().nodes.all()
    }

    /// Tells from now on which nodes come to the namespaces of this server and which leave them.
    /// To know all nodes at any time, listen first, then ask for [`all_nodes`](Self::all_nodes):
    /// an event may then tell again what the list has, but nothing is missed.
    ///
    /// When this server itself leaves a namespace, the others in it are forgotten and no event
    /// says so; when it enters again, they join anew as they are heard. Each reader may be up to
    /// 1,024 events behind; then it is told how many it has missed.
    pub fn node_events(&self) -> NodeEvents {
        self.shared().nodes.listen()
    }

    /// The same of the servers that can change their transport together with this one.
    pub(super) fn control_events(&self) -> NodeEvents {
        self.shared().nodes.listen_to_control()
    }

    /// Says for how many packets each socket of this server has room; see
    /// [`InboxOptions::slice`](super::InboxOptions::slice).
    pub(crate) fn sockets_hold(&self, packets: usize) {
        self.shared().sockets_hold(packets);
    }

    /// A snapshot of what is counted.
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Leaves the cluster: says goodbye in every namespace, forgets all handlers, ends all requests
    /// with what they have, goes on sending what the outbox holds for `close_timeout` at most, and
    /// closes the transport. Handlers that run may go on meanwhile, but their answers are not sent
    /// any more; at the end they are aborted. Every call ends when that is done; only the first
    /// one does it.
    ///
    /// A handler may close the cluster, too: then no handler is aborted before the last clone of
    /// this handle goes.
    ///
    /// Dropping the future before it ends aborts the rest.
    pub async fn close(&self) {
        self.0.closed.get_or_init(|| self.close_once()).await;
    }

    async fn close_once(&self) {
        let shared = self.shared();
        for namespace in shared.namespaces.close() {
            self.forget(&namespace);
        }
        shared.handlers.close();
        shared.nodes.close_news();
        shared.requests.close();
        shared.outbox.close();
        let flushed_by = Instant::now() + shared.options.close_timeout;
        self.0.closing.send_replace(Some(flushed_by));

        if let Some(mut tasks) = take(&self.0.tasks) {
            // The tasks watch the times themselves; this is for a transport that blocks one.
            let all_by = flushed_by + CLOSE_GRACE + CLOSE_GRACE;
            let joined = timeout_at(all_by, async { while tasks.join_next().await.is_some() {} });
            if joined.await.is_err() {
                tracing::error!("cluster: the transport did not let the cluster close in time");
            }
        }
        // A handler that waits for this must not be made to wait for its own end.
        if !call_task::in_handler_of(shared) {
            self.end_calls().await;
        }
    }

    async fn end_calls(&self) {
        let Some(RunningCalls { mut task, stop }) = take(&self.0.call_task) else {
            return;
        };
        drop(stop);
        let joined = timeout(CLOSE_GRACE, async {
            while task.join_next().await.is_some() {}
        });
        if joined.await.is_err() {
            tracing::error!("cluster: a handler that blocks its thread is left behind");
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

fn take<T>(value: &Mutex<Option<T>>) -> Option<T> {
    value.lock().unwrap_or_else(PoisonError::into_inner).take()
}

async fn until_closing(
    task: impl Future<Output = ()>,
    mut closing: watch::Receiver<Option<Instant>>,
) {
    tokio::select! {
        () = task => {}
        _ = closing.wait_for(Option::is_some) => {}
    }
}
