//! The connection of a subscription: makes it, says what is wanted, and puts what arrives into the
//! queue. It is not polled, and so not read, while the queue is full: then Postgres keeps what comes.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{AsyncMessage, Client, Error, Notification};

use super::{Core, PostgresEvent, State, channels::Change, probe::Probe};
use crate::capabilities::{
    backoff::{Backoff, RETRY_MAX},
    postgres::{connect::Wire, statement::channel_list, trouble::Trouble},
};

/// A full queue is looked at again so often at least.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Keeps the connection until the task is aborted.
pub(super) async fn run(core: Arc<Core>) {
    let mut backoff = Backoff::new();
    loop {
        let trouble = match core.connector.connect().await {
            Ok((client, wire)) => {
                let since = Instant::now();
                core.health.up();
                let trouble = Feed::new(&core, &client).serve(wire).await;
                let trouble = core.connector.at(trouble);
                core.health.lost(&trouble);
                lost(&core, &trouble);
                if since.elapsed() >= RETRY_MAX && !trouble.is_refusal {
                    backoff = Backoff::new();
                    continue;
                }
                trouble
            }
            Err(trouble) => {
                core.health.failed(&trouble);
                lost(&core, &trouble);
                trouble
            }
        };
        sleep(backoff.pause(trouble.is_refusal)).await;
    }
}

fn lost(core: &Core, trouble: &Trouble) {
    core.lock().channels.lost(trouble);
    core.settled.notify_waiters();
}

type Message = Result<AsyncMessage, Error>;
type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// One connection.
struct Feed<'a> {
    core: &'a Core,
    client: &'a Client,
    probe: Probe<'a>,
    /// The command that is not answered yet.
    said: Option<Said<'a>>,
    /// When something was heard last.
    alive: Instant,
}

struct Said<'a> {
    answer: Answer<'a>,
    /// What it changes; none: a sign of life was asked for.
    change: Option<Change>,
    until: Instant,
}

impl<'a> Feed<'a> {
    fn new(core: &'a Core, client: &'a Client) -> Self {
        Self {
            core,
            client,
            probe: Probe::new(core),
            said: None,
            alive: Instant::now(),
        }
    }

    /// Serves until the connection is lost, and says why.
    async fn serve(&mut self, mut wire: Wire) -> Trouble {
        let all = self.core.lock().channels.connected();
        self.say(all, true);
        loop {
            if self.core.lock().queue.is_full() {
                // Nothing is read; what should come may be waiting in the socket.
                let _ = timeout(LOOK_AGAIN, self.core.drained.notified()).await;
                self.postpone();
                continue;
            }
            if self.said.is_none() {
                let change = self.core.lock().channels.change();
                match change {
                    Some(change) => self.say(change, false),
                    None => self.core.settled.notify_waiters(),
                }
            }
            let silent = self.alive + self.core.options.ping_interval;
            let is_idle = self.said.is_none();
            let is_listening = self.is_listening();
            tokio::select! {
                message = poll_fn(|cx| wire.poll_message(cx)) => {
                    if let Err(trouble) = self.take(message, &mut wire) {
                        return trouble;
                    }
                }
                answer = answer(&mut self.said) => if let Err(trouble) = self.answered(answer) {
                    return trouble;
                },
                () = self.core.changed.notified(), if is_idle => {}
                () = sleep_until(silent), if is_idle => self.ask(),
                step = self.probe.step(), if is_listening => if let Err(trouble) = step {
                    return trouble;
                },
            }
        }
    }

    /// The probe's channel was part of the first command.
    fn is_listening(&self) -> bool {
        self.said.as_ref().is_none_or(|said| said.change.is_none())
    }

