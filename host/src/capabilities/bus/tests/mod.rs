//! Buses of many members in one process, over real sockets. A process that dies is a task that is
//! aborted: its sockets and its lock are closed without goodbye.

#![allow(clippy::unwrap_used)]

mod hostile;
mod limits;
mod membership;
mod takeover;
mod traffic;

use std::{collections::BTreeMap, future::Future, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    Bus, BusError, BusEvent, BusOptions, BusRole,
    frame::{Frame, Hello, Known},
    wire::{FrameReader, WriteBatch},
};

/// For everything that is expected to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a test has its bus.
struct Site {
    folder: TempDir,
    options: BusOptions,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus.sock");
        Self {
            folder,
            options: BusOptions {
                path,
                ..BusOptions::default()
            },
        }
    }

    fn with(change: impl FnOnce(&mut BusOptions)) -> Self {
        let mut site = Self::new();
        change(&mut site.options);
        site
    }

    fn path(&self) -> PathBuf {
        self.options.path.clone()
    }

    fn start(&self, id: &str) -> Bus {
        let bus = Bus::start(id, self.options.clone()).unwrap();
        bus.subscribe();
        bus
    }

    /// Members that all know each other.
    async fn start_all(&self, ids: &[&str]) -> Vec<Bus> {
        let buses: Vec<Bus> = ids.iter().map(|id| self.start(id)).collect();
        meet(&buses).await;
        buses
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("it did not happen: {what}"))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    soon(what, wait).await;
}

/// Returns when every member knows every other.
async fn meet(buses: &[Bus]) {
    let all = || {
        buses.iter().all(|bus| {
            let status = bus.status();
            status.role != BusRole::Connecting && status.members.len() == buses.len() - 1
        })
    };
    until("all members meet", all).await;
}

fn hub(buses: &[Bus]) -> Option<usize> {
    buses
        .iter()
        .position(|bus| bus.status().role == BusRole::Hub)
}

async fn send(bus: &Bus, frames: &[Bytes]) -> Result<(), BusError> {
    bus.reserve(frames.to_vec()).await?.commit();
    Ok(())
}

async fn send_text(bus: &Bus, text: &str) {
    send(bus, &[Bytes::copy_from_slice(text.as_bytes())])
        .await
        .unwrap();
}

fn joined(id: &str) -> BusEvent {
    BusEvent::Joined(id.into())
}

fn left(id: &str) -> BusEvent {
    BusEvent::Left(id.into())
}

fn frame(sender: &str, text: &str) -> BusEvent {
    BusEvent::Frame {
        sender: sender.into(),
        data: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// The next events, whenever they come.
async fn some(bus: &Bus) -> Vec<BusEvent> {
    let wait = async {
        loop {
            if let Ok(events) = bus.next(PATIENCE, 64, 8 << 20).await
                && !events.is_empty()
            {
                bus.commit();
                return events;
            }
        }
    };
    soon("an event", wait).await
}

/// Exactly so many events.
async fn take(bus: &Bus, count: usize) -> Vec<BusEvent> {
    let mut all = Vec::new();
    while all.len() < count {
        let events = bus
            .next(PATIENCE, count - all.len(), usize::MAX)
            .await
            .unwrap();
        bus.commit();
        assert!(!events.is_empty(), "only {all:?} came, of {count}");
        all.extend(events);
    }
    all
}

/// Events up to this one.
async fn take_until(bus: &Bus, last: &BusEvent) -> Vec<BusEvent> {
    let mut all = Vec::new();
    while all.last() != Some(last) {
        all.extend(take(bus, 1).await);
    }
    all
}

/// A frame that tells its number, of a size between nothing much and `max`.
fn numbered(number: u64, max: usize) -> Bytes {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let size = match spread % 16 {
        0 => max,
        1..4 => max / 16,
        _ => spread as usize % (max / 64).max(1),
    };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + size, number as u8);
    bytes.into()
}

fn number(frame: &Bytes) -> u64 {
    let (number, rest) = frame.split_first_chunk().unwrap();
    let number = u64::from_le_bytes(*number);
    assert!(
        rest.iter().all(|byte| *byte == number as u8),
        "frame {number} is damaged"
    );
    number
}

/// What a member has got, checked as it comes.
#[derive(Debug, Default)]
struct Ledger {
    last: BTreeMap<Arc<str>, u64>,
    left: Vec<Arc<str>>,
    lagged: u64,
}

impl Ledger {
    /// Every sender's numbers must come without gap, repetition and disorder, whatever the first.
    fn note(&mut self, me: &str, events: Vec<BusEvent>) {
        for event in events {
            match event {
                BusEvent::Frame { sender, data } => {
                    let number = number(&data);
                    if let Some(last) = self.last.insert(Arc::clone(&sender), number) {
                        assert_eq!(number, last + 1, "at {me} from {sender}");
                    }
                }
                BusEvent::Lagged(missed) => self.lagged += u64::from(missed.unwrap_or(1)),
                BusEvent::Left(id) => self.left.push(id),
                BusEvent::Joined(_) => {}
            }
        }
    }
}

fn hello(id: &str) -> Frame {
    Frame::Hello(Hello {
        id: id.into(),
        incarnation: 1,
        base: 0,
        max_frame_bytes: 1 << 20,
        max_unstable_bytes: 1 << 20,
        others: Vec::new(),
    })
}

/// A connection that says what the test wants.
struct Raw {
    stream: UnixStream,
    reader: FrameReader,
}

impl Raw {
    async fn connect(site: &Site) -> Self {
        let stream = UnixStream::connect(site.path()).await.unwrap();
        Self {
            stream,
            reader: FrameReader::new(1 << 20),
        }
    }

    async fn join(site: &Site, hello: Frame) -> (Self, Vec<Known>) {
        let mut raw = Self::connect(site).await;
        raw.send(&[hello]).await;
        match raw.next().await {
            Some(Frame::Welcome { members, .. }) => (raw, members),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&mut self, frames: &[Frame]) {
        let mut batch = WriteBatch::new();
        frames.iter().for_each(|frame| batch.push(frame));
        batch.write_to(&mut self.stream).await.unwrap();
    }

    /// The next frame; none at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.reader.next().unwrap() {
                return Some(frame);
            }
            let filled = soon("something from the hub", self.reader.fill(&mut self.stream)).await;
            if !matches!(filled, Ok(true)) {
                return None;
            }
        }
    }
}
