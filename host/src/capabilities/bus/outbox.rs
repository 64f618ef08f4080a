//! What this process has sent and others have not all taken. Kept here until the hub says that it
//! is stable, and written again to every new hub.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::wire::WriteBatch;

/// What a frame or an event costs in a queue besides its bytes: so a limit in bytes also limits
/// their number.
pub(super) const OVERHEAD_BYTES: usize = 64;

/// The way out of one process.
pub(super) struct Outbox {
    sender: Arc<str>,
    /// Oldest first, with numbers that have no gaps.
    frames: VecDeque<Frame>,
    bytes: usize,
    last_seq: u64,
    /// The number that is written next on this connection.
    next_to_write: u64,
    /// Where the room that frames take is given back.
    room: Arc<Semaphore>,
}

struct Frame {
    payload: Bytes,
    /// The room that it takes.
    cost: usize,
}

impl Outbox {
    pub(super) fn new(sender: Arc<str>, room: Arc<Semaphore>) -> Self {
        Self {
            sender,
            frames: VecDeque::new(),
            bytes: 0,
            last_seq: 0,
            next_to_write: 1,
            room,
        }
    }

    /// Accepts frames that take this much room together.
    pub(super) fn push(&mut self, frames: Vec<Bytes>, mut room: usize) {
        for payload in frames {
            let cost = cost(&payload).min(room);
            room -= cost;
            self.bytes += payload.len();
            self.last_seq += 1;
            self.frames.push_back(Frame { payload, cost });
        }
        // Without frames there is nothing that could give it back later.
        self.room.add_permits(room);
    }

    /// All members have these. The hub may know of frames that were written on an earlier
    /// connection and not yet on this one.
    pub(super) fn is_stable(&mut self, seq: u64) {
        let mut freed = 0;
        while self.base() < seq
            && let Some(frame) = self.frames.pop_front()
        {
            freed += frame.cost;
            self.bytes -= frame.payload.len();
        }
        self.next_to_write = self.next_to_write.max(self.base() + 1);
        self.room.add_permits(freed);
    }

    /// The number before that of the first frame that is kept.
    pub(super) fn base(&self) -> u64 {
        self.last_seq - self.frames.len() as u64
    }

    /// A new connection: everything goes again.
    pub(super) fn start_over(&mut self) {
        self.next_to_write = self.base() + 1;
    }

    /// Adds what was not written on this connection.
    pub(super) fn gather(&mut self, batch: &mut WriteBatch) {
        while !batch.is_full() && self.next_to_write <= self.last_seq {
            let at = usize::try_from(self.next_to_write - self.base() - 1).unwrap_or(usize::MAX);
            let Some(frame) = self.frames.get(at) else {
                return;
            };
            batch.push_payload(&self.sender, self.next_to_write, &frame.payload);
            self.next_to_write += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of the payloads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The room that a frame takes.
pub(super) fn cost(payload: &Bytes) -> usize {
    payload.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(count: usize) -> Outbox {
        let room = Arc::new(Semaphore::new(0));
        let mut outbox = Outbox::new("me".into(), room);
        let frames = vec![Bytes::from_static(b"0123456789"); count];
        outbox.push(frames, count * (10 + OVERHEAD_BYTES));
        outbox
    }

    fn written(outbox: &mut Outbox) -> bool {
        let mut batch = WriteBatch::new();
        outbox.gather(&mut batch);
        !batch.is_empty()
    }

    #[test]
    fn frames_are_kept_until_they_are_stable() {
        let mut outbox = outbox(3);
        assert!(written(&mut outbox));
        assert!(!written(&mut outbox), "once per connection");
        assert_eq!((outbox.len(), outbox.bytes(), outbox.base()), (3, 30, 0));
        outbox.is_stable(2);
        assert_eq!((outbox.len(), outbox.bytes(), outbox.base()), (1, 10, 2));
        assert_eq!(outbox.room.available_permits(), 2 * (10 + OVERHEAD_BYTES));
        outbox.start_over();
        assert!(written(&mut outbox), "what is not stable goes again");
        outbox.is_stable(1);
        assert_eq!(outbox.base(), 2, "never back");
    }

    #[test]
    fn a_hub_that_claims_too_much_frees_what_is_there() {
        let mut outbox = outbox(2);
        outbox.is_stable(u64::MAX);
        assert_eq!((outbox.len(), outbox.base()), (0, 2));
        assert!(!written(&mut outbox));
    }

    #[test]
    fn a_frame_over_the_limit_gives_back_what_it_took() {
        let room = Arc::new(Semaphore::new(0));
        let mut outbox = Outbox::new("me".into(), Arc::clone(&room));
        outbox.push(vec![Bytes::from(vec![0; 5000])], 1000);
        outbox.is_stable(1);
        assert_eq!(room.available_permits(), 1000);
    }
}