    fn say(&mut self, change: Change, with_probe: bool) {
        let mut text = channel_list("UNLISTEN", change.leave.iter().map(|name| &**name));
        text += &channel_list("LISTEN", change.add.iter().map(|name| &**name));
        if with_probe {
            text += &channel_list("LISTEN", [self.probe.channel.as_str()]);
        }
        let client = self.client;
        self.said = Some(Said {
            answer: Box::pin(async move { client.batch_execute(&text).await }),
            change: Some(change),
            until: Instant::now() + self.core.options.command_timeout,
        });
    }

    /// Asks for a sign of life.
    fn ask(&mut self) {
        let client = self.client;
        self.said = Some(Said {
            answer: Box::pin(async move { client.check_connection().await }),
            change: None,
            until: Instant::now() + self.core.options.ping_timeout,
        });
    }

    fn answered(&mut self, answer: Option<Result<(), Error>>) -> Result<(), Trouble> {
        let said = self.said.take();
        match answer {
            None => return Err(Trouble::away("it does not answer in time")),
            Some(Err(error)) => return Err(Trouble::from(&error)),
            Some(Ok(())) => self.alive = Instant::now(),
        }
        if let Some(change) = said.and_then(|said| said.change) {
            let mut state = self.core.lock();
            state.channels.applied(change);
            let has_news = self.tell_gap(&mut state);
            drop(state);
            self.core.settled.notify_waiters();
            if has_news {
                self.core.arrived.notify_waiters();
            }
        }
        Ok(())
    }

    /// Takes a message, and those that came with it.
    fn take(&mut self, first: Option<Message>, wire: &mut Wire) -> Result<(), Trouble> {
        self.alive = Instant::now();
        let mut next = Some(first);
        let mut state = self.core.lock();
        let mut has_news = false;
        let result = loop {
            match next.take() {
                Some(Some(Ok(AsyncMessage::Notification(notification)))) => {
                    has_news |= self.arrived(&mut state, &notification);
                }
                // A notice, for people who type SQL.
                Some(Some(Ok(_))) => {}
                Some(Some(Err(error))) => break Err(Trouble::from(&error)),
                Some(None) => break Err(Trouble::away("the connection was closed")),
                None => break Ok(()),
            }
            if state.queue.is_full() {
                break Ok(());
            }
            next = poll_fn(|cx| wire.poll_message(cx)).now_or_never();
        };
        drop(state);
        if has_news {
            self.core.arrived.notify_waiters();
        }
        result
    }

    fn arrived(&mut self, state: &mut State, notification: &Notification) -> bool {
        self.probe.heard();
        if notification.channel() == self.probe.channel {
            return false;
        }
        // What comes over this connection comes after the gap, whether the command that listens
        // was answered yet or not.
        self.tell_gap(state);
        let channel = state.channels.shared(notification.channel());
        state.received += 1;
        state.push(PostgresEvent::Notification {
            channel,
            payload: Bytes::copy_from_slice(notification.payload().as_bytes()),
            pid: notification.process_id().cast_unsigned(),
        });
        true
    }

    fn tell_gap(&self, state: &mut State) -> bool {
        let Some(why) = state.channels.take_gap() else {
            return false;
        };
        tracing::warn!(
            connection = %self.core.health.name(),
            "notifications were missed while Postgres was not connected: {why}"
        );
        state.gaps += 1;
        state.push(PostgresEvent::Lagged {
            missed: None,
            reason: why.into(),
        });
        true
    }

    fn postpone(&mut self) {
        let now = Instant::now();
        self.alive = now;
        self.probe.postpone();
        if let Some(said) = &mut self.said {
            let wait = match said.change {
                Some(_) => self.core.options.command_timeout,
                None => self.core.options.ping_timeout,
            };
            said.until = now + wait;
        }
    }
}

/// The answer to what was said; none when it takes too long. Never, when nothing was said.
async fn answer(said: &mut Option<Said<'_>>) -> Option<Result<(), Error>> {
    match said {
        Some(said) => {
            tokio::select! {
                answer = &mut said.answer => Some(answer),
                () = sleep_until(said.until) => None,
            }
        }
        None => std::future::pending().await,
    }
}
