//! One process on the bus: its state, and finding a hub for it, which may be itself.
//!
//! The state is behind one lock, between the plugin's calls ([`super::Bus`]) and the task that
//! keeps the connection ([`Member::run`], [`super::session`]).

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::UnixStream,
    sync::{Notify, Semaphore},
    time::{Instant, sleep},
};

use super::{
    BusEvent, BusOptions, BusRole, BusStatus, hub::Hub, inbox::Inbox, outbox::Outbox, session::End,
};
use crate::{
    capabilities::handout::Rollback,
    socket_place::{NoConnection, Place},
};

/// Pauses between two attempts to find the hub. They differ, so that processes do not meet again
/// and again.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(50);
/// Pause when something has to be mended first.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// A bus that is away for so long is reported to the plugin. Takeovers are quicker.
const TROUBLE_AFTER: Duration = Duration::from_secs(1);

/// One membership.
pub(super) struct Member {
    pub(super) id: Arc<str>,
    pub(super) incarnation: u64,
    pub(super) options: BusOptions,
    /// Bytes of own frames that may still be accepted.
    pub(super) room: Arc<Semaphore>,
    /// Events were added, or can be had again.
    pub(super) arrived: Notify,
    /// Events were taken.
    pub(super) drained: Notify,
    /// There is something to write.
    pub(super) outgoing: Notify,
    pub(super) closing: Notify,
    /// Frames became stable.
    settled: Notify,
    place: Place,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    /// Entries taken on this connection.
    pub(super) taken: u64,
    /// How many of them the hub was told.
    pub(super) confirmed: u64,
    pub(super) role: BusRole,
    /// The hub of this connection, or of the last one.
    pub(super) hub: Option<Arc<str>>,
    /// The hub's process may have ended.
    pub(super) hub_in_doubt: bool,
    /// Why there is no connection, and since when.
    pub(super) trouble: Option<(Instant, String)>,
    /// Nothing more is accepted: what there is goes out, then goodbye.
    pub(super) closing: bool,
}

