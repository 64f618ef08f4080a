//! The process that serves the bus: relays frames between members, and tells each sender how far
//! all have taken its frames.
//!
//! One task owns the state; each connection has a reader and a writer. Payloads are shared, not
//! copied. What waits for a member is bounded by what senders may have unstable, which is checked
//! here: a member that sends more is cut off.
//!
//! After a takeover the members come back one by one, and those who are first send again at once.
//! Each says whom it knew, and the hub keeps frames for those who are still missing as if they were
//! there, until they come or `rejoin_grace` is over: else a frame could become stable before one
//! who has not got it is back.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
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
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    BusOptions,
    frame::{self, Frame, MAX_MEMBERS},
};

/// What readers may have handed to the task before it has dealt with it. Each reader waits with
/// its next frame, so this bounds them together.
const MAX_INPUTS: usize = 64;
/// How long a new connection has for its first word.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the writers have to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often members are looked at for having stalled.
const STALL_CHECK: Duration = Duration::from_millis(500);
/// Buffers of a connection. Payloads over the write buffer are passed through.
const READ_BUFFER_BYTES: usize = 256 << 10;
const WRITE_BUFFER_BYTES: usize = 64 << 10;

type ConnectionId = u64;

enum Input {
    Hello {
        connection: ConnectionId,
        id: Arc<str>,
        known: Vec<Arc<str>>,
        out: Arc<Outgoing>,
    },
    Data {
        connection: ConnectionId,
        seq: u64,
        payload: Bytes,
    },
    Ack {
        connection: ConnectionId,
        count: u64,
    },
    Gone {
        connection: ConnectionId,
        polite: bool,
    },
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// A hub at work. Dropped, it ends at once; members notice and elect another.
pub(super) struct Hub {
    inputs: mpsc::Sender<Input>,
    tasks: JoinSet<()>,
}

impl Hub {
    pub(super) fn start(listener: UnixListener, id: Arc<str>, options: BusOptions) -> Self {
        let (inputs, queue) = mpsc::channel(MAX_INPUTS);
        let mut tasks = JoinSet::new();
        let state = State {
            id,
            rejoin_until: Some(Instant::now() + options.rejoin_grace),
            options: options.clone(),
            members: BTreeMap::new(),
        };
        tasks.spawn(state.run(queue));
        tasks.spawn(accept(listener, inputs.clone(), options));
        Self { inputs, tasks }
    }

    /// Has it stopped by itself?
    pub(super) fn has_ended(&mut self) -> bool {
        self.tasks.try_join_next().is_some()
    }

    /// Tells every member to look for another hub, and ends.
    pub(super) async fn hand_over(mut self) {
        let (done, finished) = oneshot::channel();
        if self.inputs.send(Input::Stop { done }).await.is_ok() {
            // It is bounded by GOODBYE.
            let _ = finished.await;
        }
        self.tasks.shutdown().await;
    }
}

async fn accept(listener: UnixListener, inputs: mpsc::Sender<Input>, options: BusOptions) {
    let mut connections = JoinSet::new();
    let mut next: ConnectionId = 0;
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others may free some.
                tracing::warn!("the bus cannot take a connection: {error}");
                tokio::time::sleep(STALL_CHECK).await;
                continue;
            }
        };
        if let Err(error) = super::check_peer(&stream) {
            tracing::warn!("the bus refused a connection: {error}");
            continue;
        }
        if connections.len() >= 2 * MAX_MEMBERS {
            tracing::warn!(
                "the bus refused a connection: there are {} already",
                connections.len()
            );
            continue;
        }
        next += 1;
        connections.spawn(serve(stream, next, inputs.clone(), options.clone()));
    }
}

