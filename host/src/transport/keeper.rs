//! Keeping one instance of a plugin alive: starting it, replacing it when it dies or has grown,
//! giving it up after too many failures.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use wasmtime::Store;

use super::{
    instance::{Away, Candidate, Live, Opened},
    node::PluginState,
    plugin::{Role, TransportPlugin},
    report::{InstanceState, InstanceStatus},
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

/// Holds the instance of one role, if there is one.
pub(super) struct Keeper<A> {
    pub(super) plugin: Arc<TransportPlugin>,
    pub(super) wake: Arc<Wake>,
    /// A successor is there: no pause before a restart is waited out.
    relief: Arc<Wake>,
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
        Self {
            plugin,
            wake: Arc::default(),
            relief: Arc::default(),
            status: InstanceStatus::new(role),
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

    pub(super) fn relief(&self) -> Arc<Wake> {
        Arc::clone(&self.relief)
    }

    /// Is an instance in the middle of something that only it can end?
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_busy && self.live.as_ref().is_some_and(|live| live.guest.is_alive())
    }

    /// Lets an instance of another plugin take over: whatever went wrong before is no fault of its.
    /// The one before is given back, to be dropped where that delays nobody.
    pub(super) fn succeed(&mut self, opened: Opened<A>) -> Option<Live<A>> {
        let Opened { plugin, live } = opened;
        self.plugin = plugin;
        self.is_busy = false;
        self.faults.clear();
        self.retry_at = None;
        self.given_up = None;
        self.relief.clear();
        self.status.runs(live.guest.memory_bytes());
        self.live.replace(live)
    }

    /// The same without an instance: the next call makes one of that plugin. Does nothing while one
    /// is at work.
    pub(super) fn follow(&mut self, plugin: &Arc<TransportPlugin>) {
        if self.live.is_some() {
            return;
        }
        self.plugin = Arc::clone(plugin);
        self.faults.clear();
        self.retry_at = None;
        self.given_up = None;
        self.relief.clear();
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
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.relief.wanted() => {
                    return Err(Away::Backend("the plugin is being replaced".to_owned()));
                }
            }
        }
        let opened = async {
            let candidate = Candidate::new(&self.plugin, self.role, &self.wake).await?;
            candidate.open(open).await
        };
        match opened.await {
            Ok(Opened { live, .. }) => {
                self.retry_at = None;
                self.status.runs(live.guest.memory_bytes());
                Ok(live)
            }
            Err(Away::Backend(why)) => {
                self.status.set(InstanceState::Opening);
                self.status.note(why.clone());
                Err(Away::Backend(why))
            }
            Err(Away::Fault(fault)) => {
                self.died(&fault);
                Err(self.given_up.clone().unwrap_or(Away::Fault(fault)))
            }
            Err(away) => Err(self.give_up(away)),
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
            self.status.uses(live.guest.memory_bytes());
        }
    }

    /// The instance died in a call: undoes what it did through capabilities, and plans its
    /// replacement.
    pub(super) fn died(&mut self, fault: &Fault) {
        if let Some(mut dead) = self.live.take() {
            dead.guest.state_mut().capabilities.effects.fault();
        }
        let (plugin, role) = (&self.plugin.name, self.role.name());
        self.status.died(fault.to_string());

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
