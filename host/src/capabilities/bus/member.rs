//! One process on the bus: what it has sent and others have not all taken, what it has received
//! and its plugin has not taken, and the connection to the hub between the two.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncWriteExt, BufReader, BufWriter},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    BusEvent, BusOptions, BusRole, BusStatus, check_peer, cost,
    frame::{self, Frame},
    hub::Hub,
};
use crate::capabilities::handout::{HandOut, Rollback};

/// Pause between two attempts to find the hub.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(200);
/// How long the hub has for its welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// A bus that has been away for so long is reported to the plugin; elections are quicker.
const TROUBLE_AFTER: Duration = Duration::from_secs(1);
/// Departed senders whose last number is remembered, in case they come back.
const MAX_DEPARTED: usize = 4096;
/// Buffers of the connection. Payloads over the write buffer are passed through.
const READ_BUFFER_BYTES: usize = 256 << 10;
const WRITE_BUFFER_BYTES: usize = 64 << 10;

pub(super) struct Member {
    pub(super) options: BusOptions,
    /// Bytes of own frames that may still be accepted.
    pub(super) room: Arc<Semaphore>,
    /// Events were added.
    pub(super) arrived: Notify,
    id: Arc<str>,
    state: Mutex<State>,
    /// Events were taken.
    drained: Notify,
    /// There is something to write.
    outgoing: Notify,
    /// Frames became stable.
    settled: Notify,
    closing: Notify,
}

struct State {
    next_seq: u64,
    /// Own frames that some member has not taken, oldest first.
    unstable: VecDeque<Sent>,
    /// How many of them were written on this connection.
    written: usize,
    inbox: HandOut<BusEvent>,
    seen: Seen,
    members: BTreeSet<Arc<str>>,
    /// Members of before a takeover that have not come back, and until when they may.
    awaited: Option<(Instant, BTreeSet<Arc<str>>)>,
    /// `Data` frames taken on this connection.
    taken: u64,
    role: BusRole,
    trouble: Option<(Instant, String)>,
    closing: bool,
}

struct Sent {
    seq: u64,
    payload: Bytes,
    /// Gives the room back when the frame is stable.
    _room: Option<OwnedSemaphorePermit>,
}

/// The last number of each sender.
#[derive(Default)]
struct Seen {
    last: HashMap<Arc<str>, u64>,
    departed: VecDeque<Arc<str>>,
}

impl Seen {
    /// Notes a frame. None: seen before. Else how many are missing in front of it.
    fn note(&mut self, sender: &Arc<str>, seq: u64) -> Option<u64> {
        match self.last.get_mut(sender) {
            Some(last) if seq <= *last => None,
            Some(last) => {
                let missing = seq - *last - 1;
                *last = seq;
                Some(missing)
            }
            None => {
                self.last.insert(Arc::clone(sender), seq);
                Some(0)
            }
        }
    }

    /// A departed sender may come back with frames that were seen, so it is not forgotten at once.
    fn depart(&mut self, sender: &Arc<str>, present: &BTreeSet<Arc<str>>) {
        self.departed.push_back(Arc::clone(sender));
        if self.departed.len() > MAX_DEPARTED
            && let Some(oldest) = self.departed.pop_front()
            && !present.contains(&oldest)
            && !self.departed.contains(&oldest)
        {
            self.last.remove(&oldest);
        }
    }
}

/// How a session with the hub ended.
enum End {
    /// This process leaves.
    Closed,
    /// The hub's process is gone.
    HubDied,
    /// The hub goes, its process stays.
    HandedOver,
    /// The hub or this side found fault with the connection.
    Cut(String),
}

impl Member {
    pub(super) fn new(id: Arc<str>, options: BusOptions) -> Self {
        // Every frame costs bytes, so this bounds their number too.
        let max_queued_bytes = options.max_queued_bytes;
        Self {
            id,
            room: Arc::new(Semaphore::new(options.max_unstable_bytes)),
            options,
            arrived: Notify::new(),
            drained: Notify::new(),
            outgoing: Notify::new(),
            settled: Notify::new(),
            closing: Notify::new(),
            state: Mutex::new(State {
                next_seq: 1,
                unstable: VecDeque::new(),
                written: 0,
                inbox: HandOut::new(usize::MAX, max_queued_bytes),
                seen: Seen::default(),
                members: BTreeSet::new(),
                awaited: None,
                taken: 0,
                role: BusRole::Connecting,
                trouble: None,
                closing: false,
            }),
        }
    }

    // What the owner of the bus does.

