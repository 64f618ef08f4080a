//! Finds out whether notifications arrive at all. Behind a pooler in transaction mode LISTEN
//! succeeds and nothing ever comes: the session that listens belongs to nobody. So a connection
//! that has heard nothing yet listens on a channel of its own, and a notification is sent there over
//! another one. Whatever is heard first ends it.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    pin::Pin,
};

use tokio::time::Instant;

use super::Core;
use crate::capabilities::postgres::{
    PostgresError,
    statement::{Notice, Notify, Outcome, Statement},
    trouble::Trouble,
};

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Vec<Outcome>, PostgresError>> + Send + 'a>>;

/// One connection's question.
pub(super) struct Probe<'a> {
    core: &'a Core,
    pub(super) channel: String,
    state: State<'a>,
}

enum State<'a> {
    /// It will be sent then.
    Due(Instant),
    Sending(Sending<'a>),
    /// It must have arrived by then.
    Sent(Instant),
    Heard,
}

impl<'a> Probe<'a> {
    /// Sent when the connection listens.
    pub(super) fn new(core: &'a Core) -> Self {
        // Seeded by the operating system: no two are alike.
        let random = RandomState::new().build_hasher().finish();
        Self {
            core,
            channel: format!("switchboard_probe_{random:016x}"),
            state: State::Due(Instant::now()),
        }
    }

    /// Notifications arrive.
    pub(super) fn heard(&mut self) {
        self.state = State::Heard;
    }

    /// Nothing was read for a while: what must have arrived may still be on its way.
    pub(super) fn postpone(&mut self) {
        if let State::Sent(until) = &mut self.state {
            *until = Instant::now() + self.core.options.command_timeout;
        }
    }

    /// Waits for the next step and takes it. May be dropped at any time.
    pub(super) async fn step(&mut self) -> Result<(), Trouble> {
        let wait = self.core.options.ping_interval;
        match &mut self.state {
            State::Heard => std::future::pending().await,
            State::Due(at) => {
                tokio::time::sleep_until(*at).await;
                self.state = State::Sending(send(self.core, self.channel.clone()));
            }
            State::Sending(sending) => {
                self.state = match sending.await {
                    Ok(_) => State::Sent(Instant::now() + self.core.options.command_timeout),
                    // The other connection is not there. This one is not to blame.
                    Err(_) => State::Due(Instant::now() + wait),
                };
            }
            State::Sent(until) => {
                tokio::time::sleep_until(*until).await;
                return Err(Trouble::refused(
                    "notifications do not arrive over the connection that listens: does it go \
                     through a pooler in transaction mode, or to another database? Set \
                     `listen_url` to a way to the database itself, or to a pooler in session mode",
                ));
            }
        }
        Ok(())
    }
}

fn send(core: &Core, channel: String) -> Sending<'_> {
    Box::pin(async move {
        let notice = Notice {
            channel,
            payload: String::new(),
            row: None,
        };
        let notify = Notify {
            store: None,
            notices: vec![notice],
        };
        core.pool.run(&[Statement::Notify(notify)]).await
    })
}
