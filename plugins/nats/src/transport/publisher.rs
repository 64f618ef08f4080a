//! The way out.

use std::collections::HashMap;

use switchboard_plugin::{
    Batch, Config, Failure, Membership, MessageRef, OpenFailure, PublishFailure, Publisher,
    TransportInfo,
    host::now_ms,
    socket::Socket,
    tcp,
    wire::{MAX_MESSAGE_BYTES, envelope},
};

use super::connection::{Connection, Reached, Trouble, left};
use crate::{
    options::Options,
    wire::{
        letter::{Head, MAX_HEAD_BYTES, MAX_PARTS},
        protocol::{self, PING, Said},
        subject,
    },
};

/// How long a batch waits for NATS to be back, before the host is told.
const AWAY_MS: u32 = 1_000;
/// After an absence of NATS, how long messages wait with a connection that stands. By then other
/// servers, which look for it twice a second, have subscribed again: what has gathered meanwhile and
/// left at once would be lost for those that have not.
const RETURN_MS: f64 = 750.0;
/// The least that a part of a message holds, whatever NATS says.
const MIN_PART_BYTES: usize = 64;
/// Subjects whose messages are counted; with more of them the counting begins anew.
const MAX_SUBJECTS: usize = 10_000;

/// Writes batches to NATS: one write each, and one answer.
#[derive(Debug)]
pub struct Publishing<S> {
    connection: Connection<S>,
    prefix: String,
    ack_timeout_ms: u32,
    /// This server, as a token.
    node: String,
    epoch: u64,
    /// The next place on each subject.
    places: HashMap<String, u64>,
    /// NATS was away since the last batch.
    was_away: bool,
}

/// A batch as it is written.
#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    /// Of each message.
    subjects: Vec<String>,
    /// Why the message behind these can never go.
    unwritable: Option<String>,
}

impl Publisher for Publishing<tcp::Socket> {
    fn open(config: Config) -> Result<(Self, TransportInfo), OpenFailure> {
        let options = Options::read(&config)?;
        let socket = super::open(&options.connection)?;
        let info = TransportInfo {
            membership: Membership::Heartbeats,
            // The envelope has no form for these.
            rooms_query: false,
            custom_query: true,
            reports_leaving: false,
        };
        Ok((Self::new(socket, &options, &config.node), info))
    }

    fn publish(&mut self, batch: Batch, first: u64) -> Result<Vec<String>, PublishFailure> {
        self.send(batch.iter(), first).map(|()| Vec::new())
    }

    fn close(self) {
        self.connection.close();
    }
}

impl<S: Socket> Publishing<S> {
    /// The way out of a node.
    pub fn new(socket: S, options: &Options, node: &str) -> Self {
        Self {
            connection: Connection::new(socket, options.login.clone(), "switchboard out"),
            prefix: options.prefix.clone(),
            ack_timeout_ms: options.ack_timeout_ms,
            node: subject::token(node),
            epoch: now_ms() as u64,
            places: HashMap::new(),
            was_away: false,
        }
    }

