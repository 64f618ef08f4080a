//! Reads one stream over a connection of its own, and puts what arrives into the queue.
//!
//! Each read is two commands: `XREAD` waits for entries behind the place, and `XRANGE` looks, right
//! after it, whether the entry before the place is still there. It cannot be left out when `XREAD`
//! brought fewer entries than asked for: that proves that fewer are there now, and not that as few
//! were added. A stream may be trimmed to fewer entries than one read (`MAXLEN`, `MINID`), or be
//! deleted, in the very transaction that adds some. It costs Redis a tenth of its time when entries
//! come one by one, and next to nothing when they come in batches.
//!
//! The next read is sent before the last one has found room in the queue: so Redis works meanwhile,
//! and one reply at most waits in the connection while the plugin takes nothing.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, timeout},
};

use super::{
    entry::{self, Opening, StreamEntry},
    info::Info,
    pace::Pace,
    place::{Place, Verdict},
    table::{Start, Wanted},
};
use crate::capabilities::redis::{
    backoff::{Backoff, RETRY_MAX},
    connect::{Reading, Wire},
    pipeline::Backend,
    place::Place as Server,
    slots::{Redirect, slot_of},
    subscription::Core,
    trouble::Trouble,
    url::Address,
    wire::{self, Frame, Scan, Value},
};

/// The longest that Redis may wait for entries; then it says that there are none. Between two such
/// signs of life a dead connection looks like a stream in which nothing happens.
const MAX_BLOCK: Duration = Duration::from_secs(1);
/// How much later than expected a sign of life may come at first. A connection that is given up too
/// early costs a new one and nothing else, so this is stricter than with Pub/Sub.
const MAX_PATIENCE: Duration = Duration::from_secs(1);
/// Errors of Redis that pass.
const PASSING: [&str; 7] = [
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOAUTH",
    "UNBLOCKED",
    "BUSY",
];

/// Why a connection is left.
enum End {
    Lost(Trouble),
    /// The stream is at another node of the cluster.
    Moved(Trouble),
    /// Redis refuses this stream.
    Refused(String),
    /// The stream is not wanted any more.
    Left,
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Lost(trouble)
    }
}

impl From<wire::BadReply> for End {
    fn from(bad: wire::BadReply) -> Self {
        Self::Lost(Trouble::away(bad.to_string()))
    }
}

/// Reads the stream until the task is aborted, or Redis refuses it.
pub(super) async fn run(core: Arc<Core>, wanted: Wanted) {
    let block = core.router.options.ping_interval.min(MAX_BLOCK);
    let mut reader = Reader {
        place: match wanted.start {
            Start::New => None,
            Start::After(id) => Some(Place::after(id)),
        },
        pace: Pace::new(wanted.count),
        block,
        patience: core.router.options.ping_timeout.min(MAX_PATIENCE),
        core,
        wanted,
    };
    let mut backoff = Backoff::new();
    loop {
        let since = Instant::now();
        let end = reader.session().await;
        let core = &reader.core;
        let trouble = match end {
            End::Left => return,
            End::Lost(trouble) | End::Moved(trouble) => trouble,
            End::Refused(why) => {
                let is_answer = core.lock().streams.refused(&reader.wanted, &why);
                core.settled.notify_waiters();
                if is_answer {
                    return;
                }
                let trouble = format!("Redis refuses a stream that it allowed before: {why}");
                let trouble = Trouble::refused(trouble);
                core.router.health.failed(&trouble);
                trouble
            }
        };
        core.lock().streams.lost(&reader.wanted, &trouble);
        core.settled.notify_waiters();
        if since.elapsed() >= RETRY_MAX && !trouble.is_refusal {
            backoff = Backoff::new();
            continue;
        }
        sleep(backoff.pause(trouble.is_refusal)).await;
    }
}

struct Reader {
    core: Arc<Core>,
    wanted: Wanted,
    /// None: at the end that the stream has when Redis is first reached.
    place: Option<Place>,
    pace: Pace,
    block: Duration,
    /// How long after that Redis may be silent.
    patience: Duration,
}

impl Reader {
    /// Connects and reads until that is over.
    async fn session(&mut self) -> End {
        let core = Arc::clone(&self.core);
        let health = &core.router.health;
        let (mut wire, node) = match self.connect().await {
            Ok(connected) => connected,
            Err(trouble) => {
                health.failed(&trouble);
                return End::Lost(trouble);
            }
        };
        health.up();
        let end = match self.read(&mut wire, node.as_ref()).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if let End::Lost(trouble) = &end {
            health.lost(trouble);
            if let (Backend::Cluster(cluster), Some(node)) = (&core.router.backend, &node) {
                cluster.doubt_node(node);
            }
        }
        end
    }

