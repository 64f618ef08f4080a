//! The bus: processes of one machine and one user, joined over a Unix socket, with no server to
//! install. `wit/bus/bus.wit` holds its promises; this is how they are kept.
//!
//! Every process is a *member*, a client of the *hub* (`member`). Whoever gets the lock beside
//! the socket (`socket_place`) binds the socket and runs the hub as well (`hub`); its own member
//! connects like all others. The kernel releases the lock of a process that dies; the others then
//! race for it, connect to the winner, and send again what not all had taken. So a takeover is
//! nothing special: it is what happens at every start.
//!
//! * **Order**: the hub has one `log` of frames and of changes of membership, and every member
//!   gets it in that order.
//! * **No loss**: a sender keeps each frame (`outbox`) until the hub says that it is *stable*:
//!   every member has confirmed it. A member confirms when a frame stands in this process's queue;
//!   if the process dies, its clients are gone with it. A new hub calls nothing stable before all
//!   members of the former one are back, or the grace is over: members tell it whom they knew.
//! * **No repetition**: frames are numbered, and receivers know the last number of each sender
//!   (`inbox`). A sender is an id and an *incarnation*, a random number: a process that is
//!   started again under the same id counts from one again.
//! * **No hidden gap**: whoever joins or returns is told the last number of each sender that will
//!   not follow, so what was missed is known at once, not with the next frame.
//! * **Bounds**: a sender's unstable frames are limited, and so is the log, which holds nothing
//!   else. A plugin that takes nothing fills its queue; its process then stops reading, the log
//!   grows, senders wait. After three quarters of the stall timeout its process begins to count
//!   frames instead of keeping them; a process that does not even do that is cut off by the hub
//!   when the time is up. Either way the others go on, and the plugin is told how many it missed.
//! * **Trust**: only this user may connect, and ids are still checked: a frame in another's name
//!   ends the connection. Whatever else is wrong ends that connection, too, and nobody else's.
//!
//! What the bus means to plugins is in `link`; this module knows nothing of Wasm.

mod frame;
mod hub;
mod inbox;
pub(crate) mod link;
mod log;
mod member;
mod options;
mod outbox;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

pub use self::link::{SenderHandle, SubscriptionHandle};
use self::member::Member;
pub use self::{
    options::{BusError, BusOptions},
    status::{BusRole, BusStatus},
};
use super::handout::Rollback;
use crate::socket_place::Place;

/// How long `close` waits for the others to take what was accepted.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// The most that `next` waits, so that no wait is too long for the clock.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Something that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEvent {
    /// A frame of another member.
    Frame {
        /// Its node id.
        sender: Arc<str>,
        /// What it sent.
        data: Bytes,
    },
    /// This node is on the bus.
    Joined(Arc<str>),
    /// This node is gone.
    Left(Arc<str>),
    /// Frames were missed here; how many, if that is known.
    Lagged(Option<u32>),
}

/// One membership of this process. Clones share it; it ends with [`Bus::close`], or at once and
/// without goodbye when the last clone is dropped.
#[derive(Clone)]
pub struct Bus(Arc<Owner>);

struct Owner {
    member: Arc<Member>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn take_task(&self) -> Option<JoinHandle<()>> {
        self.task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(task) = self.take_task() {
            task.abort();
        }
    }
}

