//! Keeping one instance of a plugin alive: starting it, replacing it when it dies or has grown,
//! giving it up after too many failures.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use wasmtime::Store;

use super::{
    node::PluginState,
    plugin::{Role, TransportPlugin},
};
use crate::{
    bindings::switchboard::transport::lifecycle::OpenFailure,
    capabilities::Wake,
    runtime::{Fault, Guest, GuestState},
};

/// How a plugin that fails is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Pause before the first restart; it doubles with each failure in a row.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// Failures allowed within `window`; one more and the plugin is marked failed.
    pub max_restarts: usize,
    /// See `max_restarts`.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            max_restarts: 20,
            window: Duration::from_secs(60),
        }
    }
}

/// How an instance is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InstanceState {
    /// Not opened yet, or its backend cannot be reached.
    Opening,
    /// At work.
    Running,
    /// It died and is being replaced.
    Restarting,
    /// Given up until it is replaced by the operator.
    Failed,
}

/// One instance, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InstanceReport {
    /// `publisher`, `subscriber` or `recovery`.
    pub role: &'static str,
    /// Whether it works.
    pub state: InstanceState,
    /// How often it has died since the server started.
    pub faults: u32,
    /// Its linear memory in bytes, after its last call.
    pub memory_bytes: usize,
    /// What last went wrong, also when it has recovered since.
    pub last_error: Option<String>,
}

/// What is known of an instance; updated as it works.
#[derive(Debug)]
pub(crate) struct InstanceStatus(Mutex<InstanceReport>);

impl InstanceStatus {
    pub(super) fn new(role: Role) -> Self {
        Self(Mutex::new(InstanceReport {
            role: role.name(),
            state: InstanceState::Opening,
            faults: 0,
            memory_bytes: 0,
            last_error: None,
        }))
    }

    pub(crate) fn report(&self) -> InstanceReport {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, InstanceReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: InstanceState) {
        self.lock().state = state;
    }

    fn note(&self, error: String) {
        self.lock().last_error = Some(error);
    }
}

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

/// Holds the instance of one role, if there is one.
pub(super) struct Keeper<A> {
    pub(super) plugin: Arc<TransportPlugin>,
    pub(super) wake: Arc<Wake>,
    status: Arc<InstanceStatus>,
    role: Role,
    live: Option<Live<A>>,
    /// The instance is in the middle of something that only it can end: it is not replaced merely
    /// because its memory has grown. The limit of its memory holds all the same.
    pub(super) is_busy: bool,
    /// Times of the failures within the window.
    faults: VecDeque<Instant>,
    /// Not before this.
    retry_at: Option<Instant>,
    given_up: Option<Away>,
    /// The server has not started yet: whoever opens it reports what goes wrong.
    starting: bool,
}

impl<A> Keeper<A> {
    pub(super) fn new(plugin: Arc<TransportPlugin>, role: Role) -> Self {
        let status = Arc::new(InstanceStatus::new(role));
        Self {
            plugin,
            wake: Arc::default(),
            status,
            role,
            live: None,
            is_busy: false,
            faults: VecDeque::new(),
            retry_at: None,
            given_up: None,
            starting: false,
        }
    }

    /// Reports no failure to the log until [`Keeper::started`]: it becomes the server's own error.
    pub(super) fn starting(mut self) -> Self {
        self.starting = true;
        self
    }

    /// From now on the server runs, whatever happens.
    pub(super) fn started(&mut self) {
        self.starting = false;
    }

    pub(super) fn status(&self) -> Arc<InstanceStatus> {
        Arc::clone(&self.status)
    }

    /// The live instance; `open` makes one ready if there is none. Waits out the pause after a
    /// failure. May be dropped at any time.
    pub(super) async fn live(
        &mut self,
        open: impl AsyncFnOnce(
            &TransportPlugin,
            &mut Guest<PluginState>,
        ) -> Result<Result<A, OpenFailure>, Fault>,
    ) -> Result<&mut Live<A>, Away> {
        let is_busy = self.is_busy;
        let usable =
            |live: &Live<A>| live.guest.is_alive() && (is_busy || !live.guest.is_bloated());
        if !self.live.as_ref().is_some_and(usable) {
            if let Some(bloated) = self.live.take().filter(|live| live.guest.is_alive()) {
                tracing::debug!(
                    plugin = self.plugin.name,
                    role = self.role.name(),
                    memory_bytes = bloated.guest.memory_bytes(),
                    "replacing an instance whose memory has grown"
                );
            }
            let live = self.start(open).await?;
            self.is_busy = false;
            self.live = Some(live);
        }
        // Just put there if it was missing.
        self.live
            .as_mut()
            .ok_or_else(|| Away::Backend("no instance".to_owned()))
    }

