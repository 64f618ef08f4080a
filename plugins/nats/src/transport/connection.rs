//! A connection to NATS: found, greeted, and read line by line.

use switchboard_plugin::{
    host::now_ms,
    socket::{Encryption, Error, Received, Socket, text},
};

use crate::{
    options::Login,
    wire::protocol::{self, Info, PING, PONG, Said},
};

/// What one read asks for.
const READ_BYTES: u32 = 1 << 20;
/// What one write holds at most, so that the host need not keep a large batch twice.
const WRITE_BYTES: usize = 4 << 20;
/// How long a write may wait for room.
const WRITE_TIMEOUT_MS: u32 = 5_000;
/// How long a server may take to greet and to let this one in.
const GREETING_MS: f64 = 5_000.0;
/// A buffer with more room than this is given back when it is empty.
const MAX_IDLE_BYTES: usize = 4 << 20;

/// A connection, which may be down.
#[derive(Debug)]
pub struct Connection<S> {
    socket: S,
    login: Login,
    /// By this name NATS lists it.
    name: String,
    phase: Phase,
    is_first: bool,
    encryption: Encryption,
    /// When the phase before `Up` began.
    since_ms: f64,
    /// What was read, and up to where it was understood.
    buffer: Vec<u8>,
    at: usize,
    /// The place of `buffer[at]` in the stream, and up to where the host need not keep it.
    place: u64,
    consumed: u64,
    max_payload: usize,
    /// Asked, and not answered.
    pings: u32,
    /// Heard, and not answered.
    pongs_due: u32,
    heard_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    /// It stands, and the server has to say who it is.
    Greeting,
    /// The server has to say whether this one may in.
    Confirming,
    Up,
}

/// How far it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It was up already.
    Up,
    /// It is up, for the first time at all or not.
    New {
        /// None stood before, so nothing can have been missed.
        is_first: bool,
    },
    /// It is up, as an instance before left it, with what that had noted.
    Resumed(Vec<u8>),
    /// Time is up, or the host needs the instance: call again.
    NotYet,
}

/// Why it is down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self(text(error))
    }
}

impl<S: Socket> Connection<S> {
    /// One that is down.
    pub fn new(socket: S, login: Login, name: &str) -> Self {
        Self {
            socket,
            login,
            name: name.to_owned(),
            phase: Phase::Down,
            is_first: true,
            encryption: Encryption::None,
            since_ms: 0.0,
            buffer: Vec::new(),
            at: 0,
            place: 0,
            consumed: 0,
            max_payload: 1 << 20,
            pings: 0,
            pongs_due: 0,
            heard_ms: 0.0,
        }
    }

    /// Waits up to this time until it is up.
    ///
    /// # Errors
    /// An attempt has failed, or what stood does not stand any more. The host goes on trying: call
    /// again.
    pub fn reach(&mut self, timeout_ms: u32) -> Result<Reached, Trouble> {
        let until = now_ms() + f64::from(timeout_ms);
        loop {
            match self.phase {
                Phase::Up => return Ok(Reached::Up),
                Phase::Down => match self.socket.connect(None, left(until))? {
                    None => return Ok(Reached::NotYet),
                    Some(link) => {
                        self.reset();
                        self.encryption = link.encryption;
                        self.is_first = link.is_first;
                        if let Some(note) = link.note {
                            self.phase = Phase::Up;
                            return Ok(Reached::Resumed(note));
                        }
                        self.phase = Phase::Greeting;
                    }
                },
                Phase::Greeting | Phase::Confirming => {
                    if let Some(new) = self.greet()? {
                        return Ok(new);
                    }
                    let is_late = now_ms() > self.since_ms + GREETING_MS;
                    if is_late {
                        return Err(self.lost("NATS does not greet"));
                    }
                    if self.phase != Phase::Up && !self.fill(left(until))? {
                        return Ok(Reached::NotYet);
                    }
                }
            }
        }
    }

    /// Goes through what is there of the greeting.
    fn greet(&mut self) -> Result<Option<Reached>, Trouble> {
        loop {
            let heard = match self.heard()? {
                None => return Ok(None),
                Some((Said::Info(info), _)) => Greeting::Info(info),
                Some((Said::Pong, _)) => Greeting::Pong,
                Some((Said::Error(why), _)) => Greeting::Error(why),
                Some(_) => continue,
            };
            match (heard, self.phase) {
                (Greeting::Info(info), Phase::Greeting) => self.introduce(&info)?,
                (Greeting::Pong, Phase::Confirming) => {
                    self.phase = Phase::Up;
                    return Ok(Some(Reached::New {
                        is_first: self.is_first,
                    }));
                }
                (Greeting::Error(why), _) => {
                    return Err(self.lost(&format!("NATS refuses this server: {why}")));
                }
                _ => {}
            }
        }
    }

    fn introduce(&mut self, info: &Info) -> Result<(), Trouble> {
        self.learn(info);
        match self.encryption {
            Encryption::ToBeStarted => {
                if let Err(error) = self.socket.start_tls(WRITE_TIMEOUT_MS) {
                    return Err(self.lost(&text(error)));
                }
            }
            Encryption::None if info.tls_required => {
                return Err(self.lost(
                    "NATS wants TLS: set `encryption` to \"start\" for the connection in \
                     switchboard.toml",
                ));
            }
            Encryption::None | Encryption::Tls => {}
        }
        let is_encrypted = self.encryption != Encryption::None;
        let line = protocol::connect(&self.login, &self.name, is_encrypted);
        self.phase = Phase::Confirming;
        self.pings += 1;
        self.write(&line)
    }

