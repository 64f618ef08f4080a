//! The way in.

use std::collections::BTreeSet;

use switchboard_plugin::{
    Config, Events, Failure, OpenFailure, Subscriber,
    host::now_ms,
    socket::Socket,
    tcp,
    types::{Event, Lag, Received},
    warn,
    wire::envelope,
};

use super::{
    connection::{Connection, Reached, Trouble, left},
    note::{Note, Noted},
};
use crate::{
    options::Options,
    wire::{inbox::Inbox, protocol, protocol::Said, subject},
};

/// How long a namespace waits for NATS, before the host is told.
const ENTER_MS: u32 = 3_000;
/// How long NATS is away before the host is told.
const TROUBLE_AFTER_MS: f64 = 1_000.0;
/// With more bytes than this behind an unfinished message, the host need not keep them for a successor:
/// the message is then lost with this instance, and that is counted.
const MAX_HELD_BYTES: u64 = 16 << 20;

/// Reads messages from NATS.
#[derive(Debug)]
pub struct Receiving<S> {
    connection: Connection<S>,
    prefix: String,
    ping_interval_ms: f64,
    ping_timeout_ms: f64,
    ack_timeout_ms: u32,
    /// This server, and the same as a token.
    node: String,
    token: String,
    /// What this server serves.
    namespaces: BTreeSet<String>,
    subscriptions: Vec<Subscription>,
    next_sid: u64,
    /// Read while something else was waited for. The host keeps the bytes until a poll returns them.
    pending: Vec<Event>,
    /// Since when NATS is away, and why.
    away: Option<(f64, Trouble)>,
    /// When a sign of life was asked for.
    asked_ms: Option<f64>,
    /// What a predecessor had subscribed to, and this one need not, is gone.
    is_tidy: bool,
    /// Something is to be noted for a successor.
    is_changed: bool,
}

/// One subject.
#[derive(Debug)]
struct Subscription {
    namespace: String,
    /// Of this server alone.
    is_private: bool,
    sid: u64,
    inbox: Inbox,
}

impl Subscriber for Receiving<tcp::Socket> {
    fn open(config: Config, _resume_from: Option<String>) -> Result<Self, OpenFailure> {
        let options = Options::read(&config)?;
        let socket = super::open(&options.connection)?;
        Ok(Self::new(socket, &options, &config.node))
    }

    fn enter(&mut self, namespace: String) -> Result<(), Failure> {
        self.serve(namespace)
    }

    fn leave(&mut self, namespace: String) {
        self.unserve(&namespace);
    }

    fn poll(&mut self, timeout_ms: u32, max_events: u32) -> Result<Events, Failure> {
        self.receive(timeout_ms, max_events as usize)
            .map(Events::from)
    }

    fn close(self) {
        self.connection.close();
    }
}

impl<S: Socket> Receiving<S> {
    /// The way in of a node.
    pub fn new(socket: S, options: &Options, node: &str) -> Self {
        Self {
            connection: Connection::new(socket, options.login.clone(), "switchboard in"),
            prefix: options.prefix.clone(),
            ping_interval_ms: options.ping_interval_ms.into(),
            ping_timeout_ms: options.ping_timeout_ms.into(),
            ack_timeout_ms: options.ack_timeout_ms,
            node: node.to_owned(),
            token: subject::token(node),
            namespaces: BTreeSet::new(),
            subscriptions: Vec::new(),
            next_sid: 1,
            pending: Vec::new(),
            away: None,
            asked_ms: None,
            is_tidy: false,
            is_changed: false,
        }
    }

    /// From when this returns, what is published in the namespace arrives.
    ///
    /// # Errors
    /// It has no subject; or NATS is away, and the namespace is subscribed to when it is back.
    pub fn serve(&mut self, namespace: String) -> Result<(), Failure> {
        let subject = subject::of_one(&self.prefix, &namespace, &self.node);
        if subject.len() > subject::MAX_BYTES {
            let why = "the namespace is too long for a subject of NATS";
            return Err(Failure::Rejected(why.to_owned()));
        }
        self.namespaces.insert(namespace.clone());
        let entered = self.try_serve(&namespace);
        entered.map_err(|trouble| self.fail(trouble))
    }