    pub(super) fn send(&self, frames: Vec<Bytes>, mut room: OwnedSemaphorePermit) {
        let mut state = self.lock();
        for payload in frames {
            let seq = state.next_seq;
            state.next_seq += 1;
            let permits = cost(&payload).min(room.num_permits());
            let _room = room.split(permits);
            state.unstable.push_back(Sent {
                seq,
                payload,
                _room,
            });
        }
        drop(state);
        self.outgoing.notify_one();
    }

    pub(super) fn take(&self, max_events: usize, max_bytes: usize) -> Vec<BusEvent> {
        self.lock().inbox.take(max_events, max_bytes)
    }

    pub(super) fn commit(&self) {
        self.lock().inbox.commit();
        self.drained.notify_one();
    }

    pub(super) fn rollback(&self, reason: Rollback) {
        let skipped = self.lock().inbox.rollback(reason);
        if skipped.is_some() {
            tracing::error!("an event of the bus was skipped: the plugin died over it repeatedly");
        }
        self.drained.notify_one();
        self.arrived.notify_one();
    }

    pub(super) fn status(&self) -> BusStatus {
        let state = self.lock();
        BusStatus {
            role: state.role,
            members: state.members.iter().map(|id| id.to_string()).collect(),
            queued_events: state.inbox.len(),
            queued_bytes: state.inbox.bytes(),
            unstable_frames: state.unstable.len(),
            trouble: state.trouble.as_ref().map(|(_, why)| why.clone()),
        }
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
        let frames = state.unstable.len();
        match &state.trouble {
            Some((_, why)) => format!("{frames} frames wait because {why}"),
            None => format!("{frames} frames wait for members of the bus to take them"),
        }
    }

