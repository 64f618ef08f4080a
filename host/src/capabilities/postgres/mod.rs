//! PostgreSQL: batches of statements and LISTEN, for plugins. `wit/postgres/postgres.wit` holds the
//! promises; this is how they are kept.
//!
//! * Statements are values (`statement`), so that grants are exact (`grants`); the SQL is made
//!   here.
//! * Batches take a connection of a pool each (`pool`), are sent as a whole, and have exactly one of
//!   four ends (`batch`).
//! * Subscriptions have connections of their own (`subscription`), so that a plugin that takes
//!   nothing holds up nobody else, and so that LISTEN can go past a pooler.
//! * Where a server is (`url`), how to connect and whom to trust (`connect`).
//!
//! The protocol is `tokio-postgres`': it pipelines what is polled together, reads nothing while a
//! connection is not polled, and shares none of its buffers between connections. What it queues
//! without a bound is what we hand it, one batch at a time.
//!
//! Two texts for every trouble (`trouble`): the plugin's holds no address. What Postgres means to
//! plugins is in `link`; the rest knows nothing of Wasm.

mod batch;
mod connect;
mod grants;
pub(crate) mod link;
mod options;
mod pool;
mod prepared;
mod statement;
mod status;
mod subscription;
#[cfg(test)]
mod tests;
mod trouble;
mod url;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_postgres::{Client, error::SqlState, types::Type};

use self::{
    connect::Connector,
    pool::Pool,
    statement::{NewTable, Outcome, Statement},
    status::Health,
    trouble::Trouble,
};
pub use self::{
    grants::{PostgresPermit, PostgresRights},
    link::{ClientHandle, SubscriptionHandle},
    options::PostgresOptions,
    status::{PostgresState, PostgresStatus, PostgresSubscriptionStatus},
    subscription::Subscription,
    url::{InvalidUrl, PostgresUrl},
};

/// Subscriptions of one plugin and connection.
const MAX_SUBSCRIPTIONS: usize = 16;
/// Longest name of a subscription, in bytes.
const MAX_SUBSCRIPTION_NAME_BYTES: usize = 64;
/// Most statements of one batch.
const MAX_STATEMENTS: usize = 1024;

/// Why a call failed. Nothing of it was executed, if it is not [`PostgresError::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The operator's fault: a setting. Says what to change.
    #[error("{0}")]
    Config(String),
    /// The plugin may not do this, or this server's role may not. Names what is missing.
    #[error("{0}")]
    Denied(String),
    /// Postgres cannot be reached now, does not let this server in, or cannot do it now.
    #[error("Postgres is not available: {0}")]
    Unavailable(String),
    /// The plugin's fault: a call, a result or a payload over the limit.
    #[error("over the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The plugin's fault: a call that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Postgres refused a statement.
    #[error(transparent)]
    Failed(Failure),
    /// It may have been executed as a whole, or not at all.
    #[error("it is not known whether the batch was executed: {0}")]
    Unknown(String),
}

/// A statement that Postgres refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct Failure {
    /// Which one of the batch. None: the commit.
    pub statement: Option<usize>,
    /// SQLSTATE.
    pub code: String,
    /// In the words of Postgres.
    pub message: String,
}

/// One `[connections.postgres.NAME]`. Clones share it; it ends with [`Postgres::close`], or when
/// the last clone is dropped.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    listening: Connector,
    options: PostgresOptions,
    health: Arc<Health>,
    /// Subscriptions of each plugin, by their names.
    plugins: Mutex<HashMap<String, HashMap<String, Subscription>>>,
}

impl Postgres {
    /// Prepares a connection; it is made when it is first used. Needs a tokio runtime then.
    ///
    /// # Errors
    /// [`PostgresError::Config`]: the options are wrong, or the file with the certificates.
    pub fn new(name: &str, options: PostgresOptions) -> Result<Self, PostgresError> {
        let config = |(key, problem)| PostgresError::Config(format!("`{key}` {problem}"));
        if let Some(problem) = options.problems().into_iter().next() {
            return Err(config(problem));
        }
        let (url, listen_url) = options.urls().map_err(config)?;
        let connector = |url| Connector::new(url, &options).map_err(PostgresError::Config);
        let (executing, listening) = (connector(url)?, connector(listen_url)?);
        let health = Arc::new(Health::new(name));
        let pool = Pool::new(executing, options.clone(), Arc::clone(&health));
        Ok(Self(Arc::new(Inner {
            pool: Arc::new(pool),
            listening,
            options,
            health,
            plugins: Mutex::default(),
        })))
    }

