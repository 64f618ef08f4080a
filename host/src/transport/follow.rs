//! Following the plugin folder while the server runs: what changes there takes effect, or is reported.
//!
//! Only the plugin of an open transport is loaded again. What is wrong with a file is told once, and
//! what runs goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{loader::Loader, plugin::TransportPlugin, upgrade::Upgrader};
use crate::{
    Error,
    config::PluginName,
    error::one_line,
    plugins::{FolderChange, FolderWatch, PluginFile},
    task::{OwnedTask, blocking},
};

/// The longest pause before a plugin is tried again whose backend was away; the first is the interval
/// at which the folder is looked at.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// An open transport whose plugin may be replaced by another version of it.
#[derive(Clone)]
pub(crate) struct Upgradable {
    pub(crate) upgrader: Upgrader,
    pub(crate) loader: Arc<Loader>,
}

/// The transports that are open now.
type Open = Box<dyn Fn() -> Vec<Upgradable> + Send + Sync>;

/// The task that follows a folder.
pub(crate) struct Follower {
    task: OwnedTask,
    doubt: Arc<AtomicBool>,
}

impl Follower {
    /// Looks at the folder at this interval; zero: never. `open` says which transports are open: it is
    /// asked at each change, and must not keep them open.
    pub(crate) fn start(
        every: Duration,
        open: impl Fn() -> Vec<Upgradable> + Send + Sync + 'static,
    ) -> Self {
        let doubt = Arc::<AtomicBool>::default();
        // Without a transport there is nothing that a plugin could be for.
        let loader = open().into_iter().next().map(|first| first.loader);
        let task = match loader.filter(|_| !every.is_zero()) {
            None => OwnedTask::default(),
            Some(loader) => {
                let follow = Follow {
                    loader,
                    open: Box::new(open),
                    every,
                    waiting: None,
                    doubt: Arc::clone(&doubt),
                };
                OwnedTask::spawn(follow.run())
            }
        };
        Self { task, doubt }
    }

    /// The settings of the plugins have changed: what they come to for those of the open transports
    /// is found out at the next look.
    pub(crate) fn doubt(&self) {
        self.doubt.store(true, Ordering::Relaxed);
    }

    /// Ends the task, and returns when it has ended. An upgrade in progress is left half-way: the
    /// transport is about to be closed.
    pub(crate) async fn close(&self) {
        self.task.close().await;
    }
}

/// The task's state.
struct Follow {
    loader: Arc<Loader>,
    open: Open,
    every: Duration,
    /// A plugin that could take over as soon as its backend is there. A later change is another one.
    waiting: Option<Waiting>,
    /// See [`Follower::doubt`].
    doubt: Arc<AtomicBool>,
}

struct Waiting {
    name: PluginName,
    plugin: Arc<TransportPlugin>,
    at: Instant,
    pause: Duration,
}

impl Follow {
    async fn run(mut self) {
        let in_use = self.in_use();
        let folder = self.loader.folder();
        let mut watch = blocking(move || FolderWatch::new(folder, &in_use)).await;
        // What is told has stood for an interval, at the first look as well.
        let mut looks = interval_at(Instant::now() + self.every, self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if self.doubt.swap(false, Ordering::Relaxed) {
                watch.doubt(&self.in_use());
            }
            let changes;
            (watch, changes) = blocking(move || {
                let changes = watch.look();
                (watch, changes)
            })
            .await;
            for change in changes {
                self.take(change).await;
            }
            self.try_again().await;
        }
    }

    async fn take(&mut self, change: FolderChange) {
        match change {
            FolderChange::Appeared(file) | FolderChange::Changed(file) => {
                self.forget(&file.name);
                match self.transport(&file.name) {
                    Some(transport) => self.load(transport, file).await,
                    None => tracing::info!(
                        plugin = %file.name,
                        digest = %file.digest,
                        version = file.manifest.version,
                        "plugin folder: the transport is available"
                    ),
                }
            }
            FolderChange::Vanished(name) => {
                self.forget(&name);
                match self.transport(&name) {
                    Some(_) => tracing::warn!(
                        plugin = %name,
                        "plugin folder: the file was removed; the transport runs on, but this \
                         server could not start again"
                    ),
                    None => tracing::info!(plugin = %name, "plugin folder: the file was removed"),
                }
            }
            FolderChange::Broken(name, why) => {
                self.forget(&name);
                match self.transport(&name) {
                    Some(_) => refused(&name, &why),
                    None => tracing::warn!(plugin = %name, "plugin folder: {}", one_line(&why)),
                }
            }
            FolderChange::Unreadable(why) => {
                tracing::warn!("plugin folder: {}; what runs goes on", one_line(&why));
            }
        }
    }

