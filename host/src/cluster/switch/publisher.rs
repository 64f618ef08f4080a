//! The way out of a server that may change its transport: one publisher that hands everything to
//! the line that this server publishes on, and changes the line right after the end mark.
//!
//! The mark comes through the outbox like any other message, so what was sent before it goes over
//! the old line and what was sent after it over the new one, in one order; the task that publishes
//! (`cluster/publish.rs`) does not notice.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::Notify;

use super::{control, machine::LineId};
use crate::cluster::{
    link::{Failure, PublishFailure, Publisher, TransportInfo},
    message::{Message, Namespace, Offset},
};

/// A publisher and how its messages are numbered.
pub(super) struct Numbered {
    pub(super) line: LineId,
    pub(super) publisher: Box<dyn Publisher>,
    /// The number of its next message.
    pub(super) next: u64,
}

/// What this server goes over to after its mark.
pub(super) struct Leave {
    /// The mark's text.
    pub(super) mark: String,
    pub(super) to: Numbered,
    /// Without waiting for the mark.
    pub(super) now: bool,
}

/// The line that was left.
pub(super) struct Left {
    pub(super) old: Numbered,
    /// The mark was not accepted.
    pub(super) forced: bool,
}

/// What the publisher and the task of the switch share.
#[derive(Default)]
pub(super) struct WayOut {
    /// Spares the usual case the lock.
    is_leaving: AtomicBool,
    leave: Mutex<Option<Leave>>,
    left: Mutex<Option<Left>>,
    changed: Notify,
    /// Above every number that was used on any line. A transport that is opened again must not
    /// meet a number of this server's that its backend has seen.
    highest: AtomicU64,
}

impl WayOut {
    /// From now on the publisher changes the line when it has sent this mark.
    pub(super) fn leave(&self, leave: Leave) {
        *lock(&self.leave) = Some(leave);
        self.is_leaving.store(true, Ordering::Release);
    }

    /// It does so even without the mark, before it sends anything else. False: it has done so.
    pub(super) fn leave_now(&self) -> bool {
        let mut leave = lock(&self.leave);
        if let Some(leave) = &mut *leave {
            leave.now = true;
        }
        leave.is_some()
    }

    /// Ends when the line was changed.
    pub(super) async fn left(&self) -> Left {
        loop {
            if let Some(left) = lock(&self.left).take() {
                return left;
            }
            self.changed.notified().await;
        }
    }

    /// The number with which a line that is opened now begins.
    pub(super) fn fresh_number(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    pub(super) fn used(&self, below: u64) {
        self.highest.fetch_max(below, Ordering::Relaxed);
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub(super) struct SwitchPublisher {
    home: Numbered,
    /// What a number of the outbox needs to become one of the line, wrapping.
    shift: u64,
    way: Arc<WayOut>,
}

impl SwitchPublisher {
    pub(super) fn new(line: LineId, publisher: Box<dyn Publisher>, way: Arc<WayOut>) -> Self {
        Self {
            home: Numbered {
                line,
                publisher,
                next: 0,
            },
            shift: 0,
            way,
        }
    }

    async fn send(&mut self, batch: &[Message], first: u64) -> Result<Vec<Offset>, PublishFailure> {
        if !self.way.is_leaving.load(Ordering::Acquire) {
            return self.give(batch, first).await;
        }
        let mut sent = Vec::new();
        let mut rest = (batch, first);
        if self.must_leave_now() {
            self.change(first, true);
        } else if let Some(end) = self.mark_in(batch) {
            let (until, after) = batch.split_at(end + 1);
            match self.give(until, first).await {
                Ok(offsets) => {
                    let next = first + until.len() as u64;
                    self.change(next, false);
                    sent = padded(offsets, until.len());
                    rest = (after, next);
                }
                // Nobody takes the mark any more, and what comes before it would be given up, too.
                Err(failure) if matches!(failure.reason, Failure::GivenUp(_)) => {
                    self.change(first + failure.accepted as u64, true);
                    let why = "going over to the next transport".to_owned();
                    return Err(PublishFailure {
                        reason: Failure::Unavailable(why),
                        ..failure
                    });
                }
                Err(failure) => return Err(failure),
            }
        }
        let (batch, first) = rest;
        if batch.is_empty() {
            return Ok(sent);
        }
        match self.give(batch, first).await {
            Ok(offsets) => {
                sent.extend(padded(offsets, batch.len()));
                Ok(sent)
            }
            Err(failure) => {
                let offsets = padded(failure.offsets, failure.accepted);
                let accepted = failure.accepted + sent.len();
                sent.extend(offsets);
                Err(PublishFailure {
                    accepted,
                    offsets: sent,
                    reason: failure.reason,
                })
            }
        }
    }

    /// Publishes on the line of now.
    async fn give(&mut self, batch: &[Message], first: u64) -> Result<Vec<Offset>, PublishFailure> {
        let number = first.wrapping_add(self.shift);
        self.way.used(number + batch.len() as u64);
        self.home.publisher.publish(batch, number).await
    }

    fn must_leave_now(&self) -> bool {
        lock(&self.way.leave)
            .as_ref()
            .is_some_and(|leave| leave.now)
    }

    fn mark_in(&self, batch: &[Message]) -> Option<usize> {
        let leave = lock(&self.way.leave);
        let mark = &leave.as_ref()?.mark;
        batch.iter().position(|message| control::is(message, mark))
    }

    /// Changes the line; `first` is the outbox's number of the next message.
    fn change(&mut self, first: u64, forced: bool) {
        let Some(Leave { to, .. }) = lock(&self.way.leave).take() else {
            return;
        };
        self.way.is_leaving.store(false, Ordering::Release);
        let next = first.wrapping_add(self.shift);
        self.shift = to.next.wrapping_sub(first);
        let mut old = std::mem::replace(&mut self.home, to);
        old.next = next;
        *lock(&self.way.left) = Some(Left { old, forced });
        self.way.changed.notify_one();
    }
}

/// One offset for each message: what has none gets an empty one.
fn padded(mut offsets: Vec<Offset>, n: usize) -> Vec<Offset> {
    if offsets.len() != n {
        offsets.clear();
        offsets.resize(n, Offset::from(""));
    }
    offsets
}

impl Publisher for SwitchPublisher {
    fn publish<'a>(
        &'a mut self,
        batch: &'a [Message],
        first: u64,
    ) -> BoxFuture<'a, Result<Vec<Offset>, PublishFailure>> {
        self.send(batch, first).boxed()
    }

    fn count_nodes<'a>(
        &'a mut self,
        namespace: &'a Namespace,
    ) -> BoxFuture<'a, Result<Option<u32>, Failure>> {
        self.home.publisher.count_nodes(namespace)
    }

    fn info(&self) -> TransportInfo {
        self.home.publisher.info()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.home.publisher.close()
    }
}
