//! Bytes of the Redis protocol (RESP, version 2): commands are written, replies are cut out of what
//! has arrived and read. No I/O.
//!
//! A reply is first measured ([`Scan`]), going on where the last look ended, and read only when all
//! of it is there: a large one that arrives in a thousand pieces is looked at once. Values keep
//! slices of the buffer; nothing is copied.

use std::mem;

use bytes::{Buf, Bytes, BytesMut};

/// Longest line (a length, an integer, a status or an error), in bytes.
const MAX_LINE_BYTES: usize = 64 << 10;
/// What arrays may nest; Redis's own replies stay below ten.
const MAX_DEPTH: usize = 32;

/// The other side does not speak the protocol, or exceeds a limit. Its connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadReply(pub(super) String);

fn bad<T>(text: impl Into<String>) -> Result<T, BadReply> {
    Err(BadReply(text.into()))
}

/// One value. The elements of an array follow it, each with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Nil,
    Integer(i64),
    Bulk(Bytes),
    Status(Bytes),
    Error(Bytes),
    Array(usize),
}

/// One reply: a value, and if it is an array, what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    One(Value),
    Array(Vec<Value>),
}

impl Frame {
    /// The text of an error.
    pub(super) fn error(&self) -> Option<&Bytes> {
        match self {
            Self::One(Value::Error(text)) => Some(text),
            _ => None,
        }
    }
}

/// Writes one command.
pub(super) fn encode<A: AsRef<[u8]>>(args: &[A], out: &mut BytesMut) {
    put_head(b'*', args.len(), out);
    for arg in args {
        let arg = arg.as_ref();
        put_head(b'$', arg.len(), out);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// How many bytes [`encode`] writes, or a little more.
pub(super) fn encoded_len<A: AsRef<[u8]>>(args: &[A]) -> usize {
    const HEAD: usize = 23;
    args.iter()
        .fold(HEAD, |sum, arg| sum + HEAD + 2 + arg.as_ref().len())
}

fn put_head(kind: u8, number: usize, out: &mut BytesMut) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// How far the reply at the front of a buffer has been measured.
#[derive(Debug)]
pub(super) struct Scan {
    /// Measured so far.
    at: usize,
    /// Values that are still to come.
    missing: usize,
    max_bytes: usize,
}

impl Scan {
    /// Takes replies up to this many bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            at: 0,
            missing: 1,
            max_bytes,
        }
    }

    /// Takes the first reply out of the buffer, if all of it is there.
    ///
    /// # Errors
    /// What is there cannot be a reply, or is too long.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, BadReply> {
        match self.cut(buffer)? {
            Some(whole) => read(whole).map(Some),
            None => Ok(None),
        }
    }

    /// The same, unread.
    pub(super) fn cut(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BadReply> {
        let len = self.measure(buffer)?;
        Ok(len.map(|len| buffer.split_to(len).freeze()))
    }

    /// How long the first reply in the buffer is, if all of it is there. The caller takes it out.
    pub(super) fn measure(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, BadReply> {
        while self.missing > 0 {
            let rest = buffer.get(self.at..).unwrap_or_default();
            let Some((kind, number, head)) = head(rest)? else {
                // A reply can be over the limit before all of it is there.
                return self.check(buffer.len()).map(|()| None);
            };
            let body = match kind {
                b'$' if number >= 0 => size(number)?.saturating_add(2),
                b'*' if number >= 0 => {
                    self.missing = self.missing.saturating_add(size(number)?);
                    0
                }
                _ => 0,
            };
            let end = self.at.saturating_add(head).saturating_add(body);
            self.check(end)?;
            if end > buffer.len() {
                buffer.reserve(end - buffer.len());
                return Ok(None);
            }
            self.at = end;
            self.missing -= 1;
        }
        self.missing = 1;
        Ok(Some(mem::take(&mut self.at)))
    }

    fn check(&self, bytes: usize) -> Result<(), BadReply> {
        if bytes > self.max_bytes {
            return bad(format!(
                "a reply of more than `max_reply_bytes` = {} bytes",
                self.max_bytes
            ));
        }
        Ok(())
    }
}

fn size(number: i64) -> Result<usize, BadReply> {
    match usize::try_from(number) {
        Ok(size) if size <= usize::MAX / 4 => Ok(size),
        _ => bad("a reply with an impossible length"),
    }
}

/// The first line of a value: its kind, its number (0 where the line is text), and its length.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(u8, i64, usize)>, BadReply> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return bad(format!(
            "a reply that begins with {kind:#04x}; is it Redis?"
        ));
    }
    if let Some((number, line)) = short_number(rest) {
        let number = match kind {
            b'+' | b'-' => 0,
            _ => number,
        };
        return Ok(Some((*kind, number, line + 1)));
    }
    let Some(end) = rest
        .iter()
        .take(MAX_LINE_BYTES)
        .position(|byte| *byte == b'\r')
    else {
        if rest.len() >= MAX_LINE_BYTES {
            return bad("a reply with a line that does not end");
        }
        return Ok(None);
    };
    match rest.get(end + 1) {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) => return bad("a reply with a stray carriage return"),
    }
    let number = match kind {
        b'+' | b'-' => 0,
        _ => number(rest.get(..end).unwrap_or_default())?,
    };
    Ok(Some((*kind, number, end + 3)))
}

