//! One connection of a subscription: finds it, tells Redis what is wanted, and puts what arrives
//! into the queue. Reads nothing while the queue is full: then Redis waits.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Core, RedisEvent, State,
    names::{Home, Key, Kind},
    push::{self, LastSource, Push},
};
use crate::capabilities::redis::{
    backoff::{Backoff, STABLE_AFTER},
    connect::{Reading, Wire},
    pipeline::Backend,
    place::Place,
    slots::{Redirect, slot_of},
    trouble::Trouble,
    url::Address,
    wire,
};

/// Names in one command. Commands with one name each would cost Redis a reply line as well, but
/// one refusal (ACL) is for the whole command.
const NAMES_AT_ONCE: usize = 256;

/// Keeps the connection until the task is aborted.
pub(super) async fn run(core: Arc<Core>, home: Home) {
    let mut backoff = Backoff::new();
    let mut attempts = 0;
    loop {
        let trouble = match connect(&core, &home, attempts).await {
            Ok((wire, at)) => {
                let since = Instant::now();
                core.router.health.up();
                core.lock().names.connected(&home, at.clone());
                let mut feed = Feed::new(&core, &home, at);
                let trouble = feed.serve(wire).await;
                core.router.health.lost(&trouble);
                if since.elapsed() >= STABLE_AFTER {
                    backoff = Backoff::new();
                    core.lost(&home, &trouble);
                    continue;
                }
                trouble
            }
            Err(trouble) => {
                core.router.health.failed(&trouble);
                trouble
            }
        };
        attempts += 1;
        core.lost(&home, &trouble);
        sleep(backoff.pause(trouble.is_refusal)).await;
    }
}

async fn connect(
    core: &Core,
    home: &Home,
    attempt: usize,
) -> Result<(Wire, Option<Address>), Trouble> {
    let router = &core.router;
    let (place, at) = match (home, &router.backend) {
        (Home::Node(node), _) => (Place::Fixed(node.clone()), Some(node.clone())),
        (Home::Main, Backend::Single(place)) => (place.clone(), None),
        (Home::Main, Backend::Cluster(cluster)) => {
            let slots = cluster.slots(router).await?;
            let masters = slots.masters();
            // Each attempt another one; the first differs between subscriptions.
            let index = (core.seed + attempt) % masters.len().max(1);
            let node = masters.into_iter().nth(index).cloned();
            let node = node.ok_or_else(|| Trouble::away("the cluster has no nodes"))?;
            (Place::Fixed(node.clone()), Some(node))
        }
    };
    let connected = place.connect(&router.connector).await;
    if let (Err(_), Some(node), Backend::Cluster(cluster)) = (&connected, &at, &router.backend) {
        cluster.doubt_node(node);
        core.reassign.notify_one();
    }
    connected.map(|wire| (wire, at))
}

/// What one connection has of the names.
struct Feed<'a> {
    core: &'a Core,
    home: &'a Home,
    at: Option<Address>,
    names: HashMap<Key, OnWire>,
    /// Commands that are not confirmed, oldest first.
    sent: VecDeque<Sent>,
    out: BytesMut,
    last: LastSource,
}

struct OnWire {
    /// What the last command said.
    is_subscribed: bool,
    /// Commands about it that are not confirmed.
    unconfirmed: usize,
}

struct Sent {
    kind: Kind,
    is_added: bool,
    names: VecDeque<Arc<str>>,
}

impl<'a> Feed<'a> {
    fn new(core: &'a Core, home: &'a Home, at: Option<Address>) -> Self {
        Self {
            core,
            home,
            at,
            names: HashMap::new(),
            sent: VecDeque::new(),
            out: BytesMut::new(),
            last: LastSource::default(),
        }
    }

