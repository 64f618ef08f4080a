//! The way in.

use std::collections::{BTreeSet, HashMap};

use switchboard_plugin::{
    Config, Events, Failure, OpenFailure, Subscriber, debug, node,
    postgres::{self, Client, Error},
    types::{Event, Lag, Message, Received},
    warn,
    wire::WireError,
};

use super::{
    log::{Log, News},
    outcome::{Trouble, open_failure},
    rows::{self, Fault, Step},
    tables::Tables,
};
use crate::{
    options::Options,
    wire::{
        inbox::{Arrival, Attachment, Inbox},
        names,
    },
};

/// By this name the host keeps the subscription for the instances that follow.
const SUBSCRIPTION: &str = "transport";

/// One `poll` takes about this much of notifications.
const POLL_BYTES: u32 = 1024 * 1024;

/// Pages without a message for this node that one `poll` reads before it returns.
const MAX_EMPTY_PAGES: usize = 8;

/// Reads messages from Postgres.
pub struct In {
    client: Client,
    subscription: postgres::Subscription,
    inbox: Inbox,
    prefix: String,
    table: String,
    step: Step,
    /// With `durable`.
    log: Option<Log>,
    /// What an earlier instance had listened to, and this one need not, is gone.
    is_tidy: bool,
}

/// What came, in its place.
// Most are events.
#[allow(clippy::large_enum_variant)]
enum Slot {
    Event(Event),
    Row(Attachment),
}

impl Subscriber for In {
    fn open(config: Config, resume_from: Option<String>) -> Result<Self, OpenFailure> {
        let options = Options::read(&config)?;
        let client = Client::open(&options.connection).map_err(open_failure)?;
        let subscription = postgres::Subscription::open(&options.connection, SUBSCRIPTION)
            .map_err(open_failure)?;
        let resume_from = resume_from.and_then(|offset| offset.parse().ok());
        Ok(Self {
            client,
            subscription,
            inbox: Inbox::new(&options.channel_prefix, &config.node),
            prefix: options.channel_prefix.clone(),
            table: Tables::of(&options.table).attachments,
            step: Step::default(),
            log: options
                .durable
                .map(|durable| Log::new(durable.retention_ms, resume_from, node::now_ms())),
            is_tidy: false,
        })
    }

    fn enter(&mut self, namespace: String) -> Result<(), Failure> {
        if !names::is_nodes(&self.prefix, &namespace) {
            warn(&format!(
                "the namespace {namespace:?} has too long a name for a channel of its own: Node's \
                 servers cannot serve it"
            ));
        }
        let channel = self.inbox.enter(&namespace);
        // Before anything is listened to: what comes afterwards is wanted.
        let begun = self.begin();
        // Also after a failure: the host listens as soon as it can.
        let listening = self.subscription.listen(&[channel]);
        begun.and(listening.map_err(failure))
    }

    fn leave(&mut self, namespace: String) {
        if let Some(channel) = self.inbox.leave(&namespace) {
            self.subscription.unlisten(&[channel]);
        }
    }

    fn poll(&mut self, timeout_ms: u32, max_events: u32) -> Result<Events, Failure> {
        self.tidy();
        self.begin()?;
        // What was taken is handed out again if the poll fails, and must be news again then.
        let before = self.log.clone();
        let polled = match self.log.as_ref().is_some_and(Log::is_behind) {
            true => self.catch_up(),
            false => self.take(timeout_ms, max_events),
        };
        if polled.is_err() {
            self.log = before;
        }
        polled.map(Events::from)
    }

    fn close(self) {
        self.subscription.close();
        self.client.close();
    }
}

impl In {
    /// Finds out where a durable transport begins.
    fn begin(&mut self) -> Result<(), Failure> {
        let Some(log) = self.log.as_mut().filter(|log| log.needs_start()) else {
            return Ok(());
        };
        let client = &self.client;
        let last = rows::last_id(&self.table, |statements| client.batch(statements));
        match last {
            Ok(last) => log.begin(last),
            // The first server creates it.
            Err(Trouble::NoTable(_)) => log.begin(0),
            Err(other) => return Err(Failure::Unavailable(other.why())),
        }
        Ok(())
    }

    /// Drops what an earlier instance had listened to and this one does not want: the host has
    /// entered all its namespaces before the first poll.
    fn tidy(&mut self) {
        if self.is_tidy {
            return;
        }
        self.is_tidy = true;
        let wanted: BTreeSet<&str> = self.inbox.channels().collect();
        let mut had = self.subscription.channels();
        had.retain(|name| !wanted.contains(name.as_str()));
        if !had.is_empty() {
            self.subscription.unlisten(&had);
        }
    }

