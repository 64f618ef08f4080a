//! The receiving end: a namespace without sockets that counts what arrives and checks its order.
//! What the messages look like is known here only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use switchboard::cluster::{
    Body, Broadcast, Local, LocalAck, Namespace, Payload, Room, SocketInfo, Target,
};
use tokio::{sync::Notify, time::timeout};

use super::setup::Failure;

/// What stands before a message's number.
const BEFORE_NUMBER: &str = r#"["measured","#;
/// The number of the first message; all others have as many digits.
const FIRST_NUMBER: u64 = 1_000_000_000_000;
/// Digits of a number.
const NUMBER_BYTES: usize = 13;
/// How long all that was sent may take to arrive: far more than it needs.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// The part of an event's JSON text that only makes it long: with it the text has about so many
/// bytes. Made once for many events.
pub(crate) fn padding(json_bytes: usize) -> String {
    let around = event(0, "").len();
    "x".repeat(json_bytes.saturating_sub(around))
}

/// The event with this index, for all clients.
pub(crate) fn numbered(index: u64, padding: &str) -> Body {
    Body::Broadcast(Broadcast {
        target: Target::default(),
        data: Payload::text(event(index, padding)),
        packet_id: None,
        request: None,
    })
}

fn event(index: u64, padding: &str) -> String {
    let number = FIRST_NUMBER + index;
    format!(r#"{BEFORE_NUMBER}{number},"{padding}"]"#)
}

fn index(broadcast: &Broadcast) -> Option<u64> {
    let json = broadcast.data.json.as_str();
    let number = json.strip_prefix(BEFORE_NUMBER)?.get(..NUMBER_BYTES)?;
    number.parse::<u64>().ok()?.checked_sub(FIRST_NUMBER)
}

/// Counts what arrives.
pub(crate) struct Arrivals {
    namespace: Namespace,
    arrived: AtomicU64,
    /// How many must be there to wake the sender.
    awaited: AtomicU64,
    disordered: AtomicBool,
    changed: Notify,
}

impl Arrivals {
    pub(crate) fn new(namespace: &Namespace) -> Arc<Self> {
        Arc::new(Self {
            namespace: namespace.clone(),
            arrived: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            disordered: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// How many have arrived since the beginning.
    pub(crate) fn count(&self) -> u64 {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Says how many [`wait`](Self::wait) will wait for. Call it before the last one is sent.
    pub(crate) fn expect(&self, total: u64) {
        self.awaited.store(total, Ordering::SeqCst);
    }

    /// Waits until as many as expected have arrived since the beginning.
    ///
    /// # Errors
    /// When one was lost, repeated or out of order.
    pub(crate) async fn wait(&self) -> Result<(), Failure> {
        let awaited = self.awaited.load(Ordering::SeqCst);
        let all = async {
            while self.count() < awaited && !self.is_disordered() {
                self.changed.notified().await;
            }
        };
        let in_time = timeout(ARRIVAL_TIMEOUT, all).await.is_ok();
        let arrived = self.count();
        if self.is_disordered() {
            return Err("a message was lost, repeated or out of order".into());
        }
        if !in_time || arrived != awaited {
            return Err(format!("{arrived} messages arrived instead of {awaited}").into());
        }
        Ok(())
    }

    fn is_disordered(&self) -> bool {
        self.disordered.load(Ordering::SeqCst)
    }
}

impl Local for Arrivals {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn broadcast(&self, broadcast: Broadcast) -> usize {
        // Only the inbox calls this, one message after the other.
        let before = self.arrived.fetch_add(1, Ordering::SeqCst);
        let in_order = index(&broadcast) == Some(before);
        if !in_order {
            self.disordered.store(true, Ordering::SeqCst);
        }
        if !in_order || before + 1 >= self.awaited.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
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
