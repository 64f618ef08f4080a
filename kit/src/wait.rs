//! Waiting for a condition instead of sleeping.

use std::{fmt::Debug, future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use crate::Error;

/// How long anything may take that normally takes a moment. Generous, because a test machine may be
/// slow and busy; a test that passes never waits this long.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Pause between two looks at a condition that nobody reports.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `is_met` accepts what `look` sees, and returns that.
///
/// # Errors
/// [`Error::Deadline`] after [`DEADLINE`], with what was seen last; errors of `look` at once.
pub async fn until<T, Fut>(
    what: impl Into<String>,
    mut look: impl FnMut() -> Fut,
    is_met: impl Fn(&T) -> bool,
) -> Result<T, Error>
where
    T: Debug,
    Fut: Future<Output = Result<T, Error>>,
{
    let give_up = Instant::now() + DEADLINE;
    loop {
        let seen = look().await?;
        if is_met(&seen) {
            return Ok(seen);
        }
        if Instant::now() >= give_up {
            return Err(Error::Deadline {
                what: what.into(),
                seen: format!("{seen:?}"),
                deadline: DEADLINE,
            });
        }
        sleep(LOOK_EVERY).await;
    }
}
