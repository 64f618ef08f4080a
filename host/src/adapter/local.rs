//! One namespace of this server as the cluster sees it: what other nodes may do here.
//!
//! Everything in a message of another node is untrusted; what cannot be read is counted and left
//! out. What users of this server do goes through `Adapter` itself.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_core::stream::BoxStream;
use futures_util::stream::{self, StreamExt as _};
use socketioxide_core::{
    Sid,
    adapter::{Room as LocalRoom, SocketEmitter, errors::SocketError},
    packet::Packet,
};
use tracing::warn;

use super::{
    Adapter, acks,
    describe::{Describer, Description},
    select,
    select::Selection,
};
use crate::{
    cluster::{
        local::{Local, LocalAck},
        message::{Broadcast, Namespace, Payload, Room, SocketInfo, Target},
    },
    payload::Codec,
};

/// What the cluster holds of an adapter. Weak, so that a server that is dropped without being
/// closed is freed all the same.
pub(super) struct LocalNamespace<E: SocketEmitter> {
    namespace: Namespace,
    adapter: Weak<Adapter<E>>,
}

impl<E: SocketEmitter> LocalNamespace<E> {
    pub(super) fn new(adapter: &Arc<Adapter<E>>) -> Self {
        Self {
            namespace: adapter.namespace.clone(),
            adapter: Arc::downgrade(adapter),
        }
    }
}

impl<E: SocketEmitter> Local for LocalNamespace<E> {
    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn broadcast(&self, broadcast: Broadcast) -> usize {
        let Some(adapter) = self.adapter.upgrade() else {
            return 0;
        };
        let Broadcast { target, data, .. } = broadcast;
        let Some((selection, packet)) = adapter.receive(&target, data) else {
            return 0;
        };
        let errors = selection
            .broadcast(&adapter.local, packet, target.volatile)
            .err();
        let full = |error: &&SocketError| matches!(error, SocketError::InternalChannelFull);
        errors.iter().flatten().filter(full).count()
    }

    fn broadcast_with_ack(
        &self,
        broadcast: &Broadcast,
        timeout: Duration,
    ) -> (u32, BoxStream<'static, LocalAck>) {
        let nobody = || (0, stream::empty().boxed());
        let Some(adapter) = self.adapter.upgrade() else {
            return nobody();
        };
        let data = broadcast.data.clone();
        let Some((selection, packet)) = adapter.receive(&broadcast.target, data) else {
            return nobody();
        };
        let (clients, acks) = selection.broadcast_with_ack(&adapter.local, packet, timeout);
        (clients, acks::for_remote::<E>(acks))
    }

    fn join(&self, target: &Target, rooms: &[Room]) {
        let Some(adapter) = self.adapter.upgrade() else {
            return;
        };
        Selection::of_target(&adapter.local, target).join(&adapter.local, &text_rooms(rooms));
    }

    fn leave(&self, target: &Target, rooms: &[Room]) {
        let Some(adapter) = self.adapter.upgrade() else {
            return;
        };
        Selection::of_target(&adapter.local, target).leave(&adapter.local, &text_rooms(rooms));
    }

    fn disconnect(&self, target: &Target, close: bool) {
        let Some(adapter) = self.adapter.upgrade() else {
            return;
        };
        let selection = Selection::of_target(&adapter.local, target);
        let disconnected = if close {
            adapter.disconnect_wholly(selection)
        } else {
            selection.disconnect(&adapter.local)
        };
        if let Err(errors) = disconnected {
            adapter.report_still_connected(&errors);
        }
    }

    /// All of them, but described only as far as `max_description_bytes` goes: the answer is one
    /// message, and who is asked cannot choose how many sockets there are.
    fn sockets(&self, target: &Target) -> Vec<SocketInfo> {
        let Some(adapter) = self.adapter.upgrade() else {
            return Vec::new();
        };
        let mut descriptions = Descriptions {
            describer: adapter.attachment.describer(self.namespace.as_str()),
            bytes_left: adapter.cluster.options().max_description_bytes,
            left_out: 0,
        };
        let sockets = Selection::of_target(&adapter.local, target)
            .sockets(&adapter.local)
            .into_iter()
            .map(|socket| adapter.socket_info(socket.id, descriptions.next(socket.id)))
            .collect();
        adapter.report_undescribed(descriptions.left_out);
        sockets
    }

    fn socket_ids(&self, target: &Target) -> Vec<Arc<str>> {
        let Some(adapter) = self.adapter.upgrade() else {
            return Vec::new();
        };
        Selection::of_target(&adapter.local, target)
            .sockets(&adapter.local)
            .into_iter()
            .map(|socket| socket.id.as_str().into())
            .collect()
    }

