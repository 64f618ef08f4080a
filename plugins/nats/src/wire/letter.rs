//! What a cluster message is wrapped in. One line of text, then the message or a part of it:
//!
//! ```text
//! 1 <number> <epoch> <seq> <part> <parts> <node>\n
//! ```
//!
//! * `number`: the message's own, for ever (`publish` in `transport.wit`). Whoever has had it from this
//!   node already drops it.
//! * `epoch` and `seq`: the place of the message among those of this sender on this subject. An epoch
//!   begins when a publisher does, with `seq` 0; a later one is a larger number. Who misses a place
//!   knows how many messages are gone.
//! * `part` of `parts`: NATS limits payloads (`max_payload`), so a large message goes in pieces, one
//!   directly behind the other.
//! * `node`: who publishes, as a token of a subject. An emitter is named in the message itself.

use std::fmt::Write as _;

use super::protocol::decimal;

/// Most parts of one message.
pub const MAX_PARTS: u32 = 1 << 20;
/// Longest head, in bytes: five numbers, and a node's id with every byte escaped.
pub const MAX_HEAD_BYTES: usize = 512;
/// The first word of a head; another one is another format.
const FORMAT: &str = "1";

/// The line in front of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The message's number.
    pub number: u64,
    /// Which counting of places this is.
    pub epoch: u64,
    /// Its place on this subject.
    pub seq: u64,
    /// Which part, from 0.
    pub part: u32,
    /// Of how many.
    pub parts: u32,
    /// Who publishes, as a token.
    pub node: &'a str,
}

/// What is no letter of ours, or of a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not begin as this version of the transport has it")]
pub struct NoLetter;

impl<'a> Head<'a> {
    /// As it is written.
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(96);
        // A string takes whatever is written.
        let _ = writeln!(
            line,
            "{FORMAT} {} {} {} {} {} {}",
            self.number, self.epoch, self.seq, self.part, self.parts, self.node
        );
        line
    }

    /// Takes the head off a payload.
    ///
    /// # Errors
    /// There is none.
    pub fn read(payload: &'a [u8]) -> Result<(Self, &'a [u8]), NoLetter> {
        let searched = payload.get(..MAX_HEAD_BYTES).unwrap_or(payload);
        let end = searched.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or(NoLetter)?;
        let (line, rest) = payload.split_at(end);
        let line = std::str::from_utf8(line).map_err(|_| NoLetter)?;
        let mut words = line.split(' ');
        if words.next() != Some(FORMAT) {
            return Err(NoLetter);
        }
        let mut number = || words.next().and_then(decimal).ok_or(NoLetter);
        let (message, epoch, seq) = (number()?, number()?, number()?);
        let (part, parts) = (number()?, number()?);
        let node = words.next().filter(|node| !node.is_empty());
        let head = Self {
            number: message,
            epoch,
            seq,
            part: u32::try_from(part).map_err(|_| NoLetter)?,
            parts: u32::try_from(parts).map_err(|_| NoLetter)?,
            node: node.ok_or(NoLetter)?,
        };
        let is_sound = head.part < head.parts && head.parts <= MAX_PARTS && words.next().is_none();
        match is_sound {
            true => Ok((head, rest.get(1..).unwrap_or_default())),
            false => Err(NoLetter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let head = Head {
            number: u64::MAX,
            epoch: 1_763_770_000_000,
            seq: 0,
            part: 1,
            parts: 2,
            node: "a%2Eb",
        };
        let line = head.line();
        assert_eq!(line, "1 18446744073709551615 1763770000000 0 1 2 a%2Eb\n");
        let payload = [line.as_bytes(), b"{}\n"].concat();
        assert_eq!(Head::read(&payload), Ok((head, b"{}\n".as_slice())));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "\n",
            "1\n",
            "2 1 1 1 0 1 n\n",
            "1 1 1 1 0 1 n",
            "1 1 1 1 0 1\n",
            "1 1 1 1 0 1 \n",
            "1 1 1 1 1 1 n\n",
            "1 1 1 1 0 0 n\n",
            "1 1 1 1 0 1 n x\n",
            "1 -1 1 1 0 1 n\n",
            "1 1 1 1 0 1048577 n\n",
            "1 1 1 1 0 4294967297 n\n",
            "1  1 1 1 0 1 n\n",
            "{\"type\":1}\n",
        ] {
            assert_eq!(Head::read(text.as_bytes()), Err(NoLetter), "{text:?}");
        }
        let long = format!("1 1 1 1 0 1 {}\n", "n".repeat(MAX_HEAD_BYTES));
        assert_eq!(Head::read(long.as_bytes()), Err(NoLetter));
    }
}
