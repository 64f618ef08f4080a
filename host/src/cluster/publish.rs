//! The task that empties the outbox into the transport, in order, in batches, through trouble.
//!
//! Group commit: it takes all that is there (up to the limits of a batch) and publishes it;
//! meanwhile the next batch gathers. There is no timer, so a single message leaves at once. The
//! task owns the publisher, so counting nodes goes through it as well. It is also the one that knows
//! the offset of a message, so what waits for that on this server is done here (`own.rs`).

use std::{collections::VecDeque, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{coop::consume_budget, yield_now},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    CLOSE_GRACE,
    backoff::Backoff,
    batch::Batch,
    health::{Health, Throttle},
    link::{Failure, PublishFailure, Publisher, TransportInfo},
    message::{Namespace, Offset},
    outbox::Outbox,
    own::{self, Fate},
    shared::Shared,
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
    /// For what waits on this server.
    shared: Arc<Shared>,
    batch: Batch,
    /// The number of the message at the front of the batch: how many were accepted or given up
    /// before it.
    first: u64,
    /// With `connection_state_recovery`: what became of the messages at the front of the batch,
    /// until they have acted on this server.
    fates: VecDeque<Fate>,
    /// Messages since the sockets' writers had their last turn.
    in_slice: usize,
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
        shared: Arc<Shared>,
        counts: mpsc::Receiver<CountQuery>,
        info: watch::Sender<Option<TransportInfo>>,
    ) -> Self {
        Self {
            publisher,
            outbox: shared.outbox.clone(),
            counts,
            info,
            health: shared.publish_health.clone(),
            counters: shared.counters.clone(),
            shared,
            batch: Batch::default(),
            first: 0,
            fates: VecDeque::new(),
            in_slice: 0,
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
            () = over(closing) => self.give_up().await,
        }
        if timeout(CLOSE_GRACE, self.publisher.close()).await.is_err() {
            tracing::warn!("cluster: the transport took too long to close its way out");
        }
    }

    async fn give_up(&mut self) {
        // Some may have been accepted just now.
        self.settle().await;
        let (unsent, ..) = self.outbox.depth();
        if unsent > 0 {
            self.counters.unsent.add(unsent);
            tracing::warn!(unsent, "cluster: closed before all messages could be sent");
        }
        if self.keeps_order() {
            self.settle_all_as_lost().await;
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
        match self.publisher.publish(batch, self.first).await {
            Ok(offsets) => {
                self.check_offsets(offsets.len(), n);
                self.accepted(n, offsets).await;
                self.works();
            }
            Err(PublishFailure {
                accepted,
                offsets,
                reason,
            }) => {
                let accepted = self.clamp(accepted, n);
                self.check_offsets(offsets.len(), accepted);
                self.accepted(accepted, offsets).await;
                self.failed(n - accepted, reason).await;
            }
        }
        // A publisher that never waits must not keep the thread to itself.
        consume_budget().await;
    }

    /// Books messages from the front as sent.
    async fn accepted(&mut self, n: usize, offsets: Vec<Offset>) {
        if n > 0 {
            self.counters.sent.add(n);
            self.backoff.reset();
            if self.keeps_order() {
                self.fates.extend(own::accepted(n, offsets));
            }
            self.done(n).await;
        }
    }

    /// Books messages from the front as given up.
    async fn lost(&mut self, n: usize) {
        self.counters.rejected.add(n);
        if self.keeps_order() {
            self.fates.extend((0..n).map(|_| Fate::Lost));
        }
        self.done(n).await;
    }

    /// Takes messages off the front: they are sent or given up.
    async fn done(&mut self, n: usize) {
        self.first += n as u64;
        self.suspects = self.suspects.saturating_sub(n);
        self.faults_alone = 0;
        if self.keeps_order() {
            self.settle().await;
        } else {
            self.outbox.release(&mut self.batch, n);
        }
    }

    fn keeps_order(&self) -> bool {
        self.shared.options.connection_state_recovery
    }

    /// Lets the messages whose fate is known act on this server and takes them off the front, at
    /// the pace of the local sockets. Dropping the future leaves the others for the next call.
    async fn settle(&mut self) {
        let slice = self.shared.slice();
        while !self.fates.is_empty() {
            let n = self.fates.len().min(slice.saturating_sub(self.in_slice));
            for (at, fate) in self.fates.drain(..n).enumerate() {
                self.shared.settle(&mut self.batch, at, fate);
            }
            self.outbox.release(&mut self.batch, n);
            self.in_slice += n;
            if self.in_slice >= slice {
                self.in_slice = 0;
                yield_now().await;
            }
        }
    }

    /// Lets all that is left act on this server, without offsets.
    async fn settle_all_as_lost(&mut self) {
        loop {
            self.outbox.top_up(&mut self.batch);
            if self.batch.is_empty() {
                return;
            }
            self.fates.extend((0..self.batch.len()).map(|_| Fate::Lost));
            self.settle().await;
        }
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
                self.reject(&why).await;
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
                self.lost(left).await;
            }
            Failure::Faulted(why) => {
                self.counters.faulted.add(1);
                self.health.lost(&why);
                if left == 1 {
                    self.faults_alone += 1;
                }
                if self.faults_alone >= MAX_FAULTS_ALONE {
                    self.reject(&format!("the transport plugin died over it twice: {why}"))
                        .await;
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
    async fn reject(&mut self, why: &str) {
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
        self.lost(1).await;
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