    async fn serve(&mut self, wire: Wire) -> Trouble {
        let Wire {
            mut read,
            mut write,
        } = wire;
        let options = &self.core.router.options;
        let changed = self.core.lock().names.changed(self.home);
        let mut alive = Instant::now();
        // When the ping in progress must have been answered by anything at all.
        let mut pinged: Option<Instant> = None;
        let mut is_full = false;
        loop {
            if self.core.lock().names.must_move(self.home) {
                return Trouble::away("the node has left the cluster");
            }
            self.write_changes();
            let alarm = pinged.unwrap_or(alive + options.ping_interval);
            let mut turn = None;
            tokio::select! {
                filled = read.fill(), if !is_full => {
                    alive = Instant::now();
                    pinged = None;
                    if let Err(trouble) = filled {
                        return trouble;
                    }
                }
                room = self.core.room(), if is_full => {
                    turn = room;
                    alive = Instant::now();
                    pinged = None;
                }
                written = write.write_buf(&mut self.out), if !self.out.is_empty() => {
                    match written {
                        Ok(0) => return Trouble::away("the connection takes no more"),
                        Ok(_) => {}
                        Err(error) => return error.into(),
                    }
                    if let Err(error) = write.flush().await {
                        return error.into();
                    }
                    continue;
                }
                () = changed.notified() => continue,
                // While this side does not read, nothing can be heard.
                () = sleep_until(alarm), if !is_full => {
                    if pinged.is_some() {
                        return Trouble::away("Redis does not answer in time");
                    }
                    pinged = Some(Instant::now() + options.ping_timeout);
                    wire::encode(&["PING"], &mut self.out);
                    continue;
                }
            }
            match self.apply(&mut read) {
                Ok(full) => is_full = full,
                Err(trouble) => return trouble,
            }
            drop(turn);
        }
    }

    /// Turns what is wanted into commands.
    fn write_changes(&mut self) {
        let (mut add, mut leave) = (Vec::new(), Vec::new());
        let mut state = self.core.lock();
        for key in state.names.take_dirty(self.home) {
            let is_wanted = state.names.is_at(&key, self.home);
            match self.names.get(&key) {
                Some(known) if known.is_subscribed == is_wanted => {
                    if is_wanted && known.unconfirmed == 0 {
                        // Left and wanted again before anything was said.
                        state.names.confirm(&key, self.home);
                    }
                }
                None if !is_wanted => {}
                _ if is_wanted => add.push(key),
                _ => leave.push(key),
            }
        }
        drop(state);
        if add.is_empty() && leave.is_empty() {
            self.core.settled.notify_waiters();
            return;
        }
        self.write(leave, false);
        self.write(add, true);
    }

    fn write(&mut self, mut keys: Vec<Key>, is_added: bool) {
        keys.sort_unstable();
        // A cluster takes shard channels of one slot only in one command.
        let is_cluster = self.at.is_some();
        let at_once = |kind| match kind == Kind::Shard && is_cluster {
            true => 1,
            false => NAMES_AT_ONCE,
        };
        for same in keys.chunk_by(|a, b| a.kind == b.kind) {
            let Some(kind) = same.first().map(|key| key.kind) else {
                continue;
            };
            for keys in same.chunks(at_once(kind)) {
                let names: VecDeque<_> = keys.iter().map(|key| Arc::clone(&key.name)).collect();
                for key in keys {
                    let known = self.names.entry(key.clone()).or_insert(OnWire {
                        is_subscribed: false,
                        unconfirmed: 0,
                    });
                    known.is_subscribed = is_added;
                    known.unconfirmed += 1;
                }
                self.send(Sent {
                    kind,
                    is_added,
                    names,
                });
            }
        }
    }

    fn send(&mut self, sent: Sent) {
        let verb = match (sent.kind, sent.is_added) {
            (Kind::Channel, true) => "SUBSCRIBE",
            (Kind::Channel, false) => "UNSUBSCRIBE",
            (Kind::Pattern, true) => "PSUBSCRIBE",
            (Kind::Pattern, false) => "PUNSUBSCRIBE",
            (Kind::Shard, true) => "SSUBSCRIBE",
            (Kind::Shard, false) => "SUNSUBSCRIBE",
        };
        let args: Vec<&str> = std::iter::once(verb)
            .chain(sent.names.iter().map(|name| &**name))
            .collect();
        wire::encode(&args, &mut self.out);
        self.sent.push_back(sent);
    }

