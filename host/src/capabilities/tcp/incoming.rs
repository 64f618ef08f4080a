//! Bytes on their way to a plugin, with three marks: what is consumed for good, what is consumed if
//! the call in progress returns, and what the instance has read.

use bytes::{Buf, BytesMut};

/// A buffer with more room than this is given back when it is empty.
const MAX_IDLE_BYTES: usize = 1 << 20;

/// All bytes that are not consumed for good, oldest first.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: BytesMut,
    /// How many of them, from the front, the instance has read.
    read: usize,
    /// How many of those it has consumed in the call in progress.
    consumed: usize,
}

impl Incoming {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that take room.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the instance has not read.
    pub(super) fn unread(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// The next bytes, at most so many.
    pub(super) fn take(&mut self, max: usize) -> Vec<u8> {
        let end = self.read.saturating_add(max).min(self.bytes.len());
        let taken = self.bytes.get(self.read..end).unwrap_or_default().to_vec();
        self.read = end;
        taken
    }

    /// So many more of what was read are done with; never more than was read.
    pub(super) fn consume(&mut self, count: usize) {
        self.consumed = self.consumed.saturating_add(count).min(self.read);
    }

    /// What was consumed is gone. True: there was something.
    pub(super) fn commit(&mut self) -> bool {
        let consumed = std::mem::take(&mut self.consumed);
        self.bytes.advance(consumed);
        self.read -= consumed;
        if self.bytes.is_empty() && self.bytes.capacity() > MAX_IDLE_BYTES {
            self.bytes = BytesMut::new();
        }
        consumed > 0
    }

    /// Nothing since the last commit was consumed or read.
    pub(super) fn rollback(&mut self) {
        self.consumed = 0;
        self.read = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(bytes: &[u8]) -> Incoming {
        let mut incoming = Incoming::default();
        incoming.push(bytes);
        incoming
    }

    #[test]
    fn bytes_are_read_once_and_kept_until_they_are_consumed() {
        let mut incoming = incoming(b"abcdef");
        assert_eq!(incoming.take(2), b"ab");
        assert_eq!(incoming.take(2), b"cd");
        incoming.consume(3);
        assert_eq!(incoming.len(), 6, "not before the call returns");
        assert!(incoming.commit());
        assert_eq!((incoming.len(), incoming.unread()), (3, 2));
        incoming.push(b"g");
        assert_eq!(incoming.take(9), b"efg");
        assert!(!incoming.commit());
    }

    #[test]
    fn a_successor_reads_on_where_was_consumed_for_good() {
        let mut incoming = incoming(b"abcdef");
        incoming.take(4);
        incoming.consume(1);
        incoming.commit();
        incoming.consume(2);
        incoming.rollback();
        assert_eq!(incoming.take(9), b"bcdef");
    }

    #[test]
    fn no_more_is_consumed_than_was_read() {
        let mut incoming = incoming(b"abc");
        incoming.take(1);
        incoming.consume(usize::MAX);
        incoming.consume(1);
        incoming.commit();
        assert_eq!(incoming.take(9), b"bc");
    }
}
