//! What an operator may ask of a switch, and how it stands.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Opener,
    driver::Driver,
    lines::Lines,
    machine::{Input, LineId, Machine, Report, Timing},
    message::{Phase, Text},
    publisher::{SwitchPublisher, WayOut},
    subscriber::{Order, SwitchSubscriber},
};
use crate::cluster::{
    CLOSE_GRACE, Cluster, NodeId, SwitchOptions,
    link::{Publisher, Subscriber},
};

/// Questions of operators that may wait; more wait to wait.
const MAX_ASKS: usize = 16;
/// Orders to the way in that may wait for its next turn; the task waits to give more.
const MAX_ORDERS: usize = 64;
/// What was heard of other nodes and may wait for the task. They say it again.
const MAX_HEARD: usize = 1_024;

/// Two ways that can be moved to another transport, before the cluster has them.
pub(crate) struct Switchable {
    way: Arc<WayOut>,
    orders: mpsc::Sender<Order>,
    heard: mpsc::Receiver<Input>,
}

impl Switchable {
    /// The line that a server starts with.
    pub(crate) const HOME: LineId = LineId(0);

    /// Puts what can be switched in the place of the two ways.
    pub(crate) fn new(
        node: NodeId,
        publisher: Box<dyn Publisher>,
        subscriber: Box<dyn Subscriber>,
    ) -> (Box<dyn Publisher>, Box<dyn Subscriber>, Self) {
        let way = Arc::<WayOut>::default();
        let (orders, given) = mpsc::channel(MAX_ORDERS);
        let (say, heard) = mpsc::channel(MAX_HEARD);
        let publisher = SwitchPublisher::new(Self::HOME, publisher, Arc::clone(&way));
        let subscriber = SwitchSubscriber::new(node, Self::HOME, subscriber, given, say);
        let switchable = Self { way, orders, heard };
        (Box::new(publisher), Box::new(subscriber), switchable)
    }

    /// Starts the task; `home` is the name of the transport that the two ways belong to.
    pub(crate) fn start(self, cluster: &Cluster, home: &str, opener: Arc<dyn Opener>) -> Switch {
        let node = cluster.node().clone();
        let timing = Timing::from(&cluster.options().switch);
        let machine = Machine::new(
            node.clone(),
            Text::from(home),
            Self::HOME,
            timing,
            tokio::time::Instant::now().into_std(),
        );
        let (asks, asked) = mpsc::channel(MAX_ASKS);
        let (reports, report) = watch::channel(Arc::new(machine.report()));
        let lines = Lines::new(self.way, self.orders, opener);
        let driver = Driver::new(machine, cluster.clone(), lines, self.heard, asked, reports);
        Switch {
            asks,
            report,
            task: Mutex::new(Some(tokio::spawn(driver.run()))),
        }
    }
}

impl From<&SwitchOptions> for Timing {
    fn from(options: &SwitchOptions) -> Self {
        Self {
            prepare: options.prepare_timeout,
            leave: options.leave_timeout,
            drain: options.drain_timeout,
            signpost: options.signpost,
            ..Self::default()
        }
    }
}

/// What the task is asked.
pub(super) enum Ask {
    To {
        transport: Text,
        force: bool,
        reply: oneshot::Sender<Result<Switched, SwitchError>>,
    },
    Abort(oneshot::Sender<bool>),
    Close(oneshot::Sender<()>),
}

/// The part of a server that changes its transport together with the other servers.
pub struct Switch {
    asks: mpsc::Sender<Ask>,
    report: watch::Receiver<Arc<Report>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A switch that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Switched {
    /// The transport that was left.
    pub from: String,
    /// The one that all servers are on.
    pub to: String,
    /// Servers that went away in the middle of it.
    pub gone: Vec<String>,
    /// Servers that had not said by the end that they are done. They go on on their own.
    pub unfinished: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Why the transport of the cluster was not changed. It is the same as before on every server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// The caller's: this cannot be the name of a plugin.
    #[error("{0}")]
    Name(String),
    /// This server has no transport.
    #[error(
        "this server is in no cluster (transport = \"none\"): set `transport` in its configuration \
         and start it again"
    )]
    NoCluster,
    /// Servers that cannot come along.
    #[error(
        "{} cannot come along, because only servers of Switchboard can: {}; move or stop them \
         first, or force the switch, which leaves them behind",
        count(nodes.len() + *unnamed as usize),
        names(nodes, *unnamed)
    )]
    Others {
        /// Their ids, as far as they are known.
        nodes: Vec<String>,
        /// How many more there are.
        unnamed: u32,
    },
    /// It could not begin.
    #[error("the switch was refused: {0}")]
    Refused(String),
    /// It was called off while the servers prepared for it.
    #[error("the switch was called off, and everything stays as it was: {0}")]
    Aborted(String),
    /// The caller's: this server has left the cluster.
    #[error("this server has left the cluster")]
    Closed,
}

