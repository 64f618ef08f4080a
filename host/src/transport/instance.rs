//! Making an instance of a plugin ready: it is made, then opened. Both for the one that starts or
//! replaces a dead one (`keeper`), and for the one that is opened beside another that is at work
//! (`upgrade`).

use std::sync::Arc;

use super::{
    node::PluginState,
    plugin::{Role, TransportPlugin},
};
use crate::{
    bindings::switchboard::transport::lifecycle::OpenFailure,
    capabilities::Wake,
    runtime::{Fault, Guest},
};

/// Why there is no instance now.
#[derive(Debug, Clone)]
pub(super) enum Away {
    /// The plugin died while it was opened; it will be tried again.
    Fault(Fault),
    /// The backend is away; it will be tried again.
    Backend(String),
    /// The options are wrong.
    Configuration(String),
    /// It cannot work here.
    Unsupported(String),
    /// It failed too often.
    Failed(String),
}

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "the plugin failed when it was opened: {fault}"),
            Self::Backend(why) => f.write_str(why),
            Self::Configuration(why) => write!(f, "the plugin refuses its configuration: {why}"),
            Self::Unsupported(why) => write!(f, "the plugin cannot work here: {why}"),
            Self::Failed(why) => write!(f, "the plugin was given up: {why}"),
        }
    }
}

/// A live instance and the exports of its role.
pub(super) struct Live<A> {
    pub(super) guest: Guest<PluginState>,
    pub(super) api: A,
}

/// An instance that is made and not opened.
pub(super) struct Candidate {
    plugin: Arc<TransportPlugin>,
    guest: Guest<PluginState>,
}

/// One that is open, and the plugin that it is of.
pub(super) struct Opened<A> {
    pub(super) plugin: Arc<TransportPlugin>,
    pub(super) live: Live<A>,
}

impl Candidate {
    /// Makes an instance. `wake` is shared by all that fill its role.
    pub(super) async fn new(
        plugin: &Arc<TransportPlugin>,
        role: Role,
        wake: &Arc<Wake>,
    ) -> Result<Self, Away> {
        let guest = plugin.instantiate(role, wake).await.map_err(Away::Fault)?;
        Ok(Self {
            plugin: Arc::clone(plugin),
            guest,
        })
    }

    /// Opens it. What comes back instead is never [`Away::Failed`].
    pub(super) async fn open<A>(
        self,
        open: impl AsyncFnOnce(
            &TransportPlugin,
            &mut Guest<PluginState>,
        ) -> Result<Result<A, OpenFailure>, Fault>,
    ) -> Result<Opened<A>, Away> {
        let Self { plugin, mut guest } = self;
        match open(&plugin, &mut guest).await {
            Ok(Ok(api)) => {
                guest.is_open();
                let live = Live { guest, api };
                Ok(Opened { plugin, live })
            }
            Ok(Err(OpenFailure::Unavailable(why))) => Err(Away::Backend(why)),
            Ok(Err(OpenFailure::InvalidConfig(why))) => Err(Away::Configuration(why)),
            Ok(Err(OpenFailure::Unsupported(why))) => Err(Away::Unsupported(why)),
            Err(fault) => {
                // What it had taken may be to blame.
                guest.state_mut().capabilities.effects.fault();
                Err(Away::Fault(fault))
            }
        }
    }
}
