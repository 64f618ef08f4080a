//! Sessions for connection state recovery: kept under a key each, missed packets read from the
//! stream.
//!
//! Node deletes a session before it knows whether the stream still reaches back to its offset, so
//! that no second try can succeed. Here it is deleted last, and only who deletes it hands it out.

use switchboard_plugin::{
    Config, Failure, OpenFailure, Recovery,
    redis::{Client, Command, Error, Reply},
    redis_outcome::{failure, open_failure},
    types::{Body, Broadcast, Missed, Restored, Session},
    warn,
    wire::session::{MAX_PID_BYTES, Rooms},
};

use crate::{
    options::Options,
    transport::range::{Entry, Pager},
    wire::{
        entry::{self, Parts},
        names::Streams,
        session,
    },
};

/// Pages of the stream that one restore reads at most, each of up to 1,000 entries or about 1 MiB.
/// Node has the same number. A client that is further behind starts anew.
const MAX_PAGES: usize = 100;

/// Missed packets that one restore hands out at most, in bytes as they stand in the stream.
const MAX_MISSED_BYTES: usize = 16 * 1024 * 1024;

/// Keeps sessions in Redis.
pub struct Sessions {
    client: Client,
    store: Store,
}

impl Recovery for Sessions {
    fn open(config: Config) -> Result<Self, OpenFailure> {
        let options = Options::read(&config)?;
        let client = Client::open(&options.connection).map_err(open_failure)?;
        Ok(Self {
            client,
            store: Store::new(&options),
        })
    }

    fn persist_session(&mut self, session: Session, ttl_ms: u32) -> Result<(), Failure> {
        let client = &self.client;
        self.store
            .persist(&session, ttl_ms, |commands| client.pipeline(commands))
    }

    fn restore_session(
        &mut self,
        namespace: String,
        pid: String,
        offset: String,
        max_missed: u32,
    ) -> Result<Option<Restored>, Failure> {
        let client = &self.client;
        let wanted = Wanted {
            namespace: &namespace,
            pid: &pid,
            offset: &offset,
            max_missed: max_missed as usize,
        };
        let outcome = self
            .store
            .restore(&wanted, |commands| client.pipeline(commands))?;
        match outcome {
            Ok(restored) => Ok(Some(restored)),
            Err(Why::Ordinary) => Ok(None),
            Err(Why::Remarkable(why)) => {
                warn(&format!("a session is not restored: {why}"));
                Ok(None)
            }
        }
    }

    fn close(self) {
        self.client.close();
    }
}

/// What a client asks for.
struct Wanted<'a> {
    namespace: &'a str,
    pid: &'a str,
    offset: &'a str,
    max_missed: usize,
}

/// Why there is nothing to restore.
#[derive(Debug, PartialEq)]
enum Why {
    /// It is unknown or expired, or the stream no longer reaches back.
    Ordinary,
    /// For the operator.
    Remarkable(String),
}

/// All but the host.
struct Store {
    streams: Streams,
    key_prefix: String,
    pager: Pager,
}

impl Store {
    fn new(options: &Options) -> Self {
        Self {
            streams: Streams::new(&options.stream_name, options.stream_count),
            key_prefix: options.session_key_prefix.clone(),
            pager: Pager::default(),
        }
    }

    fn key(&self, pid: &str) -> String {
        format!("{}{pid}", self.key_prefix)
    }

    fn persist(
        &self,
        session: &Session,
        ttl_ms: u32,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
    ) -> Result<(), Failure> {
        if session.pid.is_empty() || session.pid.len() > MAX_PID_BYTES {
            return Err(Failure::Rejected(format!(
                "a session's private id has 1 to {MAX_PID_BYTES} bytes"
            )));
        }
        let text = session::write(session).map_err(|why| Failure::Rejected(why.to_string()))?;
        // Redis takes no zero.
        let ttl = ttl_ms.max(1).to_string();
        let set = command(&["SET", &self.key(&session.pid), &text, "PX", &ttl]);
        match reply(pipeline(&[set]))? {
            Reply::Status(_) => Ok(()),
            other => Err(odd("SET", &other)),
        }
    }

