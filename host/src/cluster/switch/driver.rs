//! The task of the switch: feeds the machine with what happens, and does what it says.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    control,
    handle::{Ask, SwitchError, Switched, millis, since},
    lines::{Lines, Opening},
    machine::{Action, Input, LineId, Machine, Outcome, Report},
    message::{ControlMessage, Text},
    publisher::Left,
    subscriber::Order,
};
use crate::cluster::{Cluster, Namespace, NodeEvent, NodeEvents, NodeId, link::Membership};

/// How long the backend may take to count the servers of a namespace.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Driver {
    machine: Machine,
    cluster: Cluster,
    control: Namespace,
    lines: Lines,
    home: LineId,
    heard: mpsc::Receiver<Input>,
    asks: mpsc::Receiver<Ask>,
    nodes: NodeEvents,
    /// Who is in the control namespace, as far as the machine was told.
    members: BTreeSet<NodeId>,
    reports: watch::Sender<Arc<Report>>,
    begun: Option<Begun>,
    actions: Vec<Action>,
}

/// A switch that was asked for here.
struct Begun {
    from: Text,
    at: std::time::Instant,
    reply: oneshot::Sender<Result<Switched, SwitchError>>,
}

/// What happened.
enum Happened {
    Input(Input),
    Opening(Opening),
    Left(Left),
    Ask(Ask),
    Node(NodeEvent),
    Over,
}

impl Driver {
    pub(super) fn new(
        machine: Machine,
        cluster: Cluster,
        lines: Lines,
        heard: mpsc::Receiver<Input>,
        asks: mpsc::Receiver<Ask>,
        reports: watch::Sender<Arc<Report>>,
    ) -> Self {
        // Before the first look at who is there, so that nobody is missed.
        let nodes = cluster.control_events();
        Self {
            machine,
            control: Namespace::from(control::NAMESPACE),
            cluster,
            lines,
            home: super::Switchable::HOME,
            heard,
            asks,
            nodes,
            members: BTreeSet::new(),
            reports,
            begun: None,
            actions: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let way = self.lines.way();
        self.cluster.enter(control::Nobody::new());
        self.handle(Input::Tick).await;
        loop {
            self.lines.reap();
            let tick = self.machine.wake_at();
            let happened = tokio::select! {
                Some(input) = self.heard.recv() => Happened::Input(input),
                opening = self.lines.opened() => Happened::Opening(opening),
                left = way.left() => Happened::Left(left),
                ask = self.asks.recv() => ask.map_or(Happened::Over, Happened::Ask),
                event = self.nodes.next() => event.map_or(Happened::Over, Happened::Node),
                () = at(tick) => Happened::Input(Input::Tick),
            };
            match happened {
                Happened::Input(input) => self.handle(input).await,
                Happened::Opening(opening) => {
                    let input = self.lines.take_in(opening).await;
                    self.handle(input).await;
                }
                Happened::Left(left) => {
                    let input = self.lines.has_left(left).await;
                    self.handle(input).await;
                }
                Happened::Ask(Ask::To {
                    transport,
                    force,
                    reply,
                }) => self.begin(transport, force, reply).await,
                Happened::Ask(Ask::Abort(reply)) => {
                    let was_begun = self.begun.is_some();
                    self.handle(Input::Abort).await;
                    // The asker may have gone.
                    let _ = reply.send(was_begun && self.begun.is_none());
                }
                Happened::Ask(Ask::Close(reply)) => {
                    self.lines.shut().await;
                    let _ = reply.send(());
                    return;
                }
                Happened::Node(event) => self.node(event).await,
                Happened::Over => return,
            }
        }
    }

    async fn node(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Joined { node, .. } => self.joined(node).await,
            NodeEvent::Left { node, .. } => self.gone(node).await,
            NodeEvent::Missed(_) => {
                let now: BTreeSet<NodeId> = self
                    .cluster
                    .nodes(&self.control)
                    .into_iter()
                    .map(|node| node.id)
                    .collect();
                let (before, here) = (self.members.clone(), now);
                for node in before.difference(&here) {
                    self.gone(node.clone()).await;
                }
                for node in here.difference(&before) {
                    self.joined(node.clone()).await;
                }
            }
        }
    }

    async fn joined(&mut self, node: NodeId) {
        if self.members.insert(node) {
            self.handle(Input::Joined).await;
        }
    }

    async fn gone(&mut self, node: NodeId) {
        self.members.remove(&node);
        self.handle(Input::Gone(node)).await;
    }

    async fn begin(
        &mut self,
        to: Text,
        force: bool,
        reply: oneshot::Sender<Result<Switched, SwitchError>>,
    ) {
        if self.begun.is_some() {
            let why = "this server is in the middle of another one: wait for its end, or abort it";
            let _ = reply.send(Err(SwitchError::Refused(why.to_owned())));
            return;
        }
        if !force && let Some(others) = self.others().await {
            let _ = reply.send(Err(others));
            return;
        }
        let report = self.machine.report();
        self.begun = Some(Begun {
            from: report.on,
            at: Instant::now().into_std(),
            reply,
        });
        let members = self.members.iter().cloned().collect();
        self.handle(Input::Begin { to, members }).await;
    }

