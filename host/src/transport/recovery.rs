//! Sessions for connection state recovery: a plugin's optional `recovery`.
//!
//! It runs in an instance of its own, so a slow restore never delays a broadcast.

use std::{sync::Arc, time::Duration};

use bumpalo::Bump;
use tokio::sync::Mutex;

use super::{
    from_guest,
    instance::{Away, Candidate, Live, Opened},
    keeper::Keeper,
    node::PluginState,
    plugin::{Role, TransportPlugin},
    report::InstanceStatus,
    to_guest,
};
use crate::{
    bindings::{
        exports::switchboard::transport::recovery::{self as guest, Guest as Exports},
        switchboard::transport::lifecycle::OpenFailure,
    },
    capabilities::Wake,
    cluster::{Broadcast, Failure, Namespace, Offset, Payload, Room},
    runtime::{Fault, Guest},
};

/// Missed packets that one restore asks for at most.
pub const MAX_MISSED: u32 = 10_000;

/// What is kept of a client that may come back.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The client's private id.
    pub pid: String,
    /// The socket id that is given back on recovery.
    pub sid: String,
    /// Rooms it was in.
    pub rooms: Vec<Room>,
    /// The application's data.
    pub data: Payload,
}

/// An event that the client did not get.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed {
    /// The event.
    pub broadcast: Broadcast,
    /// Its offset.
    pub offset: Offset,
}

/// A session that was taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// The session.
    pub session: Session,
    /// What its rooms got since, oldest first.
    pub missed: Vec<Missed>,
}

/// Why a session could not be kept or taken back. The client starts a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The transport keeps no sessions: the choice of whoever configured it. Nothing changes that
    /// while the server runs.
    #[error(
        "the transport keeps no sessions: choose one that supports connection state recovery \
         (`redis-streams`, or `postgres` with `durable`), or do without"
    )]
    Unsupported,
    /// The backend's or the plugin's fault; later it may work.
    #[error("the session store cannot be reached: {0}")]
    Unavailable(String),
    /// This session can never be kept: the caller's fault, or the plugin's.
    #[error("the session was refused: {0}")]
    Rejected(String),
}

/// A plugin's session store. Calls are made one after the other.
pub struct Recovery {
    keeper: Mutex<Keeper<Exports>>,
    wake: Arc<Wake>,
    relief: Arc<Wake>,
    status: Arc<InstanceStatus>,
}

impl Recovery {
    /// None if the plugin keeps no sessions.
    pub(crate) fn new(plugin: Arc<TransportPlugin>) -> Option<Self> {
        if !plugin.has_recovery() {
            return None;
        }
        let keeper = Keeper::new(plugin, Role::Recovery);
        Some(Self {
            wake: Arc::clone(&keeper.wake),
            relief: keeper.relief(),
            status: keeper.status(),
            keeper: Mutex::new(keeper),
        })
    }

    /// Opens an instance of another plugin beside the one at work, which notices nothing.
    pub(super) async fn open_beside(
        &self,
        plugin: &Arc<TransportPlugin>,
    ) -> Result<Opened<Exports>, Away> {
        let candidate = Candidate::new(plugin, Role::Recovery, &self.wake).await?;
        candidate.open(open).await
    }

    /// Lets it take over when the call in progress has ended.
    pub(super) async fn hand_over(&self, successor: Opened<Exports>) {
        let _woken = self.relief.wake_for_now();
        let before = self.keeper.lock().await.succeed(successor);
        drop(before);
    }

    /// Is an instance at work, which has kept sessions or could?
    pub(super) async fn is_at_work(&self) -> bool {
        self.keeper.lock().await.current().is_some()
    }

    /// What is asked from now on is asked of this plugin, unless an instance is at work.
    pub(super) async fn follow(&self, plugin: &Arc<TransportPlugin>) {
        self.keeper.lock().await.follow(plugin);
    }

    pub(crate) fn status(&self) -> Arc<InstanceStatus> {
        Arc::clone(&self.status)
    }

