//! The task that takes events from the transport, in order and at the pace of the local sockets.
//!
//! It owns the subscriber, so it also enters and leaves namespaces on it: a change interrupts the
//! poll. What an event does is `dispatch.rs`.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    CLOSE_GRACE,
    backoff::{Backoff, RETRY_MIN},
    calls::Calls,
    dispatch::Dispatch,
    health::Throttle,
    link::{Event, Subscriber},
    message::Namespace,
    shared::Shared,
};

/// So many polls in a row may come back empty before their time; after that each is followed by
/// a pause, so that a plugin that does not wait cannot keep a processor busy.
const MAX_HASTY_POLLS: u32 = 16;

/// The task's state.
pub(super) struct Inbox {
    shared: Arc<Shared>,
    subscriber: Box<dyn Subscriber>,
    dispatch: Dispatch,
    /// What the transport knows that this server serves, and which entry it was.
    entered: HashMap<Namespace, u64>,
    /// When to try again what could not be entered.
    enter_again: Option<Instant>,
    enter_backoff: Backoff,
    enter_failures: Throttle,
    poll_backoff: Backoff,
    hasty_polls: u32,
}

impl Inbox {
    pub(super) fn new(
        shared: Arc<Shared>,
        calls: Arc<Calls>,
        subscriber: Box<dyn Subscriber>,
    ) -> Self {
        Self {
            dispatch: Dispatch::new(shared.clone(), calls),
            shared,
            subscriber,
            entered: HashMap::new(),
            enter_again: None,
            enter_backoff: Backoff::new(),
            enter_failures: Throttle::default(),
            poll_backoff: Backoff::new(),
            hasty_polls: 0,
        }
    }

    /// Runs until `closing` is set.
    pub(super) async fn run(mut self, mut closing: watch::Receiver<Option<Instant>>) {
        tokio::select! {
            // An error says that the cluster itself is gone: the same end.
            _ = closing.wait_for(Option::is_some) => {}
            () = self.read() => {}
        }
        if timeout(CLOSE_GRACE, self.subscriber.close()).await.is_err() {
            tracing::warn!("cluster: the transport took too long to close its way in");
        }
    }

    async fn read(&mut self) {
        loop {
            self.follow_namespaces().await;
            self.dispatch.reap();
            let options = &self.shared.options.inbox;
            let started = Instant::now();
            let polled = tokio::select! {
                biased;
                () = self.shared.namespaces.changed() => continue,
                () = until(self.enter_again) => continue,
                polled = self.subscriber.poll(options.poll_timeout, options.max_events) => polled,
            };
            match polled {
                Ok(events) => {
                    self.poll_backoff.reset();
                    self.shared.poll_health.back();
                    self.pace(events.is_empty() && started.elapsed() < options.poll_timeout)
                        .await;
                    self.take(events).await;
                }
                Err(failure) => {
                    self.shared.counters.poll_failures.add(1);
                    self.shared.poll_health.lost(&failure.to_string());
                    sleep(self.poll_backoff.pause()).await;
                }
            }
        }
    }

    async fn pace(&mut self, hasty: bool) {
        if !hasty {
            self.hasty_polls = 0;
            return;
        }
        self.hasty_polls = self.hasty_polls.saturating_add(1);
        if self.hasty_polls > MAX_HASTY_POLLS {
            sleep(RETRY_MIN).await;
        }
    }

    async fn take(&mut self, events: Vec<Event>) {
        let mut in_slice = 0;
        for event in events {
            if in_slice >= self.shared.slice() {
                in_slice = 0;
                self.give_way().await;
            }
            self.dispatch.event(event);
            in_slice += 1;
        }
        if in_slice > 0 {
            // The sockets' writers come before the plugin, whose next poll works on this thread.
            self.give_way().await;
        }
    }

    /// Ends a slice: the sockets' writers have their turn.
    async fn give_way(&mut self) {
        self.dispatch.reap();
        yield_now().await;
    }

    /// Makes what the transport serves the same as what this server serves.
    async fn follow_namespaces(&mut self) {
        let wanted = self.shared.namespaces.entries();
        let unwanted: Vec<Namespace> = self
            .entered
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        for namespace in unwanted {
            self.subscriber.leave(&namespace).await;
            self.entered.remove(&namespace);
        }

        self.enter_again = None;
        for (namespace, entry) in wanted {
            if self.entered.get(&namespace) == Some(&entry) {
                continue;
            }
            if let Err(failure) = self.subscriber.enter(namespace.clone()).await {
                // The others are not to blame.
                self.not_entered(&namespace, &failure.to_string());
                continue;
            }
            self.entered.insert(namespace.clone(), entry);
            self.enter_backoff.reset();
            // Only now, as the answers must find this server listening; and not after a farewell
            // that was said meanwhile.
            if self.shared.namespaces.is_current(&namespace, entry) {
                self.shared.outbox.hello(&namespace);
            }
        }
    }

    fn not_entered(&mut self, namespace: &Namespace, why: &str) {
        self.shared.poll_health.note(why);
        self.enter_again = Some(Instant::now() + self.enter_backoff.pause());
        if let Some(more) = self.enter_failures.pass() {
            tracing::warn!(
                %namespace, why, more,
                "cluster: a namespace cannot be entered now, trying again until it can"
            );
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
