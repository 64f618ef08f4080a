//! What the hub knows, as one log: frames and changes of membership in the order in which every
//! member gets them. Nothing here waits; [`super::hub`] does.
//!
//! The log holds what some member has not taken. Each member has two places in it: up to where it
//! was sent, and up to where it has confirmed. What all have confirmed is dropped from the front,
//! and that is what makes it *stable*. So there is no queue per member, and the log is bounded by
//! what the senders may have unstable.
//!
//! A member that comes is told the membership as of the front of the log, and reads on from there.
//!
//! After a takeover the log is empty and its members come back one by one. Until all are back, or
//! their time is up, nothing is dropped: they may need it.

mod join;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    frame::{BadFrame, CutCode, Data, Frame, Known},
    wire::WriteBatch,
};

/// Names a connection for as long as the hub lives.
pub(super) type ConnectionId = u64;

/// Waking the two sides of a connection.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    /// There is something to write.
    pub(super) write: Notify,
    /// The connection was cut by the hub.
    pub(super) cut: Notify,
}

/// What became of [`Log::gather`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// Write the batch (it may be empty: then wait), and ask again.
    Open,
    /// Write the batch; it was the last.
    Last,
}

pub(super) struct Log {
    hub: Arc<str>,
    incarnation: u64,
    stall_timeout: Duration,
    entries: VecDeque<Entry>,
    /// The place of the first entry.
    first: u64,
    /// The members as of `first`: with the last of their frames before it.
    members: BTreeMap<Arc<str>, Member>,
    senders: HashMap<Arc<str>, Sender>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Members of before the takeover that have not come back, or whose connection broke since.
    awaited: Vec<Arc<str>>,
    /// There were others before, and nobody who knows them is back.
    awaits_strangers: bool,
    /// Until when they may.
    grace_until: Instant,
    last_tick: Instant,
}

struct Entry {
    what: What,
    since: Instant,
}

enum What {
    Data { sender: Arc<str>, data: Data },
    Joined(Known),
    Left(Arc<str>),
}

impl What {
    /// Members are not told of themselves.
    fn is_of(&self, id: &str) -> bool {
        match self {
            Self::Data { sender, .. } => &**sender == id,
            Self::Joined(member) => &*member.id == id,
            Self::Left(left) => &**left == id,
        }
    }
}

struct Member {
    incarnation: u64,
    base: Option<u64>,
}

/// Who sent what is in the log, and who could send more.
struct Sender {
    incarnation: u64,
    /// The last of its frames that got into the log, or that it said all have.
    last_seq: u64,
    /// The last of its frames that all have.
    stable_seq: u64,
    /// Payload bytes in the log.
    unstable_bytes: usize,
    connection: Option<ConnectionId>,
}

struct Connection {
    wakers: Arc<Wakers>,
    /// Before it goes: why.
    cut: Option<(CutCode, String)>,
    receiver: Option<Receiver>,
}

/// A member that has said hello.
struct Receiver {
    id: Arc<str>,
    welcome: Option<Frame>,
    /// The last frame it sent on this connection.
    last_seq: u64,
    max_unstable_bytes: usize,
    /// The next entry to write.
    sent: u64,
    /// The first entry that it has not confirmed.
    taken: u64,
    /// Entries written and confirmed, as it counts them.
    sent_count: u64,
    taken_count: u64,
    /// When it last confirmed something.
    moved: Instant,
    stable: u64,
    stable_sent: u64,
}

