//! The transports of one server: the one that it publishes on, and, while the cluster changes its
//! transport, another. Each has connections of its own, so that closing one leaves nothing behind and
//! takes nothing from the other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};

use super::{Identity, OpenTransport, Recovery, TransportHandle, Upgradable};
use crate::{
    Error,
    cluster::{LineId, OpenLine, Opener, Publisher, Subscriber},
    config::{self, Changes, Config, PluginName},
};

/// See the module.
pub(crate) struct Lines {
    identity: Identity,
    /// What transports are opened with from now on.
    config: Mutex<Config>,
    lines: Mutex<Open>,
}

struct Open {
    home: LineId,
    open: BTreeMap<LineId, Arc<TransportHandle>>,
}

impl Lines {
    /// Opens the transport that the configuration names.
    pub(crate) async fn open_home(
        config: Config,
        home: LineId,
    ) -> Result<(Arc<Self>, Box<dyn Publisher>, Box<dyn Subscriber>), Error> {
        let identity = Identity::new();
        let OpenTransport {
            publisher,
            subscriber,
            handle,
        } = OpenTransport::open_as(identity.clone(), config.clone()).await?;
        let open = BTreeMap::from([(home, Arc::new(handle))]);
        let lines = Self {
            identity,
            config: Mutex::new(config),
            lines: Mutex::new(Open { home, open }),
        };
        Ok((Arc::new(lines), publisher, subscriber))
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The transport that this server publishes on.
    pub(crate) fn home(&self) -> Option<Arc<TransportHandle>> {
        let lines = self.lock();
        lines.open.get(&lines.home).cloned()
    }

    /// The session store of the transport that this server publishes on, if it has one.
    pub(crate) fn recovery(&self) -> Option<Arc<Recovery>> {
        self.home()?.recovery().cloned()
    }

    /// What other versions of their plugins need to take over.
    pub(crate) fn upgradable(&self) -> Vec<Upgradable> {
        let lines = self.lock();
        let open = lines.open.values();
        open.filter_map(|handle| handle.upgradable()).collect()
    }

    /// The other transports that are open.
    pub(crate) fn others(&self) -> Vec<Arc<TransportHandle>> {
        let lines = self.lock();
        let others = lines.open.iter().filter(|(id, _)| **id != lines.home);
        others.map(|(_, handle)| Arc::clone(handle)).collect()
    }

    /// The configuration with another transport. A name of no plugin is the caller's mistake.
    pub(crate) fn config_for(&self, transport: &str) -> Result<Config, String> {
        let name: PluginName = transport
            .parse()
            .map_err(|error: config::InvalidName| error.to_string())?;
        let mut config = self.settings().clone();
        config.transport = config::Transport::Plugin(name);
        Ok(config)
    }

    /// Takes over what has changed in the file, for transports that are opened and plugins that are
    /// loaded from now on.
    pub(crate) fn follow(&self, before: &Config, now: &Config) -> Changes {
        let mut config = self.settings();
        let changes = config.follow(before, now);
        for transport in self.upgradable() {
            transport.loader.renew(&config);
        }
        changes
    }

    fn settings(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes all of them; their two ways are closed by then.
    pub(crate) async fn close(&self) {
        let open: Vec<_> = std::mem::take(&mut self.lock().open)
            .into_values()
            .collect();
        for handle in open {
            handle.close().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task of the switch asks of the transports.
pub(crate) struct LineOpener(pub(crate) Arc<Lines>);

impl Opener for LineOpener {
    fn open(&self, line: LineId, transport: &str) -> BoxFuture<'static, Result<OpenLine, String>> {
        let lines = Arc::clone(&self.0);
        let config = lines.config_for(transport);
        async move {
            let opened = OpenTransport::open_as(lines.identity.clone(), config?).await;
            let OpenTransport {
                publisher,
                subscriber,
                handle,
            } = opened.map_err(|error| error.to_string())?;
            lines.lock().open.insert(line, Arc::new(handle));
            Ok(OpenLine {
                publisher,
                subscriber,
            })
        }
        .boxed()
    }

    fn home(&self, line: LineId) {
        self.0.lock().home = line;
    }

    fn close(&self, line: LineId) -> BoxFuture<'static, ()> {
        let lines = Arc::clone(&self.0);
        async move {
            let handle = lines.lock().open.remove(&line);
            if let Some(handle) = handle {
                handle.close().await;
            }
        }
        .boxed()
    }
}