    /// Takes what has arrived whole. True: the plugin must take something first.
    fn apply(&mut self, read: &mut Reading) -> Result<bool, Trouble> {
        let core = self.core;
        let mut state = core.lock();
        let mut has_news = false;
        let mut has_settled = false;
        let result = loop {
            if state.queue.is_full() {
                break Ok(true);
            }
            let len = match read.scan.measure(&mut read.buffer) {
                Ok(Some(len)) => len,
                Ok(None) => break Ok(false),
                Err(bad) => break Err(Trouble::away(bad.to_string())),
            };
            if let Some(found) = push::find(read.buffer.get(..len).unwrap_or_default()) {
                if state.ignored.has_bytes(found.payload) {
                    read.buffer.advance(len);
                    continue;
                }
                let bytes = found.payload.len();
                let source = self.last.of(found);
                let mut payload = read.buffer.split_to(len).freeze();
                // It ends the reply, before the last line break.
                payload.truncate(len - 2);
                payload.advance(len - 2 - bytes);
                state.push(RedisEvent::Message { source, payload });
                has_news = true;
                continue;
            }
            let push = match push::read(read.buffer.split_to(len).freeze()) {
                Ok(push) => push,
                Err(trouble) => break Err(trouble),
            };
            let done = match push {
                Push::Pong => continue,
                Push::Confirmed(kind, is_added, name) => {
                    self.confirmed(&mut state, kind, is_added, &name);
                    Ok(())
                }
                Push::Error(text) => self.refused(&mut state, &text),
            };
            if let Err(trouble) = done {
                break Err(trouble);
            }
            has_settled = true;
            if self.sent.is_empty()
                && let Some(why) = state.names.take_gap(self.home)
            {
                state.lagged(None, format!("Redis was not connected: {why}"));
                has_news = true;
            }
        };
        drop(state);
        if has_news {
            core.arrived.notify_waiters();
        }
        if has_settled {
            core.settled.notify_waiters();
        }
        result
    }

    fn confirmed(&mut self, state: &mut State, kind: Kind, is_added: bool, name: &Bytes) {
        let is_next = self.sent.front().is_some_and(|sent| {
            let next = sent.names.front().map(|name| name.as_bytes());
            sent.kind == kind && sent.is_added == is_added && next == Some(&name[..])
        });
        if !is_next {
            // Redis does this by itself when the slot of a shard channel leaves the node.
            if let Ok(name) = std::str::from_utf8(name) {
                let name = Arc::from(name);
                self.evicted(state, &Key { kind, name });
            }
            return;
        }
        let Some(sent) = self.sent.front_mut() else {
            return;
        };
        let Some(name) = sent.names.pop_front() else {
            return;
        };
        if sent.names.is_empty() {
            self.sent.pop_front();
        }
        let key = Key { kind, name };
        let Some(known) = self.names.get_mut(&key) else {
            return;
        };
        known.unconfirmed = known.unconfirmed.saturating_sub(1);
        if known.unconfirmed > 0 {
            return;
        }
        if known.is_subscribed {
            state.names.confirm(&key, self.home);
        } else {
            self.names.remove(&key);
        }
    }

    fn evicted(&mut self, state: &mut State, key: &Key) {
        if self.names.remove(key).is_none() {
            return;
        }
        state.names.evicted(key, self.home);
        if let Backend::Cluster(cluster) = &self.core.router.backend {
            cluster.doubt();
        }
        self.core.reassign.notify_one();
    }

    /// The oldest command is refused as a whole.
    fn refused(&mut self, state: &mut State, text: &[u8]) -> Result<(), Trouble> {
        let shown = String::from_utf8_lossy(text);
        let Some(sent) = self.sent.pop_front() else {
            return Err(Trouble::away(format!("Redis is not ready: {shown}")));
        };
        let redirect = self.at.as_ref().and_then(|at| Redirect::read(text, at));
        if let (Some(Redirect::Moved(to) | Redirect::Ask(to)), Backend::Cluster(cluster)) =
            (redirect, &self.core.router.backend)
        {
            for name in sent.names {
                cluster.moved(Some(slot_of(name.as_bytes())), to.clone());
                let kind = sent.kind;
                self.names.remove(&Key { kind, name });
            }
            self.core.reassign.notify_one();
            return Ok(());
        }
        let code = shown.split(' ').next().unwrap_or_default();
        if matches!(
            code,
            "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "NOAUTH" | "TRYAGAIN"
        ) {
            return Err(Trouble::away(format!("Redis is not ready: {shown}")));
        }
        let Sent {
            kind,
            is_added,
            names,
        } = sent;
        let is_alone = names.len() == 1;
        for name in names {
            let key = Key {
                kind,
                name: Arc::clone(&name),
            };
            if !is_alone {
                // One by one: which of them is it?
                self.send(Sent {
                    kind,
                    is_added,
                    names: VecDeque::from([name]),
                });
                continue;
            }
            self.names.remove(&key);
            if is_added && !state.names.refuse(&key, self.home, &shown) {
                return Err(Trouble::refused(format!(
                    "Redis refuses a subscription that it allowed before: {shown}"
                )));
            }
        }
        Ok(())
    }
}