    fn try_serve(&mut self, namespace: &str) -> Result<(), Trouble> {
        if !self.reach(ENTER_MS)? {
            return Err(Trouble("NATS is not connected yet".to_owned()));
        }
        if !self.is_subscribed(namespace) {
            let mut out = Vec::new();
            self.subscribe(namespace, &mut out);
            self.connection.write(&out)?;
            self.connection.ping()?;
        }
        let until = now_ms() + f64::from(self.ack_timeout_ms);
        loop {
            if let Some(why) = self.take(usize::MAX)? {
                self.subscriptions
                    .retain(|subscription| subscription.namespace != namespace);
                return Err(Trouble(why));
            }
            if self.connection.is_answered() {
                return Ok(());
            }
            if !self.connection.fill(left(until))? {
                let why = "NATS has not confirmed the subscription yet";
                return Err(Trouble(why.to_owned()));
            }
        }
    }

    /// No longer.
    pub fn unserve(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
        if self.connection.is_up()
            && let Err(trouble) = self.drop_unwanted()
        {
            self.fail(trouble);
        }
    }

    /// Waits up to this time for events and returns what is there, oldest first.
    ///
    /// # Errors
    /// NATS is away.
    pub fn receive(&mut self, timeout_ms: u32, max_events: usize) -> Result<Vec<Event>, Failure> {
        let until = now_ms() + f64::from(timeout_ms);
        let polled = self.try_receive(until, max_events);
        let events = std::mem::take(&mut self.pending);
        match polled {
            Ok(()) => {}
            // What was read before is returned first; the next poll finds the connection down.
            Err(trouble) => {
                let failure = self.fail(trouble);
                if let Some((since, _)) = self.away
                    && events.is_empty()
                    && now_ms() - since >= TROUBLE_AFTER_MS
                {
                    return Err(failure);
                }
            }
        }
        self.note();
        Ok(events)
    }

    fn try_receive(&mut self, until: f64, max_events: usize) -> Result<(), Trouble> {
        loop {
            if !self.connection.is_up() && !self.reach_until(until)? {
                return Ok(());
            }
            if !std::mem::replace(&mut self.is_tidy, true) {
                self.drop_unwanted()?;
            }
            if let Some(why) = self.take(max_events)? {
                warn(&format!("NATS says: {why}"));
            }
            if !self.pending.is_empty() || left(until) == 0 {
                return Ok(());
            }
            let asked = now_ms();
            let wait = left(until.min(self.sign_of_life()?));
            // Woken before its time: the host needs the instance.
            if !self.connection.fill(wait)? && now_ms() - asked + 1.0 < f64::from(wait) {
                return Ok(());
            }
        }
    }

    /// As `reach`, while attempts fail.
    fn reach_until(&mut self, until: f64) -> Result<bool, Trouble> {
        loop {
            match self.reach(left(until)) {
                Err(trouble) if left(until) > 0 => {
                    self.fail(trouble);
                }
                other => return other,
            }
        }
    }

    /// Sees to it that a connection that is dead is noticed. Returns when to look again.
    fn sign_of_life(&mut self) -> Result<f64, Trouble> {
        let now = now_ms();
        let heard = self.connection.heard_ms();
        if let Some(asked) = self.asked_ms {
            if heard > asked {
                self.asked_ms = None;
            } else if now >= asked + self.ping_timeout_ms {
                let waited = self.ping_interval_ms + self.ping_timeout_ms;
                let why = format!("nothing was heard of NATS for {waited} ms");
                return Err(self.connection.lost(&why));
            } else {
                return Ok(asked + self.ping_timeout_ms);
            }
        }
        if now >= heard + self.ping_interval_ms {
            self.connection.ping()?;
            self.asked_ms = Some(now);
            return Ok(now + self.ping_timeout_ms);
        }
        Ok(heard + self.ping_interval_ms)
    }

