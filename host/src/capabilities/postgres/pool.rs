//! The connections that execute batches: made when they are needed, kept, and dropped when there is
//! any doubt about them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_postgres::Client;

use super::{
    PostgresError,
    batch::{self, After, Fate},
    connect::{Connector, Wire},
    options::PostgresOptions,
    prepared::Prepared,
    statement::{Compiled, Outcome, Statement},
    status::Health,
    trouble::Trouble,
};
use crate::capabilities::backoff::{Backoff, return_pause};

/// How long a request to cancel may take, and then the answer to what was cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Up to `pool_size` connections.
pub(super) struct Pool {
    connector: Connector,
    health: Arc<Health>,
    options: PostgresOptions,
    slots: Semaphore,
    state: Mutex<State>,
}

struct State {
    /// The one that was used last is at the end, and is used next.
    idle: Vec<Link>,
    backoff: Backoff,
    /// Until then nobody tries to connect, and this is why.
    pause: Option<(Instant, Trouble)>,
    /// Until then notifications that nothing keeps have to wait.
    open_at: Option<Instant>,
    is_closed: bool,
}

/// A connection and the task that moves its bytes. It ends with the value.
pub(super) struct Link {
    client: Client,
    prepared: Prepared,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pool {
    pub(super) fn new(connector: Connector, options: PostgresOptions, health: Arc<Health>) -> Self {
        Self {
            connector,
            health,
            slots: Semaphore::new(options.pool_size),
            options,
            state: Mutex::new(State {
                idle: Vec::new(),
                backoff: Backoff::new(),
                pause: None,
                open_at: None,
                is_closed: false,
            }),
        }
    }

    /// Executes statements of a plugin that were checked, as one transaction.
    ///
    /// All servers look for a Postgres that was away. What has gathered meanwhile would be lost for
    /// those that do not listen again yet, so notifications wait a moment longer than connections
    /// do, unless they are kept in a table whose readers catch up.
    pub(super) async fn run_for_plugin(
        &self,
        statements: &[Statement],
    ) -> Result<Vec<Outcome>, PostgresError> {
        let waits = statements.iter().any(Statement::is_fleeting);
        self.execute(statements, waits).await
    }

    /// Executes statements of the host's own that were checked, as one transaction.
    pub(super) async fn run(
        &self,
        statements: &[Statement],
    ) -> Result<Vec<Outcome>, PostgresError> {
        self.execute(statements, false).await
    }

    async fn execute(
        &self,
        statements: &[Statement],
        waits: bool,
    ) -> Result<Vec<Outcome>, PostgresError> {
        let mut until = Instant::now() + self.options.command_timeout;
        let Ok(slot) = timeout_at(until, self.slots.acquire()).await else {
            let size = self.options.pool_size;
            return Err(PostgresError::Unavailable(format!(
                "all {size} connections are busy: `pool_size` may be too small"
            )));
        };
        let _slot = slot.map_err(|_| closed())?;
        loop {
            let mut link = self.link().await?;
            if waits && let Some(open_at) = self.closed_until() {
                sleep_until(open_at).await;
                until = Instant::now() + self.options.command_timeout;
            }
            let compiled: Result<Vec<_>, _> = statements.iter().map(Statement::compile).collect();
            let since = Instant::now();
            let (fate, after) = self.watched(&mut link, statements, compiled?, until).await;
            let is_unknown = matches!(fate, Fate::Unknown(_));
            if is_unknown || since.elapsed() >= self.options.ping_timeout {
                self.was_away(is_unknown);
            }
            if after == After::Good {
                self.put_back(link);
            }
            return match fate {
                Fate::Done(outcomes) => Ok(outcomes),
                Fate::Refused(error) => Err(error),
                Fate::Unknown(why) => Err(PostgresError::Unknown(why)),
                // It was idle for a while. The others were as well; the last one is a new one.
                Fate::NotSent if Instant::now() < until => continue,
                Fate::NotSent => Err(late()),
            };
        }
    }

    /// A batch was not answered, or so late that listening connections were given up meanwhile. What
    /// is sent over another connection may go the same way, so they are all made anew, if it was not.
    fn was_away(&self, is_unknown: bool) {
        let mut state = self.lock();
        state.open_at = Some(Instant::now() + return_pause(false));
        if is_unknown {
            state.idle.clear();
        }
    }

    /// Until when notifications that nothing keeps have to wait, if they have to.
    fn closed_until(&self) -> Option<Instant> {
        let open_at = self.lock().open_at;
        open_at.filter(|open_at| *open_at > Instant::now())
    }

    /// Cancels what takes too long, so that it does not go on by itself, in the way of its own
    /// repetition.
    async fn watched(
        &self,
        link: &mut Link,
        statements: &[Statement],
        compiled: Vec<Compiled<'_>>,
        until: Instant,
    ) -> (Fate, After) {
        let limit = self.options.max_reply_bytes;
        let Link {
            client, prepared, ..
        } = link;
        let run = Box::pin(batch::run(client, prepared, statements, compiled, limit));
        let clock = Box::pin(sleep_until(until));
        let run = match select(run, clock).await {
            Either::Left((result, _)) => return result,
            Either::Right(((), run)) => run,
        };
        tracing::warn!(
            connection = %self.health.name(),
            "a batch takes longer than `command_timeout_ms` and is cancelled"
        );
        let token = client.cancel_token();
        self.connector.cancel(token, CANCEL_TIMEOUT).await;
        match timeout(CANCEL_TIMEOUT, run).await {
            Ok((fate, _)) => (fate, After::Bad),
            Err(_) => {
                let trouble = Trouble::away("it does not answer in time");
                self.health.lost(&self.connector.at(trouble.clone()));
                (Fate::Unknown(trouble.public), After::Bad)
            }
        }
    }

    /// A connection that stands, as far as is known.
    async fn link(&self) -> Result<Link, PostgresError> {
        {
            let mut state = self.lock();
            if state.is_closed {
                return Err(closed());
            }
            while let Some(link) = state.idle.pop() {
                if !link.client.is_closed() {
                    return Ok(link);
                }
            }
            if let Some((until, trouble)) = &state.pause
                && Instant::now() < *until
            {
                return Err(unavailable(trouble));
            }
        }
        match self.connector.connect().await {
            Ok((client, wire)) => {
                let mut state = self.lock();
                state.backoff = Backoff::new();
                state.pause = None;
                if let Some(is_refusal) = self.health.trouble() {
                    state.open_at = Some(Instant::now() + return_pause(is_refusal));
                }
                drop(state);
                self.health.up();
                Ok(Link {
                    client,
                    prepared: Prepared::new(self.options.prepares()),
                    task: tokio::spawn(drive(
                        wire,
                        self.connector.clone(),
                        Arc::clone(&self.health),
                    )),
                })
            }
            Err(trouble) => {
                self.health.failed(&trouble);
                let error = unavailable(&trouble);
                let mut state = self.lock();
                let pause = state.backoff.pause(trouble.is_refusal);
                state.pause = Some((Instant::now() + pause, trouble));
                Err(error)
            }
        }
    }

    fn put_back(&self, link: Link) {
        let mut state = self.lock();
        if !state.is_closed {
            state.idle.push(link);
        }
    }

    /// Connections in use, and idle ones.
    pub(super) fn counts(&self) -> (usize, usize) {
        let busy = self
            .options
            .pool_size
            .saturating_sub(self.slots.available_permits());
        (busy, self.lock().idle.len())
    }

    /// Ends idle connections; those in use end with their batches.
    pub(super) fn close(&self) {
        self.slots.close();
        let mut state = self.lock();
        state.is_closed = true;
        state.idle.clear();
    }

    /// The connector for statements of another kind than batches.
    pub(super) async fn borrow<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let until = Instant::now() + self.options.command_timeout;
        let slot = timeout_at(until, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| late())?.map_err(|_| closed())?;
        let link = self.link().await?;
        let done = timeout_at(until, work(&link.client)).await;
        let done = done.map_err(|_| late())?;
        if done.is_ok() {
            self.put_back(link);
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves a connection's bytes until it ends.
async fn drive(wire: Wire, connector: Connector, health: Arc<Health>) {
    if let Err(error) = wire.await {
        health.lost(&connector.trouble(&error));
    }
}

fn late() -> PostgresError {
    PostgresError::Unavailable("it does not answer in time".to_owned())
}

fn closed() -> PostgresError {
    PostgresError::Unavailable("the server is closing".to_owned())
}

/// What a plugin is told. What a setting is at fault for passes as well: it may be set right in
/// Postgres, while messages wait.
pub(super) fn unavailable(trouble: &Trouble) -> PostgresError {
    let why = &trouble.public;
    PostgresError::Unavailable(match trouble.is_refusal {
        true => format!("it cannot be used until a setting changes: {why}"),
        false => why.clone(),
    })
}
