//! Entries, cut one by one out of what `XREAD` replies. Their fields stay as they arrived until the
//! plugin takes them.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::id::EntryId;
use crate::capabilities::redis::wire::{self, BadReply, Scan};

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) stream: Arc<str>,
    pub(crate) id: EntryId,
    /// The array of names and values, as it came over the wire.
    fields: Bytes,
}

impl StreamEntry {
    /// Reads a whole entry. None: it is none.
    fn read(stream: &Arc<str>, mut whole: Bytes) -> Option<Self> {
        let mut rest = &whole[..];
        if wire::array(&mut rest)? != 2 {
            return None;
        }
        let id = EntryId::read(wire::bulk(&mut rest)?)?;
        let head = whole.len() - rest.len();
        // Looked at once now, so that handing it out cannot fail.
        let count = wire::array(&mut rest)?;
        for _ in 0..count {
            wire::bulk(&mut rest)?;
        }
        if !count.is_multiple_of(2) || !rest.is_empty() {
            return None;
        }
        whole.advance(head);
        Some(Self {
            stream: Arc::clone(stream),
            id,
            fields: whole,
        })
    }

    /// The array of names and values, as it came over the wire.
    pub(crate) fn fields_written(&self) -> &Bytes {
        &self.fields
    }

    /// Names and values in their order.
    #[cfg(test)]
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.fields[..];
        let count = wire::array(&mut rest).unwrap_or(0) / 2;
        (0..count).map_while(move |_| Some((wire::bulk(&mut rest)?, wire::bulk(&mut rest)?)))
    }

    /// Bytes that it keeps.
    pub(in crate::capabilities::redis::subscription) fn len(&self) -> usize {
        self.fields.len()
    }
}

/// How a reply of `XREAD` begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The entries of one stream follow: this many.
    Entries(usize),
    /// Something else is there, untouched: nothing to read, or an error.
    Other,
}

/// Takes the opening of a reply with one stream out of the buffer. None: not all of it is there.
///
/// # Errors
/// It is no reply of `XREAD` with one stream.
pub(super) fn opening(buffer: &mut BytesMut) -> Result<Option<Opening>, BadReply> {
    let strange = || BadReply("a reply that is none of XREAD".to_owned());
    let mut at = 0;
    // One stream, with its name and its entries: `*1 *2 $name *count`.
    for (expected_kind, expected) in [(b'*', Some(1)), (b'*', Some(2)), (b'$', None), (b'*', None)]
    {
        let Some((kind, number, len)) = wire::head(buffer.get(at..).unwrap_or_default())? else {
            return Ok(None);
        };
        if kind != expected_kind || expected.is_some_and(|expected| expected != number) {
            return match at {
                0 => Ok(Some(Opening::Other)),
                _ => Err(strange()),
            };
        }
        let number = usize::try_from(number).map_err(|_| strange())?;
        at += len;
        match (kind, expected) {
            (b'$', _) => at = at.saturating_add(number).saturating_add(2),
            (_, None) => {
                buffer.advance(at);
                return Ok(Some(Opening::Entries(number)));
            }
            _ => {}
        }
    }
    Err(strange())
}

/// Takes one entry out of the buffer. None: not all of it is there.
///
/// # Errors
/// It is no entry, or longer than the scan allows.
pub(super) fn cut(
    stream: &Arc<str>,
    scan: &mut Scan,
    buffer: &mut BytesMut,
) -> Result<Option<StreamEntry>, BadReply> {
    let Some(whole) = scan.cut(buffer)? else {
        return Ok(None);
    };
    match StreamEntry::read(stream, whole) {
        Some(entry) => Ok(Some(entry)),
        None => Err(BadReply("an entry that is none".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const REPLY: &[u8] = b"*1\r\n*2\r\n$2\r\nst\r\n*2\r\n\
        *2\r\n$3\r\n5-1\r\n*4\r\n$1\r\na\r\n$4\r\nx\r\ny\r\n$0\r\n\r\n$1\r\nb\r\n\
        *2\r\n$3\r\n5-2\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n";

    #[test]
    fn a_reply_is_taken_apart_however_it_is_cut() {
        let stream = Arc::from("st");
        for piece in 1..REPLY.len() {
            let (mut buffer, mut scan) = (BytesMut::new(), Scan::new(1000));
            let (mut left, mut entries) = (None, Vec::new());
            for bytes in REPLY.chunks(piece) {
                buffer.extend_from_slice(bytes);
                if left.is_none() {
                    left = opening(&mut buffer).unwrap();
                }
                if left.is_none() {
                    continue;
                }
                while let Some(entry) = cut(&stream, &mut scan, &mut buffer).unwrap() {
                    entries.push(entry);
                }
            }
            assert_eq!(left, Some(Opening::Entries(2)), "in pieces of {piece}");
            let ids: Vec<_> = entries.iter().map(|entry| entry.id.to_string()).collect();
            assert_eq!(ids, ["5-1", "5-2"], "in pieces of {piece}");
            let fields: Vec<_> = entries.first().unwrap().fields().collect();
            assert_eq!(fields, [(&b"a"[..], &b"x\r\ny"[..]), (b"", b"b")]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn nothing_to_read_and_errors_are_left_where_they_are() {
        for text in ["*-1\r\n", "-LOADING\r\n", "$-1\r\n"] {
            let mut buffer = BytesMut::from(text);
            assert_eq!(opening(&mut buffer), Ok(Some(Opening::Other)), "{text:?}");
            assert_eq!(&buffer[..], text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "*3\r\n$3\r\n5-1\r\n*0\r\n*0\r\n",
            "*2\r\n$1\r\nx\r\n*0\r\n",
            "*2\r\n$3\r\n5-1\r\n*1\r\n$1\r\na\r\n",
            "*2\r\n$3\r\n5-1\r\n*2\r\n:1\r\n:2\r\n",
            "*2\r\n$3\r\n5-1\r\n*-1\r\n",
            ":1\r\n",
        ] {
            let mut buffer = BytesMut::from(text);
            let cut = cut(&Arc::from("s"), &mut Scan::new(1000), &mut buffer);
            assert!(cut.is_err(), "{text:?}: {cut:?}");
        }
        let mut buffer = BytesMut::from("*1\r\n*3\r\n$1\r\nx\r\n*0\r\n");
        assert!(opening(&mut buffer).is_err());
    }
}
