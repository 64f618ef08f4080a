//! The ways in of all lines that are open, usually of one, polled as one.

use std::time::Duration;

use futures_util::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use tokio::time::{Instant, sleep_until};

use super::machine::LineId;
use crate::cluster::{
    backoff::Backoff,
    link::{Event, Failure, Subscriber},
};

/// What one line gave.
type Poll<'a> = BoxFuture<'a, (usize, Result<Vec<Event>, Failure>)>;

/// One line's way in.
pub(super) struct LineIn {
    pub(super) id: LineId,
    pub(super) subscriber: Box<dyn Subscriber>,
    backoff: Backoff,
    /// Not before this.
    retry_at: Option<Instant>,
    /// What it hands out would not be put in order yet.
    pub(super) is_silent: bool,
}

impl LineIn {
    pub(super) fn new(id: LineId, subscriber: Box<dyn Subscriber>) -> Self {
        Self {
            id,
            subscriber,
            backoff: Backoff::new(),
            retry_at: None,
            is_silent: false,
        }
    }
}

/// What all of them gave.
pub(super) enum Polled {
    Events(LineId, Vec<Event>),
    Failed(Failure),
    Nothing,
}

/// Polls all lines that may be polled now; the first that has something or fails ends it. `blocked`
/// is one from which nothing can be taken, and `turn` says which comes first.
pub(super) async fn poll(
    lines: &mut [LineIn],
    blocked: Option<LineId>,
    turn: usize,
    wait: Duration,
    max_events: usize,
) -> Polled {
    // Usually there is one, and nothing stands in its way.
    if let ([line], None) = (&mut *lines, blocked)
        && !line.is_silent
        && line.retry_at.is_none()
    {
        return match line.subscriber.poll(wait, max_events).await {
            Ok(events) => Polled::Events(line.id, events),
            Err(failure) => Polled::Failed(failure),
        };
    }
    let now = Instant::now();
    let single = lines.len() == 1;
    let mut again: Option<Instant> = None;
    let mut polls: Vec<Poll<'_>> = Vec::new();
    for (at, line) in lines.iter_mut().enumerate() {
        if Some(line.id) == blocked || line.is_silent {
            continue;
        }
        match line.retry_at.filter(|at| *at > now) {
            Some(at) => again = Some(again.map_or(at, |first| first.min(at))),
            None => {
                let polled = line.subscriber.poll(wait, max_events);
                polls.push(polled.map(move |polled| (at, polled)).boxed());
            }
        }
    }
    let until = again.map_or(now + wait, |again| again.min(now + wait));
    if polls.is_empty() {
        sleep_until(until).await;
        return Polled::Nothing;
    }
    let first = turn % polls.len();
    polls.rotate_left(first);
    let (at, polled) = tokio::select! {
        ((at, polled), _, _) = select_all(polls) => (at, polled),
        () = sleep_until(until), if again.is_some() => return Polled::Nothing,
    };
    let Some(line) = lines.get_mut(at) else {
        return Polled::Nothing;
    };
    match polled {
        Ok(events) => {
            line.retry_at = None;
            line.backoff.reset();
            Polled::Events(line.id, events)
        }
        // Whoever polls knows what to do.
        Err(failure) if single => Polled::Failed(failure),
        Err(failure) => {
            if line.retry_at.is_none() {
                tracing::warn!(
                    "switch: the way in of one of two open transports is lost: {failure}; trying on"
                );
            }
            line.retry_at = Some(Instant::now() + line.backoff.pause());
            Polled::Nothing
        }
    }
}