impl Bus {
    /// Joins the bus at `options.path` as `id` (1 to 128 bytes, unique on the bus), in the
    /// background. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BusError::Config`] when the options are wrong, or the folder of the socket cannot be used.
    pub fn start(id: impl Into<Arc<str>>, options: BusOptions) -> Result<Self, BusError> {
        let id = id.into();
        options.check()?;
        if id.is_empty() || id.len() > frame::MAX_ID_BYTES {
            let limit = frame::MAX_ID_BYTES;
            return Err(BusError::Config(format!(
                "a node id has 1 to {limit} bytes"
            )));
        }
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| BusError::Config("a bus must be started in a tokio runtime".to_owned()))?;
        let place = Place::new(&options.path, "path");
        place
            .prepare()
            .map_err(|error| BusError::Config(error.to_string()))?;
        let member = Arc::new(Member::new(id, options, place));
        let task = runtime.spawn(Arc::clone(&member).run());
        Ok(Self(Arc::new(Owner {
            member,
            task: Mutex::new(Some(task)),
        })))
    }

    /// Makes room for frames, waiting (in order of the calls) while the others are slow. They leave
    /// together when the result is committed; dropped, they were never sent.
    ///
    /// # Errors
    /// [`BusError::TooLarge`]: one is over `max_frame_bytes`, or they are several and together over
    /// `max_unstable_bytes`. [`BusError::Unavailable`]: there was no room in time.
    pub async fn reserve(&self, frames: Vec<Bytes>) -> Result<Staged, BusError> {
        let member = &self.0.member;
        let BusOptions {
            max_frame_bytes,
            max_unstable_bytes,
            send_timeout,
            ..
        } = member.options;
        if frames.iter().any(|frame| frame.len() > max_frame_bytes) {
            return Err(BusError::TooLarge {
                limit: max_frame_bytes,
            });
        }
        let cost: usize = frames.iter().map(outbox::cost).sum();
        if cost > max_unstable_bytes && frames.len() > 1 {
            return Err(BusError::TooLarge {
                limit: max_unstable_bytes,
            });
        }
        // A single larger frame waits until nothing else is held. The limit fits in 32 bits.
        let room = u32::try_from(cost.min(max_unstable_bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&member.room).acquire_many_owned(room);
        match timeout(send_timeout, permit).await {
            Ok(Ok(room)) => Ok(Staged {
                member: Arc::clone(member),
                frames,
                room,
            }),
            Ok(Err(_)) => Err(BusError::Unavailable("the bus is closed".to_owned())),
            Err(_) => Err(BusError::Unavailable(member.no_room())),
        }
    }

    /// Begins to keep events for the plugin: first one [`BusEvent::Joined`] for each member that is
    /// there. Before, frames of others are taken and dropped, so that a process that only sends
    /// holds nobody up. Once is enough; [`Bus::next`] does it too.
    pub fn subscribe(&self) {
        self.0.member.subscribe();
    }

    /// Waits up to `wait` (a day at most) for events and hands them out: at most `max_events`, and about
    /// `max_bytes` bytes, but one if there is one. They stay until [`Bus::commit`]; another call
    /// before that returns what comes after them. May be dropped at any time.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when time is up, nothing is there, and the bus could not be reached
    /// for more than a moment.
    pub async fn next(
        &self,
        wait: Duration,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<BusEvent>, BusError> {
        let member = &self.0.member;
        member.subscribe();
        let until = Instant::now() + wait.min(MAX_WAIT);
        loop {
            let arrived = member.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the queue is looked at, so that nothing slips between.
            arrived.as_mut().enable();
            if let Some(events) = member.take(max_events, max_bytes) {
                return Ok(events);
            }
            if timeout_at(until, arrived).await.is_err() {
                return match member.trouble() {
                    Some(why) => Err(BusError::Unavailable(why)),
                    None => Ok(Vec::new()),
                };
            }
        }
    }

    /// What was handed out has been delivered.
    pub fn commit(&self) {
        self.0.member.commit();
    }

    /// What was handed out has not been delivered: it is handed out again.
    pub fn rollback(&self, reason: Rollback) {
        self.0.member.rollback(reason);
    }

    /// Is this the same membership?
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How it is doing.
    pub fn status(&self) -> BusStatus {
        self.0.member.status()
    }

    /// Waits up to 2 s until the others have taken what was accepted, says goodbye and leaves; if
    /// this process served the bus, another takes over. Further calls do nothing.
    pub async fn close(&self) {
        let member = &self.0.member;
        member.room.close();
        let Some(task) = self.take_running() else {
            return;
        };
        // In place while this waits, so that a dropped future ends the task as well.
        let mut task = AbortOnDrop(task);
        if timeout(FLUSH_TIMEOUT, member.flushed()).await.is_err() {
            tracing::warn!("a bus is closed before all is sent: {}", member.no_room());
        }
        member.close();
        // It is bounded by the timeouts of its goodbye; a panic in it has been reported already.
        let _ = (&mut task.0).await;
    }

    fn take_running(&self) -> Option<JoinHandle<()>> {
        self.0.take_task()
    }

    /// Ends as a killed process does.
    #[cfg(test)]
    async fn kill(&self) {
        if let Some(task) = self.0.take_task() {
            task.abort();
            let _ = task.await;
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Frames with room reserved for them.
#[must_use = "frames are not sent before they are committed"]
pub struct Staged {
    member: Arc<Member>,
    frames: Vec<Bytes>,
    room: OwnedSemaphorePermit,
}

impl Staged {
    /// Sends them.
    pub fn commit(self) {
        let room = self.room.num_permits();
        // It is given back when the frames are stable.
        self.room.forget();
        self.member.send(self.frames, room);
    }
}