/// Reads one connection to its end.
async fn serve(
    stream: UnixStream,
    connection: ConnectionId,
    inputs: mpsc::Sender<Input>,
    options: BusOptions,
) {
    let (read, write) = stream.into_split();
    let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
    let first = timeout(
        HELLO_TIMEOUT,
        frame::read(&mut read, options.max_frame_bytes),
    )
    .await;
    let (id, known) = match first {
        Ok(Ok(Some(Frame::Hello { id, known }))) => (id, known),
        Ok(Ok(None)) => return,
        Ok(Ok(Some(_))) => return tracing::warn!("a connection to the bus did not say hello"),
        Ok(Err(error)) => return tracing::warn!("a connection to the bus was cut: {error}"),
        Err(_) => return tracing::warn!("a connection to the bus said nothing and was cut"),
    };
    let out = Arc::new(Outgoing::default());
    let hello = Input::Hello {
        connection,
        id: Arc::clone(&id),
        known,
        out: Arc::clone(&out),
    };
    if inputs.send(hello).await.is_err() {
        return;
    }
    let polite = tokio::select! {
        polite = relay(&mut read, connection, &id, &inputs, &options) => polite,
        () = out.drain(write) => false,
    };
    // The task may be gone already; then nobody needs to know.
    let _ = inputs.send(Input::Gone { connection, polite }).await;
}

/// Hands frames to the task until the connection ends. True if the member said goodbye.
async fn relay(
    read: &mut BufReader<OwnedReadHalf>,
    connection: ConnectionId,
    id: &str,
    inputs: &mpsc::Sender<Input>,
    options: &BusOptions,
) -> bool {
    loop {
        let input = match frame::read(read, options.max_frame_bytes).await {
            Ok(Some(Frame::Data { seq, payload, .. })) => Input::Data {
                connection,
                seq,
                payload,
            },
            Ok(Some(Frame::Ack { count })) => Input::Ack { connection, count },
            Ok(Some(Frame::Bye)) => return true,
            Ok(None) => return false,
            Ok(Some(other)) => {
                tracing::warn!(node = id, "a bus member was cut: it may not send {other:?}");
                return false;
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    tracing::warn!(node = id, "a bus member was cut: {error}");
                }
                return false;
            }
        };
        if inputs.send(input).await.is_err() {
            return false;
        }
    }
}

/// What waits to be written to a member.
#[derive(Default)]
struct Outgoing {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// Only the latest counts.
    stable: Option<u64>,
    /// Nothing more will come: write what is there and end.
    closed: bool,
}

impl Outgoing {
    fn push(&self, frame: Frame) {
        self.lock().frames.push_back(frame);
        self.changed.notify_one();
    }

    fn stable(&self, seq: u64) {
        self.lock().stable = Some(seq);
        self.changed.notify_one();
    }

