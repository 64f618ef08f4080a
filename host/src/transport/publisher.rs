//! The way out: a plugin's `publisher`, as the cluster core's outbox calls it.

use std::sync::Arc;

use bumpalo::Bump;
use futures_util::{FutureExt, future::BoxFuture};

use super::{
    from_guest,
    handover::Handover,
    instance::{Away, Candidate, Live, Opened},
    keeper::Keeper,
    node::PluginState,
    plugin::{Role, TransportError, TransportPlugin},
    report::InstanceStatus,
    to_guest,
};
use crate::{
    bindings::{
        exports::switchboard::transport::publisher::Guest as Exports,
        switchboard::transport::lifecycle::OpenFailure,
    },
    capabilities::Wake,
    cluster::{Failure, Message, Namespace, Offset, PublishFailure, Publisher, TransportInfo},
    runtime::{Fault, Guest},
};

/// A plugin's way out.
pub(crate) struct PluginPublisher {
    keeper: Keeper<Out>,
    handover: Arc<Handover<Opened<Out>>>,
    info: TransportInfo,
    /// Lists of the batch in the air; kept for its memory.
    arena: Bump,
}

/// An open instance: its exports, and what it said of the transport.
pub(super) struct Out {
    exports: Exports,
    info: TransportInfo,
}

/// What an upgrade needs of a way out.
#[derive(Clone)]
pub(super) struct PublisherSeat {
    handover: Arc<Handover<Opened<Out>>>,
    wake: Arc<Wake>,
    pub(super) status: Arc<InstanceStatus>,
}

impl PublisherSeat {
    /// Opens an instance of another plugin beside the one at work, which notices nothing.
    pub(super) async fn open_beside(
        &self,
        plugin: &Arc<TransportPlugin>,
    ) -> Result<Opened<Out>, Away> {
        let candidate = Candidate::new(plugin, Role::Publisher, &self.wake).await?;
        candidate.open(open).await
    }

    /// From the next batch on it is this one's turn. False: the way out is closed.
    pub(super) fn hand_over(&self, successor: Opened<Out>) -> bool {
        let memory_bytes = successor.live.guest.memory_bytes();
        let is_open = self.handover.offer(successor);
        if is_open {
            // There may be nothing to send for long.
            self.status.runs(memory_bytes);
        }
        is_open
    }
}

impl PluginPublisher {
    pub(crate) fn new(plugin: Arc<TransportPlugin>) -> Self {
        let keeper = Keeper::new(plugin, Role::Publisher).starting();
        Self {
            handover: Arc::new(Handover::new(keeper.relief())),
            keeper,
            info: TransportInfo::default(),
            arena: Bump::new(),
        }
    }

    pub(crate) fn status(&self) -> Arc<InstanceStatus> {
        self.keeper.status()
    }

    pub(super) fn seat(&self) -> PublisherSeat {
        PublisherSeat {
            handover: Arc::clone(&self.handover),
            wake: Arc::clone(&self.keeper.wake),
            status: self.status(),
        }
    }

    /// Opens it for the first time. A backend that is away is no error: it is opened again when
    /// there is something to send.
    pub(crate) async fn open(&mut self) -> Result<(), TransportError> {
        let plugin = self.keeper.plugin.name.clone();
        if let Err(away) = self.live().await {
            first_open(plugin, away)?;
        }
        self.keeper.started();
        Ok(())
    }

    async fn live(&mut self) -> Result<&mut Live<Out>, Away> {
        if let Some(successor) = self.handover.take(self.keeper.is_in_doubt()) {
            self.keeper.succeed(successor);
        }
        let live = self.keeper.live(open).await?;
        self.info = live.api.info;
        Ok(live)
    }