    /// Waits for notifications and fetches their rows.
    fn take(&mut self, timeout_ms: u32, max_events: u32) -> Result<Vec<Event>, Failure> {
        let most = max_events.min(self.step.get());
        let taken = self.subscription.next(timeout_ms, most, POLL_BYTES);
        let taken = taken.map_err(failure)?;
        let (slots, ids, mut bytes) = self.sort(taken);
        // It fails before anything is handed out.
        let found = self.fetch(&ids)?;
        bytes += found.values().map(Vec::len).sum::<usize>();
        self.step.learn(bytes);
        if let Some(log) = &mut self.log {
            log.is_good(node::now_ms());
        }
        Ok(self.events(slots, found))
    }

    /// What came, the rows that it needs, and its bytes.
    fn sort(&mut self, taken: Vec<postgres::Event>) -> (Vec<Slot>, Vec<i64>, usize) {
        let (mut slots, mut ids, mut bytes) = (Vec::with_capacity(taken.len()), Vec::new(), 0);
        for event in taken {
            let notification = match event {
                postgres::Event::Notification(notification) => notification,
                postgres::Event::Lagged(lag) => {
                    slots.extend(self.lagged(lag).map(Slot::Event));
                    continue;
                }
            };
            bytes += notification.payload.len();
            let channel = notification.channel;
            match self.inbox.notification(&channel, &notification.payload) {
                Ok(Arrival::Nothing) => {}
                Ok(Arrival::Message { message, is_keeper }) => {
                    if let Some(log) = self.log.as_mut().filter(|_| !is_keeper) {
                        log.heard_a_stranger();
                    }
                    slots.push(Slot::Event(received(message, None)));
                }
                Ok(Arrival::Attachment(attachment)) => {
                    let log = self.log.as_mut();
                    let news =
                        log.map_or(News::New, |log| log.news(attachment.id, attachment.is_kept));
                    if news == News::Anew {
                        slots.push(Slot::Event(begun_anew()));
                    }
                    if news != News::Old && attachment.is_wanted {
                        ids.push(attachment.id);
                        slots.push(Slot::Row(attachment));
                    }
                }
                Err(error) => {
                    let what = format!("a notification on channel {channel:?}");
                    slots.extend(unreadable(&what, &error).map(Slot::Event));
                }
            }
        }
        (slots, ids, bytes)
    }

    /// The host has missed notifications.
    fn lagged(&mut self, lag: postgres::Lag) -> Option<Event> {
        let Some(log) = &mut self.log else {
            return Some(Event::Lagged(Lag {
                missed: lag.missed,
                reason: lag.reason,
            }));
        };
        match log.missed(node::now_ms(), &lag.reason) {
            None => {
                debug(&format!("reading the table: {}", lag.reason));
                None
            }
            Some(reason) => Some(Event::Lagged(Lag {
                missed: None,
                reason,
            })),
        }
    }

    /// The rows of notifications.
    fn fetch(&mut self, ids: &[i64]) -> Result<HashMap<i64, Vec<u8>>, Failure> {
        let client = &self.client;
        match rows::fetch(&self.table, ids, |statements| client.batch(statements)) {
            Ok(found) => Ok(found),
            // Fewer next time, unless there was one only: that one is missing then.
            Err(Fault::TooLarge) if ids.len() > 1 => {
                self.step.shrink();
                Err(Failure::Unavailable(
                    "what has come is too large to be read at once".to_owned(),
                ))
            }
            Err(Fault::TooLarge) => Ok(HashMap::new()),
            Err(Fault::Other(Trouble::Away(why) | Trouble::InDoubt(why))) => {
                Err(Failure::Unavailable(why))
            }
            // With a log nothing must be missed: it waits until somebody sets that right.
            Err(Fault::Other(other)) if self.log.is_some() => {
                Err(Failure::Unavailable(other.why()))
            }
            Err(Fault::Other(other)) => {
                warn(&format!(
                    "rows of the table {} cannot be read: {}",
                    self.table,
                    other.why()
                ));
                Ok(HashMap::new())
            }
        }
    }

    fn events(&self, slots: Vec<Slot>, mut found: HashMap<i64, Vec<u8>>) -> Vec<Event> {
        let event = |slot| match slot {
            Slot::Event(event) => Some(event),
            Slot::Row(attachment) => match found.remove(&attachment.id) {
                Some(payload) => self.row(attachment.id, &payload, &attachment),
                None => Some(Event::Lagged(Lag {
                    missed: Some(1),
                    reason: format!(
                        "the row {} of the table {} is not there or cannot be read; rows are \
                         deleted after the shortest `cleanupInterval` (with `durable`: \
                         `retention`) of all servers",
                        attachment.id, self.table
                    ),
                })),
            },
        };
        slots.into_iter().filter_map(event).collect()
    }

