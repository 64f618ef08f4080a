//! A plugin's socket: who owns it, the connection that it has, and the attempts to make one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    TcpError,
    connector::{Connector, Stream, Trouble},
    endpoint::Endpoint,
    flow::Flow,
    options::TcpOptions,
    session,
    status::{Health, SocketStatus},
};
use crate::capabilities::backoff::{Backoff, STABLE_AFTER};

/// Connections of one socket that still send what was written when they were closed.
const MAX_CLOSING: usize = 4;

/// A plugin's socket. Clones share it.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Core>);

/// A connection that stands, for whoever asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(super) flow: Arc<Flow>,
    /// What an instance before has left.
    pub(super) note: Option<Arc<[u8]>>,
    /// None stood before.
    pub(super) is_first: bool,
}

struct Core {
    connector: Arc<Connector>,
    options: Arc<TcpOptions>,
    health: Arc<Health>,
    state: Mutex<State>,
    /// A connection was made, an attempt has failed, or somebody else owns it.
    changed: Notify,
}

struct State {
    /// The number of the instance that owns it; numbers only grow.
    owner: u64,
    link: Option<Link>,
    dial: Option<Dial>,
    closing: Vec<Task>,
    backoff: Backoff,
    /// Which of the addresses worked last.
    favourite: usize,
    /// A connection has stood.
    is_used: bool,
}

/// A connection and its task.
struct Link {
    flow: Arc<Flow>,
    task: Task,
    since: Instant,
    is_first: bool,
}

/// Attempts to make one.
struct Dial {
    wanted: Option<Endpoint>,
    /// All addresses failed, and nobody has been told.
    news: Option<Trouble>,
    _task: Task,
}

/// Ends with this value.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Socket {
    pub(super) fn new(
        connector: Arc<Connector>,
        options: Arc<TcpOptions>,
        health: Arc<Health>,
    ) -> Self {
        let state = State {
            owner: 0,
            link: None,
            dial: None,
            closing: Vec::new(),
            backoff: Backoff::new(),
            favourite: 0,
            is_used: false,
        };
        Self(Arc::new(Core {
            connector,
            options,
            health,
            state: Mutex::new(state),
            changed: Notify::new(),
        }))
    }

    /// Waits up to `wait` to be connected, and makes whoever asks the owner; `owner` is its number
    /// from then on. None: time is up, and the attempts go on. May be dropped at any time. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`TcpError::Unavailable`]: all addresses have failed, or somebody else owns it meanwhile.
    pub(super) async fn connect(
        &self,
        owner: &mut Option<u64>,
        wanted: Option<&Endpoint>,
        wait: Duration,
    ) -> Result<Option<Linked>, TcpError> {
        let own = {
            let mut state = self.0.lock();
            let is_other = *owner != Some(state.owner);
            if is_other {
                state.owner += 1;
                *owner = Some(state.owner);
                self.0.changed.notify_waiters();
                if let Some(linked) = state.link.as_ref().and_then(Link::resume) {
                    return Ok(Some(linked));
                }
                state.end_link();
            }
            if state.link.as_ref().is_some_and(|link| !link.flow.is_open()) {
                state.end_link();
            }
            let is_dialing = |dial: &Dial| dial.wanted.as_ref() == wanted;
            if state.link.is_none() && !state.dial.as_ref().is_some_and(is_dialing) {
                state.dial = Some(Core::dial(&self.0, wanted.cloned(), state.pause()));
            }
            state.owner
        };
        let connecting = async {
            loop {
                let changed = self.0.changed.notified();
                tokio::pin!(changed);
                // Registered before the state is looked at, so that nothing slips between.
                changed.as_mut().enable();
                if let Some(answer) = self.0.lock().look(own) {
                    return answer.map(Some);
                }
                changed.await;
            }
        };
        timeout(wait, connecting).await.unwrap_or(Ok(None))
    }

    /// The connection of this owner.
    ///
    /// # Errors
    /// [`TcpError::Unavailable`]: there is none.
    pub(super) fn flow(&self, owner: Option<u64>) -> Result<Arc<Flow>, TcpError> {
        let state = self.0.lock();
        if owner != Some(state.owner) {
            let why = match owner {
                None => "not connected: call `connect` first",
                Some(_) => "another instance has taken this socket over: call `connect`",
            };
            return Err(TcpError::Unavailable(why.to_owned()));
        }
        match &state.link {
            Some(link) => Ok(Arc::clone(&link.flow)),
            None => Err(TcpError::Unavailable(
                "not connected: call `connect`".to_owned(),
            )),
        }
    }

    /// Ends the connection, if this is the owner. Does not wait.
    pub(super) fn close(&self, owner: Option<u64>) {
        let mut state = self.0.lock();
        if owner == Some(state.owner) {
            state.dial = None;
            state.end_link();
            self.0.health.idle();
        }
    }

    /// The owner is gone. What it did not leave to a successor ends.
    pub(super) fn release(&self, owner: Option<u64>) {
        let mut state = self.0.lock();
        if owner != Some(state.owner) {
            return;
        }
        state.dial = None;
        let is_left = |link: &Link| !link.flow.is_fleeting();
        if !state.link.as_ref().is_some_and(is_left) {
            state.end_link();
            self.0.health.idle();
        }
    }

    /// Ends everything; what was written is sent, for a second at most.
    pub(super) async fn end(&self) {
        let closing = {
            let mut state = self.0.lock();
            state.owner += 1;
            state.dial = None;
            state.end_link();
            std::mem::take(&mut state.closing)
        };
        for mut task in closing {
            // It gives up by itself; the limit is for a task that cannot.
            let _ = timeout(session::CLOSE_GRACE * 2, &mut task.0).await;
        }
    }

    /// The same, at once.
    pub(super) fn abort(&self) {
        let mut state = self.0.lock();
        state.dial = None;
        state.end_link();
        state.closing.clear();
    }

    pub(super) fn status(&self) -> SocketStatus {
        let mut status = self.0.health.status();
        if let Some(link) = &self.0.lock().link {
            let counts = link.flow.counts();
            status.waiting_bytes = counts.waiting;
            status.unsent_bytes = counts.unsent;
            status.received_bytes = counts.received;
            status.sent_bytes = counts.sent;
        }
        status
    }
}