/// A number from 0 on of a few digits, and the length of its line: what most lines are.
fn short_number(line: &[u8]) -> Option<(i64, usize)> {
    const MAX_DIGITS: usize = 9;
    let mut number = 0;
    for (digits, byte) in line.iter().take(MAX_DIGITS + 1).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let ends = digits > 0 && line.get(digits..)?.starts_with(b"\r\n");
            return ends.then_some((number, digits + 2));
        }
        // Ten digits fit as well.
        number = number * 10 + i64::from(digit);
    }
    None
}

fn number(digits: &[u8]) -> Result<i64, BadReply> {
    let (negative, digits) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, digits),
    };
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return bad("a reply with a number that is none");
        }
        // Counted downwards: the smallest number has no positive counterpart.
        value = match value
            .checked_mul(10)
            .and_then(|value| value.checked_sub(digit.into()))
        {
            Some(value) => value,
            None => return bad("a reply with a number over 64 bits"),
        };
    }
    match (digits.is_empty(), negative) {
        (true, _) => bad("a reply with a number without digits"),
        (false, true) => Ok(value),
        (false, false) => match value.checked_neg() {
            Some(value) => Ok(value),
            None => bad("a reply with a number over 64 bits"),
        },
    }
}

/// Reads a whole reply.
fn read(mut whole: Bytes) -> Result<Frame, BadReply> {
    let first = value(&mut whole)?;
    let Value::Array(count) = first else {
        return Ok(Frame::One(first));
    };
    // No more values than bytes: what is reserved is bounded by what has arrived.
    let mut values = Vec::with_capacity(count.min(whole.len() / 3 + 1));
    // Elements that are still to come, on each level.
    let mut open = vec![count];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let value = value(&mut whole)?;
        if let Value::Array(count) = &value {
            if open.len() >= MAX_DEPTH {
                return bad(format!(
                    "a reply with arrays nested deeper than {MAX_DEPTH}"
                ));
            }
            open.push(*count);
        }
        values.push(value);
    }
    Ok(Frame::Array(values))
}

/// Takes the first value off.
pub(super) fn value(bytes: &mut Bytes) -> Result<Value, BadReply> {
    let Some((kind, number, head)) = head(bytes)? else {
        return bad("a reply that ends too soon");
    };
    let value = match kind {
        b'$' if number >= 0 => {
            let len = size(number)?;
            if bytes.len() < head.saturating_add(len).saturating_add(2) {
                return bad("a reply that ends too soon");
            }
            let body = bytes.slice(head..head + len);
            bytes.advance(head + len + 2);
            return Ok(Value::Bulk(body));
        }
        b'*' if number >= 0 => Value::Array(size(number)?),
        b'$' | b'*' => Value::Nil,
        b':' => Value::Integer(number),
        b'+' => Value::Status(bytes.slice(1..head - 2)),
        _ => Value::Error(bytes.slice(1..head - 2)),
    };
    bytes.advance(head);
    Ok(value)
}

