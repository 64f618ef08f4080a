//! What can be done to selected local sockets.
//!
//! Thin: all of it is socketioxide's own adapter, called once, or once for each socket of an exact
//! list. It also keeps socketioxide from remembering rooms and sockets that are not there.

use std::{collections::HashSet, pin::Pin, time::Duration};

use socketioxide_core::{
    Sid,
    adapter::{
        BroadcastFlags, BroadcastOptions, CoreLocalAdapter, RemoteSocketData, Room as LocalRoom,
        SocketEmitter, errors::SocketError,
    },
    packet::Packet,
};

use super::select::{Selection, is_connected};

/// Acknowledgements of one or more deliveries.
pub(super) type LocalAcks<E> = Vec<Pin<Box<<E as SocketEmitter>::AckStream>>>;

impl Selection {
    /// Sends a packet. The error lists one entry for each socket that did not take it; volatile
    /// packets have none.
    pub(super) fn broadcast<E: SocketEmitter>(
        self,
        local: &CoreLocalAdapter<E>,
        packet: Packet,
        volatile: bool,
    ) -> Result<(), Vec<SocketError>> {
        match self {
            Self::Nobody => Ok(()),
            Self::Options(opts) => local.broadcast(packet, opts),
            Self::Sockets(sockets) => collect(sockets.into_iter().map(|sid| {
                let mut opts = BroadcastOptions::new(sid);
                if volatile {
                    opts.add_flag(BroadcastFlags::Volatile);
                }
                local.broadcast(packet.clone(), opts)
            })),
        }
    }

    /// Sends a packet and returns how many sockets it went to and what they acknowledge.
    pub(super) fn broadcast_with_ack<E: SocketEmitter>(
        self,
        local: &CoreLocalAdapter<E>,
        packet: Packet,
        timeout: Duration,
    ) -> (u32, LocalAcks<E>) {
        let one = |packet, opts| {
            let (acks, count) = local.broadcast_with_ack(packet, opts, Some(timeout));
            (count, Box::pin(acks))
        };
        match self {
            Self::Nobody => (0, Vec::new()),
            Self::Options(opts) => {
                let (count, acks) = one(packet, opts);
                (count, vec![acks])
            }
            Self::Sockets(sockets) => {
                let mut total = 0u32;
                let each = sockets.into_iter().map(|sid| {
                    let (count, acks) = one(packet.clone(), BroadcastOptions::new(sid));
                    total = total.saturating_add(count);
                    acks
                });
                let all = each.collect();
                (total, all)
            }
        }
    }

    /// Makes the sockets join rooms.
    pub(super) fn join<E: SocketEmitter>(self, local: &CoreLocalAdapter<E>, rooms: &[LocalRoom]) {
        let sockets = match self {
            Self::Nobody => return,
            Self::Options(opts) => {
                // socketioxide would remember the rooms for ever if nobody joined them.
                if !local.sockets(opts.clone()).is_empty() {
                    local.add_sockets(opts, rooms.to_vec());
                }
                return;
            }
            Self::Sockets(sockets) => sockets,
        };
        for sid in sockets {
            local.add_all(sid, rooms.to_vec());
            // One that has just left is cleaned up by nobody else.
            if !is_connected(local, sid) {
                local.del_all(sid);
            }
        }
    }

    /// Makes the sockets leave rooms.
    pub(super) fn leave<E: SocketEmitter>(self, local: &CoreLocalAdapter<E>, rooms: &[LocalRoom]) {
        match self {
            Self::Nobody => {}
            Self::Options(opts) => local.del_sockets(opts, rooms.to_vec()),
            Self::Sockets(sockets) => {
                sockets
                    .into_iter()
                    .for_each(|sid| local.del(sid, rooms.to_vec()));
            }
        }
    }

    /// Disconnects the sockets from the namespace. The error lists those that could not be told.
    pub(super) fn disconnect<E: SocketEmitter>(
        self,
        local: &CoreLocalAdapter<E>,
    ) -> Result<(), Vec<SocketError>> {
        match self {
            Self::Nobody => Ok(()),
            Self::Options(opts) => local.disconnect_socket(opts),
            Self::Sockets(sockets) => collect(
                sockets
                    .into_iter()
                    .map(|sid| local.disconnect_socket(BroadcastOptions::new(sid))),
            ),
        }
    }

    /// The sockets that are connected.
    pub(super) fn sockets<E: SocketEmitter>(
        self,
        local: &CoreLocalAdapter<E>,
    ) -> Vec<RemoteSocketData> {
        match self {
            Self::Nobody => Vec::new(),
            Self::Options(opts) => local.fetch_sockets(opts),
            Self::Sockets(sockets) => sockets
                .into_iter()
                .flat_map(|sid| local.fetch_sockets(BroadcastOptions::new(sid)))
                .collect(),
        }
    }

    /// The rooms that the sockets have joined.
    pub(super) fn rooms<E: SocketEmitter>(self, local: &CoreLocalAdapter<E>) -> HashSet<LocalRoom> {
        match self {
            Self::Nobody => HashSet::new(),
            Self::Options(opts) => local.rooms(opts),
            Self::Sockets(sockets) => sockets
                .into_iter()
                .flat_map(|sid: Sid| local.socket_rooms(sid))
                .collect(),
        }
    }

    /// Does nobody match? Costs a walk over those who do.
    pub(super) fn is_empty<E: SocketEmitter>(&self, local: &CoreLocalAdapter<E>) -> bool {
        match self {
            Self::Nobody => true,
            Self::Options(opts) => local.sockets(opts.clone()).is_empty(),
            Self::Sockets(sockets) => sockets.is_empty(),
        }
    }
}