    /// Publishes messages, the first of which has this number; returns when NATS has all of them.
    ///
    /// # Errors
    /// As the contract has it. What may have gone out when the connection was lost is handed out again
    /// by the host with the same numbers, and whoever has it drops it.
    pub fn send<'m>(
        &mut self,
        batch: impl IntoIterator<Item: Into<MessageRef<'m>>>,
        first: u64,
    ) -> Result<(), PublishFailure> {
        self.reach().map_err(|trouble| unavailable(&trouble))?;
        let written = self.write(batch, first);
        match self.deliver(&written) {
            Err(trouble) => {
                self.was_away = true;
                self.take_back(&written.subjects);
                Err(unavailable(&trouble))
            }
            Ok(Some((accepted, why))) => {
                self.take_back(written.subjects.get(accepted..).unwrap_or_default());
                Err(rejected(accepted, why))
            }
            Ok(None) => match written.unwritable {
                Some(why) => Err(rejected(written.subjects.len(), why)),
                None => Ok(()),
            },
        }
    }

    fn reach(&mut self) -> Result<(), Trouble> {
        let until = now_ms() + f64::from(AWAY_MS);
        let mut why = Trouble("NATS is not connected yet".to_owned());
        loop {
            match self.connection.reach(left(until)) {
                Ok(Reached::Up) => return Ok(()),
                Ok(Reached::New { .. }) => break,
                // Nothing is ever left by a publisher.
                Ok(Reached::Resumed(_)) => why = self.connection.lost("an unknown connection"),
                Ok(Reached::NotYet) => {}
                Err(trouble) => {
                    self.was_away = true;
                    why = trouble;
                }
            }
            if left(until) == 0 {
                return Err(why);
            }
        }
        if std::mem::take(&mut self.was_away) {
            let until = now_ms() + RETURN_MS;
            while left(until) > 0 {
                self.connection.fill(left(until))?;
                while self.connection.heard()?.is_some() {}
            }
        }
        Ok(())
    }

    /// The messages as bytes, up to the first that can never go.
    fn write<'m>(
        &mut self,
        batch: impl IntoIterator<Item: Into<MessageRef<'m>>>,
        first: u64,
    ) -> Written {
        if self.places.len() > MAX_SUBJECTS {
            self.places.clear();
            self.epoch = (now_ms() as u64).max(self.epoch + 1);
        }
        let mut written = Written::default();
        for (number, message) in (first..).zip(batch) {
            if let Err(why) = self.write_one(message.into(), number, &mut written) {
                written.unwritable = Some(why);
                break;
            }
        }
        written.bytes.extend_from_slice(PING);
        written
    }

    fn write_one(
        &mut self,
        message: MessageRef<'_>,
        number: u64,
        written: &mut Written,
    ) -> Result<(), String> {
        let subject = match message.recipient {
            None => subject::of_all(&self.prefix, message.namespace),
            Some(node) => subject::of_one(&self.prefix, message.namespace, node),
        };
        if subject.len() > subject::MAX_BYTES {
            return Err(format!(
                "the namespace is too long for a subject of NATS: {} bytes, and {} are allowed",
                subject.len(),
                subject::MAX_BYTES
            ));
        }
        let content = envelope::write(message).map_err(|why| why.to_string())?;
        if content.len() > MAX_MESSAGE_BYTES {
            return Err(format!("it is over {MAX_MESSAGE_BYTES} bytes large"));
        }
        let room = self.connection.max_payload().saturating_sub(MAX_HEAD_BYTES);
        let pieces = content.chunks(room.max(MIN_PART_BYTES));
        let parts = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        if parts > MAX_PARTS {
            return Err("it is too large for what NATS takes in one payload".to_owned());
        }
        let place = self.places.entry(subject.clone()).or_default();
        for (part, piece) in (0..).zip(pieces) {
            let head = Head {
                number,
                epoch: self.epoch,
                seq: *place,
                part,
                parts,
                node: &self.node,
            };
            let line = head.line();
            protocol::publish(&mut written.bytes, &subject, [line.as_bytes(), piece]);
        }
        *place += 1;
        written.subjects.push(subject);
        Ok(())
    }

    /// Sends it and waits for the answer. Some: NATS does not allow this message, and why.
    fn deliver(&mut self, written: &Written) -> Result<Option<(usize, String)>, Trouble> {
        self.connection.write(&written.bytes)?;
        self.connection.pinged();
        let until = now_ms() + f64::from(self.ack_timeout_ms);
        let mut refused = None;
        loop {
            while let Some((said, _)) = self.connection.heard()? {
                match said {
                    Said::Pong => {}
                    Said::Info(info) => {
                        let info = info.clone();
                        self.connection.learn(&info);
                    }
                    Said::Error(why) => {
                        refused = refused.or_else(|| refusal(&why, &written.subjects));
                    }
                    _ => {}
                }
            }
            if self.connection.is_answered() {
                return Ok(refused);
            }
            if !self.connection.fill(left(until))? && left(until) == 0 {
                let why = format!("NATS does not answer within {} ms", self.ack_timeout_ms);
                return Err(self.connection.lost(&why));
            }
        }
    }

    /// These messages have no places after all; they get the same ones when they come again.
    fn take_back(&mut self, subjects: &[String]) {
        for subject in subjects {
            if let Some(place) = self.places.get_mut(subject) {
                *place = place.saturating_sub(1);
            }
        }
    }
}

/// Which message NATS means with `Permissions Violation for Publish to "a.b"`.
fn refusal(why: &str, subjects: &[String]) -> Option<(usize, String)> {
    const BEGINNING: &str = "permissions violation for publish to";
    let beginning = why.get(..BEGINNING.len())?;
    if !beginning.eq_ignore_ascii_case(BEGINNING) {
        return None;
    }
    let quoted = why.split('"').nth(1)?;
    let place = subjects
        .iter()
        .position(|subject| subject.eq_ignore_ascii_case(quoted))?;
    Some((place, format!("NATS refuses it: {why}")))
}

fn unavailable(trouble: &Trouble) -> PublishFailure {
    PublishFailure {
        accepted: 0,
        offsets: Vec::new(),
        reason: Failure::Unavailable(trouble.to_string()),
    }
}

fn rejected(accepted: usize, why: String) -> PublishFailure {
    PublishFailure {
        accepted: accepted as u32,
        offsets: Vec::new(),
        reason: Failure::Rejected(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_message() {
        let subjects = ["a.b", "a.c"].map(str::to_owned);
        let refused = refusal("Permissions Violation for Publish to \"a.c\"", &subjects);
        assert_eq!(refused.map(|(place, _)| place), Some(1));
        assert_eq!(refusal("Slow Consumer", &subjects), None);
        let other = refusal("Permissions Violation for Publish to \"x\"", &subjects);
        assert_eq!(other, None);
    }
}