    /// Returns when everybody has taken everything.
    pub(super) async fn flushed(&self) {
        loop {
            let settled = self.settled.notified();
            if self.lock().unstable.is_empty() {
                return;
            }
            settled.await;
        }
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.closing.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The task.

    /// Keeps the member connected until it is closed. Dropped, it takes the hub with it if that
    /// runs here.
    pub(super) async fn run(self: Arc<Self>) {
        let mut hub: Option<Serving> = None;
        loop {
            let found = tokio::select! {
                found = self.find(&mut hub) => found,
                () = self.closing.notified() => break,
            };
            let role = if hub.is_some() {
                BusRole::Hub
            } else {
                BusRole::Member
            };
            let end = self.session(found, role).await;
            if matches!(end, End::Closed) || self.lock().closing {
                break;
            }
        }
        if let Some(serving) = hub {
            serving.hub.hand_over().await;
            // Only now, so that nobody binds while members are still told.
            drop(serving.lock);
        }
    }

    /// Connects to the hub, becoming it if there is none.
    async fn find(&self, hub: &mut Option<Serving>) -> UnixStream {
        let mut pause = RETRY_MIN;
        loop {
            if hub.as_mut().is_some_and(|serving| serving.hub.has_ended()) {
                *hub = None;
            }
            match self.connect(hub).await {
                Ok(Some(stream)) => return stream,
                // Somebody else holds the lock and will bind in a moment.
                Ok(None) => self.note_trouble("the process that serves the bus does not answer"),
                Err(error) => {
                    let path = self.options.path.display();
                    self.note_trouble(&format!("the bus at {path} cannot be reached: {error}"));
                }
            }
            // Not all at the same moment.
            let jitter = self
                .id
                .bytes()
                .fold(0u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
            sleep(pause + pause.mul_f64(f64::from(jitter % 100) / 100.0)).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    fn note_trouble(&self, why: &str) {
        let mut state = self.lock();
        match &mut state.trouble {
            Some((_, known)) => why.clone_into(known),
            none => *none = Some((Instant::now(), why.to_owned())),
        }
    }

    async fn connect(&self, hub: &mut Option<Serving>) -> io::Result<Option<UnixStream>> {
        match UnixStream::connect(&self.options.path).await {
            Ok(stream) => {
                check_peer(&stream)?;
                return Ok(Some(stream));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => return Err(error),
        }
        if hub.is_some() {
            // It runs here and the socket is gone: somebody removed the file.
            *hub = None;
        }
        let Some(serving) = Serving::start(&self.id, &self.options)? else {
            return Ok(None);
        };
        *hub = Some(serving);
        let stream = UnixStream::connect(&self.options.path).await?;
        check_peer(&stream)?;
        Ok(Some(stream))
    }

    /// One connection, from hello to its end.
    async fn session(&self, stream: UnixStream, role: BusRole) -> End {
        let (read, write) = stream.into_split();
        let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
        let mut write = BufWriter::with_capacity(WRITE_BUFFER_BYTES, write);
        let known = self.lock().members.iter().cloned().collect();
        let hello = async {
            let hello = Frame::Hello {
                id: Arc::clone(&self.id),
                known,
            };
            frame::write(&mut write, &hello).await?;
            write.flush().await?;
            frame::read(&mut read, self.options.max_frame_bytes).await
        };
        let hub = match timeout(WELCOME_TIMEOUT, hello).await {
            Ok(Ok(Some(Frame::Welcome { hub, members }))) => {
                self.welcome(role, members);
                hub
            }
            Ok(Ok(Some(Frame::Cut { reason }))) => return self.ended(End::Cut(reason), None),
            Ok(Ok(_)) => return self.ended(End::Cut("it did not answer".into()), None),
            Ok(Err(error)) => return self.ended(End::Cut(error.to_string()), None),
            Err(_) => return self.ended(End::Cut("it did not answer in time".into()), None),
        };
        let end = tokio::select! {
            end = self.receive(&mut read) => end,
            result = self.transmit(&mut write) => match result {
                Ok(()) => End::Closed,
                Err(_) => End::HubDied,
            },
            never = self.await_members() => match never {},
        };
        if let End::Closed = end {
            let goodbye = async {
                frame::write(&mut write, &Frame::Bye).await?;
                write.flush().await
            };
            // The hub notices the end in any case.
            let _ = timeout(RETRY_MAX, goodbye).await;
        }
        self.ended(end, Some(hub))
    }

    fn welcome(&self, role: BusRole, present: Vec<Arc<str>>) {
        let mut state = self.lock();
        state.role = role;
        state.trouble = None;
        state.taken = 0;
        // Everything that is not stable goes again.
        state.written = 0;
        let present: BTreeSet<Arc<str>> = present.into_iter().collect();
        let missing = state
            .members
            .difference(&present)
            .cloned()
            .collect::<BTreeSet<_>>();
        for id in &present {
            state.join(id);
        }
        if !missing.is_empty() {
            state.awaited = Some((Instant::now() + self.options.rejoin_grace, missing));
        }
        drop(state);
        self.arrived.notify_one();
        self.outgoing.notify_one();
    }

    fn ended(&self, end: End, hub: Option<Arc<str>>) -> End {
        let mut state = self.lock();
        state.role = BusRole::Connecting;
        let why = match &end {
            End::Closed => "it was closed".to_owned(),
            End::HubDied => "the process that served the bus is gone".to_owned(),
            End::HandedOver => "the process that served the bus hands over".to_owned(),
            End::Cut(why) => {
                tracing::warn!(node = %self.id, "the connection to the bus was cut: {why}");
                format!("the connection to the bus was cut: {why}")
            }
        };
        if let (End::HubDied, Some(hub)) = (&end, &hub) {
            state.leave(hub);
        }
        state.trouble.get_or_insert((Instant::now(), why));
        drop(state);
        self.arrived.notify_one();
        end
    }

    async fn receive(&self, read: &mut BufReader<OwnedReadHalf>) -> End {
        loop {
            match frame::read(read, self.options.max_frame_bytes).await {
                Ok(Some(Frame::Data {
                    sender,
                    seq,
                    payload,
                })) => {
                    self.make_room().await;
                    self.deliver(sender, seq, payload);
                }
                Ok(Some(Frame::Stable { seq })) => self.stable(seq),
                Ok(Some(Frame::Joined { id })) => {
                    self.lock().join(&id);
                    self.arrived.notify_one();
                }
                Ok(Some(Frame::Left { id })) => {
                    self.lock().leave(&id);
                    self.arrived.notify_one();
                }
                Ok(Some(Frame::HandingOver)) => return End::HandedOver,
                Ok(Some(Frame::Cut { reason })) => return End::Cut(reason),
                Ok(Some(other)) => return End::Cut(format!("the hub may not send {other:?}")),
                Ok(None) => return End::HubDied,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return End::Cut(error.to_string());
                }
                Err(_) => return End::HubDied,
            }
        }
    }

    /// Waits while the plugin has too much to do.
    async fn make_room(&self) {
        loop {
            let drained = self.drained.notified();
            if !self.lock().inbox.is_full() {
                return;
            }
            drained.await;
        }
    }

    fn deliver(&self, sender: Arc<str>, seq: u64, payload: Bytes) {
        let mut state = self.lock();
        state.taken += 1;
        if let Some(missing) = state.seen.note(&sender, seq) {
            if missing > 0 {
                let missed = u32::try_from(missing).unwrap_or(u32::MAX);
                state.inbox.push(BusEvent::Lagged(Some(missed)), 0);
            }
            let bytes = cost(&payload);
            state.inbox.push(
                BusEvent::Frame {
                    sender,
                    data: payload,
                },
                bytes,
            );
        }
        drop(state);
        self.arrived.notify_one();
        self.outgoing.notify_one();
    }

    fn stable(&self, seq: u64) {
        let mut state = self.lock();
        while state
            .unstable
            .pop_front_if(|sent| sent.seq <= seq)
            .is_some()
        {
            state.written = state.written.saturating_sub(1);
        }
        drop(state);
        self.settled.notify_one();
    }

    /// Writes frames and confirmations. Ok when this process leaves.
    async fn transmit(&self, write: &mut BufWriter<OwnedWriteHalf>) -> io::Result<()> {
        let mut confirmed = 0;
        loop {
            let (frames, taken, closing) = self.to_write();
            if frames.is_empty() && taken == confirmed {
                write.flush().await?;
                if closing {
                    return Ok(());
                }
                tokio::select! {
                    () = self.outgoing.notified() => {}
                    () = self.closing.notified() => {}
                }
                continue;
            }
            if taken != confirmed {
                confirmed = taken;
                frame::write(write, &Frame::Ack { count: taken }).await?;
            }
            for frame in frames {
                frame::write(write, &frame).await?;
            }
        }
    }

    fn to_write(&self) -> (Vec<Frame>, u64, bool) {
        let mut state = self.lock();
        let frames = state
            .unstable
            .iter()
            .skip(state.written)
            .map(|sent| Frame::Data {
                // The hub knows who we are.
                sender: Arc::default(),
                seq: sent.seq,
                payload: sent.payload.clone(),
            })
            .collect();
        state.written = state.unstable.len();
        (frames, state.taken, state.closing)
    }

    /// Reports members that do not come back after a takeover.
    async fn await_members(&self) -> std::convert::Infallible {
        loop {
            let until = self.lock().awaited.as_ref().map(|(until, _)| *until);
            let Some(until) = until else {
                return std::future::pending().await;
            };
            sleep_until(until).await;
            let mut state = self.lock();
            if let Some((_, missing)) = state.awaited.take() {
                for id in missing {
                    state.leave(&id);
                }
            }
            drop(state);
            self.arrived.notify_one();
        }
    }
}

impl State {
    fn join(&mut self, id: &Arc<str>) {
        if let Some((_, awaited)) = &mut self.awaited {
            awaited.remove(id);
        }
        if self.members.insert(Arc::clone(id)) {
            self.inbox.push(BusEvent::Joined(Arc::clone(id)), 0);
        }
    }

    fn leave(&mut self, id: &Arc<str>) {
        if self.members.remove(id) {
            let Self {
                seen,
                members,
                inbox,
                ..
            } = self;
            seen.depart(id, members);
            inbox.push(BusEvent::Left(Arc::clone(id)), 0);
        }
    }
}

/// The hub, where this process runs it, and the lock that makes it the only one.
struct Serving {
    hub: Hub,
    lock: File,
}

impl Serving {
    /// None: another process holds the lock.
    fn start(id: &Arc<str>, options: &BusOptions) -> io::Result<Option<Self>> {
        prepare_folder(options.folder())?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(options.lock_path())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever bound it is dead, or would hold the lock.
        match fs::remove_file(&options.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&options.path)?;
        fs::set_permissions(&options.path, fs::Permissions::from_mode(0o600))?;
        tracing::debug!(node = %id, path = %options.path.display(), "serving the bus");
        let hub = Hub::start(listener, Arc::clone(id), options.clone());
        Ok(Some(Self { hub, lock }))
    }
}

/// Makes the folder of the socket if it is missing, for this user only; refuses one in which
/// another user could put a socket of his own.
fn prepare_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let metadata = fs::metadata(folder)?;
    let own = rustix::process::getuid().as_raw();
    let (owner, mode) = (metadata.uid(), metadata.mode());
    let sticky = mode & 0o1000 != 0;
    if (owner != own && owner != 0) || (mode & 0o022 != 0 && !sticky) {
        let what = format!(
            "the folder {} can be written by others (owner {owner}, mode {:o}); set `path` to a \
             socket in a folder of this user alone",
            folder.display(),
            mode & 0o7777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}
