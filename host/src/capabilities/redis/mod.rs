//! Redis: pipelined commands, blocking reads, Pub/Sub and streams, for plugins. `wit/redis/redis.wit` holds
//! the promises; this is how they are kept.
//!
//! * Commands (`batch`, `pipeline`) share one connection to each server, and one more for what is long
//!   (`lane`). In a cluster they go to the owners of their slots (`cluster`, `slots`).
//! * What became of a pipeline whose caller is gone, its successor waits for (`abandoned`).
//! * Commands that wait have connections of their own (`reader`).
//! * Subscriptions to channels and streams have connections of their own, too (`subscription`).
//! * Where a server is (`place`), how to connect and who to be (`connect`, `tls`), the protocol
//!   (`wire`).
//! * What a plugin may do: `grants`, over the commands that are known at all (`commands`).
//!
//! The protocol is read here and not by a client library: none was found that tells after a broken
//! connection which commands of a pipeline were answered, and that stops reading when a
//! subscription's queue is full.
//!
//! Two texts for every trouble (`trouble`): the plugin's holds no address. What Redis means to
//! plugins is in `link`; the rest knows nothing of Wasm.

mod abandoned;
mod batch;
mod cluster;
mod commands;
mod connect;
mod grants;
mod lane;
pub(crate) mod link;
mod options;
mod pipeline;
mod place;
mod reader;
mod slots;
mod status;
mod subscription;
#[cfg(test)]
mod tests;
mod trouble;
mod url;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;

use self::{
    cluster::Cluster,
    connect::Connector,
    options::Form,
    pipeline::{Backend, Reply, Router},
    place::{Place, Sentinels},
    status::Health,
};
pub use self::{
    grants::{CommandName, RedisPermit, RedisRights},
    link::{ClientHandle, ReaderHandle, SubscriptionHandle},
    options::{RedisOptions, SentinelOptions},
    reader::Reader,
    status::{RedisState, RedisStatus, SubscriptionStatus},
    subscription::Subscription,
    url::{InvalidUrl, RedisUrl},
};
use super::{backoff, secret, tls};

/// Readers of one plugin and connection.
const MAX_READERS: usize = 16;
/// Subscriptions of one plugin and connection.
const MAX_SUBSCRIPTIONS: usize = 16;
/// Longest name of a subscription, in bytes.
const MAX_SUBSCRIPTION_NAME_BYTES: usize = 64;

/// Why a call failed. Nothing of it was executed, if it does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The operator's fault: a setting. Says what to change.
    #[error("{0}")]
    Config(String),
    /// The plugin may not do this, or Redis refuses this server. Names the key to change.
    #[error("{0}")]
    Denied(String),
    /// Nobody's fault: Redis cannot be reached now.
    #[error("Redis is not available: {0}")]
    Unavailable(String),
    /// The plugin's fault: a call over the limit.
    #[error("over the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The plugin's fault: too many commands in one call.
    #[error("a pipeline holds at most {limit} commands")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// One `[connections.redis.NAME]`. Clones share it; it ends with [`Redis::close`], or when the last
/// clone is dropped.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    router: Arc<Router>,
    plugins: Mutex<HashMap<String, Plugin>>,
}

/// What one plugin has of it.
struct Plugin {
    readers: Arc<Semaphore>,
    subscriptions: HashMap<String, Subscription>,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            subscriptions: HashMap::new(),
        }
    }
}

impl Redis {
    /// Prepares a connection; it is made when it is first used. Needs a tokio runtime then.
    ///
    /// # Errors
    /// [`RedisError::Config`]: the options are wrong, or the file with the certificates.
    pub fn new(name: &str, options: RedisOptions) -> Result<Self, RedisError> {
        if let Some((key, problem)) = options.problems().into_iter().next() {
            return Err(RedisError::Config(format!("`{key}` {problem}")));
        }
        let form = options
            .form()
            .map_err(|(key, problem)| RedisError::Config(format!("`{key}` {problem}")))?;
        let connector = Connector::new(&options, &form).map_err(RedisError::Config)?;
        let backend = match form {
            Form::Single(url) => Backend::Single(Place::Fixed(url.address)),
            Form::Cluster(urls) => {
                let seeds = urls.into_iter().map(|url| url.address).collect();
                Backend::Cluster(Cluster::new(seeds))
            }
            Form::Sentinel(sentinel) => {
                let sentinels = Sentinels::new(&sentinel, &options, &connector);
                Backend::Single(Place::Sentinel(Arc::new(sentinels)))
            }
        };
        let health = Arc::new(Health::new(name));
        let router = Router::new(Arc::new(connector), options, health, backend);
        Ok(Self(Arc::new(Inner {
            router: Arc::new(router),
            plugins: Mutex::default(),
        })))
    }

