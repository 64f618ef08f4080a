//! What this server's own messages do to its own sockets, and when.
//!
//! Usually at once, before the outbox has them (`handle.rs`). With `connection_state_recovery` an
//! event waits for its offset, as in Node.js, and what changes rooms or
//! disconnects waits behind the events that were sent before it; all of them then act in the order
//! in which they were published (`publish.rs`).

use std::sync::Arc;

use super::{
    batch::Batch,
    error::SendError,
    handle::Cluster,
    local::Local,
    message::{Body, Namespace, Offset},
    offsets,
    shared::Shared,
};

/// What became of a message that was published, or should have been.
#[derive(Debug)]
pub(super) enum Fate {
    /// The backend has it, and said where if it keeps a log.
    Accepted(Option<Offset>),
    /// It will never have it.
    Lost,
}

/// The fates of so many messages that the backend has accepted; offsets are one for each, or
/// worth nothing.
pub(super) fn accepted(n: usize, offsets: Vec<Offset>) -> impl Iterator<Item = Fate> {
    let mut offsets = if offsets.len() == n {
        offsets
    } else {
        Vec::new()
    }
    .into_iter();
    (0..n).map(move |_| Fate::Accepted(offsets.next()))
}

/// May this message of this server have to wait before it acts here?
fn keeps_order(body: &Body) -> bool {
    match body {
        Body::Broadcast(broadcast) => offsets::takes_offset(broadcast),
        Body::SocketsJoin { .. } | Body::SocketsLeave { .. } | Body::DisconnectSockets { .. } => {
            true
        }
        _ => false,
    }
}

/// Lets a message act on the sockets of this server. Returns how many packets these lost.
fn act(local: &dyn Local, body: &Body) -> usize {
    match body {
        Body::Broadcast(broadcast) if broadcast.request.is_none() => {
            return local.broadcast(broadcast.clone());
        }
        Body::SocketsJoin { target, rooms } => local.join(target, rooms),
        Body::SocketsLeave { target, rooms } => local.leave(target, rooms),
        Body::DisconnectSockets { target, close } => local.disconnect(target, *close),
        _ => {}
    }
    0
}

impl Shared {
    fn act(&self, local: &dyn Local, body: &Body) -> usize {
        let dropped = act(local, body);
        self.packets_dropped(dropped);
        dropped
    }

    /// An event goes to the sockets of this server without ever standing in the log.
    fn act_unlogged(&self, local: &dyn Local, body: &Body) -> usize {
        if matches!(body, Body::Broadcast(_)) {
            self.counters.unlogged.add(1);
        }
        self.act(local, body)
    }

    /// The message at this place of the batch has met its fate: lets it act if it waits for that.
    pub(super) fn settle(&self, batch: &mut Batch, at: usize, fate: Fate) {
        let Some((message, local)) = batch.take_waiting(at) else {
            return;
        };
        match fate {
            Fate::Lost => self.act_unlogged(&*local, &message.body),
            Fate::Accepted(offset) => {
                if let (Body::Broadcast(event), Some(offset)) = (&mut message.body, offset) {
                    offsets::append(event, &offset);
                }
                self.act(&*local, &message.body)
            }
        };
    }
}

impl Cluster {
    /// Gives an event, a change of rooms or a disconnection to the sockets of all servers, this one
    /// included. Returns how many packets the sockets of this server lost, as far as it reached
    /// them at once; the loss is counted in any case.
    ///
    /// Without [`connection_state_recovery`](super::ClusterOptions::connection_state_recovery) it
    /// acts here at once, whatever becomes of it then. With it:
    ///
    /// - An event acts here when the backend has accepted it, with its offset as last argument,
    ///   in the order of publication. While the backend is away it waits in the outbox.
    /// - What changes rooms or disconnects acts at once when none of this server's events waits,
    ///   else after those.
    /// - Volatile events act at once, before those that wait.
    /// - What is refused here, given up later, or left over when the cluster closes, acts here
    ///   without an offset ([`Stats::unlogged`](super::Stats::unlogged)).
    ///
    /// # Errors
    /// As [`send`](Self::send). It has acted here all the same.
    pub(crate) async fn send_to_all(
        &self,
        namespace: &Namespace,
        body: Body,
    ) -> Result<usize, SendError> {
        let shared = self.shared();
        let Some(local) = shared.namespaces.local(namespace) else {
            return self.send(namespace, body).await.map(|()| 0);
        };
        if shared.options.connection_state_recovery && keeps_order(&body) {
            return self.send_in_order(local, body).await;
        }
        let dropped = shared.act(&*local, &body);
        self.send(namespace, body).await.map(|()| dropped)
    }

    /// Lets a message act on the sockets of this server only, at once. Returns how many packets
    /// these lost; counts them.
    pub(crate) fn act_here(&self, namespace: &Namespace, body: &Body) -> usize {
        let shared = self.shared();
        let local = shared.namespaces.local(namespace);
        local.map_or(0, |local| shared.act(&*local, body))
    }

    /// The same as [`send_to_all`](Self::send_to_all) for a message that may have to wait, when the
    /// option is on. Dropping the future before it ends does nothing, neither here nor elsewhere; or
    /// all of it, if there was room just then.
    pub(crate) async fn send_in_order(
        &self,
        local: Arc<dyn Local>,
        body: Body,
    ) -> Result<usize, SendError> {
        let shared = self.shared();
        match shared.outbox.send_here(&local, body.clone()).await {
            Ok(waits) if waits => Ok(0),
            Ok(_) => Ok(shared.act(&*local, &body)),
            Err(refused) => {
                shared.act_unlogged(&*local, &body);
                Err(refused)
            }
        }
    }
}