    async fn send(&mut self, batch: &[Message], first: u64) -> Result<Vec<Offset>, PublishFailure> {
        self.live().await.map_err(|away| failed(away.into()))?;
        self.arena.reset();
        let runs = to_guest::runs(&self.arena, batch);
        let Some(Live { guest, api }) = self.keeper.current() else {
            return Err(failed(Failure::Unavailable("no instance".to_owned())));
        };
        let timeout = guest.limits().call_timeout;
        let published = guest
            .call("publish", timeout, async |store, _| {
                // The border has no 64-bit integers. Exact for as long as any server runs.
                api.exports.call_publish(store, &runs, first as f64).await
            })
            .await;
        match published {
            Ok(result) => {
                self.keeper.returned(result.is_ok());
                // It gets what it did not send again, and may know what became of it meanwhile.
                self.keeper.is_busy = result.is_err();
                match result {
                    Ok(offsets) => Ok(from_guest::offsets(offsets)),
                    Err(failure) => Err(PublishFailure {
                        accepted: failure.accepted as usize,
                        offsets: from_guest::offsets(failure.offsets),
                        reason: from_guest::failure(failure.reason),
                    }),
                }
            }
            // What it had handed to capabilities was undone with it.
            Err(fault) => {
                self.keeper.died(&fault);
                Err(failed(Failure::Faulted(fault.to_string())))
            }
        }
    }

    async fn count(&mut self, namespace: &Namespace) -> Result<Option<u32>, Failure> {
        let Live { guest, api } = self.live().await.map_err(Failure::from)?;
        let timeout = guest.limits().call_timeout;
        let counted = guest
            .call("count-nodes", timeout, async |store, _| {
                api.exports
                    .call_count_nodes(store, namespace.as_str())
                    .await
            })
            .await;
        match counted {
            Ok(result) => {
                self.keeper.returned(result.is_ok());
                result.map_err(from_guest::failure)
            }
            Err(fault) => {
                self.keeper.died(&fault);
                Err(Failure::Unavailable(fault.to_string()))
            }
        }
    }

    async fn end(&mut self) {
        // One that has not sent anything has nothing to end.
        self.handover.close();
        self.keeper
            .close(async |out, store| out.exports.call_close(store).await)
            .await;
    }
}

async fn open(
    plugin: &TransportPlugin,
    guest: &mut Guest<PluginState>,
) -> Result<Result<Out, OpenFailure>, Fault> {
    let timeout = plugin.limits().call_timeout;
    let opened = guest
        .call("publisher.open", timeout, async |store, instance| {
            let exports = plugin.publisher.load(&mut *store, instance)?;
            let opened = exports.call_open(store, plugin.config()).await?;
            Ok(opened.map(|info| Out {
                exports,
                info: from_guest::info(info),
            }))
        })
        .await?;
    guest
        .state_mut()
        .capabilities
        .effects
        .commit(opened.is_ok());
    Ok(opened)
}

/// What the first opening of an instance means for the server that starts.
pub(super) fn first_open(plugin: String, away: Away) -> Result<(), TransportError> {
    match away {
        Away::Backend(why) => {
            tracing::warn!(
                plugin,
                "the backend cannot be reached: {why}; serving local clients, trying on"
            );
            Ok(())
        }
        other => Err(TransportError::from_away(plugin, other)),
    }
}

impl Drop for PluginPublisher {
    fn drop(&mut self) {
        self.handover.close();
    }
}

impl From<Away> for Failure {
    fn from(away: Away) -> Self {
        let why = away.to_string();
        match away {
            Away::Fault(_) | Away::Backend(_) => Self::Unavailable(why),
            Away::Configuration(_) | Away::Unsupported(_) | Away::Failed(_) => Self::GivenUp(why),
        }
    }
}

fn failed(reason: Failure) -> PublishFailure {
    PublishFailure {
        accepted: 0,
        offsets: Vec::new(),
        reason,
    }
}

impl Publisher for PluginPublisher {
    fn publish<'a>(
        &'a mut self,
        batch: &'a [Message],
        first: u64,
    ) -> BoxFuture<'a, Result<Vec<Offset>, PublishFailure>> {
        self.send(batch, first).boxed()
    }

    fn count_nodes<'a>(
        &'a mut self,
        namespace: &'a Namespace,
    ) -> BoxFuture<'a, Result<Option<u32>, Failure>> {
        self.count(namespace).boxed()
    }

    fn info(&self) -> TransportInfo {
        self.info
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.end().boxed()
    }
}