/// Takes a bulk string off the front. None: there is none, or not all of it.
pub(super) fn bulk<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (kind, number, head) = head(bytes).ok().flatten()?;
    let len = usize::try_from(number).ok().filter(|_| kind == b'$')?;
    let body = bytes.get(head..head.checked_add(len)?)?;
    *bytes = bytes.get((head + len).checked_add(2)?..)?;
    Some(body)
}

/// Takes the head of an array off the front, and says how many elements follow. None: there is none.
pub(super) fn array(bytes: &mut &[u8]) -> Option<usize> {
    let (kind, number, head) = head(bytes).ok().flatten()?;
    let len = usize::try_from(number).ok().filter(|_| kind == b'*')?;
    *bytes = bytes.get(head..)?;
    Some(len)
}

/// Passes over values of a frame, with all that belongs to them. None: there are not so many.
pub(super) fn skip<'a>(values: &mut impl Iterator<Item = &'a Value>, count: usize) -> Option<()> {
    let mut left = count;
    while left > 0 {
        left -= 1;
        if let Value::Array(inner) = values.next()? {
            left = left.checked_add(*inner)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn bulk(text: &'static str) -> Value {
        Value::Bulk(Bytes::from_static(text.as_bytes()))
    }

    const ALL: &[u8] = b"+OK\r\n-ERR no\r\n:-42\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n$0\r\n\r\n\
        *3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n+y\r\n:-9223372036854775808\r\n";

    fn expected() -> Vec<Frame> {
        vec![
            Frame::One(Value::Status("OK".into())),
            Frame::One(Value::Error("ERR no".into())),
            Frame::One(Value::Integer(-42)),
            Frame::One(bulk("a\r\nbc")),
            Frame::One(Value::Nil),
            Frame::One(Value::Nil),
            Frame::One(bulk("")),
            Frame::Array(vec![
                Value::Integer(1),
                Value::Array(2),
                bulk("x"),
                Value::Array(0),
                Value::Status("y".into()),
            ]),
            Frame::One(Value::Integer(i64::MIN)),
        ]
    }

    #[test]
    fn replies_of_all_kinds_are_read_however_they_are_cut() {
        for piece in 1..ALL.len() {
            let mut scan = Scan::new(1 << 20);
            let mut buffer = BytesMut::new();
            let mut frames = Vec::new();
            for bytes in ALL.chunks(piece) {
                buffer.extend_from_slice(bytes);
                while let Some(frame) = scan.next(&mut buffer).unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, expected(), "in pieces of {piece}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "$x\r\n",
            ":\r\n",
            ":99999999999999999999\r\n",
            "*9223372036854775807\r\n:1\r\n",
            "$200\r\n",
            "+a\rb\r\n",
            "*1\r\n$200\r\n",
        ] {
            let mut buffer = BytesMut::from(text);
            let mut scan = Scan::new(100);
            assert!(scan.next(&mut buffer).is_err(), "{text:?}");
        }
        let mut deep = BytesMut::from("*1\r\n".repeat(MAX_DEPTH + 2).as_str());
        deep.extend_from_slice(b":1\r\n");
        assert!(Scan::new(1000).next(&mut deep).is_err(), "deep nesting");
        let mut long = BytesMut::from(&[b'+'; MAX_LINE_BYTES + 2][..]);
        assert!(Scan::new(1 << 20).next(&mut long).is_err(), "endless line");
    }

    #[test]
    fn a_command_is_written_as_an_array_of_bulk_strings() {
        let mut out = BytesMut::new();
        let args: [&[u8]; 3] = [b"SET", b"k\r\n", b"0123456789"];
        encode(&args, &mut out);
        assert_eq!(
            out,
            "*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$10\r\n0123456789\r\n"
        );
        assert!(encoded_len(&args) >= out.len());
        out.clear();
        encode(&[b""], &mut out);
        assert_eq!(out, "*1\r\n$0\r\n\r\n");
    }
}