    /// What NATS says now and then about itself.
    pub fn learn(&mut self, info: &Info) {
        let most = protocol::MAX_PAYLOAD_BYTES;
        self.max_payload = usize::try_from(info.max_payload).unwrap_or(most).min(most);
    }

    /// The next thing that NATS has said and that is here already, and its place in the stream. It is
    /// for the caller; what only keeps the connection alive is not returned.
    ///
    /// # Errors
    /// It is no NATS: it is down then.
    pub fn heard(&mut self) -> Result<Option<(Said<'_>, u64)>, Trouble> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let (said, len) = match protocol::read(rest) {
                Ok(Some(heard)) => heard,
                Ok(None) => return Ok(None),
                Err(nonsense) => {
                    self.socket.close();
                    self.phase = Phase::Down;
                    return Err(Trouble(nonsense.to_string()));
                }
            };
            let place = self.place;
            self.at += len;
            self.place += len as u64;
            match said {
                Said::Ping => self.pongs_due += 1,
                Said::Ok => {}
                Said::Pong => {
                    self.pings = self.pings.saturating_sub(1);
                    return Ok(Some((Said::Pong, place)));
                }
                said => return Ok(Some((said, place))),
            }
        }
    }

    /// Waits for more to be said. False: time is up, or the host needs the instance.
    ///
    /// # Errors
    /// It is down.
    pub fn fill(&mut self, timeout_ms: u32) -> Result<bool, Trouble> {
        let due = std::mem::take(&mut self.pongs_due);
        if due > 0 {
            self.write(&PONG.repeat(due as usize))?;
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > MAX_IDLE_BYTES {
            self.buffer = Vec::new();
        }
        match self.socket.read(READ_BYTES, timeout_ms) {
            Ok(Received::Bytes(bytes)) => {
                self.heard_ms = now_ms();
                if self.buffer.is_empty() {
                    self.buffer = bytes;
                } else {
                    self.buffer.extend_from_slice(&bytes);
                }
                Ok(true)
            }
            Ok(Received::Nothing) => Ok(false),
            Ok(Received::End) => Err(self.lost("NATS closed the connection")),
            Err(error) => Err(self.lost(&text(error))),
        }
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// It is down; what was sent of it, nobody knows.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        let mut most = WRITE_BYTES;
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(most));
            match self.socket.write(piece, WRITE_TIMEOUT_MS) {
                Ok(()) => bytes = rest,
                // The operator has set a smaller limit.
                Err(Error::TooLarge(limit)) if limit > 0 && (limit as usize) < most => {
                    most = limit as usize;
                }
                Err(error) => return Err(self.lost(&text(error))),
            }
        }
        Ok(())
    }

    /// Asks for a sign that all before it has been done.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn ping(&mut self) -> Result<(), Trouble> {
        self.write(PING)?;
        self.pings += 1;
        Ok(())
    }

    /// The same, written by the caller behind something else.
    pub fn pinged(&mut self) {
        self.pings += 1;
    }

    /// Has NATS answered everything that it was asked?
    pub fn is_answered(&self) -> bool {
        self.pings == 0
    }

    /// When something was heard last, by the wall clock.
    pub fn heard_ms(&self) -> f64 {
        self.heard_ms
    }

    /// Is it up?
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// The largest payload that NATS takes.
    pub fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Up to where it was read.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// The host need not keep what stands before this place; a successor goes on there with the note.
    ///
    /// # Errors
    /// The note is too large: the connection ends with this instance.
    pub fn keep(&mut self, place: u64, note: Option<&[u8]>) -> Result<(), Trouble> {
        let count = place.saturating_sub(self.consumed);
        self.consumed += count;
        self.socket
            .consume(u32::try_from(count).unwrap_or(u32::MAX));
        match note {
            Some(note) => Ok(self.socket.keep(note)?),
            None => Ok(()),
        }
    }

    /// As a predecessor noted it.
    pub fn restore(&mut self, max_payload: usize, pings: u32) {
        self.max_payload = max_payload;
        self.pings = pings;
    }

    /// How many questions are not answered.
    pub fn pings(&self) -> u32 {
        self.pings
    }

    /// Gives the connection up; the trouble is for the caller to return.
    pub fn lost(&mut self, why: &str) -> Trouble {
        self.socket.close();
        self.reset();
        self.phase = Phase::Down;
        Trouble(why.to_owned())
    }

    /// Last call.
    pub fn close(self) {
        self.socket.close();
    }

    fn reset(&mut self) {
        self.buffer.clear();
        self.at = 0;
        self.place = 0;
        self.consumed = 0;
        self.pings = 0;
        self.pongs_due = 0;
        self.since_ms = now_ms();
        self.heard_ms = self.since_ms;
    }
}

/// What matters before it is up.
enum Greeting {
    Info(Info),
    Pong,
    Error(String),
}

/// Milliseconds from now until then.
pub(super) fn left(until_ms: f64) -> u32 {
    // Saturates, and nothing is left of what is negative.
    (until_ms - now_ms()).ceil() as u32
}