    fn restore(
        &mut self,
        wanted: &Wanted<'_>,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
    ) -> Result<Result<Restored, Why>, Failure> {
        let is_pid = (1..=MAX_PID_BYTES).contains(&wanted.pid.len());
        if !is_pid || !entry::is_id(wanted.offset) {
            return Ok(Err(Why::Ordinary));
        }
        let key = self.key(wanted.pid);
        let session = match reply(pipeline(&[command(&["GET", &key])]))? {
            Reply::Nil => return Ok(Err(Why::Ordinary)),
            Reply::Bulk(text) => match session::read(&text) {
                // Whoever asks may have made the id up, to get at another key.
                Ok(session) if session.pid == wanted.pid => session,
                Ok(_) => return Ok(Err(Why::Remarkable("it has another id".to_owned()))),
                Err(why) => return Ok(Err(Why::Remarkable(why.to_string()))),
            },
            other => return Err(odd("GET", &other)),
        };
        let missed = match self.missed(&session, wanted, &mut pipeline)? {
            Ok(missed) => missed,
            Err(why) => return Ok(Err(why)),
        };
        // Of several servers that got so far, one hands it out.
        match reply(pipeline(&[command(&["DEL", &key])]))? {
            Reply::Integer(deleted) if deleted > 0.0 => Ok(Ok(Restored { session, missed })),
            Reply::Integer(_) => Ok(Err(Why::Ordinary)),
            other => Err(odd("DEL", &other)),
        }
    }

    /// What the session's rooms got after the offset.
    fn missed(
        &mut self,
        session: &Session,
        wanted: &Wanted<'_>,
        mut pipeline: impl FnMut(&[Command]) -> Result<Vec<Reply>, Error>,
    ) -> Result<Result<Vec<Missed>, Why>, Failure> {
        let rooms = Rooms::of(session);
        let stream = self.streams.of(wanted.namespace);
        let mut at = wanted.offset.to_owned();
        let (mut missed, mut bytes) = (Vec::new(), 0);
        for _ in 0..MAX_PAGES {
            let page = self.pager.command(stream, &at);
            let replies = pipeline(&[page]).map_err(failure)?;
            let page = self.pager.page(&at, replies.into_iter().next())?;
            if page.is_torn {
                // Trimmed, or another stream: something in between is lost.
                return Ok(Err(Why::Ordinary));
            }
            for Entry { id, fields } in page.entries {
                let parts = Parts::of(&fields);
                if let Some(broadcast) = event(&parts, wanted.namespace, &rooms, &id) {
                    bytes += parts.data.map_or(0, <[u8]>::len);
                    missed.push(Missed {
                        broadcast,
                        offset: id.clone(),
                    });
                }
                if missed.len() > wanted.max_missed || bytes > MAX_MISSED_BYTES {
                    return Ok(Err(behind()));
                }
                at = id;
            }
            if page.is_last {
                return Ok(Ok(missed));
            }
        }
        Ok(Err(behind()))
    }
}

/// An entry as a missed packet. None: it is none for this session.
fn event(parts: &Parts<'_>, namespace: &str, rooms: &Rooms<'_>, id: &str) -> Option<Broadcast> {
    if !parts.is_event_of(namespace) {
        return None;
    }
    match parts.read_body() {
        Ok(Some(Body::Broadcast(event))) => {
            let is_meant =
                event.request.is_none() && !event.target.volatile && rooms.are_in(&event.target);
            is_meant.then_some(event)
        }
        Ok(_) => None,
        Err(why) => {
            // It did not get to those who were connected either.
            warn(&format!("cannot read the missed entry {id}: {why}"));
            None
        }
    }
}

fn behind() -> Why {
    Why::Remarkable(
        "it has missed more than one restore hands out; the client starts anew".to_owned(),
    )
}

fn command(args: &[&str]) -> Command {
    Command {
        args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
    }
}

/// The reply to a single command.
fn reply(replies: Result<Vec<Reply>, Error>) -> Result<Reply, Failure> {
    let reply = replies.map_err(failure)?.into_iter().next();
    match reply {
        Some(Reply::NotExecuted(why) | Reply::Unknown(why)) => Err(Failure::Unavailable(why)),
        Some(Reply::Error(why)) => Err(Failure::Rejected(format!("Redis refuses it: {why}"))),
        Some(reply) => Ok(reply),
        None => Err(Failure::Unavailable("there was no reply".to_owned())),
    }
}

fn odd(name: &str, reply: &Reply) -> Failure {
    let shown: String = format!("{reply:?}").chars().take(64).collect();
    Failure::Rejected(format!("Redis answers {name} with {shown}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
