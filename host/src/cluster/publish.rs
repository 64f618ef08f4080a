//! The task that empties the outbox into the transport, in order, in batches, through trouble.
//!
//! Group commit: it takes all that is there (up to the limits of a batch) and publishes it;
//! meanwhile the next batch gathers. There is no timer, so a single message leaves at once. The
//! task owns the publisher, so counting nodes goes through it as well.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::coop::consume_budget,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    CLOSE_GRACE,
    backoff::Backoff,
    health::{Health, Throttle},
    link::{Failure, PublishFailure, Publisher, TransportInfo},
    message::Namespace,
    outbox::{Batch, Outbox},
    stats::Counters,
};

/// A message that kills the plugin alone so many times is given up.
const MAX_FAULTS_ALONE: u32 = 2;

/// Asks how many nodes serve a namespace, this one included; None: not known now.
pub(super) struct CountQuery {
    pub(super) namespace: Namespace,
    pub(super) answer: oneshot::Sender<Option<u32>>,
}

/// The task's state.
pub(super) struct PublishTask {
    publisher: Box<dyn Publisher>,
    outbox: Arc<Outbox>,
    counts: mpsc::Receiver<CountQuery>,
    /// None until the transport has worked once.
    info: watch::Sender<Option<TransportInfo>>,
    health: Arc<Health>,
    counters: Arc<Counters>,
    batch: Batch,
    backoff: Backoff,
    /// How many messages at the front of the batch were in one over which the plugin died. They
    /// go one by one, so that one of them cannot take the others down again.
    suspects: usize,
    /// How often the message at the front killed the plugin alone.
    faults_alone: u32,
    rejections: Throttle,
    oddities: Throttle,
}

