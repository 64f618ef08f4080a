//! A guest's own CPU time.
//!
//! Epochs tick while a guest waits in an import, so an epoch deadline alone would kill a plugin
//! that waits long and works little. Instead the polls of a call's future are measured, and the epoch
//! callback, which runs inside such a poll, compares the sum with the limit. Waiting costs nothing,
//! wherever the guest waits and whatever the machine's load.
//!
//! The thread's CPU clock is a system call, and most polls end before an epoch does. So it is asked
//! from the first epoch on that ends in a poll, and by a call that has used [`EXACT_AFTER`] always;
//! until then the time on the wall stands for it, and never more of it in a poll than [`UNSEEN`].

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::engine::EPOCH;

/// The most that counts of a poll before an epoch has ended in it: a machine under load may have had
/// other things to do meanwhile.
const UNSEEN: Duration = EPOCH.saturating_mul(2);

/// A call that has used so much is measured by the thread's clock alone from its next poll on.
const EXACT_AFTER: Duration = EPOCH.saturating_mul(5);

/// CPU time of the call in progress. Written by the thread that polls it; atomic only because the
/// call may move to another thread between two polls. All in nanoseconds.
#[derive(Debug)]
pub(super) struct CpuMeter {
    origin: Instant,
    /// Spent in polls that have ended.
    spent_ns: AtomicU64,
    /// When the current poll began, after `origin`.
    began_ns: AtomicU64,
    /// What counts of the current poll until the thread's clock was asked first, and what that
    /// showed; 0: not asked yet.
    unseen_ns: AtomicU64,
    clock_ns: AtomicU64,
}

/// CPU time until now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Of the whole call.
    pub(super) call: Duration,
    /// Since it was woken last.
    pub(super) poll: Duration,
}

impl Default for CpuMeter {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            spent_ns: AtomicU64::new(0),
            began_ns: AtomicU64::new(0),
            unseen_ns: AtomicU64::new(0),
            clock_ns: AtomicU64::new(0),
        }
    }
}

impl CpuMeter {
    /// What the call in progress has used. Only meaningful inside a poll of [`Metered`].
    pub(super) fn spent(&self) -> Spent {
        let clock = thread_cpu_ns();
        if self.clock_ns.load(Ordering::Relaxed) == 0 {
            self.unseen_ns.store(self.unseen(), Ordering::Relaxed);
            self.clock_ns.store(clock, Ordering::Relaxed);
        }
        let running = self.running(|| clock);
        Spent {
            call: Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed) + running),
            poll: Duration::from_nanos(running),
        }
    }

    /// Measures a call from its first poll on.
    pub(super) fn meter<F: Future>(self: &Arc<Self>, call: F) -> Metered<F> {
        self.spent_ns.store(0, Ordering::Relaxed);
        Metered {
            meter: Arc::clone(self),
            call: Box::pin(call),
        }
    }

    fn begin(&self) {
        let is_long = self.spent_ns.load(Ordering::Relaxed) > nanos(EXACT_AFTER);
        let clock = if is_long { thread_cpu_ns() } else { 0 };
        self.began_ns.store(self.now(), Ordering::Relaxed);
        self.unseen_ns.store(0, Ordering::Relaxed);
        self.clock_ns.store(clock, Ordering::Relaxed);
    }

    fn end(&self) {
        let ran = self.running(thread_cpu_ns);
        self.spent_ns.fetch_add(ran, Ordering::Relaxed);
    }

    fn running(&self, clock: impl FnOnce() -> u64) -> u64 {
        match self.clock_ns.load(Ordering::Relaxed) {
            0 => self.unseen(),
            first => {
                let seen = clock().saturating_sub(first);
                self.unseen_ns.load(Ordering::Relaxed) + seen
            }
        }
    }

    fn unseen(&self) -> u64 {
        let began = self.began_ns.load(Ordering::Relaxed);
        self.now().saturating_sub(began).min(nanos(UNSEEN))
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

/// A call whose CPU time is measured.
pub(super) struct Metered<F> {
    meter: Arc<CpuMeter>,
    call: Pin<Box<F>>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let result = self.call.as_mut().poll(cx);
        self.meter.end();
        result
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A guest used up the CPU time of one call.
#[derive(Debug)]
pub(super) struct CpuExceeded {
    pub(super) limit: Duration,
}

impl fmt::Display for CpuExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "used more than {} ms of CPU time in one call",
            self.limit.as_millis()
        )
    }
}

impl std::error::Error for CpuExceeded {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses the processor until the meter shows so much more.
    fn work(meter: &CpuMeter, time: Duration) {
        let before = meter.spent().call;
        let mut sum = 0u64;
        while meter.spent().call < before + time {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[tokio::test]
    async fn waiting_does_not_count_and_working_does() {
        let meter = Arc::new(CpuMeter::default());
        let seen = Arc::clone(&meter);
        let (waited, worked) = meter
            .meter(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let waited = seen.spent();
                work(&seen, Duration::from_millis(20));
                (waited, seen.spent())
            })
            .await;
        assert!(
            waited.call < Duration::from_millis(100),
            "waiting counted: {waited:?}"
        );
        assert!(
            worked.call >= Duration::from_millis(20) && worked.poll <= worked.call,
            "working did not count: {worked:?}"
        );
    }

    #[tokio::test]
    async fn polls_in_which_no_epoch_ended_count_as_well() {
        let meter = Arc::new(CpuMeter::default());
        let seen = Arc::clone(&meter);
        let spent = meter
            .meter(async move {
                for _ in 0..20 {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(2) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
                seen.spent()
            })
            .await;
        assert!(spent.call >= Duration::from_millis(40), "{spent:?}");
        assert!(spent.poll < spent.call, "{spent:?}");
    }

    #[test]
    fn a_long_call_is_not_charged_for_what_others_do() {
        let meter = CpuMeter::default();
        let interrupted = || {
            meter.begin();
            // As if the thread had stood still.
            std::thread::sleep(UNSEEN);
            meter.end();
        };
        for _ in 0..10 {
            interrupted();
        }
        let spent = || Duration::from_nanos(meter.spent_ns.load(Ordering::Relaxed));
        assert!(spent() < EXACT_AFTER + UNSEEN * 2, "{:?}", spent());
    }

    #[test]
    fn little_counts_of_the_time_in_which_others_ran() {
        let meter = CpuMeter::default();
        meter.begin();
        // As if the thread had stood still.
        std::thread::sleep(UNSEEN * 5);
        assert!(meter.spent().call < UNSEEN * 2);
        std::thread::sleep(UNSEEN * 5);
        assert!(meter.spent().call < UNSEEN * 2, "the thread's own clock");
        work(&meter, UNSEEN);
        meter.end();
        meter.begin();
        assert!(meter.spent().call >= UNSEEN * 2);
    }
}