impl Log {
    pub(super) fn new(
        hub: Arc<str>,
        incarnation: u64,
        stall_timeout: Duration,
        rejoin_grace: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            hub,
            incarnation,
            stall_timeout,
            entries: VecDeque::new(),
            first: 0,
            members: BTreeMap::new(),
            senders: HashMap::new(),
            connections: BTreeMap::new(),
            awaited: Vec::new(),
            awaits_strangers: false,
            grace_until: now + rejoin_grace,
            last_tick: now,
        }
    }

    /// There was a hub before this one: its members may be back in a moment, though nobody here
    /// knows who they are. Till one of them is, nothing is stable.
    pub(super) fn await_strangers(&mut self) {
        self.awaits_strangers = true;
    }

    /// A connection that has not said hello.
    pub(super) fn connect(&mut self, connection: ConnectionId) -> Arc<Wakers> {
        let wakers = Arc::<Wakers>::default();
        let new = Connection {
            wakers: Arc::clone(&wakers),
            cut: None,
            receiver: None,
        };
        self.connections.insert(connection, new);
        wakers
    }

    /// A frame of this connection's member.
    ///
    /// # Errors
    /// It breaks the rules.
    pub(super) fn data(
        &mut self,
        connection: ConnectionId,
        data: Data,
        now: Instant,
    ) -> Result<(), BadFrame> {
        let known = self.senders.get(data.sender()).map_or(0, |s| s.last_seq);
        let Some(receiver) = self.receiver_mut(connection) else {
            return Err(BadFrame("data before hello".to_owned()));
        };
        if data.sender() != &*receiver.id {
            return Err(BadFrame("data in the name of another member".to_owned()));
        }
        // What got here on an earlier connection may become stable while it is sent again: the
        // member then leaves out the rest of it.
        let last = receiver.last_seq;
        if data.seq <= last || data.seq > last.max(known).saturating_add(1) {
            let got = data.seq;
            return Err(BadFrame(format!("frame {got} follows frame {last}")));
        }
        receiver.last_seq = data.seq;
        let limit = receiver.max_unstable_bytes;
        let id = Arc::clone(&receiver.id);
        let Some(sender) = self.senders.get_mut(&id) else {
            return Ok(());
        };
        if data.seq <= sender.last_seq {
            // Sent again after a cut connection. It is in the log, or all have it.
            return Ok(());
        }
        if sender.unstable_bytes + data.payload_len() > limit {
            return Err(BadFrame(format!(
                "more than {limit} bytes that not all have taken"
            )));
        }
        sender.last_seq = data.seq;
        sender.unstable_bytes += data.payload_len();
        self.append(What::Data { sender: id, data }, now);
        self.skip_own(connection);
        self.trim();
        Ok(())
    }

    /// This connection's member has taken so many entries.
    ///
    /// # Errors
    /// More than it was sent, or fewer than before.
    pub(super) fn ack(
        &mut self,
        connection: ConnectionId,
        count: u64,
        now: Instant,
    ) -> Result<(), BadFrame> {
        let Some(connection) = self.connections.get_mut(&connection) else {
            return Ok(());
        };
        let Some(receiver) = &mut connection.receiver else {
            return Err(BadFrame("a confirmation before hello".to_owned()));
        };
        if count < receiver.taken_count || count > receiver.sent_count {
            return Err(BadFrame(format!(
                "{count} entries confirmed after {}, of {}",
                receiver.taken_count, receiver.sent_count
            )));
        }
        while receiver.taken_count < count {
            let Some(entry) = entry_at(&self.entries, self.first, receiver.taken) else {
                break;
            };
            receiver.taken_count += u64::from(!entry.what.is_of(&receiver.id));
            receiver.taken += 1;
        }
        receiver.skip_own(&self.entries, self.first);
        receiver.moved = now;
        self.trim();
        Ok(())
    }

    /// The member leaves. Its frames that are in the log go on.
    pub(super) fn leave(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(id) = self.detach(connection) {
            self.append(What::Left(id), now);
            self.trim();
            self.wake_writers();
        }
    }

    /// Ends a connection for this reason, which is the last thing that it is told.
    pub(super) fn cut(&mut self, connection: ConnectionId, code: CutCode, why: String) {
        self.leave(connection, Instant::now());
        self.dismiss(connection, code, why);
    }

    fn dismiss(&mut self, connection: ConnectionId, code: CutCode, why: String) {
        if let Some(ended) = self.connections.get_mut(&connection) {
            ended.cut.get_or_insert((code, why));
            ended.wakers.write.notify_one();
            ended.wakers.cut.notify_one();
        }
    }

    /// Ends all connections: another process takes over.
    pub(super) fn cut_all(&mut self, code: CutCode, why: &str) {
        for ended in self.connections.values_mut() {
            ended.receiver = None;
            ended.cut.get_or_insert((code, why.to_owned()));
            ended.wakers.write.notify_one();
            ended.wakers.cut.notify_one();
        }
    }

    /// The hub ends here and now: nobody is told anything more.
    pub(super) fn silence(&mut self) {
        self.connections.clear();
    }

    /// The task of the connection is over.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.lose(connection, Instant::now());
        self.connections.remove(&connection);
    }

    /// To be called every `period`: ends waits whose time is up. Returns who was cut.
    pub(super) fn tick(&mut self, period: Duration, now: Instant) -> Vec<Arc<str>> {
        let was_stopped = now - self.last_tick > period * 3;
        self.last_tick = now;
        if now >= self.grace_until {
            self.awaits_strangers = false;
            for id in std::mem::take(&mut self.awaited) {
                self.append(What::Left(id), now);
            }
            self.trim();
            self.wake_writers();
        }
        if was_stopped {
            // This process did not run, and cannot blame others for not answering it.
            for connection in self.connections.values_mut() {
                if let Some(receiver) = &mut connection.receiver {
                    receiver.moved = now;
                }
            }
        }
        let stalled: Vec<(ConnectionId, Arc<str>)> = self
            .receivers()
            .filter(|(_, receiver)| {
                let next = entry_at(&self.entries, self.first, receiver.taken);
                next.is_some_and(|entry| now - entry.since.max(receiver.moved) > self.stall_timeout)
            })
            .map(|(connection, receiver)| (connection, Arc::clone(&receiver.id)))
            .collect();
        let mut cut = Vec::new();
        for (connection, id) in stalled {
            let why = format!(
                "it took nothing for {} ms while others waited for it",
                self.stall_timeout.as_millis()
            );
            self.cut(connection, CutCode::Stalled, why);
            cut.push(id);
        }
        cut
    }

    /// Until when members of before a takeover are awaited.
    pub(super) fn grace_until(&self) -> Instant {
        self.grace_until
    }

    /// What this connection is to be written next.
    pub(super) fn gather(&mut self, connection: ConnectionId, batch: &mut WriteBatch) -> Gathered {
        let Some(connection) = self.connections.get_mut(&connection) else {
            return Gathered::Last;
        };
        if let Some((code, text)) = connection.cut.take() {
            batch.push(&Frame::Cut { code, text });
            return Gathered::Last;
        }
        let Some(receiver) = &mut connection.receiver else {
            return Gathered::Open;
        };
        if let Some(welcome) = receiver.welcome.take() {
            batch.push(&welcome);
        }
        if receiver.stable > receiver.stable_sent {
            receiver.stable_sent = receiver.stable;
            batch.push(&Frame::Stable {
                seq: receiver.stable,
            });
        }
        receiver.sent = receiver.sent.max(receiver.taken);
        while !batch.is_full()
            && let Some(entry) = entry_at(&self.entries, self.first, receiver.sent)
        {
            receiver.sent += 1;
            if entry.what.is_of(&receiver.id) {
                continue;
            }
            receiver.sent_count += 1;
            match &entry.what {
                What::Data { data, .. } => batch.push_data(data),
                What::Joined(member) => batch.push(&Frame::Joined(member.clone())),
                What::Left(id) => batch.push(&Frame::Left { id: Arc::clone(id) }),
            }
        }
        Gathered::Open
    }

    /// After frames were added: everybody gets them.
    pub(super) fn wake_writers(&self) {
        for connection in self.connections.values() {
            connection.wakers.write.notify_one();
        }
    }

    fn receivers(&self) -> impl Iterator<Item = (ConnectionId, &Receiver)> {
        self.connections
            .iter()
            .filter_map(|(id, connection)| Some((*id, connection.receiver.as_ref()?)))
    }

    fn receiver_mut(&mut self, connection: ConnectionId) -> Option<&mut Receiver> {
        self.connections.get_mut(&connection)?.receiver.as_mut()
    }

    fn append(&mut self, what: What, since: Instant) {
        self.entries.push_back(Entry { what, since });
    }

    fn skip_own(&mut self, connection: ConnectionId) {
        if let Some(Connection {
            receiver: Some(receiver),
            ..
        }) = self.connections.get_mut(&connection)
        {
            receiver.skip_own(&self.entries, self.first);
        }
    }

    /// Drops what all have taken, and tells its senders.
    fn trim(&mut self) {
        if self.awaits_strangers || !self.awaited.is_empty() {
            return;
        }
        let end = self.first + self.entries.len() as u64;
        let stable = self
            .receivers()
            .map(|(_, receiver)| receiver.taken)
            .min()
            .unwrap_or(end);
        while self.first < stable
            && let Some(entry) = self.entries.pop_front()
        {
            self.first += 1;
            match entry.what {
                What::Data { sender: id, data } => self.is_stable(&id, &data),
                What::Joined(Known {
                    id,
                    incarnation,
                    base,
                }) => {
                    self.members.insert(id, Member { incarnation, base });
                }
                What::Left(id) => {
                    self.members.remove(&id);
                    if self
                        .senders
                        .get(&id)
                        .is_some_and(|sender| sender.connection.is_none())
                    {
                        self.senders.remove(&id);
                    }
                }
            }
        }
    }

    fn is_stable(&mut self, id: &str, data: &Data) {
        if let Some(member) = self.members.get_mut(id) {
            member.base = Some(data.seq);
        }
        let Some(sender) = self.senders.get_mut(id) else {
            return;
        };
        sender.unstable_bytes = sender.unstable_bytes.saturating_sub(data.payload_len());
        // A former process of that id may have frames in the log: their numbers mean nothing here.
        if data.seq <= sender.last_seq {
            sender.stable_seq = sender.stable_seq.max(data.seq);
        }
        let stable = sender.stable_seq;
        let Some(connection) = sender.connection else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&connection)
            && let Some(receiver) = &mut connection.receiver
        {
            receiver.stable = stable;
            connection.wakers.write.notify_one();
        }
    }
}

impl Receiver {
    /// What it sent itself needs no confirmation.
    fn skip_own(&mut self, entries: &VecDeque<Entry>, first: u64) {
        while let Some(entry) = entry_at(entries, first, self.taken)
            && entry.what.is_of(&self.id)
        {
            self.taken += 1;
        }
    }
}

fn entry_at(entries: &VecDeque<Entry>, first: u64, place: u64) -> Option<&Entry> {
    let at = usize::try_from(place.checked_sub(first)?).ok()?;
    entries.get(at)
}
