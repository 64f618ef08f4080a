//! The way out over a line that this server does not publish on: what the switch itself has to say
//! there, and nothing else.
//!
//! The task owns the line's publisher and gives it back when it is stopped, because the publisher
//! moves: before a switch it belongs here, after it to the outbox, and the old one comes here.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::publisher::Numbered;
use crate::cluster::{CLOSE_GRACE, Failure, Message, PublishFailure, backoff::Backoff};

/// Messages that may wait. They are told again and again, so those that find no room are dropped.
const MAX_WAITING: usize = 64;

/// How long what was told before a line becomes home may take to go out.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A line that is listened to, and spoken on by the switch alone.
pub(super) struct Side {
    /// None: it is being stopped.
    messages: Option<mpsc::Sender<Message>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Numbered>,
}

impl Side {
    pub(super) fn start(line: Numbered) -> Self {
        let (messages, queue) = mpsc::channel(MAX_WAITING);
        let (stop, stopped) = oneshot::channel();
        Self {
            messages: Some(messages),
            stop: Some(stop),
            task: tokio::spawn(run(line, queue, stopped)),
        }
    }

    /// Says something, sooner or later or never.
    pub(super) fn tell(&self, message: Message) {
        if let Some(messages) = &self.messages {
            let _ = messages.try_send(message);
        }
    }

    /// Gives the publisher back when all that was told has gone out, or could not within a second.
    pub(super) async fn flush(mut self) -> Option<Numbered> {
        self.messages.take();
        match timeout(FLUSH_TIMEOUT, &mut self.task).await {
            Ok(ended) => ended.ok(),
            Err(_) => self.stop().await,
        }
    }

    /// Gives the publisher back. What it is about to say may or may not be said.
    async fn stop(mut self) -> Option<Numbered> {
        self.stop.take();
        // None: it panicked, which has been reported.
        (&mut self.task).await.ok()
    }

    /// Closes the line's way out. Returns the number that its next message would have had.
    pub(super) async fn close(self) -> Option<u64> {
        let mut line = self.stop().await?;
        if timeout(CLOSE_GRACE, line.publisher.close()).await.is_err() {
            tracing::warn!("switch: a transport took too long to close its way out");
        }
        Some(line.next)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut line: Numbered,
    mut queue: mpsc::Receiver<Message>,
    mut stopped: oneshot::Receiver<()>,
) -> Numbered {
    let mut backoff = Backoff::new();
    loop {
        let message = tokio::select! {
            _ = &mut stopped => return line,
            message = queue.recv() => match message {
                Some(message) => message,
                None => return line,
            },
        };
        let number = line.next;
        // Also if it is given up half-way: whoever comes next must not use it for something else.
        line.next += 1;
        loop {
            let said = tokio::select! {
                _ = &mut stopped => return line,
                said = line.publisher.publish(std::slice::from_ref(&message), number) => said,
            };
            match said {
                Err(PublishFailure {
                    reason: Failure::Unavailable(_) | Failure::Faulted(_),
                    accepted: 0,
                    ..
                }) => {
                    // What is newer says more than what could not be said.
                    if !queue.is_empty() {
                        break;
                    }
                    tokio::select! {
                        _ = &mut stopped => return line,
                        () = sleep(backoff.pause()) => {}
                    }
                }
                _ => {
                    backoff.reset();
                    break;
                }
            }
        }
    }
}