fn collect(
    results: impl Iterator<Item = Result<(), Vec<SocketError>>>,
) -> Result<(), Vec<SocketError>> {
    let errors: Vec<_> = results.filter_map(Result::err).flatten().collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use socketioxide_core::Value;
    use socketioxide_parser_common::CommonParser;

    use super::*;
    use crate::{
        adapter::tests::stub::Stub,
        cluster::message::{Room, Target},
    };

    type Local = CoreLocalAdapter<Stub<CommonParser>>;

    fn server() -> (Stub<CommonParser>, Local, [Sid; 3]) {
        let sockets = [Sid::new(), Sid::new(), Sid::new()];
        let (stub, local) = Stub::with(sockets);
        (stub, local, sockets)
    }

    fn packet() -> Packet {
        Packet::event("/chat", Value::Str("[\"e\"]".into(), None))
    }

    fn ids(local: &Local, sockets: &[Sid]) -> Selection {
        let rooms = sockets.iter().map(|sid| Room::from(sid.as_str())).collect();
        Selection::of_target(
            local,
            &Target {
                rooms,
                ..Target::default()
            },
        )
    }

    #[test]
    fn a_packet_for_a_room_is_encoded_once() {
        let (stub, local, [a, b, _]) = server();
        local.add_all(a, "room");
        local.add_all(b, "room");
        let target = Target {
            rooms: ["room".into()].into(),
            ..Target::default()
        };
        assert!(
            Selection::of_target(&local, &target)
                .broadcast(&local, packet(), false)
                .is_ok()
        );
        let texts: HashSet<_> = stub
            .take_sent()
            .into_iter()
            .filter_map(|(_, value)| value.as_str().map(|text| text.as_ptr() as usize))
            .collect();
        assert_eq!(texts.len(), 1, "both got the same bytes");
    }

    #[test]
    fn errors_are_one_for_each_socket_and_the_others_get_the_packet() {
        let (stub, local, [a, b, c]) = server();
        stub.state().full.insert(a);
        stub.state().closed.insert(b);
        for selection in [
            ids(&local, &[a, b, c]),
            Selection::of_target(&local, &Target::default()),
        ] {
            let errors = selection
                .broadcast(&local, packet(), false)
                .err()
                .unwrap_or_default();
            assert_eq!(errors.len(), 2);
            assert_eq!(stub.take_sent().len(), 1);
        }
    }

    #[test]
    fn volatile_holds_for_exact_lists_too() {
        let (stub, local, [a, b, _]) = server();
        assert!(
            ids(&local, &[a, b])
                .broadcast(&local, packet(), true)
                .is_ok()
        );
        assert_eq!(stub.state().volatile, 2);
    }

    #[test]
    fn joining_leaves_no_trace_of_rooms_and_sockets_that_are_not_here() {
        let (stub, local, [a, b, c]) = server();
        let nobody = Target {
            rooms: ["empty".into()].into(),
            ..Target::default()
        };
        Selection::of_target(&local, &nobody).join(&local, &["ghost".into()]);
        let mut everywhere = BroadcastOptions::default();
        everywhere.add_flag(BroadcastFlags::Broadcast);
        assert!(local.rooms(everywhere).is_empty());

        let selection = ids(&local, &[a, b, c]);
        stub.state().connected.remove(&b);
        selection.join(&local, &["room".into()]);
        assert!(
            local.socket_rooms(b).is_empty(),
            "it left between selection and join"
        );
        assert!(local.socket_rooms(a).contains("room"));
    }

    #[test]
    fn sockets_join_and_leave_rooms_however_they_are_selected() {
        let (_, local, [a, b, c]) = server();
        Selection::of_target(&local, &Target::default()).join(&local, &["x".into(), "y".into()]);
        for sid in [a, b, c] {
            assert_eq!(local.socket_rooms(sid).len(), 2);
        }
        ids(&local, &[a, b]).leave(&local, &["x".into()]);
        let in_x = Target {
            rooms: ["x".into()].into(),
            ..Target::default()
        };
        let left: Vec<_> = Selection::of_target(&local, &in_x)
            .sockets(&local)
            .iter()
            .map(|s| s.id)
            .collect();
        assert_eq!(left, [c]);
        assert_eq!(
            ids(&local, &[a, b]).rooms(&local),
            HashSet::from(["y".into()])
        );
        Selection::of_target(&local, &in_x).leave(&local, &["x".into(), "y".into()]);
        assert!(local.socket_rooms(c).is_empty());
    }

    #[test]
    fn disconnecting_reports_sockets_that_could_not_be_told() {
        let (stub, local, [a, b, c]) = server();
        stub.state().full.insert(a);
        assert_eq!(
            ids(&local, &[a, b])
                .disconnect(&local)
                .err()
                .unwrap_or_default()
                .len(),
            1
        );
        assert!(Selection::Nobody.disconnect(&local).is_ok());
        assert_eq!(stub.state().connected, [a, c].into());
    }

    #[test]
    fn acknowledgements_are_counted_over_an_exact_list() {
        let (stub, local, [a, b, c]) = server();
        let (count, acks) =
            ids(&local, &[a, b]).broadcast_with_ack(&local, packet(), Duration::from_secs(3));
        assert_eq!((count, acks.len()), (2, 2));
        assert_eq!(stub.state().ack_timeout, Some(Duration::from_secs(3)));
        let all = Selection::of_target(&local, &Target::default());
        let (count, acks) = all.broadcast_with_ack(&local, packet(), Duration::from_secs(3));
        assert_eq!((count, acks.len()), (3, 1));
        assert!(stub.state().connected.contains(&c));
    }
}
