//! The receiving end: a namespace without sockets that measures the pauses between messages and
//! checks their order.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use switchboard::cluster::{
    Body, Broadcast, Local, LocalAck, Namespace, Payload, Room, SocketInfo, Target,
};

/// A message with its sender's number and its own.
pub(crate) fn tick(sender: usize, number: u64) -> Body {
    Body::Broadcast(Broadcast {
        target: Target::default(),
        data: Payload::text(format!(r#"["tick",{sender},{number}]"#)),
        packet_id: None,
        request: None,
    })
}

fn read(broadcast: &Broadcast) -> Option<(usize, u64)> {
    let numbers = broadcast.data.json.as_str().strip_prefix(r#"["tick","#)?;
    let (sender, number) = numbers.strip_suffix(']')?.split_once(',')?;
    Some((sender.parse().ok()?, number.parse().ok()?))
}

/// What one server gets of each other one.
pub(crate) struct Gaps {
    namespace: Namespace,
    senders: Mutex<BTreeMap<usize, Sender>>,
    faults: AtomicU64,
}

struct Sender {
    next: u64,
    last: Instant,
    longest: Duration,
}

impl Gaps {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        Self {
            namespace: namespace.clone(),
            senders: Mutex::default(),
            faults: AtomicU64::new(0),
        }
    }

    /// Measures from now on.
    pub(crate) fn forget(&self) {
        for sender in self.lock().values_mut() {
            sender.longest = Duration::ZERO;
        }
    }

    /// The longest pause of each sender, one that still lasts included.
    pub(crate) fn longest(&self) -> Vec<Duration> {
        let all = self.lock();
        let longest = |sender: &Sender| sender.longest.max(sender.last.elapsed());
        all.values().map(longest).collect()
    }

    /// The number of the next message of each sender.
    pub(crate) fn next(&self) -> BTreeMap<usize, u64> {
        let all = self.lock();
        all.iter().map(|(id, sender)| (*id, sender.next)).collect()
    }

    /// Messages that were not the next one.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Sender>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Local for Gaps {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn broadcast(&self, broadcast: Broadcast) -> usize {
        let Some((id, number)) = read(&broadcast) else {
            self.faults.fetch_add(1, Ordering::Relaxed);
            return 0;
        };
        let now = Instant::now();
        let mut senders = self.lock();
        let sender = senders.entry(id).or_insert(Sender {
            next: number,
            last: now,
            longest: Duration::ZERO,
        });
        if sender.next != number {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        sender.next = number + 1;
        sender.longest = sender.longest.max(now - sender.last);
        sender.last = now;
        0
    }

    fn broadcast_with_ack(
        &self,
        broadcast: &Broadcast,
        _timeout: Duration,
    ) -> (u32, BoxStream<'static, LocalAck>) {
        self.broadcast(broadcast.clone());
        (0, stream::empty().boxed())
    }

    fn join(&self, _target: &Target, _rooms: &[Room]) {}

    fn leave(&self, _target: &Target, _rooms: &[Room]) {}

    fn disconnect(&self, _target: &Target, _close: bool) {}

    fn sockets(&self, _target: &Target) -> Vec<SocketInfo> {
        Vec::new()
    }

    fn rooms(&self, _target: &Target) -> Vec<Room> {
        Vec::new()
    }

    fn has_room(&self, _room: &Room) -> bool {
        false
    }
}