    /// Keeps a session for `ttl` (at most 49 days).
    ///
    /// # Errors
    /// When the backend or the plugin is away, or the session cannot be stored.
    pub async fn persist(&self, session: &Session, ttl: Duration) -> Result<(), RecoveryError> {
        let arena = Bump::new();
        let param = guest::SessionParam {
            pid: &session.pid,
            sid: &session.sid,
            rooms: to_guest::rooms(&arena, &session.rooms),
            data: to_guest::payload(&arena, &session.data),
        };
        let ttl_ms = u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX);
        let mut keeper = self.keeper.lock().await;
        let Live { guest, api } = live(&mut keeper).await?;
        let timeout = guest.limits().call_timeout;
        let stored = guest
            .call("persist-session", timeout, async |store, _| {
                api.call_persist_session(store, param, ttl_ms).await
            })
            .await;
        finish(&mut keeper, stored)
    }

    /// Takes a session back, with what its rooms got after `offset`: at most `max_missed` packets,
    /// and never more than [`MAX_MISSED`]. None: unknown, expired, or too far behind.
    ///
    /// # Errors
    /// When the backend or the plugin is away.
    pub async fn restore(
        &self,
        namespace: &Namespace,
        pid: &str,
        offset: &Offset,
        max_missed: u32,
    ) -> Result<Option<Restored>, RecoveryError> {
        let max_missed = max_missed.min(MAX_MISSED);
        let mut keeper = self.keeper.lock().await;
        let Live { guest, api } = live(&mut keeper).await?;
        let timeout = guest.limits().call_timeout;
        let restored = guest
            .call("restore-session", timeout, async |store, _| {
                let (namespace, offset) = (namespace.as_str(), offset.as_str());
                api.call_restore_session(store, namespace, pid, offset, max_missed)
                    .await
            })
            .await;
        let restored = finish(&mut keeper, restored)?;
        Ok(
            restored.map(|guest::Restored { session, missed }| Restored {
                session: Session {
                    pid: session.pid,
                    sid: session.sid,
                    rooms: from_guest::rooms(session.rooms),
                    data: from_guest::payload(session.data),
                },
                missed: missed
                    .into_iter()
                    .map(|missed| Missed {
                        broadcast: from_guest::broadcast(missed.broadcast),
                        offset: missed.offset.into(),
                    })
                    .collect(),
            }),
        )
    }

    pub(crate) async fn close(&self) {
        let mut keeper = self.keeper.lock().await;
        keeper
            .close(async |api, store| api.call_close(store).await)
            .await;
    }
}

async fn live(keeper: &mut Keeper<Exports>) -> Result<&mut Live<Exports>, RecoveryError> {
    keeper.live(open).await.map_err(|away: Away| match away {
        // The plugin could keep some, and its options do not let it. The log has its words.
        Away::Unsupported(_) => RecoveryError::Unsupported,
        away => RecoveryError::Unavailable(away.to_string()),
    })
}

async fn open(
    plugin: &TransportPlugin,
    guest: &mut Guest<PluginState>,
) -> Result<Result<Exports, OpenFailure>, Fault> {
    let timeout = plugin.limits().call_timeout;
    let opened = guest
        .call("recovery.open", timeout, async |store, instance| {
            let Some(indices) = &plugin.recovery else {
                return Ok(Err(OpenFailure::Unsupported(
                    "it keeps no sessions".to_owned(),
                )));
            };
            let api = indices.load(&mut *store, instance)?;
            let opened = api.call_open(store, plugin.config()).await?;
            Ok(opened.map(|()| api))
        })
        .await?;
    guest
        .state_mut()
        .capabilities
        .effects
        .commit(opened.is_ok());
    Ok(opened)
}

fn finish<T>(
    keeper: &mut Keeper<Exports>,
    result: Result<Result<T, crate::bindings::switchboard::transport::lifecycle::Failure>, Fault>,
) -> Result<T, RecoveryError> {
    match result {
        Ok(answer) => {
            keeper.returned(answer.is_ok());
            answer.map_err(|failure| match from_guest::failure(failure) {
                Failure::Rejected(why) => RecoveryError::Rejected(why),
                other => RecoveryError::Unavailable(other.to_string()),
            })
        }
        Err(fault) => {
            keeper.died(&fault);
            Err(RecoveryError::Unavailable(fault.to_string()))
        }
    }
}