    async fn connect(&self) -> Result<(Wire, Option<Address>), Trouble> {
        let router = &self.core.router;
        let cluster = match &router.backend {
            Backend::Single(server) => {
                return Ok((server.connect(&router.connector).await?, None));
            }
            Backend::Cluster(cluster) => cluster,
        };
        let slots = cluster.slots(router).await?;
        let owner = slots.owner(slot_of(self.wanted.name.as_bytes())).cloned();
        let Some(node) = owner else {
            cluster.doubt();
            return Err(Trouble::away("no node serves the slot of this stream"));
        };
        match Server::Fixed(node.clone()).connect(&router.connector).await {
            Ok(wire) => Ok((wire, Some(node))),
            Err(trouble) => {
                cluster.doubt_node(&node);
                Err(trouble)
            }
        }
    }

    async fn read(
        &mut self,
        wire: &mut Wire,
        node: Option<&Address>,
    ) -> Result<std::convert::Infallible, End> {
        let mut place = self.begin(wire, node).await?;
        self.ask(wire, &place).await?;
        loop {
            let entries = self.entries(&mut wire.read, node).await?;
            let verdict = match self.is_there(&mut wire.read, node).await? {
                true => {
                    place.advance(&entries);
                    Verdict::Complete
                }
                false if entries.is_empty() && place == Place::at_end(None) => Verdict::Complete,
                false => {
                    let info = self.info(wire, node).await?;
                    place.examine(&entries, info.as_ref())
                }
            };
            let bytes = entries.iter().map(StreamEntry::len).sum();
            self.pace.brought(entries.len(), bytes);
            let sent = self.ask(wire, &place).await;
            // They count as read also if the connection has just broken.
            self.queue(verdict, entries).await?;
            self.place = Some(place);
            sent?;
        }
    }

    /// Finds the place, and finds out whether Redis allows what is needed.
    async fn begin(&mut self, wire: &mut Wire, node: Option<&Address>) -> Result<Place, End> {
        let name = &*self.wanted.name;
        // Neither returns anything: the first for want of such a high id, the other of such a low.
        let mut out = BytesMut::new();
        let end = "18446744073709551615-18446744073709551615";
        wire::encode(&["XREAD", "COUNT", "1", "STREAMS", name, end], &mut out);
        wire::encode(&["XRANGE", name, "0-0", "0-0"], &mut out);
        self.write(wire, &out).await?;
        for _ in 0..2 {
            let frame = self.frame(&mut wire.read).await?;
            self.check(&frame, node)?;
        }
        let info = self.info(wire, node).await?;
        let (place, verdict) = match self.place {
            Some(mut place) => {
                let verdict = place.resume(info.as_ref());
                (place, verdict)
            }
            None => (Place::at_end(info.as_ref()), Verdict::Complete),
        };
        self.queue(verdict, Vec::new()).await?;
        self.place = Some(place);
        self.core.lock().streams.placed(&self.wanted);
        self.core.settled.notify_waiters();
        Ok(place)
    }

    /// Asks for what is behind the place.
    async fn ask(&self, wire: &mut Wire, place: &Place) -> Result<(), End> {
        let name = &*self.wanted.name;
        let count = self.pace.count().to_string();
        let block = self.block.as_millis().max(1).to_string();
        let id = place.id.to_string();
        let mut out = BytesMut::new();
        let read = [
            "XREAD", "COUNT", &count, "BLOCK", &block, "STREAMS", name, &id,
        ];
        wire::encode(&read, &mut out);
        wire::encode(&["XRANGE", name, &id, &id], &mut out);
        self.write(wire, &out).await
    }

