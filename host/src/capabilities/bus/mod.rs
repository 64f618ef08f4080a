//! The bus: processes of one machine and one user, joined over a Unix socket, with no server to
//! install. `wit/bus/bus.wit` holds its promises.
//!
//! Every process is a *member*, a client of the *hub* ([`member`]). The first process that gets the
//! lock beside the socket binds the socket and runs the hub as well ([`hub`]); its own member
//! connects like all others. The kernel releases the lock of a process that dies; the members then
//! race for it, connect to the winner, and send again what not all had taken. So a takeover is
//! nothing special: it is what happens at every start.
//!
//! Nothing is lost because a sender keeps each frame until the hub reports it *stable* (every
//! member has confirmed it); nothing is repeated because receivers know the last sequence number of
//! each sender; and a gap in those numbers is how a member that was cut off knows what it missed.
//! A member confirms a frame when it stands in this process's queue: if the process dies its
//! clients are gone with it.

mod frame;
mod hub;
pub(crate) mod link;
mod member;
mod options;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{net::UnixStream, sync::OwnedSemaphorePermit, task::JoinHandle, time::timeout};

use self::member::Member;
pub use self::{
    link::{SenderHandle, SubscriptionHandle},
    options::{BusError, BusOptions},
};
use super::handout::{Lagged, Rollback};

/// Each frame counts for at least this many bytes against the limits, so that they bound the
/// number of frames too.
const MIN_FRAME_COST: usize = 256;

/// How long `close` waits for the others to take what was accepted.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Something that arrived.
#[derive(Clone, Debug, PartialEq)]
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

impl Lagged for BusEvent {
    fn lagged(missed: u32) -> Self {
        Self::Lagged(Some(missed))
    }
}

/// What a process is on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusRole {
    /// Looking for the hub.
    Connecting,
    /// Connected to it.
    Member,
    /// Connected to it, and serving it.
    Hub,
}

/// How a bus is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BusStatus {
    /// What this process is.
    pub role: BusRole,
    /// The others.
    pub members: Vec<String>,
    /// Events that wait for the plugin.
    pub queued_events: usize,
    /// Bytes of them.
    pub queued_bytes: usize,
    /// Own frames that some member has not taken.
    pub unstable_frames: usize,
    /// Why it is not connected.
    pub trouble: Option<String>,
}

/// One membership of this process. Clones share it; it ends with [`Bus::close`], or at once and
/// without goodbye when the last clone is dropped.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    member: Arc<Member>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort();
        }
    }
}

impl Bus {
    /// Joins the bus at `options.path` as `id` (1 to 128 bytes, unique on the bus) in the
    /// background. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the options are wrong.
    pub fn start(id: impl Into<Arc<str>>, options: BusOptions) -> Result<Self, BusError> {
        let id = id.into();
        options.check()?;
        if id.is_empty() || id.len() > frame::MAX_ID_BYTES {
            let limit = frame::MAX_ID_BYTES;
            return Err(BusError::Config(format!(
                "a node id has 1 to {limit} bytes"
            )));
        }
        let member = Arc::new(Member::new(id, options));
        let task = tokio::spawn(Arc::clone(&member).run());
        Ok(Self(Arc::new(Inner {
            member,
            task: Mutex::new(Some(task)),
        })))
    }

    /// Makes room for frames, waiting if the others are slow. They leave when the result is
    /// committed; dropped, they were never sent.
    ///
    /// # Errors
    /// [`BusError::TooLarge`], or [`BusError::Unavailable`] when there was no room in time.
    pub async fn reserve(&self, frames: Vec<Bytes>) -> Result<Staged, BusError> {
        let member = &self.0.member;
        let limit = member.options.max_frame_bytes;
        if frames.iter().any(|frame| frame.len() > limit) {
            return Err(BusError::TooLarge { limit });
        }
        let cost: usize = frames.iter().map(cost).sum();
        // What is larger than everything that may be held waits until nothing is.
        let cost = cost.min(member.options.max_unstable_bytes);
        let permits = u32::try_from(cost).unwrap_or(u32::MAX);
        let room = Arc::clone(&member.room).acquire_many_owned(permits);
        match timeout(member.options.send_timeout, room).await {
            Ok(Ok(permit)) => Ok(Staged {
                member: Arc::clone(member),
                frames,
                permit,
            }),
            Ok(Err(_)) => Err(BusError::Unavailable("the bus is closed".to_owned())),
            Err(_) => Err(BusError::Unavailable(member.no_room())),
        }
    }

    /// Waits up to `timeout` for events and hands them out: at most `max_events`, and about
    /// `max_bytes` bytes. They stay until [`Bus::commit`]. May be dropped at any time.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when time is up, nothing is there, and the bus is not connected.
    pub async fn next(
        &self,
        timeout: Duration,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<BusEvent>, BusError> {
        let member = &self.0.member;
        let waited = tokio::time::timeout(timeout, async {
            loop {
                // Registered before the queue is looked at, so that nothing slips between.
                let arrived = member.arrived.notified();
                let events = member.take(max_events, max_bytes);
                if !events.is_empty() {
                    return events;
                }
                arrived.await;
            }
        });
        match waited.await {
            Ok(events) => Ok(events),
            Err(_) => match member.trouble() {
                Some(why) => Err(BusError::Unavailable(why)),
                None => Ok(Vec::new()),
            },
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
    /// this process served the bus, another takes over. Once is enough.
    pub async fn close(&self) {
        let member = &self.0.member;
        member.room.close();
        if timeout(FLUSH_TIMEOUT, member.flushed()).await.is_err() {
            tracing::warn!("{}", member.no_room());
        }
        member.close();
        let task = self
            .0
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            // It ends by itself when told to; a panic in it has been reported already.
            let _ = task.await;
        }
    }

    /// Ends as a killed process does.
    #[cfg(test)]
    fn kill(&self) {
        if let Some(task) = self
            .0
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort();
        }
    }
}

fn cost(frame: &Bytes) -> usize {
    frame.len().max(MIN_FRAME_COST)
}

/// Frames with room reserved for them.
pub struct Staged {
    member: Arc<Member>,
    frames: Vec<Bytes>,
    permit: OwnedSemaphorePermit,
}

impl Staged {
    /// Sends them.
    pub fn commit(self) {
        self.member.send(self.frames, self.permit);
    }
}

/// Only this user, and root, may talk on a bus.
fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::getuid().as_raw();
    if peer == own || peer == 0 {
        return Ok(());
    }
    let what = format!("it belongs to user {peer}, this process to user {own}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}