    fn row(&self, id: i64, payload: &[u8], attachment: &Attachment) -> Option<Event> {
        match self.inbox.row(payload, &attachment.namespace) {
            Ok(row) => {
                let is_logged = self.log.is_some() && row.is_kept;
                let offset = is_logged.then(|| id.to_string());
                row.message.map(|message| received(message, offset))
            }
            Err(error) => unreadable(&format!("the row {id}"), &error),
        }
    }

    /// Reads pages of the table until there is something for the host, or nothing more.
    fn catch_up(&mut self) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        if self.log.as_ref().is_some_and(Log::is_at_gap) {
            let client = &self.client;
            let last = rows::last_id(&self.table, |statements| client.batch(statements));
            let last = match last {
                Ok(last) => last,
                Err(Trouble::NoTable(_)) => 0,
                Err(other) => return Err(Failure::Unavailable(other.why())),
            };
            if let Some(log) = &mut self.log
                && log.is_anew(last)
            {
                events.push(begun_anew());
            }
        }
        for _ in 0..MAX_EMPTY_PAGES {
            let Some(log) = self.log.as_mut().filter(|log| log.is_behind()) else {
                break;
            };
            let (from, limit) = (log.next_page(), self.step.get());
            let client = &self.client;
            let page = rows::after(&self.table, from, limit, |s| client.batch(s));
            let page = match page {
                Ok(page) => page,
                Err(Fault::TooLarge) if self.step.shrink() => continue,
                Err(Fault::TooLarge) => {
                    self.pass_over(from, &mut events)?;
                    break;
                }
                // Nobody has sent anything yet.
                Err(Fault::Other(Trouble::NoTable(_))) => Vec::new(),
                Err(Fault::Other(other)) => return Err(Failure::Unavailable(other.why())),
            };
            let is_last = page.len() < limit as usize;
            self.step
                .learn(page.iter().map(|row| row.payload.len()).sum());
            let last = page.last().map(|row| row.id);
            for row in page {
                events.extend(self.row_of_page(row));
            }
            if let Some(log) = &mut self.log {
                log.turned(last.filter(|_| !is_last));
                if is_last {
                    log.is_good(node::now_ms());
                }
            }
            if !events.is_empty() {
                break;
            }
        }
        Ok(events)
    }

    fn row_of_page(&mut self, row: rows::StoredRow) -> Option<Event> {
        let log = self.log.as_mut()?;
        match self.inbox.row(&row.payload, "") {
            Ok(read) => {
                let is_news = log.is_news_of_page(row.id, read.is_kept);
                let message = read.message.filter(|_| is_news)?;
                Some(received(message, read.is_kept.then(|| row.id.to_string())))
            }
            Err(error) => {
                let is_news = log.is_news_of_page(row.id, false);
                unreadable(&format!("the row {}", row.id), &error).filter(|_| is_news)
            }
        }
    }

    /// The next row is too large for any answer.
    fn pass_over(&mut self, from: i64, events: &mut Vec<Event>) -> Result<(), Failure> {
        let client = &self.client;
        let next = rows::next_id(&self.table, from, |statements| client.batch(statements));
        let next = next.map_err(|trouble| Failure::Unavailable(trouble.why()))?;
        if let Some((log, id)) = self.log.as_mut().zip(next) {
            log.is_news_of_page(id, true);
            log.turned(Some(id));
            events.push(Event::Lagged(Lag {
                missed: Some(1),
                reason: format!(
                    "the row {id} is over the limit (`max_reply_bytes` of the connection)"
                ),
            }));
        }
        Ok(())
    }
}

fn begun_anew() -> Event {
    Event::Lagged(Lag {
        missed: None,
        reason:
            "the ids of the table have begun anew: it was made again, or Postgres has lost its \
                 last rows"
                .to_owned(),
    })
}

fn received(message: Message, offset: Option<String>) -> Event {
    Event::Message(Received { message, offset })
}

/// What the host hears of something that cannot be read; the operator hears of each.
fn unreadable(what: &str, error: &WireError) -> Option<Event> {
    let reason = format!("cannot read {what}: {error}");
    warn(&reason);
    error.may_be_of_a_peer().then_some(Event::Lagged(Lag {
        missed: Some(1),
        reason,
    }))
}

fn failure(error: Error) -> Failure {
    match Trouble::of(error) {
        Trouble::Away(why) | Trouble::InDoubt(why) => Failure::Unavailable(why),
        other => Failure::Rejected(other.why()),
    }
}