    fn close(&self, last: Option<Frame>, forget: bool) {
        let mut queue = self.lock();
        if forget {
            queue.frames.clear();
        }
        queue.frames.extend(last);
        queue.closed = true;
        drop(queue);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until the queue is closed or the connection breaks.
    async fn drain(&self, to: OwnedWriteHalf) {
        let mut to = BufWriter::with_capacity(WRITE_BUFFER_BYTES, to);
        loop {
            let (frames, stable, closed) = {
                let mut queue = self.lock();
                (
                    std::mem::take(&mut queue.frames),
                    queue.stable.take(),
                    queue.closed,
                )
            };
            if frames.is_empty() && stable.is_none() {
                if closed || to.flush().await.is_err() {
                    return;
                }
                self.changed.notified().await;
                continue;
            }
            for frame in frames
                .into_iter()
                .chain(stable.map(|seq| Frame::Stable { seq }))
            {
                if frame::write(&mut to, &frame).await.is_err() {
                    return;
                }
            }
            if closed {
                let _ = to.flush().await;
                return;
            }
        }
    }
}

/// A member as the hub sees it.
struct Member {
    id: Arc<str>,
    /// False: it was on the bus before a takeover and has not come back yet.
    connected: bool,
    out: Arc<Outgoing>,
    /// Frames given to it that it has not confirmed: whose, and which.
    pending: VecDeque<(ConnectionId, u64)>,
    /// `Data` frames it has confirmed on this connection.
    confirmed: u64,
    /// When it last confirmed one, or had none to confirm.
    moved: Instant,
    /// Its own frames that some member has not confirmed, by seq, with how many those are.
    unstable: VecDeque<Unstable>,
    unstable_bytes: usize,
    last_seq: Option<u64>,
}

struct Unstable {
    seq: u64,
    waiting: usize,
    bytes: usize,
}

impl Member {
    fn new(id: Arc<str>, out: Arc<Outgoing>, connected: bool) -> Self {
        Self {
            id,
            connected,
            out,
            pending: VecDeque::new(),
            confirmed: 0,
            moved: Instant::now(),
            unstable: VecDeque::new(),
            unstable_bytes: 0,
            last_seq: None,
        }
    }
}

struct State {
    id: Arc<str>,
    options: BusOptions,
    /// Until when members of before may come back; none when that is over.
    rejoin_until: Option<Instant>,
    /// Those who have not come back stand here too, under numbers from the top.
    members: BTreeMap<ConnectionId, Member>,
}

impl State {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut stall_check = interval(STALL_CHECK);
        stall_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Stop { done }) => {
                        self.hand_over().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(input) => self.handle(input),
                    None => return,
                },
                _ = stall_check.tick() => {
                    self.cut_stalled();
                    self.forget_absent();
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Hello {
                connection,
                id,
                known,
                out,
            } => {
                self.hello(connection, id, out);
                self.expect(known);
            }
            Input::Data {
                connection,
                seq,
                payload,
            } => self.data(connection, seq, payload),
            Input::Ack { connection, count } => self.ack(connection, count),
            Input::Gone { connection, polite } => {
                if let Some(id) = self.remove(connection) {
                    tracing::debug!(node = %id, polite, "a member left the bus");
                    self.tell(connection, &Frame::Left { id });
                }
            }
            Input::Stop { .. } => {}
        }
    }

    fn hello(&mut self, connection: ConnectionId, id: Arc<str>, out: Arc<Outgoing>) {
        if self.members.len() >= MAX_MEMBERS && !self.members.values().any(|m| m.id == id) {
            let reason = format!("the bus has {MAX_MEMBERS} members already");
            return out.close(Some(Frame::Cut { reason }), true);
        }
        let mut member = Member::new(Arc::clone(&id), out, true);
        let former: Vec<ConnectionId> = self
            .members
            .iter()
            .filter(|(_, m)| m.id == id)
            .map(|(c, _)| *c)
            .collect();
        let mut waiting = VecDeque::new();
        for old in former {
            let Some(other) = self.members.get_mut(&old) else {
                continue;
            };
            if other.connected {
                // The same process on a new connection, before the end of the old one was noticed.
                other.out.close(None, true);
                self.remove(old);
            } else if let Some(absent) = self.members.remove(&old) {
                member.pending = absent.pending;
                waiting = std::mem::take(&mut absent.out.lock().frames);
            }
        }
        let members = self
            .connected()
            .map(|(_, member)| Arc::clone(&member.id))
            .collect();
        member.out.push(Frame::Welcome {
            hub: Arc::clone(&self.id),
            members,
        });
        waiting.into_iter().for_each(|frame| member.out.push(frame));
        self.tell(
            connection,
            &Frame::Joined {
                id: Arc::clone(&id),
            },
        );
        tracing::debug!(node = %id, "a member joined the bus");
        self.members.insert(connection, member);
    }

    /// Keeps frames for these too, if they are missing after a takeover.
    fn expect(&mut self, known: Vec<Arc<str>>) {
        if self.rejoin_until.is_none() {
            return;
        }
        for id in known {
            let here = self.members.values().any(|member| member.id == id);
            if here || self.members.len() >= MAX_MEMBERS {
                continue;
            }
            // Connections count from 1; they never meet these.
            let absent = (0..).map(|n| ConnectionId::MAX - n);
            let free = absent
                .into_iter()
                .find(|number| !self.members.contains_key(number));
            if let Some(number) = free {
                self.members
                    .insert(number, Member::new(id, Arc::default(), false));
            }
        }
    }

    /// Those who have not come back in time are waited for no more.
    fn forget_absent(&mut self) {
        if self.rejoin_until.is_none_or(|until| Instant::now() < until) {
            return;
        }
        self.rejoin_until = None;
        let absent: Vec<ConnectionId> = self
            .members
            .iter()
            .filter(|(_, m)| !m.connected)
            .map(|(c, _)| *c)
            .collect();
        for connection in absent {
            self.remove(connection);
        }
    }

    fn connected(&self) -> impl Iterator<Item = (&ConnectionId, &Member)> {
        self.members.iter().filter(|(_, member)| member.connected)
    }

    fn data(&mut self, connection: ConnectionId, seq: u64, payload: Bytes) {
        let Some(from) = self.members.get(&connection) else {
            return;
        };
        if from.last_seq.is_some_and(|last| seq <= last) {
            return self.cut(connection, "its frames are out of order".to_owned());
        }
        // One frame beyond the limit is what a sender may have in the air when it holds a large one.
        let limit = self.options.max_unstable_bytes + self.options.max_frame_bytes;
        if from.unstable_bytes + payload.len() > limit {
            return self.cut(connection, "it sends more than it may".to_owned());
        }
        let sender = Arc::clone(&from.id);
        let bytes = payload.len();
        let mut waiting = 0;
        for (other, member) in &mut self.members {
            if *other == connection {
                continue;
            }
            if member.pending.is_empty() {
                member.moved = Instant::now();
            }
            member.pending.push_back((connection, seq));
            let sender = Arc::clone(&sender);
            member.out.push(Frame::Data {
                sender,
                seq,
                payload: payload.clone(),
            });
            waiting += 1;
        }
        if let Some(from) = self.members.get_mut(&connection) {
            from.last_seq = Some(seq);
            if waiting == 0 {
                from.out.stable(seq);
            } else {
                from.unstable.push_back(Unstable {
                    seq,
                    waiting,
                    bytes,
                });
                from.unstable_bytes += bytes;
            }
        }
    }

    fn ack(&mut self, connection: ConnectionId, count: u64) {
        let Some(member) = self.members.get_mut(&connection) else {
            return;
        };
        let new = count
            .checked_sub(member.confirmed)
            .and_then(|new| usize::try_from(new).ok());
        let Some(new) = new.filter(|new| *new <= member.pending.len()) else {
            return self.cut(connection, "it confirms what it was not given".to_owned());
        };
        member.confirmed = count;
        member.moved = Instant::now();
        let taken: Vec<(ConnectionId, u64)> = member.pending.drain(..new).collect();
        self.took(taken);
    }

    /// One member fewer waits for each of these.
    fn took(&mut self, frames: impl IntoIterator<Item = (ConnectionId, u64)>) {
        for (sender, seq) in frames {
            let Some(from) = self.members.get_mut(&sender) else {
                continue;
            };
            if let Ok(at) = from.unstable.binary_search_by_key(&seq, |frame| frame.seq)
                && let Some(frame) = from.unstable.get_mut(at)
            {
                frame.waiting = frame.waiting.saturating_sub(1);
            }
            let mut stable = None;
            while let Some(front) = from.unstable.pop_front_if(|frame| frame.waiting == 0) {
                from.unstable_bytes -= front.bytes;
                stable = Some(front.seq);
            }
            if let Some(seq) = stable {
                from.out.stable(seq);
            }
        }
    }

    fn remove(&mut self, connection: ConnectionId) -> Option<Arc<str>> {
        let member = self.members.remove(&connection)?;
        // Nobody waits for it any more. Its own frames are on their way to the others.
        self.took(member.pending);
        Some(member.id)
    }

    fn cut(&mut self, connection: ConnectionId, reason: String) {
        let Some(member) = self.members.get(&connection) else {
            return;
        };
        tracing::warn!(node = %member.id, "a bus member was cut off: {reason}");
        member.out.close(Some(Frame::Cut { reason }), true);
        if let Some(id) = self.remove(connection) {
            self.tell(connection, &Frame::Left { id });
        }
    }

    fn cut_stalled(&mut self) {
        let stalled: Vec<ConnectionId> = self
            .connected()
            .filter(|(_, member)| {
                !member.pending.is_empty() && member.moved.elapsed() > self.options.stall_timeout
            })
            .map(|(connection, _)| *connection)
            .collect();
        for connection in stalled {
            let reason = format!(
                "it took nothing for {} ms while others waited for it",
                self.options.stall_timeout.as_millis()
            );
            self.cut(connection, reason);
        }
    }

    fn tell(&self, except: ConnectionId, frame: &Frame) {
        for (connection, member) in self.connected() {
            if *connection != except {
                member.out.push(frame.clone());
            }
        }
    }

    async fn hand_over(&mut self) {
        for (_, member) in self.connected() {
            member.out.close(Some(Frame::HandingOver), false);
        }
        let written = async {
            while self
                .connected()
                .any(|(_, member)| !member.out.lock().frames.is_empty())
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // A member that does not read is left behind.
        let _ = timeout(GOODBYE, written).await;
    }
}
