//! Waking a plugin that waits in a capability, because the host needs its instance.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set by the host, looked at by every capability call that waits: such a call returns early and
/// empty, also one that begins while the wake-up stands.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    wanted: AtomicBool,
    notify: Notify,
}

impl Wake {
    /// Ends the wait in progress and those to come, until [`Wake::clear`].
    pub(crate) fn wake(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// The same, until what is returned is dropped.
    pub(crate) fn wake_for_now(&self) -> Woken<'_> {
        self.wake();
        Woken(self)
    }

    /// The host has the instance.
    pub(crate) fn clear(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    /// Returns when the instance is wanted.
    pub(crate) async fn wanted(&self) {
        loop {
            // Registered before the flag is read, so that a wake-up in between is not lost.
            let notified = self.notify.notified();
            if self.wanted.load(Ordering::SeqCst) {
                return;
            }
            notified.await;
        }
    }
}

/// A wake-up that ends with this.
#[must_use = "it ends when this is dropped"]
pub(crate) struct Woken<'a>(&'a Wake);

impl Drop for Woken<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Wake;

    #[tokio::test]
    async fn a_wake_up_before_the_wait_counts_until_it_is_cleared() {
        let wake = Wake::default();
        wake.wake();
        wake.wanted().await;
        wake.wanted().await;
        wake.clear();
        assert!(futures_util::FutureExt::now_or_never(wake.wanted()).is_none());
    }
}