    /// Loads a file that has changed, and lets it take over.
    async fn load(&mut self, transport: Upgradable, file: PluginFile) {
        let name = file.name.clone();
        let resolved = match transport.loader.resolve(&file) {
            Ok(resolved) => resolved,
            Err(why) => return refused(&name, &why),
        };
        let current = transport.upgrader.current();
        if current.is_made_of(&file, &resolved) && !transport.upgrader.has_failed() {
            // Touched, or read by the server when it started.
            return;
        }
        let what = match current.digest == file.digest.to_string() {
            true => "the settings of the running transport have changed",
            false => "the file of the running transport has changed",
        };
        tracing::info!(
            plugin = %name,
            digest = %file.digest,
            version = file.manifest.version,
            "plugin folder: {what}, loading it"
        );
        let started = Instant::now();
        let loader = Arc::clone(&transport.loader);
        let loaded = blocking(move || loader.load(file, resolved)).await;
        let plugin: Result<TransportPlugin, Error> = loaded;
        let plugin = match plugin {
            Ok(plugin) => Arc::new(plugin),
            Err(why) => return refused(&name, &why),
        };
        tracing::info!(
            plugin = %name,
            "plugin folder: compiled in {} ms", started.elapsed().as_millis()
        );
        self.upgrade(transport, name, plugin, None).await;
    }

    /// `pause`: how long it has waited since it was tried before.
    async fn upgrade(
        &mut self,
        transport: Upgradable,
        name: PluginName,
        plugin: Arc<TransportPlugin>,
        pause: Option<Duration>,
    ) {
        let started = Instant::now();
        match transport.upgrader.upgrade(Arc::clone(&plugin)).await {
            Ok(()) => tracing::info!(
                plugin = %name,
                digest = plugin.digest,
                version = plugin.version,
                "plugin folder: the transport now runs the new version, handed over in {} ms",
                started.elapsed().as_millis()
            ),
            Err(why) if why.may_pass() => {
                if pause.is_none() {
                    tracing::warn!(
                        plugin = %name,
                        "plugin folder: {}; what runs goes on until it can", one_line(&why)
                    );
                }
                let pause = pause.map_or(self.every, |pause| pause.saturating_mul(2));
                let pause = pause.min(MAX_RETRY.max(self.every));
                self.waiting = Some(Waiting {
                    name,
                    plugin,
                    at: Instant::now() + pause,
                    pause,
                });
            }
            Err(why) => refused(&name, &why),
        }
    }

    /// Tries what could not take over because its backend was away.
    async fn try_again(&mut self) {
        let is_due = |waiting: &mut Waiting| waiting.at <= Instant::now();
        let Some(waiting) = self.waiting.take_if(is_due) else {
            return;
        };
        let Waiting {
            name,
            plugin,
            pause,
            ..
        } = waiting;
        if let Some(transport) = self.transport(&name) {
            self.upgrade(transport, name, plugin, Some(pause)).await;
        }
    }

    fn in_use(&self) -> Vec<PluginName> {
        let open = (self.open)().into_iter();
        let names = open.filter_map(|transport| transport.upgrader.current().name.parse().ok());
        names.collect()
    }

    fn forget(&mut self, name: &PluginName) {
        self.waiting.take_if(|waiting| waiting.name == *name);
    }

    fn transport(&self, name: &PluginName) -> Option<Upgradable> {
        let is_it = |open: &Upgradable| open.upgrader.current().name == name.as_str();
        (self.open)().into_iter().find(is_it)
    }
}

fn refused(name: &PluginName, why: &impl std::fmt::Display) {
    tracing::error!(
        plugin = %name,
        "plugin folder: the new file is not used, what runs goes on: {}", one_line(why)
    );
}