impl Link {
    fn resume(&self) -> Option<Linked> {
        let note = Some(self.flow.resume()?);
        let flow = Arc::clone(&self.flow);
        Some(Linked {
            flow,
            note,
            is_first: self.is_first,
        })
    }
}

impl State {
    /// What became of the attempts, for the owner who asked.
    fn look(&mut self, owner: u64) -> Option<Result<Linked, TcpError>> {
        if self.owner != owner {
            let why = "another instance has taken this socket over";
            return Some(Err(TcpError::Unavailable(why.to_owned())));
        }
        if let Some(link) = &self.link {
            return Some(Ok(Linked {
                flow: Arc::clone(&link.flow),
                note: None,
                is_first: link.is_first,
            }));
        }
        let Some(dial) = &mut self.dial else {
            let why = "the socket was closed";
            return Some(Err(TcpError::Unavailable(why.to_owned())));
        };
        let trouble = dial.news.take()?;
        Some(Err(TcpError::Unavailable(trouble.0)))
    }

    fn end_link(&mut self) {
        let Some(link) = self.link.take() else {
            return;
        };
        if link.since.elapsed() >= STABLE_AFTER {
            self.backoff = Backoff::new();
        }
        link.flow.close();
        self.closing.retain(|task| !task.0.is_finished());
        if self.closing.len() >= MAX_CLOSING {
            self.closing.remove(0);
        }
        self.closing.push(link.task);
    }

    /// How long to wait before the first attempt: not at all, unless the last connection was of no
    /// use either.
    fn pause(&mut self) -> Duration {
        match self.backoff.is_fresh() {
            true => Duration::ZERO,
            false => self.backoff.pause(false),
        }
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dial(core: &Arc<Self>, wanted: Option<Endpoint>, pause: Duration) -> Dial {
        let (core, goal) = (Arc::clone(core), wanted.clone());
        let task = tokio::spawn(async move { core.attempt(goal, pause).await });
        Dial {
            wanted,
            news: None,
            _task: Task(task),
        }
    }

    /// Tries until a connection stands.
    async fn attempt(self: Arc<Self>, wanted: Option<Endpoint>, mut pause: Duration) {
        loop {
            sleep(pause).await;
            match self.round(wanted.as_ref()).await {
                Ok((stream, endpoint, place)) => {
                    self.connected(stream, endpoint, place);
                    return;
                }
                Err(trouble) => {
                    let mut state = self.lock();
                    if let Some(dial) = &mut state.dial {
                        dial.news = Some(trouble);
                    }
                    pause = state.backoff.pause(false);
                }
            }
            self.changed.notify_waiters();
        }
    }

    /// Tries each address once, beginning with the one that worked last.
    async fn round(
        &self,
        wanted: Option<&Endpoint>,
    ) -> Result<(Box<dyn Stream>, Endpoint, Option<usize>), Trouble> {
        let addresses = &self.options.addresses;
        let first = self.lock().favourite;
        let places = match wanted {
            Some(endpoint) => vec![(endpoint, None)],
            None => (0..addresses.len())
                .filter_map(|n| {
                    let place = (first + n) % addresses.len();
                    Some((addresses.get(place)?, Some(place)))
                })
                .collect(),
        };
        let mut trouble = Trouble("there is no address".to_owned());
        for (endpoint, place) in places {
            match self.connector.connect(endpoint).await {
                Ok(stream) => return Ok((stream, endpoint.clone(), place)),
                Err(why) => {
                    self.health.failed(format!("{endpoint}: {why}"));
                    trouble = why;
                }
            }
        }
        Err(trouble)
    }

    fn connected(&self, stream: Box<dyn Stream>, endpoint: Endpoint, place: Option<usize>) {
        let options = &self.options;
        let flow = Flow::new(
            options.encryption,
            options.max_read_bytes,
            options.max_write_bytes,
        );
        self.health.up(endpoint.to_string());
        let task = {
            let (flow, connector) = (Arc::clone(&flow), Arc::clone(&self.connector));
            let health = Arc::clone(&self.health);
            async move {
                session::run(&flow, stream, &connector, &endpoint).await;
                if let Some(why) = flow.lost() {
                    health.lost(&why, !flow.is_closing());
                }
            }
        };
        let mut state = self.lock();
        if let Some(place) = place {
            state.favourite = place;
        }
        // A connection that does not last long enough to reset this is followed by a pause.
        state.backoff.pause(false);
        let is_first = !std::mem::replace(&mut state.is_used, true);
        state.link = Some(Link {
            is_first,
            flow,
            task: Task(tokio::spawn(task)),
            since: Instant::now(),
        });
        // This task itself; it has nothing more to do.
        state.dial = None;
        drop(state);
        self.changed.notify_waiters();
    }
}
