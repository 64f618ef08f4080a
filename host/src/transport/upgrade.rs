//! Upgrading a plugin in place: another version of it takes over while the server runs.
//!
//! The new one is opened beside the old one, which works on until then. Its ways have different
//! owners, so each is handed over where its owner is between two calls:
//!
//! 1. A publisher and, if there is one, a session store are opened here, beside the others. Neither
//!    does anything before it is called.
//! 2. The way in opens the new subscriber between two polls. The host's subscriptions are
//!    where the old one left them, so nothing is missed or taken twice. Two subscribers at once would
//!    acknowledge what the other one took.
//! 3. From the next batch on, messages go to the new publisher. Their numbers go on.
//! 4. The session store follows.
//!
//! Until step 2 is done nothing has changed, and after it nothing can fail: the others are open.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::{
    instance::Away,
    plugin::{TransportError, TransportPlugin},
    publisher::PublisherSeat,
    recovery::Recovery,
    subscriber::SubscriberSeat,
};
use crate::error::Fault;

/// Why a plugin did not take over. The one before goes on as if nothing had happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// It cannot be used. The fault of the plugin or of its configuration.
    #[error(transparent)]
    Refused(#[from] TransportError),
    /// Its backend cannot be reached now. Nobody's fault here: try again later.
    #[error("the transport `{plugin}` cannot be opened now: {reason}")]
    Unavailable {
        /// Which plugin.
        plugin: String,
        /// What it says.
        reason: String,
    },
    /// The running one keeps sessions, and clients rely on that. The fault of who chose this file.
    #[error(
        "this version of the transport `{plugin}` keeps no sessions, and the one that runs does: \
         restart the server with it if that is meant"
    )]
    KeepsNoSessions {
        /// Which plugin.
        plugin: String,
    },
    /// Another upgrade is in progress. Try again when it is over.
    #[error("another upgrade of this transport is in progress: try again in a moment")]
    InProgress,
    /// The transport is being closed, so there is nothing to upgrade.
    #[error("the transport is closed")]
    Closed,
}

impl UpgradeError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(
                TransportError::Configuration { .. } | TransportError::Unsupported { .. },
            ) => Fault::Configuration,
            Self::Refused(_) | Self::KeepsNoSessions { .. } => Fault::Plugin,
            Self::Unavailable { .. } | Self::InProgress | Self::Closed => Fault::Machine,
        }
    }

    /// May the same plugin take over later?
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::InProgress)
    }

    fn from_away(plugin: &TransportPlugin, away: Away) -> Self {
        let plugin = plugin.name.clone();
        match away {
            Away::Backend(reason) => Self::Unavailable { plugin, reason },
            other => Self::Refused(TransportError::from_away(plugin, other)),
        }
    }
}

/// Lets other versions of a plugin take over. Cheap to clone; of no use when the transport is closed.
#[derive(Clone)]
pub(crate) struct Upgrader(Arc<Inner>);

struct Inner {
    current: Mutex<Arc<TransportPlugin>>,
    publisher: PublisherSeat,
    subscriber: SubscriberSeat,
    recovery: Option<Arc<Recovery>>,
    /// One upgrade at a time.
    turn: Semaphore,
}

impl Upgrader {
    pub(super) fn new(
        plugin: Arc<TransportPlugin>,
        publisher: PublisherSeat,
        subscriber: SubscriberSeat,
        recovery: Option<Arc<Recovery>>,
    ) -> Self {
        Self(Arc::new(Inner {
            current: Mutex::new(plugin),
            publisher,
            subscriber,
            recovery,
            turn: Semaphore::new(1),
        }))
    }

    /// The plugin that is at work.
    pub(crate) fn current(&self) -> Arc<TransportPlugin> {
        let current = self.0.current.lock();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// Has an instance been given up? Then another one of the very same plugin is worth a try.
    pub(super) fn has_failed(&self) -> bool {
        let recovery = self.0.recovery.as_ref().map(|store| store.status());
        let ways = [&self.0.publisher.status, &self.0.subscriber.status];
        ways.into_iter()
            .chain(&recovery)
            .any(|way| way.has_failed())
    }

    /// Lets this plugin take over. Returns when it is at work: messages are taken by it, and the
    /// next batch is published by it, unless the one before still has to find out what became of
    /// messages that it could not send (at most
    /// [`UPGRADE_PATIENCE`](super::handover::UPGRADE_PATIENCE)).
    ///
    /// Dropped half-way, it may have taken over one way only. Both work, and the next upgrade mends
    /// it.
    ///
    /// # Errors
    /// Nothing has changed; see [`UpgradeError`].
    pub(crate) async fn upgrade(&self, plugin: Arc<TransportPlugin>) -> Result<(), UpgradeError> {
        let inner = &self.0;
        let _turn = inner
            .turn
            .try_acquire()
            .map_err(|_| UpgradeError::InProgress)?;
        let refused = |away| UpgradeError::from_away(&plugin, away);

        let sessions = match &inner.recovery {
            Some(_) if !plugin.has_recovery() => {
                let plugin = plugin.name.clone();
                return Err(UpgradeError::KeepsNoSessions { plugin });
            }
            Some(store) => match store.open_beside(&plugin).await {
                Ok(successor) => Some((store, Some(successor))),
                // With these options it keeps none, like the one at work.
                Err(Away::Unsupported(_)) if !store.is_at_work().await => Some((store, None)),
                Err(away) => return Err(refused(away)),
            },
            None => None,
        };
        let publisher = inner.publisher.open_beside(&plugin);
        let publisher = publisher.await.map_err(refused)?;
        let subscriber = inner.subscriber.prepare(&plugin);
        let subscriber = subscriber.await.map_err(refused)?;
        tracing::info!(
            plugin = plugin.name,
            digest = plugin.digest,
            "the new version is open beside the one that runs"
        );

        let handed_over = inner.subscriber.hand_over(subscriber).await;
        handed_over.ok_or(UpgradeError::Closed)?.map_err(refused)?;
        if !inner.publisher.hand_over(publisher) {
            return Err(UpgradeError::Closed);
        }
        if let Some((store, successor)) = sessions {
            match successor {
                Some(successor) => store.hand_over(successor).await,
                None => store.follow(&plugin).await,
            }
        }
        let mut current = inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = plugin;
        Ok(())
    }
}
