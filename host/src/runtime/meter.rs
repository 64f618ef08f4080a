//! A guest's own CPU time.
//!
//! Epochs tick while a guest waits in an import, so an epoch deadline alone would kill a plugin
//! that waits long and works little. Instead every poll of a call's future is measured with the
//! thread's CPU clock, and the epoch callback, which runs inside such a poll, compares the sum with
//! the limit. Waiting costs nothing, wherever the guest waits and whatever the machine's load.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// CPU time of the call in progress. Written by the thread that polls it; atomic only because the
/// call may move to another thread between two polls.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    /// Spent in polls that have ended, in nanoseconds.
    spent_ns: AtomicU64,
    /// The thread's CPU clock when the current poll began.
    started_ns: AtomicU64,
}

/// CPU time until now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// Of the whole call.
    pub(super) call: Duration,
    /// Since it was woken last.
    pub(super) poll: Duration,
}

impl CpuMeter {
    /// What the call in progress has used. Only meaningful inside a poll of [`Metered`].
    pub(super) fn spent(&self) -> Spent {
        let running = thread_cpu_ns().saturating_sub(self.started_ns.load(Ordering::Relaxed));
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
}

/// A call whose CPU time is measured.
pub(super) struct Metered<F> {
    meter: Arc<CpuMeter>,
    call: Pin<Box<F>>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let started = thread_cpu_ns();
        self.meter.started_ns.store(started, Ordering::Relaxed);
        let result = self.call.as_mut().poll(cx);
        let ran = thread_cpu_ns().saturating_sub(started);
        self.meter.spent_ns.fetch_add(ran, Ordering::Relaxed);
        result
    }
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

    #[tokio::test]
    async fn waiting_does_not_count_and_working_does() {
        let meter = Arc::new(CpuMeter::default());
        let seen = Arc::clone(&meter);
        let worked = meter
            .meter(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let waited = seen.spent();
                let mut sum = 0u64;
                while seen.spent().call < waited.call + Duration::from_millis(20) {
                    sum = std::hint::black_box(sum.wrapping_add(1));
                }
                (waited, seen.spent())
            })
            .await;
        let (waited, worked) = worked;
        assert!(
            waited.call < Duration::from_millis(100),
            "waiting counted: {waited:?}"
        );
        assert!(
            worked.call >= Duration::from_millis(20) && worked.poll <= worked.call,
            "working did not count: {worked:?}"
        );
    }
}