    /// Executes statements in order, as one transaction. Dropped half-way, it may have been executed
    /// or not.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub(crate) async fn batch(
        &self,
        permit: &PostgresPermit,
        statements: &[Statement],
    ) -> Result<Vec<Outcome>, PostgresError> {
        if statements.len() > MAX_STATEMENTS {
            return Err(PostgresError::Invalid(format!(
                "a batch holds at most {MAX_STATEMENTS} statements"
            )));
        }
        let limit = self.0.options.max_batch_bytes;
        let mut bytes = 0_usize;
        for statement in statements {
            permit
                .check_statement(statement)
                .map_err(PostgresError::Denied)?;
            bytes = bytes.saturating_add(statement.bytes());
            // Before any connection is taken for it.
            statement.compile()?;
        }
        if bytes > limit {
            return Err(PostgresError::TooLarge { limit });
        }
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let result = self.0.pool.run_for_plugin(statements).await;
        self.0.health.count(&result);
        result
    }

    /// Creates a table if there is none of this name. True: this call did.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub(crate) async fn create_table(
        &self,
        permit: &PostgresPermit,
        table: &NewTable,
    ) -> Result<bool, PostgresError> {
        permit.check_table(table).map_err(PostgresError::Denied)?;
        let (name, commands) = (table.quoted()?, table.compile()?);
        let pool = &self.0.pool;
        // Looked for first: a role that may not create anything can use one that is there.
        if pool
            .borrow(async |client| exists(client, &name).await)
            .await?
        {
            return Ok(false);
        }
        permit
            .check_creation(table)
            .map_err(PostgresError::Denied)?;
        pool.borrow(async |client| match client.batch_execute(&commands).await {
            Ok(()) => Ok(true),
            Err(error) => match error.as_db_error() {
                // Somebody else did, a moment ago.
                Some(refusal) if is_taken(refusal.code()) => Ok(false),
                _ => Err(outside_a_batch(&error)),
            },
        })
        .await
    }

    /// The plugin's subscription of this name, new or as it was left; and the number of this
    /// opening, for [`Postgres::end`].
    ///
    /// # Errors
    /// [`PostgresError::Denied`]: the name, or the plugin has too many.
    pub(crate) fn subscription(
        &self,
        permit: &PostgresPermit,
        name: &str,
    ) -> Result<(Subscription, u64), PostgresError> {
        if name.is_empty() || name.len() > MAX_SUBSCRIPTION_NAME_BYTES {
            return Err(PostgresError::Denied(format!(
                "the name of a subscription has 1 to {MAX_SUBSCRIPTION_NAME_BYTES} bytes"
            )));
        }
        let mut plugins = self.lock();
        let subscriptions = plugins.entry(permit.plugin().to_owned()).or_default();
        let count = subscriptions.len();
        if count >= MAX_SUBSCRIPTIONS && !subscriptions.contains_key(name) {
            return Err(PostgresError::Denied(format!(
                "a plugin may have {MAX_SUBSCRIPTIONS} subscriptions of one connection: close one \
                 first"
            )));
        }
        let subscription = subscriptions.entry(name.to_owned()).or_insert_with(|| {
            let inner = &self.0;
            Subscription::start(
                format!("{}/{name}", permit.plugin()),
                inner.listening.clone(),
                Arc::clone(&inner.pool),
                inner.options.clone(),
                Arc::clone(&inner.health),
            )
        });
        Ok((subscription.clone(), subscription.adopt()))
    }

    /// Ends a subscription, if nobody has opened it since.
    pub(crate) fn end(&self, subscription: &Subscription, generation: u64) {
        if subscription.generation() != generation {
            return;
        }
        for subscriptions in self.lock().values_mut() {
            subscriptions.retain(|_, known| !known.is_same(subscription));
        }
        subscription.end();
    }

    /// How it is doing.
    pub fn status(&self) -> PostgresStatus {
        let mut status = self.0.health.status();
        (status.busy, status.idle) = self.0.pool.counts();
        let plugins = self.lock();
        let subscriptions = plugins.values().flat_map(HashMap::values);
        status.subscriptions = subscriptions.map(Subscription::status).collect();
        drop(plugins);
        status.subscriptions.sort_by(|a, b| a.name.cmp(&b.name));
        status
    }

    /// Ends all subscriptions and connections. Batches in progress go on to their end.
    pub fn close(&self) {
        let plugins = std::mem::take(&mut *self.lock());
        for subscription in plugins.values().flat_map(HashMap::values) {
            subscription.end();
        }
        self.0.pool.close();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Subscription>>> {
        self.0
            .plugins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn exists(client: &Client, table: &str) -> Result<bool, PostgresError> {
    let text = "SELECT to_regclass($1) IS NOT NULL";
    let rows = client.query_typed(text, &[(&table, Type::TEXT)]).await;
    let rows = rows.map_err(|error| outside_a_batch(&error))?;
    let is_there = rows.first().map(|row| row.try_get(0)).transpose();
    let is_there = is_there.map_err(|error| outside_a_batch(&error))?;
    Ok(is_there.unwrap_or(false))
}

/// The name is there, or just being taken.
fn is_taken(code: &SqlState) -> bool {
    [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::UNIQUE_VIOLATION,
    ]
    .contains(code)
}

/// What went wrong with a statement that may be executed again and again without harm.
fn outside_a_batch(error: &tokio_postgres::Error) -> PostgresError {
    match error.as_db_error() {
        Some(refusal) => batch::refusal(None, refusal),
        None => PostgresError::Unavailable(Trouble::from(error).public),
    }
}