    /// What `XREAD` brought; nothing when Redis has waited in vain.
    async fn entries(
        &mut self,
        read: &mut Reading,
        node: Option<&Address>,
    ) -> Result<Vec<StreamEntry>, End> {
        let opening = loop {
            if let Some(opening) = entry::opening(&mut read.buffer)? {
                break opening;
            }
            self.fill(read).await?;
        };
        let Opening::Entries(count) = opening else {
            let frame = self.frame(read).await?;
            self.check(&frame, node)?;
            return Ok(Vec::new());
        };
        let limit = self.core.router.options.max_reply_bytes;
        let mut entries = Vec::with_capacity(count.min(self.pace.count()));
        let mut bytes = 0;
        while entries.len() < count {
            let stream = &self.wanted.name;
            let entry = entry::cut(stream, &mut read.scan, &mut read.buffer);
            let entry = match entry {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    self.fill(read).await?;
                    continue;
                }
                Err(bad) => {
                    let why = format!("an entry of the stream {stream:?} cannot be read: {bad}");
                    // First those before it; then it will be the same again and again.
                    self.pace.exceeded(entries.len());
                    return Err(match entries.is_empty() {
                        true => Trouble::refused(why).into(),
                        false => Trouble::away(why).into(),
                    });
                }
            };
            bytes += entry.len();
            entries.push(entry);
            if bytes > limit && entries.len() < count {
                self.pace.exceeded(entries.len());
                return Err(Trouble::away(format!(
                    "entries of more than `max_reply_bytes` = {limit} bytes at a time: reading \
                     fewer of them"
                ))
                .into());
            }
        }
        Ok(entries)
    }

    /// Is the entry before the place still there?
    async fn is_there(&mut self, read: &mut Reading, node: Option<&Address>) -> Result<bool, End> {
        let frame = self.frame(read).await?;
        self.check(&frame, node)?;
        Ok(matches!(frame, Frame::Array(values) if !values.is_empty()))
    }

    /// How the stream is. None: there is no such stream.
    async fn info(&mut self, wire: &mut Wire, node: Option<&Address>) -> Result<Option<Info>, End> {
        let mut out = BytesMut::new();
        wire::encode(&["XINFO", "STREAM", &self.wanted.name], &mut out);
        self.write(wire, &out).await?;
        // The reply holds two whole entries.
        let limit = self.core.router.options.max_reply_bytes;
        let larger = Scan::new(limit.saturating_mul(2).saturating_add(4096));
        let usual = std::mem::replace(&mut wire.read.scan, larger);
        let frame = self.frame(&mut wire.read).await?;
        wire.read.scan = usual;
        if frame
            .error()
            .is_some_and(|e| e.starts_with(b"ERR no such key"))
        {
            return Ok(None);
        }
        self.check(&frame, node)?;
        match Info::read(&frame) {
            Some(info) => Ok(Some(info)),
            None => Err(Trouble::away("Redis tells nothing of the stream").into()),
        }
    }

    /// Is this an answer?
    fn check(&self, frame: &Frame, node: Option<&Address>) -> Result<(), End> {
        let error = match frame {
            Frame::One(Value::Error(error)) => error,
            Frame::One(Value::Nil) | Frame::Array(_) => return Ok(()),
            Frame::One(_) => return Err(Trouble::away("Redis sent a strange reply").into()),
        };
        let text = String::from_utf8_lossy(error);
        let code = text.split(' ').next().unwrap_or_default();
        if let (Some(node), Backend::Cluster(cluster)) = (node, &self.core.router.backend)
            && let Some(redirect) = Redirect::read(error, node)
        {
            if let Redirect::Moved(to) = redirect {
                cluster.moved(Some(slot_of(self.wanted.name.as_bytes())), to);
            }
            // With `ASK` the slot is on its way: it will have moved in a moment.
            let why = Trouble::away("the slot of the stream has moved");
            return Err(End::Moved(why));
        }
        if PASSING.contains(&code) {
            return Err(Trouble::away(format!("Redis is not ready: {text}")).into());
        }
        Err(End::Refused(match code {
            "NOPERM" => format!("{text} (the host needs ACL +xread +xrange +xinfo|stream)"),
            _ => text.into_owned(),
        }))
    }

    /// Puts what was read into the queue, as soon as that has room.
    async fn queue(&self, verdict: Verdict, entries: Vec<StreamEntry>) -> Result<(), End> {
        let name = &self.wanted.name;
        let lag = match verdict {
            Verdict::Complete if entries.is_empty() => return Ok(()),
            Verdict::Complete => None,
            Verdict::Trimmed(missed) => Some((
                missed,
                format!("entries of the stream {name:?} were trimmed before they were read"),
            )),
            Verdict::Anew => Some((
                None,
                format!(
                    "the stream {name:?} has begun anew: it was deleted, or Redis lost its last \
                     entries"
                ),
            )),
        };
        let core = &self.core;
        let mut lag = lag;
        let mut entries = entries.into_iter().peekable();
        while lag.is_some() || entries.peek().is_some() {
            let _turn = core.room().await;
            let mut state = core.lock();
            if !state.streams.is_current(&self.wanted) {
                return Err(End::Left);
            }
            if let Some((missed, why)) = lag.take() {
                state.lagged(missed, why);
            }
            while !state.queue.is_full()
                && let Some(entry) = entries.next()
            {
                let event = entry.into();
                if !state.ignored.has(&event) {
                    state.push(event);
                }
            }
            drop(state);
            core.arrived.notify_waiters();
        }
        Ok(())
    }

    async fn frame(&mut self, read: &mut Reading) -> Result<Frame, Trouble> {
        loop {
            if let Some(frame) = read.next()? {
                return Ok(frame);
            }
            self.fill(read).await?;
        }
    }

    /// Waits for more bytes, but not for ever.
    async fn fill(&mut self, read: &mut Reading) -> Result<(), Trouble> {
        let options = &self.core.router.options;
        match timeout(self.block + self.patience, read.fill()).await {
            Ok(filled) => {
                filled?;
                self.patience = options.ping_timeout.min(MAX_PATIENCE);
                Ok(())
            }
            Err(_) => {
                // A Redis that is slow and not dead must not be left again and again.
                self.patience = (self.patience * 2).min(options.command_timeout);
                Err(Trouble::away("Redis does not answer in time"))
            }
        }
    }

    async fn write(&self, wire: &mut Wire, out: &[u8]) -> Result<(), End> {
        let written = timeout(self.block + self.patience, async {
            wire.write.write_all(out).await?;
            wire.write.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Trouble::from(error).into()),
            Err(_) => Err(Trouble::away("the connection takes no more").into()),
        }
    }
}