impl Member {
    pub(super) fn new(id: Arc<str>, options: BusOptions, place: Place) -> Self {
        let room = Arc::new(Semaphore::new(options.max_unstable_bytes));
        let state = State {
            inbox: Inbox::new(Arc::clone(&id), options.max_queued_bytes),
            outbox: Outbox::new(Arc::clone(&id), Arc::clone(&room)),
            taken: 0,
            confirmed: 0,
            role: BusRole::Connecting,
            hub: None,
            hub_in_doubt: false,
            trouble: Some((Instant::now(), "the bus is not reached yet".to_owned())),
            closing: false,
        };
        Self {
            id,
            incarnation: random(),
            options,
            room,
            arrived: Notify::new(),
            drained: Notify::new(),
            outgoing: Notify::new(),
            closing: Notify::new(),
            settled: Notify::new(),
            place,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What the plugin's calls need.

    /// Accepts frames that hold this much room.
    pub(super) fn send(&self, frames: Vec<Bytes>, room: usize) {
        self.lock().outbox.push(frames, room);
        self.outgoing.notify_one();
    }

    pub(super) fn subscribe(&self) {
        self.lock().inbox.subscribe();
    }

    /// None: wait. An empty list: do not.
    pub(super) fn take(&self, max_events: usize, max_bytes: usize) -> Option<Vec<BusEvent>> {
        let mut state = self.lock();
        let events = state.inbox.take(max_events, max_bytes);
        (!events.is_empty() || state.inbox.is_holding_back()).then_some(events)
    }

    pub(super) fn commit(&self) {
        self.lock().inbox.commit();
        self.drained.notify_one();
        self.arrived.notify_waiters();
    }

    pub(super) fn rollback(&self, reason: Rollback) {
        if self.lock().inbox.rollback(reason) {
            tracing::error!(
                member = %self.id,
                "an event of the bus is skipped, because the plugin died over it repeatedly"
            );
        }
        self.drained.notify_one();
        self.arrived.notify_waiters();
    }

    /// Why the bus has been away for longer than a moment.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.lock();
        let (since, why) = state.trouble.as_ref()?;
        (since.elapsed() >= TROUBLE_AFTER).then(|| why.clone())
    }

    /// For a sender that waited in vain.
    pub(super) fn no_room(&self) -> String {
        let state = self.lock();
        let frames = state.outbox.len();
        match &state.trouble {
            Some((_, why)) => format!("{frames} frames wait because {why}"),
            None => format!("{frames} frames wait for other members to take them"),
        }
    }

    pub(super) fn status(&self) -> BusStatus {
        let state = self.lock();
        let mut members: Vec<_> = state.inbox.peers().map(|(id, _)| id.to_string()).collect();
        members.sort_unstable();
        BusStatus {
            role: state.role,
            hub: state.hub.as_deref().map(str::to_owned),
            members,
            queued_events: state.inbox.len(),
            queued_bytes: state.inbox.bytes(),
            unstable_frames: state.outbox.len(),
            unstable_bytes: state.outbox.bytes(),
            missed_frames: state.inbox.missed(),
            trouble: state.trouble.as_ref().map(|(_, why)| why.clone()),
        }
    }

    /// Returns when all members have taken everything.
    pub(super) async fn flushed(&self) {
        loop {
            let settled = self.settled.notified();
            if self.lock().outbox.len() == 0 {
                return;
            }
            settled.await;
        }
    }

    pub(super) fn is_stable(&self, state: &mut State, seq: u64) {
        state.outbox.is_stable(seq);
        self.settled.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.closing.notify_one();
        self.outgoing.notify_one();
    }

    // The task.

    /// Keeps the process on the bus until it is closed. Dropped, it takes the hub with it if that
    /// runs here.
    pub(super) async fn run(self: Arc<Self>) {
        let mut hub: Option<Hub> = None;
        loop {
            let stream = tokio::select! {
                stream = self.find(&mut hub) => stream,
                () = self.closing.notified() => break,
            };
            let end = self.session(stream).await;
            let pause = self.ended(&end);
            if matches!(end, End::Closed) || self.lock().closing {
                break;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.closing.notified() => break,
            }
        }
        if let Some(hub) = hub {
            hub.leave().await;
        }
        self.note_trouble("the bus is closed");
    }

    /// Connects to the hub, becoming it if there is none.
    async fn find(&self, hub: &mut Option<Hub>) -> UnixStream {
        loop {
            if hub.as_ref().is_some_and(Hub::is_finished) {
                *hub = None;
            }
            let pause = match self.place.connect().await {
                Ok(stream) => return stream,
                Err(NoConnection::Nobody) => {
                    self.hub_is_gone();
                    // If it runs here its socket was removed, and it is of no more use.
                    *hub = None;
                    match self.serve() {
                        Ok(Some(started)) => {
                            *hub = Some(started);
                            continue;
                        }
                        Ok(None) => {
                            self.note_trouble("another process is about to serve the bus");
                            retry_pause()
                        }
                        Err(error) => self.report(&error),
                    }
                }
                Err(NoConnection::Busy) => {
                    self.note_trouble("the process that serves the bus has too much to do");
                    retry_pause()
                }
                Err(NoConnection::Trouble(error)) => self.report(&error),
            };
            sleep(pause).await;
        }
    }

    fn serve(&self) -> io::Result<Option<Hub>> {
        let Some(served) = self.place.serve()? else {
            return Ok(None);
        };
        tracing::debug!(
            member = %self.id,
            path = %self.options.path.display(),
            "this process serves the bus"
        );
        let id = Arc::clone(&self.id);
        Ok(Some(Hub::start(
            served,
            id,
            self.incarnation,
            &self.options,
        )))
    }

    /// Something that does not mend itself. Returns how long to wait.
    fn report(&self, error: &io::Error) -> Duration {
        let path = self.options.path.display();
        let why = format!("the bus at {path} cannot be used: {error}");
        if self.note_trouble(&why) {
            tracing::warn!(member = %self.id, "{why}");
        }
        TROUBLE_PAUSE
    }

    /// True if this is news.
    fn note_trouble(&self, why: &str) -> bool {
        let mut state = self.lock();
        match &mut state.trouble {
            Some((_, known)) if known == why => false,
            Some((_, known)) => {
                why.clone_into(known);
                true
            }
            none => {
                *none = Some((Instant::now(), why.to_owned()));
                true
            }
        }
    }

    /// Nobody listens at the socket: the hub that was lost is not merely slow.
    fn hub_is_gone(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.hub_in_doubt)
            && let Some(hub) = state.hub.take()
        {
            state.inbox.left(&hub);
            drop(state);
            self.arrived.notify_waiters();
        }
    }

    /// Notes the end of a session. Returns how long to wait before the next.
    fn ended(&self, end: &End) -> Duration {
        let (why, pause) = match end {
            End::Closed => ("the bus is closed".to_owned(), Duration::ZERO),
            End::HubGone => (
                "the process that served the bus is gone".to_owned(),
                Duration::ZERO,
            ),
            End::Moved => (
                "the socket of the bus was removed".to_owned(),
                retry_pause(),
            ),
            End::Silent => (
                "the process that serves the bus does not answer".to_owned(),
                retry_pause(),
            ),
            End::Stalled(why) => (why.clone(), Duration::ZERO),
            End::Refused(why) => (why.clone(), TROUBLE_PAUSE),
        };
        {
            let mut state = self.lock();
            state.role = BusRole::Connecting;
            state.hub_in_doubt = !matches!(end, End::Moved);
        }
        let is_news = self.note_trouble(&why);
        if is_news && matches!(end, End::Stalled(_) | End::Refused(_)) {
            tracing::warn!(member = %self.id, "the connection to the bus was cut: {why}");
        }
        pause
    }
}

fn retry_pause() -> Duration {
    let span = (RETRY_MAX - RETRY_MIN).as_micros().max(1);
    let part = u128::from(random()) % span;
    RETRY_MIN + Duration::from_micros(u64::try_from(part).unwrap_or_default())
}

/// Unpredictable enough for jitter and for telling two processes apart.
fn random() -> u64 {
    // RandomState is seeded by the operating system.
    RandomState::new().build_hasher().finish()
}