    async fn start(
        &mut self,
        open: impl AsyncFnOnce(
            &TransportPlugin,
            &mut Guest<PluginState>,
        ) -> Result<Result<A, OpenFailure>, Fault>,
    ) -> Result<Live<A>, Away> {
        if let Some(given_up) = &self.given_up {
            return Err(given_up.clone());
        }
        if let Some(at) = self.retry_at {
            sleep_until(at).await;
        }
        let plugin = Arc::clone(&self.plugin);
        let opened = async {
            let mut guest = plugin.instantiate(self.role, &self.wake).await?;
            match open(&plugin, &mut guest).await {
                Ok(opened) => Ok((opened, guest)),
                Err(fault) => {
                    // What it had taken may be to blame.
                    guest.state_mut().capabilities.effects.fault();
                    Err(fault)
                }
            }
        };
        match opened.await {
            Ok((Ok(api), mut guest)) => {
                guest.is_open();
                self.retry_at = None;
                self.status.set(InstanceState::Running);
                self.status.lock().memory_bytes = guest.memory_bytes();
                Ok(Live { guest, api })
            }
            Ok((Err(OpenFailure::Unavailable(why)), _)) => {
                self.status.set(InstanceState::Opening);
                self.status.note(why.clone());
                Err(Away::Backend(why))
            }
            Ok((Err(OpenFailure::InvalidConfig(why)), _)) => {
                Err(self.give_up(Away::Configuration(why)))
            }
            Ok((Err(OpenFailure::Unsupported(why)), _)) => {
                Err(self.give_up(Away::Unsupported(why)))
            }
            Err(fault) => {
                self.died(&fault);
                Err(self.given_up.clone().unwrap_or(Away::Fault(fault)))
            }
        }
    }

    /// The call ended well: commits what it did through capabilities.
    pub(super) fn returned(&mut self, delivered: bool) {
        if let Some(live) = &mut self.live {
            live.guest
                .state_mut()
                .capabilities
                .effects
                .commit(delivered);
            self.status.lock().memory_bytes = live.guest.memory_bytes();
        }
    }

    /// The instance died in a call: undoes what it did through capabilities, and plans its
    /// replacement.
    pub(super) fn died(&mut self, fault: &Fault) {
        if let Some(mut dead) = self.live.take() {
            dead.guest.state_mut().capabilities.effects.fault();
        }
        let (plugin, role) = (&self.plugin.name, self.role.name());
        self.status.lock().faults += 1;
        self.status.note(fault.to_string());

        let policy = self.plugin.restarts;
        let now = Instant::now();
        self.faults
            .retain(|at| now.duration_since(*at) < policy.window);
        self.faults.push_back(now);
        if self.faults.len() > policy.max_restarts {
            let why = format!(
                "{} failures in {} s (limits.max_restarts), the last one: {fault}",
                self.faults.len(),
                policy.window.as_secs()
            );
            self.give_up(Away::Failed(why));
            return;
        }
        let doublings = u32::try_from(self.faults.len() - 1)
            .unwrap_or(u32::MAX)
            .min(20);
        let pause = policy
            .backoff_min
            .saturating_mul(1 << doublings)
            .min(policy.backoff_max);
        self.retry_at = Some(now + pause);
        self.status.set(InstanceState::Restarting);
        if self.starting {
            return;
        }
        tracing::warn!(
            plugin,
            role,
            failures = self.faults.len(),
            "the plugin failed: {fault}; a fresh instance starts in {} ms",
            pause.as_millis()
        );
    }

    fn give_up(&mut self, away: Away) -> Away {
        self.status.set(InstanceState::Failed);
        self.status.note(away.to_string());
        if !self.starting {
            tracing::error!(
                plugin = self.plugin.name,
                role = self.role.name(),
                "{away}; this server serves its own clients only until the plugin is replaced"
            );
        }
        self.given_up = Some(away.clone());
        away
    }

    /// The instance that [`Keeper::live`] made ready.
    pub(super) fn current(&mut self) -> Option<&mut Live<A>> {
        self.live.as_mut()
    }

    /// The plugin's last call, if an instance lives; the next call would start another.
    pub(super) async fn close(
        &mut self,
        close: impl AsyncFnOnce(&A, &mut Store<GuestState<PluginState>>) -> wasmtime::Result<()>,
    ) {
        let live = self.live.take().filter(|live| live.guest.is_alive());
        let Some(Live { mut guest, api }) = live else {
            return;
        };
        let timeout = guest.limits().call_timeout;
        let closed = guest.call("close", timeout, async |store, _| close(&api, store).await);
        match closed.await {
            Ok(()) => guest.state_mut().capabilities.effects.commit(false),
            Err(fault) => tracing::warn!(
                plugin = self.plugin.name,
                role = self.role.name(),
                "the plugin failed when it was closed: {fault}"
            ),
        }
    }
}