    /// Goes on until it is up and subscribed. False: not yet.
    fn reach(&mut self, timeout_ms: u32) -> Result<bool, Trouble> {
        match self.connection.reach(timeout_ms)? {
            Reached::Up => {}
            Reached::NotYet => return Ok(false),
            Reached::New { is_first } => self.begin(is_first)?,
            Reached::Resumed(note) => match Note::read(&note) {
                Some(note) => self.go_on(note),
                None => {
                    let why = "the version of the plugin before left a note that is not understood";
                    return Err(self.connection.lost(why));
                }
            },
        }
        self.away = None;
        Ok(true)
    }

    /// On a new connection: everything is subscribed to, and what was sent in between is missing.
    fn begin(&mut self, is_first: bool) -> Result<(), Trouble> {
        self.asked_ms = None;
        // In doubt for ever, since the host does not keep the bytes of a connection that is gone.
        let mut known = std::mem::take(&mut self.subscriptions);
        self.next_sid = 1;
        let mut out = Vec::new();
        for namespace in self.namespaces.clone() {
            self.subscribe(&namespace, &mut out);
        }
        for subscription in &mut self.subscriptions {
            let same = |other: &Subscription| {
                other.namespace == subscription.namespace
                    && other.is_private == subscription.is_private
            };
            if let Some(place) = known.iter().position(same) {
                subscription.inbox = known.swap_remove(place).inbox;
                subscription.inbox.cut();
            }
        }
        if !is_first {
            let why = match &self.away {
                Some((_, why)) => why.to_string(),
                None => "the instance before has left nothing".to_owned(),
            };
            self.pending.push(Event::Lagged(Lag {
                missed: None,
                reason: format!(
                    "the connection to NATS was lost, and what others sent until now is missing: {why}"
                ),
            }));
        }
        if !out.is_empty() {
            self.connection.write(&out)?;
            self.connection.ping()?;
        }
        Ok(())
    }

    /// On a connection that a predecessor has left: what the host still has of it is read again.
    fn go_on(&mut self, note: Note) {
        self.asked_ms = None;
        self.pending.clear();
        self.connection.restore(note.max_payload, note.pings);
        self.next_sid = note.next_sid;
        let subscription = |noted: Noted| {
            let mut inbox = Inbox::default();
            for (node, stand) in noted.senders {
                inbox.restore(node, stand);
            }
            Subscription {
                namespace: noted.namespace,
                is_private: noted.is_private,
                sid: noted.sid,
                inbox,
            }
        };
        self.subscriptions = note.subscriptions.into_iter().map(subscription).collect();
        self.is_tidy = false;
    }

    fn is_subscribed(&self, namespace: &str) -> bool {
        let mut namespaces = self.subscriptions.iter().map(|one| &one.namespace);
        namespaces.any(|subscribed| subscribed == namespace)
    }

    fn subscribe(&mut self, namespace: &str, out: &mut Vec<u8>) {
        for is_private in [false, true] {
            let subject = match is_private {
                false => subject::of_all(&self.prefix, namespace),
                true => subject::of_one(&self.prefix, namespace, &self.node),
            };
            let sid = self.next_sid;
            self.next_sid += 1;
            protocol::subscribe(out, &subject, sid);
            self.subscriptions.push(Subscription {
                namespace: namespace.to_owned(),
                is_private,
                sid,
                inbox: Inbox::default(),
            });
        }
        self.is_changed = true;
    }

    /// Unsubscribes from what this server does not serve, and subscribes to what is missing.
    fn drop_unwanted(&mut self) -> Result<(), Trouble> {
        let mut out = Vec::new();
        let namespaces = &self.namespaces;
        self.subscriptions.retain(|subscription| {
            let is_wanted = namespaces.contains(&subscription.namespace);
            if !is_wanted {
                protocol::unsubscribe(&mut out, subscription.sid);
            }
            is_wanted
        });
        for namespace in self.namespaces.clone() {
            if !self.is_subscribed(&namespace) {
                self.subscribe(&namespace, &mut out);
            }
        }
        self.is_changed |= !out.is_empty();
        self.connection.write(&out)
    }