impl PublishTask {
    pub(super) fn new(
        publisher: Box<dyn Publisher>,
        outbox: Arc<Outbox>,
        counts: mpsc::Receiver<CountQuery>,
        info: watch::Sender<Option<TransportInfo>>,
        health: Arc<Health>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            publisher,
            outbox,
            counts,
            info,
            health,
            counters,
            batch: Batch::default(),
            backoff: Backoff::new(),
            suspects: 0,
            faults_alone: 0,
            rejections: Throttle::default(),
            oddities: Throttle::default(),
        }
    }

    /// Runs until the outbox is closed and empty, or until the time that `closing` gives is over.
    pub(super) async fn run(mut self, closing: watch::Receiver<Option<Instant>>) {
        tokio::select! {
            () = self.drain() => {}
            () = over(closing) => self.give_up(),
        }
        if timeout(CLOSE_GRACE, self.publisher.close()).await.is_err() {
            tracing::warn!("cluster: the transport took too long to close its way out");
        }
    }

    fn give_up(&self) {
        let (unsent, ..) = self.outbox.depth();
        if unsent > 0 {
            self.counters.unsent.add(unsent);
            tracing::warn!(unsent, "cluster: closed before all messages could be sent");
        }
    }

    async fn drain(&mut self) {
        loop {
            if let Ok(query) = self.counts.try_recv() {
                self.count(query).await;
            }
            if self.suspects == 0 {
                self.outbox.top_up(&mut self.batch);
            }
            if !self.batch.is_empty() {
                self.publish().await;
            } else if self.outbox.is_closed() {
                return;
            } else {
                tokio::select! {
                    () = self.outbox.filled() => {}
                    Some(query) = self.counts.recv() => self.count(query).await,
                }
            }
        }
    }

    /// Publishes once, and draws the conclusions.
    async fn publish(&mut self) {
        let n = if self.suspects > 0 {
            1
        } else {
            self.batch.len()
        };
        let Some(batch) = self.batch.messages.get(..n) else {
            return;
        };
        self.counters.batches.add(1);
        match self.publisher.publish(batch).await {
            Ok(offsets) => {
                self.check_offsets(offsets.len(), n);
                self.accepted(n);
                self.works();
            }
            Err(PublishFailure {
                accepted,
                offsets,
                reason,
            }) => {
                let accepted = self.clamp(accepted, n);
                self.check_offsets(offsets.len(), accepted);
                self.accepted(accepted);
                self.failed(n - accepted, reason).await;
            }
        }
        // A publisher that never waits must not keep the thread to itself.
        consume_budget().await;
    }

    /// Books messages from the front as sent.
    fn accepted(&mut self, n: usize) {
        if n > 0 {
            self.counters.sent.add(n);
            self.done(n);
            self.backoff.reset();
        }
    }

    /// Takes messages off the front: they are sent or given up.
    fn done(&mut self, n: usize) {
        self.outbox.release(&mut self.batch, n);
        self.suspects = self.suspects.saturating_sub(n);
        self.faults_alone = 0;
    }

    fn works(&mut self) {
        self.backoff.reset();
        self.health.back();
        self.learn();
    }

    fn learn(&mut self) {
        let info = self.publisher.info();
        self.info
            .send_if_modified(|known| known.replace(info) != Some(info));
    }

    /// What to do about the `left` messages at the front that were tried and not accepted.
    async fn failed(&mut self, left: usize, reason: Failure) {
        match reason {
            Failure::Rejected(why) if left > 0 => {
                self.reject(&why);
                self.works();
            }
            Failure::Rejected(why) => self.odd(&format!("rejected no message ({why})")),
            Failure::Unavailable(why) => {
                self.health.lost(&why);
                self.pause().await;
            }
            // The transport has said so loudly; senders must not wait for what never comes.
            Failure::GivenUp(why) => {
                self.health.lost(&why);
                self.counters.rejected.add(left);
                self.done(left);
            }
            Failure::Faulted(why) => {
                self.counters.faulted.add(1);
                self.health.lost(&why);
                if left == 1 {
                    self.faults_alone += 1;
                }
                if self.faults_alone >= MAX_FAULTS_ALONE {
                    self.reject(&format!("the transport plugin died over it twice: {why}"));
                    // The culprit is found; the others may travel together again.
                    self.suspects = 0;
                } else {
                    self.suspects = self.suspects.max(left);
                }
                self.pause().await;
            }
        }
    }

    async fn pause(&mut self) {
        self.counters.retries.add(1);
        sleep(self.backoff.pause()).await;
    }

    /// Gives the message at the front up, loudly.
    fn reject(&mut self, why: &str) {
        self.counters.rejected.add(1);
        self.health.note(why);
        if let (Some(more), Some(message)) = (self.rejections.pass(), self.batch.messages.first()) {
            tracing::error!(
                namespace = %message.namespace,
                kind = message.body.name(),
                bytes = message.size(),
                more,
                why,
                "cluster: a message can never be sent and was given up"
            );
        }
        self.done(1);
    }

    fn clamp(&self, accepted: usize, n: usize) -> usize {
        if accepted > n {
            self.odd(&format!("said that it accepted {accepted} of {n} messages"));
        }
        accepted.min(n)
    }

    fn check_offsets(&self, offsets: usize, accepted: usize) {
        if offsets != 0 && offsets != accepted {
            self.odd(&format!("gave {offsets} offsets for {accepted} messages"));
        }
    }

    /// The plugin broke its contract in a way that can be borne.
    fn odd(&self, what: &str) {
        if let Some(more) = self.oddities.pass() {
            tracing::warn!(
                more,
                "cluster: the transport plugin {what}; that is its fault, ignored"
            );
        }
    }

    async fn count(&mut self, query: CountQuery) {
        if query.answer.is_closed() {
            return;
        }
        let count = match self.publisher.count_nodes(&query.namespace).await {
            Ok(count) => {
                self.learn();
                count
            }
            Err(failure) => {
                self.health.note(&failure.to_string());
                None
            }
        };
        // The asker may have given up meanwhile.
        let _ = query.answer.send(count);
    }
}

/// Ends when the time that `closing` gives is over.
async fn over(mut closing: watch::Receiver<Option<Instant>>) {
    let deadline = closing
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|time| *time);
    // None: the cluster itself is gone, so nothing more can come, and nobody waits.
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}