    /// Those that sockets have joined. The rooms of their own ids, which are among `adapter.rooms`
    /// in Node.js, are left out, as socketioxide's `rooms` leaves them out: who asks for rooms
    /// could not tell them from others, and who wants ids asks for sockets.
    fn rooms(&self, target: &Target) -> Vec<Room> {
        let Some(adapter) = self.adapter.upgrade() else {
            return Vec::new();
        };
        Selection::of_target(&adapter.local, target)
            .rooms(&adapter.local)
            .iter()
            .map(|room| Room::from(room.as_ref()))
            .collect()
    }

    fn has_room(&self, room: &Room) -> bool {
        let (Some(adapter), Room::Text(name)) = (self.adapter.upgrade(), room) else {
            return false;
        };
        select::socket_named(&adapter.local, name).is_some()
            || !select::members(&adapter.local, name).is_empty()
    }
}

impl<E: SocketEmitter> Adapter<E> {
    /// Who gets a broadcast of another node, and its packet as this server's parser takes it.
    fn receive(&self, target: &Target, data: Payload) -> Option<(Selection, Packet)> {
        let selection = Selection::of_target(&self.local, target);
        // Transcoding for nobody is dearer than looking.
        if selection == Selection::Nobody
            || (self.codec == Codec::Msgpack && selection.is_empty(&self.local))
        {
            return None;
        }
        match self.codec.decode(data) {
            Ok(data) => Some((selection, Packet::event(self.local.path().clone(), data))),
            Err(error) => {
                if let Some(total) = self.unreadable.add(1) {
                    warn!(
                        namespace = %self.namespace,
                        total,
                        %error,
                        "an event of another server was not delivered: its payload is unreadable"
                    );
                }
                None
            }
        }
    }

    fn socket_info(&self, sid: Sid, description: Description) -> SocketInfo {
        let mut rooms = self.local.socket_rooms(sid);
        rooms.insert(sid.to_string().into());
        let Description { handshake, data } = description;
        SocketInfo {
            id: sid.as_str().into(),
            rooms: rooms.iter().map(|room| Room::from(room.as_ref())).collect(),
            handshake,
            data,
        }
    }

    /// From all namespaces of the server, if it is attached.
    fn disconnect_wholly(&self, selection: Selection) -> Result<(), Vec<SocketError>> {
        let sockets = selection.clone().sockets(&self.local);
        let ids: Vec<Sid> = sockets.iter().map(|socket| socket.id).collect();
        let mut errors = selection.disconnect(&self.local).err().unwrap_or_default();
        if ids.is_empty() {
            return Ok(());
        }
        match self
            .attachment
            .disconnect_besides(self.namespace.as_str(), &ids)
        {
            Some(elsewhere) => errors.extend(elsewhere),
            None => self.attachment.report_missing(self.namespace.as_str()),
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Says nothing of whose wish it was: this server's own calls come here too.
    fn report_still_connected(&self, errors: &[SocketError]) {
        let full = |error: &&SocketError| matches!(error, SocketError::InternalChannelFull);
        let count = errors.iter().filter(full).count() as u64;
        if count > 0
            && let Some(total) = self.still_connected.add(count)
        {
            warn!(
                namespace = %self.namespace,
                total,
                "sockets that were to be disconnected stay connected: their buffers are full \
                 (max_buffer_size)"
            );
        }
    }

    fn report_undescribed(&self, count: u64) {
        if count > 0
            && let Some(total) = self.undescribed.add(count)
        {
            warn!(
                namespace = %self.namespace,
                count,
                total,
                "sockets were listed without handshake and data: the descriptions of one answer \
                 reached `cluster.max_description_bytes` = {}; hide_headers makes them smaller",
                self.cluster.options().max_description_bytes
            );
        }
    }
}

/// The descriptions of one answer, one after the other.
struct Descriptions {
    /// None: nothing is known of any socket.
    describer: Option<Describer>,
    bytes_left: usize,
    /// Sockets that are not described, because those before them took all there is.
    left_out: u64,
}

impl Descriptions {
    fn next(&mut self, sid: Sid) -> Description {
        let Some(describer) = &self.describer else {
            return Description::unknown();
        };
        // After the first that did not fit no other is tried: describing takes time, and what
        // other servers send waits meanwhile.
        if self.left_out == 0 {
            let description = describer.describe(sid);
            if let Some(left) = self.bytes_left.checked_sub(description.len()) {
                self.bytes_left = left;
                return description;
            }
        }
        self.left_out += 1;
        Description::unknown()
    }
}

/// The rooms that socketioxide's sockets can be in.
fn text_rooms(rooms: &[Room]) -> Vec<LocalRoom> {
    rooms
        .iter()
        .filter_map(|room| match room {
            Room::Text(name) => Some(LocalRoom::Owned(String::from(&**name))),
            Room::Number(_) => None,
        })
        .collect()
}
