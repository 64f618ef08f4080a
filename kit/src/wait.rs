//! Waiting for a condition instead of sleeping.

use std::{cell::RefCell, fmt::Debug, future::Future, sync::OnceLock, time::Duration};

use tokio::time::{Instant, sleep};

use crate::Error;

/// How long anything may take that normally takes a moment. Generous, because a test machine may be
/// slow and busy; a test that passes never waits this long.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Pause between two looks at a condition that nobody reports.
const LOOK_EVERY: Duration = Duration::from_millis(10);

static PATIENCE: OnceLock<Duration> = OnceLock::new();

/// From now on no wait in this process takes longer than this, nor than [`DEADLINE`]. The first choice
/// counts.
pub(crate) fn choose_patience(patience: Duration) {
    PATIENCE.get_or_init(|| patience.min(DEADLINE));
}

/// How long a wait takes at most in this process.
pub(crate) fn patience() -> Duration {
    PATIENCE.get().copied().unwrap_or(DEADLINE)
}

thread_local! {
    /// What was last waited for on this thread. A scenario runs on one.
    static WAITED_FOR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Notes what is waited for, for those who give up before that wait does.
pub(crate) fn note(what: impl FnOnce() -> String) {
    WAITED_FOR.with_borrow_mut(|noted| *noted = what());
}

/// What was last waited for on this thread.
pub(crate) fn waited_for() -> String {
    WAITED_FOR.with_borrow(Clone::clone)
}

/// Looks until `is_met` accepts what `look` sees, and returns that.
///
/// # Errors
/// [`Error::Deadline`] after [`DEADLINE`] (sooner where a check has less patience), with what was seen last; errors of `look` at once.
pub async fn until<T, Fut>(
    what: impl Into<String>,
    mut look: impl FnMut() -> Fut,
    is_met: impl Fn(&T) -> bool,
) -> Result<T, Error>
where
    T: Debug,
    Fut: Future<Output = Result<T, Error>>,
{
    let what = what.into();
    let give_up = Instant::now() + patience();
    loop {
        let seen = look().await?;
        note(|| format!("{what}; instead: {seen:.200?}"));
        if is_met(&seen) {
            return Ok(seen);
        }
        if Instant::now() >= give_up {
            return Err(Error::Deadline {
                what,
                seen: format!("{seen:?}"),
                deadline: patience(),
            });
        }
        sleep(LOOK_EVERY).await;
    }
}
