//! The operators of a server with connection state recovery: nothing may overtake its own events,
//! which wait for their offsets.
//!
//! So they go through the cluster also to the sockets of this server, and come back to them by
//! `local`, in the order of publication. Each method answers `None` where the usual way is right:
//! the option is off, or the operation is for this server only.

use socketioxide_core::{
    adapter::{BroadcastFlags, BroadcastOptions, SocketEmitter, errors::BroadcastError},
    packet::Packet,
};

use super::{Adapter, Error, event, event_data, target};
use crate::cluster::message::{Body, Target};

impl<E: SocketEmitter> Adapter<E> {
    /// Sends an event to the sockets of all servers. Volatile ones wait for nothing.
    pub(super) async fn event_in_order(
        &self,
        packet: &Packet,
        opts: &BroadcastOptions,
    ) -> Option<Result<(), BroadcastError>> {
        if !self.keeps_order() || opts.has_flag(BroadcastFlags::Volatile) {
            return None;
        }
        let data = event_data(packet)?.clone();
        let target = in_order_target(opts)?;
        // What cannot be sent reaches the sockets of this server, and is an error, the usual way.
        let body = Body::Broadcast(event(target, data).ok()?);
        let sent = self.send_in_order(body).await?;
        Some(sent.map_err(BroadcastError::from))
    }

    /// Does something else to the sockets of all servers.
    pub(super) async fn order(
        &self,
        opts: &BroadcastOptions,
        body: impl FnOnce(Target) -> Body,
    ) -> Option<Result<(), Error>> {
        if !self.keeps_order() {
            return None;
        }
        self.send_in_order(body(in_order_target(opts)?)).await
    }

    pub(super) fn keeps_order(&self) -> bool {
        self.cluster.options().connection_state_recovery
    }

    /// None: the cluster does not know the namespace (any more).
    async fn send_in_order(&self, body: Body) -> Option<Result<(), Error>> {
        let local = self.cluster.local(&self.namespace)?;
        let sent = self.cluster.send_in_order(local, body).await;
        Some(sent.map(|_| ()).map_err(Error::from))
    }
}

/// Whom it concerns, unless it was said that this server is enough. What is for one socket of this
/// server is published as well: it could not be given again if it did not stand in the log.
fn in_order_target(opts: &BroadcastOptions) -> Option<Target> {
    match opts.has_flag(BroadcastFlags::Local) {
        true => None,
        false => target::target(opts),
    }
}