    /// Servers that would be left behind.
    async fn others(&self) -> Option<SwitchError> {
        let mut others = BTreeSet::new();
        let mut unnamed = 0;
        // Also those that were heard about switches only: a server that has just come knows no more.
        let peers = self.machine.report().peers;
        let mut ours: BTreeSet<NodeId> = peers.into_iter().map(|peer| peer.node).collect();
        ours.extend(self.members.iter().cloned());
        let info = self.cluster.transport_info(COUNT_TIMEOUT).await;
        for namespace in self.cluster.shared().namespaces.names() {
            let named = self.cluster.nodes(&namespace);
            let named: BTreeSet<NodeId> = named.into_iter().map(|node| node.id).collect();
            others.extend(named.difference(&ours).cloned());
            if info.membership == Membership::Counted {
                let counted = self.cluster.counted_others(&namespace, COUNT_TIMEOUT).await;
                let known = named.union(&ours).count();
                let more = counted.unwrap_or(0).saturating_sub(known);
                unnamed = unnamed.max(u32::try_from(more).unwrap_or(u32::MAX));
            }
        }
        let nodes: Vec<String> = others.iter().map(NodeId::to_string).collect();
        (!nodes.is_empty() || unnamed > 0).then_some(SwitchError::Others { nodes, unnamed })
    }

    async fn handle(&mut self, input: Input) {
        let now = Instant::now().into_std();
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle(input, now, &mut actions);
        for action in actions.drain(..) {
            self.act(action).await;
        }
        self.actions = actions;
        self.reports.send_replace(Arc::new(self.machine.report()));
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Open { line, transport } => {
                let namespaces = self.cluster.shared().namespaces.clone();
                self.lines.open(line, &transport, namespaces);
            }
            Action::Close(line) => self.lines.close(line).await,
            Action::Tell { line, say } => self.tell(line, &say),
            Action::Leave { to, mark } => self.leave(to, &mark).await,
            Action::LeaveNow => self.lines.leave_now(),
            Action::MergeStart {
                old,
                new,
                after,
                awaited,
            } => self.lines.merge(old, new, after, awaited).await,
            Action::Expect { node, version } => {
                self.lines.order(Order::Expect { node, version }).await;
            }
            Action::Ended { node, forced } => {
                let sender = node;
                self.lines.order(Order::Ended { sender, forced }).await;
            }
            Action::MergeEnd => self.lines.order(Order::MergeEnd).await,
            Action::Gap { why } => self.lines.order(Order::Gap(why)).await,
            Action::Finished(outcome) => self.finished(outcome),
            Action::Log { warn: true, text } => tracing::warn!("switch: {text}"),
            Action::Log { warn: false, text } => tracing::info!("switch: {text}"),
        }
    }

    fn tell(&self, line: LineId, message: &ControlMessage) {
        let text = control::text(message);
        let message = control::message(self.cluster.node(), text);
        if !self.lines.tell(line, message.clone()) && line == self.home {
            let outbox = &self.cluster.shared().outbox;
            outbox.notice(&self.control, message.body);
        }
    }

    async fn leave(&mut self, to: LineId, mark: &ControlMessage) {
        let text = control::text(mark);
        if !self.lines.leave(to, text.clone()).await {
            tracing::error!(
                "switch: the way out of the new transport has panicked, so this server stays on the \
                 old one and must be restarted; the lines above say where"
            );
            return;
        }
        self.home = to;
        let outbox = &self.cluster.shared().outbox;
        if !outbox.notice(&self.control, control::body(text)) {
            // There is no room for the mark: others hear of it all the same.
            self.lines.leave_now();
        }
    }

    fn finished(&mut self, outcome: Outcome) {
        let Some(Begun { from, at, reply }) = self.begun.take() else {
            return;
        };
        let all = |nodes: Vec<NodeId>| nodes.iter().map(NodeId::to_string).collect();
        let result = match outcome {
            Outcome::Switched {
                to,
                gone,
                unfinished,
                ..
            } => Ok(Switched {
                from: from.to_string(),
                to: to.to_string(),
                gone: all(gone),
                unfinished: all(unfinished),
                took_ms: millis(since(at)),
            }),
            Outcome::Aborted { why } => Err(SwitchError::Aborted(why)),
            Outcome::Refused { why } => Err(SwitchError::Refused(why)),
        };
        // The asker may have gone.
        let _ = reply.send(result);
    }
}

async fn at(time: Option<std::time::Instant>) {
    match time {
        Some(time) => sleep_until(Instant::from_std(time)).await,
        None => std::future::pending().await,
    }
}