    /// Makes events of what is here, until there are so many. Some: NATS has refused something.
    fn take(&mut self, max_events: usize) -> Result<Option<String>, Trouble> {
        let Self {
            connection,
            subscriptions,
            pending,
            node,
            token,
            ..
        } = self;
        let mut refused = None;
        let mut info = None;
        while pending.len() < max_events {
            let Some((said, place)) = connection.heard()? else {
                break;
            };
            self.is_changed = true;
            match said {
                Said::Message { sid, payload } => {
                    let mut all = subscriptions.iter_mut();
                    // Else it was under way when this server left the namespace.
                    if let Some(subscription) = all.find(|one| one.sid == sid) {
                        subscription.read(node, token, payload, place, pending);
                    }
                }
                Said::Error(why) => refused = Some(why),
                Said::Info(news) => info = Some(news),
                Said::Ping | Said::Pong | Said::Ok => {}
            }
        }
        if let Some(info) = info {
            connection.learn(&info);
        }
        Ok(refused)
    }

    /// Tells the host what is done with, and a successor how to go on.
    fn note(&mut self) {
        if !self.connection.is_up() || !std::mem::take(&mut self.is_changed) {
            return;
        }
        let place = self.connection.place();
        let held = self
            .subscriptions
            .iter()
            .filter_map(|one| one.inbox.held_from());
        let held = held.min().filter(|held| place - held <= MAX_HELD_BYTES);
        let noted = |subscription: &Subscription| Noted {
            namespace: subscription.namespace.clone(),
            is_private: subscription.is_private,
            sid: subscription.sid,
            senders: subscription
                .inbox
                .stands()
                .into_iter()
                .map(|(node, stand)| (node.to_owned(), stand.clone()))
                .collect(),
        };
        let note = Note {
            max_payload: self.connection.max_payload(),
            pings: self.connection.pings(),
            next_sid: self.next_sid,
            subscriptions: self.subscriptions.iter().map(noted).collect(),
            ..Note::default()
        };
        let note = note.write();
        if let Err(trouble) = self.connection.keep(held.unwrap_or(place), note.as_deref()) {
            warn(&format!(
                "a successor cannot go on where this one is: {trouble}"
            ));
        }
    }

    /// Notes that NATS is away.
    fn fail(&mut self, trouble: Trouble) -> Failure {
        let failure = Failure::Unavailable(trouble.to_string());
        let since = match &self.away {
            Some((since, _)) => *since,
            None => now_ms(),
        };
        self.away = Some((since, trouble));
        failure
    }
}

impl Subscription {
    fn read(
        &mut self,
        node: &str,
        token: &str,
        payload: &[u8],
        place: u64,
        events: &mut Vec<Event>,
    ) {
        let taken = match self.inbox.take(token, payload, place) {
            Ok(taken) => taken,
            Err(why) => return self.unreadable(&why.to_string(), true, events),
        };
        if taken.missed > 0 {
            let count = taken.missed;
            events.push(Event::Lagged(Lag {
                missed: Some(u32::try_from(count).unwrap_or(u32::MAX)),
                reason: format!("{count} messages of node {} were missed", taken.node),
            }));
        }
        let Some(content) = taken.message else {
            return;
        };
        match envelope::read(&content, node, |namespace| namespace == self.namespace) {
            Ok(Some(message)) => events.push(Event::Message(Received {
                message,
                offset: None,
            })),
            // A kind that this version does not know.
            Ok(None) => {}
            Err(error) => self.unreadable(&error.to_string(), error.may_be_of_a_peer(), events),
        }
    }

    /// The operator hears of each message that cannot be read, the host of those that a server may
    /// have sent.
    fn unreadable(&self, why: &str, may_be_of_a_peer: bool, events: &mut Vec<Event>) {
        let reason = format!("cannot read a message in {}: {why}", self.namespace);
        warn(&reason);
        if may_be_of_a_peer {
            events.push(Event::Lagged(Lag {
                missed: Some(1),
                reason,
            }));
        }
    }
}
