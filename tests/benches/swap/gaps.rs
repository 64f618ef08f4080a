//! The longest time between two messages, at one receiver.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::stream::BoxStream;
use switchboard::cluster::{Broadcast, Local, LocalAck, Namespace, Room, SocketInfo, Target};

use super::arrivals::Arrivals;

/// Receives, checks the order, and watches the clock.
pub(crate) struct Gaps {
    arrivals: Arc<Arrivals>,
    watch: Mutex<Watch>,
}

struct Watch {
    last: Instant,
    longest: Duration,
}

impl Gaps {
    pub(crate) fn new(arrivals: Arc<Arrivals>) -> Arc<Self> {
        let watch = Watch {
            last: Instant::now(),
            longest: Duration::ZERO,
        };
        Arc::new(Self {
            arrivals,
            watch: Mutex::new(watch),
        })
    }

    /// Forgets what was before.
    pub(crate) fn begin(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.longest = Duration::ZERO;
    }

    /// The longest gap since then, the one that lasts included.
    pub(crate) fn longest(&self) -> Duration {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.longest.max(watch.last.elapsed())
    }

    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Local for Gaps {
    fn namespace(&self) -> &Namespace {
        self.arrivals.namespace()
    }

    fn broadcast(&self, broadcast: Broadcast) -> usize {
        {
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            watch.longest = watch.longest.max(now - watch.last);
            watch.last = now;
        }
        self.arrivals.broadcast(broadcast)
    }

    fn broadcast_with_ack(
        &self,
        broadcast: &Broadcast,
        timeout: Duration,
    ) -> (u32, BoxStream<'static, LocalAck>) {
        self.arrivals.broadcast_with_ack(broadcast, timeout)
    }

    fn join(&self, _: &Target, _: &[Room]) {}

    fn leave(&self, _: &Target, _: &[Room]) {}

    fn disconnect(&self, _: &Target, _: bool) {}

    fn sockets(&self, _: &Target) -> Vec<SocketInfo> {
        Vec::new()
    }

    fn rooms(&self, _: &Target) -> Vec<Room> {
        Vec::new()
    }

    fn has_room(&self, _: &Room) -> bool {
        false
    }
}

/// Times of one kind.
#[derive(Default)]
pub(crate) struct Summary(Vec<Duration>);

impl Summary {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort();
    }

    /// The time that so many percent do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] =
            [50, 99, 100].map(|percent| self.percentile(percent).as_secs_f64() * 1e3);
        f.pad(&format!("{p50:.1} / {p99:.1} / {max:.1} ms"))
    }
}