    /// Executes commands, written as Redis' protocol writes them, in order and returns as many replies. Dropped half-way, what was sent is
    /// executed all the same.
    ///
    /// # Errors
    /// Nothing was executed; see [`RedisError`].
    pub(crate) async fn pipeline(
        &self,
        permit: &RedisPermit,
        commands: Vec<u8>,
    ) -> Result<Vec<Reply>, RedisError> {
        self.0.router.pipeline(permit, commands).await
    }

    /// A connection for commands that wait.
    ///
    /// # Errors
    /// [`RedisError::Denied`]: the plugin has too many.
    pub(crate) fn reader(&self, permit: &RedisPermit) -> Result<Reader, RedisError> {
        let mut plugins = self.lock();
        let plugin = plugins.entry(permit.plugin().to_owned()).or_default();
        match Arc::clone(&plugin.readers).try_acquire_owned() {
            Ok(slot) => Ok(Reader::new(Arc::clone(&self.0.router), slot)),
            Err(_) => Err(RedisError::Denied(format!(
                "a plugin may have {MAX_READERS} readers of one connection: close one first"
            ))),
        }
    }

    /// The plugin's subscription of this name, new or as it was left; and the number of this
    /// opening, for [`Redis::end`].
    ///
    /// # Errors
    /// [`RedisError::Denied`]: the name, or the plugin has too many.
    pub(crate) fn subscription(
        &self,
        permit: &RedisPermit,
        name: &str,
    ) -> Result<(Subscription, u64), RedisError> {
        if name.is_empty() || name.len() > MAX_SUBSCRIPTION_NAME_BYTES {
            return Err(RedisError::Denied(format!(
                "the name of a subscription has 1 to {MAX_SUBSCRIPTION_NAME_BYTES} bytes"
            )));
        }
        let mut plugins = self.lock();
        let plugin = plugins.entry(permit.plugin().to_owned()).or_default();
        let count = plugin.subscriptions.len();
        if count >= MAX_SUBSCRIPTIONS && !plugin.subscriptions.contains_key(name) {
            return Err(RedisError::Denied(format!(
                "a plugin may have {MAX_SUBSCRIPTIONS} subscriptions of one connection: close one \
                 first"
            )));
        }
        let subscription = plugin
            .subscriptions
            .entry(name.to_owned())
            .or_insert_with(|| {
                let name = format!("{}/{name}", permit.plugin());
                Subscription::start(name, Arc::clone(&self.0.router))
            });
        Ok((subscription.clone(), subscription.adopt()))
    }

    /// Ends a subscription, if nobody has opened it since.
    pub(crate) fn end(&self, subscription: &Subscription, generation: u64) {
        if subscription.generation() != generation {
            return;
        }
        for plugin in self.lock().values_mut() {
            plugin
                .subscriptions
                .retain(|_, known| !known.is_same(subscription));
        }
        subscription.end();
    }

    /// How it is doing.
    pub fn status(&self) -> RedisStatus {
        let router = &self.0.router;
        let mut status = router.health.status();
        status.pending_bytes = router.pending_bytes();
        let plugins = self.lock();
        let subscriptions = plugins
            .values()
            .flat_map(|plugin| plugin.subscriptions.values());
        status.subscriptions = subscriptions.map(Subscription::status).collect();
        drop(plugins);
        status.subscriptions.sort_by(|a, b| a.name.cmp(&b.name));
        status
    }

    /// Ends all subscriptions and connections. Commands in progress are in doubt.
    pub fn close(&self) {
        let plugins = std::mem::take(&mut *self.lock());
        for subscription in plugins
            .values()
            .flat_map(|plugin| plugin.subscriptions.values())
        {
            subscription.end();
        }
        self.0.router.keep_only(|_| false);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Plugin>> {
        self.0
            .plugins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