fn count(n: usize) -> String {
    match n {
        1 => "1 server".to_owned(),
        n => format!("{n} servers"),
    }
}

fn names(nodes: &[String], unnamed: u32) -> String {
    match (nodes.is_empty(), unnamed) {
        (true, n) => format!("{n} without a name, which the backend counts"),
        (false, 0) => nodes.join(", "),
        (false, n) => format!("{} and {n} without a name", nodes.join(", ")),
    }
}

/// Where a server stands in a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SwitchPhase {
    /// No switch.
    Idle,
    /// Opens the new transport.
    Opening,
    /// Has not heard every server there yet.
    Hearing,
    /// Waits for the decision.
    Ready,
    /// Goes where the others are, and opens that transport.
    Moving,
    /// Sends the last messages over the old transport.
    Leaving,
    /// Sends over the new transport, and takes the last messages of others from the old one.
    Draining,
}

impl From<Phase> for SwitchPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Idle => Self::Idle,
            Phase::Opening => Self::Opening,
            Phase::Hearing => Self::Hearing,
            Phase::Ready => Self::Ready,
            Phase::Moving => Self::Moving,
            Phase::Leaving => Self::Leaving,
            Phase::Draining => Self::Draining,
        }
    }
}

/// How a switch stands, as seen by one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SwitchReport {
    /// How many switches were decided in this cluster, as far as this server knows.
    pub epoch: u32,
    /// The transport on which this server publishes.
    pub on: String,
    /// Where it stands.
    pub phase: SwitchPhase,
    /// Where the cluster is going, if a switch is in progress.
    pub to: Option<String>,
    /// Servers whose last messages on the old transport are awaited.
    pub awaited: Vec<String>,
    /// The transport that was left and is kept open for servers that come late.
    pub signpost: Option<String>,
    /// What the other servers have said last.
    pub nodes: Vec<SwitchNode>,
}

impl SwitchReport {
    /// What of it is a step, and not only the time that passes.
    pub(crate) fn outline(&self) -> Vec<(String, String, SwitchPhase)> {
        let own = (String::new(), self.on.clone(), self.phase);
        let others = self.nodes.iter();
        let others = others.map(|node| (node.node.clone(), node.on.clone(), node.phase));
        std::iter::once(own).chain(others).collect()
    }
}

/// Another server in a [`SwitchReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SwitchNode {
    /// Its id.
    pub node: String,
    /// The transport on which it publishes.
    pub on: String,
    /// Where it stands.
    pub phase: SwitchPhase,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Why it cannot open the new transport.
    pub failed: Option<String>,
}

impl Switch {
    /// See [`Board::switch_to`](crate::Board::switch_to).
    pub(crate) async fn to(&self, transport: &str, force: bool) -> Result<Switched, SwitchError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::To {
            transport: Text::from(transport),
            force,
            reply,
        };
        let asked = self.asks.send(ask).await;
        asked.map_err(|_| SwitchError::Closed)?;
        answer.await.unwrap_or(Err(SwitchError::Closed))
    }

    /// See [`Board::abort_switch`](crate::Board::abort_switch).
    pub(crate) async fn abort(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Abort(reply)).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// How it stands.
    pub(crate) fn report(&self) -> SwitchReport {
        let report = Arc::clone(&self.report.borrow());
        let now = tokio::time::Instant::now().into_std();
        let nodes = report.peers.iter().map(|peer| SwitchNode {
            node: peer.node.to_string(),
            on: peer.on.to_string(),
            phase: peer.phase.into(),
            for_ms: millis(now.saturating_duration_since(peer.since)),
            failed: peer.failed.as_deref().map(str::to_owned),
        });
        let is_busy = report.phase != Phase::Idle;
        let going = report.plan.as_ref().map(|plan| plan.to.to_string());
        SwitchReport {
            epoch: report.version.epoch,
            on: report.on.to_string(),
            phase: report.phase.into(),
            to: going.or_else(|| is_busy.then(|| report.home.to_string())),
            awaited: report.awaited.iter().map(NodeId::to_string).collect(),
            signpost: report.signpost.as_deref().map(str::to_owned),
            nodes: nodes.collect(),
        }
    }

    /// Ends the task; the line that this server publishes on stays.
    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.asks.send(Ask::Close(reply)).await.is_ok() {
            let _ = timeout(CLOSE_GRACE, closed).await;
        }
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
            // Ended, aborted or panicked, and the last has been reported.
            let _ = task.await;
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Since then, by the clock of the machine.
pub(super) fn since(then: Instant) -> Duration {
    let now = tokio::time::Instant::now().into_std();
    now.saturating_duration_since(then)
}
