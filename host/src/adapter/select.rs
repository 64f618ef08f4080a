//! Which local sockets a target means.
//!
//! Node.js puts every socket into a room named by its own id; socketioxide does not. Here both
//! come together: a room name that is the id of a socket of this server selects that socket too,
//! and excepts it, mixed with ordinary rooms as one likes. What is then done to the sockets is for
//! `apply`.

use std::collections::HashSet;

use smallvec::SmallVec;
use socketioxide_core::{
    Sid,
    adapter::{
        BroadcastFlags, BroadcastOptions, CoreLocalAdapter, Room as LocalRoom, SocketEmitter,
    },
};

use super::target;
use crate::cluster::message::{Room, Target};

/// Local sockets.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made for one call and never kept"
)]
pub(super) enum Selection {
    /// None.
    Nobody,
    /// Everyone or those in rooms, but for some: socketioxide's own adapter finds them in one go
    /// and encodes a packet once for all.
    Options(BroadcastOptions),
    /// Exactly these, each once.
    Sockets(Vec<Sid>),
}

impl Selection {
    /// What an operator of this server selects. The options stay as they are unless a room is a
    /// socket's id, so that the usual case costs next to nothing.
    pub(super) fn of_options<E: SocketEmitter>(
        local: &CoreLocalAdapter<E>,
        opts: BroadcastOptions,
    ) -> Self {
        let by_id = |room: &LocalRoom| socket_named(local, room).is_some();
        if opts.rooms.iter().chain(&opts.except).any(by_id) {
            return target::target(&opts)
                .map_or(Self::Nobody, |target| Self::of_target(local, &target));
        }
        if opts.rooms.is_empty() && !opts.has_flag(BroadcastFlags::Broadcast) {
            // socketioxide would act on a socket of another server as if it were here.
            return match opts.sid {
                Some(sid) if is_connected(local, sid) => Self::Sockets(vec![sid]),
                _ => Self::Nobody,
            };
        }
        Self::Options(opts)
    }

    /// What a target of another node selects.
    pub(super) fn of_target<E: SocketEmitter>(
        local: &CoreLocalAdapter<E>,
        target: &Target,
    ) -> Self {
        let everyone = target.rooms.is_empty();
        let included = Named::new(local, &target.rooms);
        let excepted = Named::new(local, &target.except);
        let mut opts = BroadcastOptions::default();
        if target.volatile {
            opts.add_flag(BroadcastFlags::Volatile);
        }

        let one_call = included.sockets.is_empty() && excepted.sockets.len() <= 1;
        match (included.rooms.is_empty(), included.sockets.as_slice()) {
            (true, []) if !everyone => Self::Nobody,
            (true, &[sid]) if excepted.holds(local, sid) => Self::Nobody,
            (true, &[sid]) => Self::Sockets(vec![sid]),
            _ if one_call => {
                // Besides "everyone", the flag means "but not this socket".
                if let Some(&sid) = excepted.sockets.first() {
                    opts.sid = Some(sid);
                    opts.add_flag(BroadcastFlags::Broadcast);
                }
                if everyone {
                    opts.add_flag(BroadcastFlags::Broadcast);
                }
                opts.rooms = included.rooms;
                opts.except = excepted.rooms;
                Self::Options(opts)
            }
            _ => Self::exactly(local, everyone, included, excepted),
        }
    }

    fn exactly<E: SocketEmitter>(
        local: &CoreLocalAdapter<E>,
        everyone: bool,
        included: Named,
        excepted: Named,
    ) -> Self {
        let mut seen: HashSet<Sid> = excepted.sockets.iter().copied().collect();
        let mut sockets = Vec::new();
        for sid in included.sockets {
            if seen.insert(sid) && !excepted.rooms_hold(local, sid) {
                sockets.push(sid);
            }
        }
        if everyone || !included.rooms.is_empty() {
            let mut opts = BroadcastOptions::default();
            if everyone {
                opts.add_flag(BroadcastFlags::Broadcast);
            }
            opts.rooms = included.rooms;
            opts.except = excepted.rooms;
            sockets.extend(
                local
                    .sockets(opts)
                    .into_iter()
                    .filter(|sid| seen.insert(*sid)),
            );
        }
        if sockets.is_empty() {
            Self::Nobody
        } else {
            Self::Sockets(sockets)
        }
    }
}

/// The rooms of a target as this server sees them.
struct Named {
    /// Those that local sockets may have joined.
    rooms: SmallVec<[LocalRoom; 4]>,
    /// Local sockets whose ids stand among the rooms and which have not joined such a room
    /// themselves.
    sockets: SmallVec<[Sid; 4]>,
}

impl Named {
    fn new<E: SocketEmitter>(local: &CoreLocalAdapter<E>, rooms: &[Room]) -> Self {
        let mut named = Self {
            rooms: SmallVec::new(),
            sockets: SmallVec::new(),
        };
        for room in rooms {
            // socketioxide's rooms are text: none of its sockets is in a numbered one.
            let Room::Text(name) = room else { continue };
            let Some(sid) = socket_named(local, name) else {
                named.rooms.push(LocalRoom::Owned(String::from(&**name)));
                continue;
            };
            let members = members(local, name);
            if !members.is_empty() {
                named.rooms.push(LocalRoom::Owned(String::from(&**name)));
            }
            if !members.contains(&sid) {
                named.sockets.push(sid);
            }
        }
        named
    }

    fn holds<E: SocketEmitter>(&self, local: &CoreLocalAdapter<E>, sid: Sid) -> bool {
        self.sockets.contains(&sid) || self.rooms_hold(local, sid)
    }

    fn rooms_hold<E: SocketEmitter>(&self, local: &CoreLocalAdapter<E>, sid: Sid) -> bool {
        if self.rooms.is_empty() {
            return false;
        }
        let joined = local.socket_rooms(sid);
        self.rooms.iter().any(|room| joined.contains(room))
    }
}

/// The connected local socket whose id this is.
pub(super) fn socket_named<E: SocketEmitter>(
    local: &CoreLocalAdapter<E>,
    name: &str,
) -> Option<Sid> {
    name.parse().ok().filter(|sid| is_connected(local, *sid))
}

/// Is this a socket of this server?
pub(super) fn is_connected<E: SocketEmitter>(local: &CoreLocalAdapter<E>, sid: Sid) -> bool {
    !local.fetch_sockets(BroadcastOptions::new(sid)).is_empty()
}

/// The sockets that have joined a room.
pub(super) fn members<E: SocketEmitter>(local: &CoreLocalAdapter<E>, room: &str) -> Vec<Sid> {
    let mut opts = BroadcastOptions::default();
    opts.rooms.push(LocalRoom::Owned(room.to_owned()));
    local.sockets(opts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use socketioxide_core::packet::Packet;
    use socketioxide_parser_common::CommonParser;

    use super::*;
    use crate::adapter::tests::stub::Stub;

    type Local = CoreLocalAdapter<Stub<CommonParser>>;

    /// Three sockets: `a` in "one", `b` in "one" and "two" and in a room of its own id, `c` in
    /// "two" and in the room named like `a`.
    struct Server {
        stub: Stub<CommonParser>,
        local: Local,
        sockets: [Sid; 3],
    }

    fn server() -> Server {
        let sockets = [Sid::new(), Sid::new(), Sid::new()];
        let (stub, local) = Stub::with(sockets);
        let [a, b, c] = sockets;
        local.add_all(a, "one");
        local.add_all(b, vec!["one".to_owned(), "two".to_owned(), b.to_string()]);
        local.add_all(c, vec!["two".to_owned(), a.to_string()]);
        Server {
            stub,
            local,
            sockets,
        }
    }

    /// Whom Node.js would reach: a socket is in what it joined and in the room of its id.
    fn expected(server: &Server, target: &Target) -> BTreeSet<Sid> {
        let is_in = |sid: Sid, rooms: &[Room]| {
            let joined = server.local.socket_rooms(sid);
            rooms.iter().any(|room| match room {
                Room::Text(name) => &**name == sid.as_str() || joined.contains(&**name),
                Room::Number(_) => false,
            })
        };
        server
            .sockets
            .into_iter()
            .filter(|sid| target.rooms.is_empty() || is_in(*sid, &target.rooms))
            .filter(|sid| !is_in(*sid, &target.except))
            .collect()
    }

    /// Sends a packet to a selection; fails if a socket gets it twice.
    fn reached(server: &Server, selection: Selection) -> BTreeSet<Sid> {
        let packet = Packet::event(
            server.local.path().clone(),
            socketioxide_core::Value::Str("[\"e\"]".into(), None),
        );
        assert!(selection.broadcast(&server.local, packet, false).is_ok());
        let sent = server.stub.take_sent();
        let sockets: BTreeSet<Sid> = sent.iter().map(|(sid, _)| *sid).collect();
        assert_eq!(sockets.len(), sent.len(), "a socket got the packet twice");
        sockets
    }

    /// Every room that the tests mix: ordinary ones, ids, unknown ones, numbers.
    fn rooms(server: &Server) -> Vec<Room> {
        let [a, b, c] = server.sockets.map(|sid| Room::from(sid.as_str()));
        vec![
            Room::from("one"),
            Room::from("two"),
            a,
            b,
            c,
            Room::from(Sid::new().as_str()),
            Room::Number(1.0),
        ]
    }

    fn subsets<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
        (0..1u32 << of.len())
            .map(|mask| {
                let chosen = |(i, item): (usize, &T)| (mask & (1 << i) != 0).then(|| item.clone());
                of.iter().enumerate().filter_map(chosen).collect()
            })
            .collect()
    }

    #[test]
    fn every_mixture_of_rooms_and_ids_reaches_whom_node_would_reach() {
        let server = server();
        let all = subsets(&rooms(&server));
        for rooms in &all {
            for except in &all {
                let target = Target {
                    rooms: rooms.clone().into(),
                    except: except.clone(),
                    ..Target::default()
                };
                let selection = Selection::of_target(&server.local, &target);
                assert_eq!(
                    reached(&server, selection),
                    expected(&server, &target),
                    "{target:?}"
                );
            }
        }
    }

    #[test]
    fn operators_of_this_server_reach_whom_the_same_target_reaches_elsewhere() {
        let server = server();
        let [.., c] = server.sockets;
        let text = |rooms: &[Room]| -> SmallVec<[LocalRoom; 4]> {
            let text = rooms.iter().filter_map(|room| match room {
                Room::Text(name) => Some(LocalRoom::Owned(String::from(&**name))),
                Room::Number(_) => None,
            });
            text.collect()
        };
        let names = rooms(&server);
        for sender in [None, Some(c), Some(Sid::new())] {
            for rooms in subsets(&names[..6]) {
                for except in subsets(&names[..6]) {
                    let mut opts = BroadcastOptions::default();
                    opts.sid = sender;
                    opts.rooms = text(&rooms);
                    opts.except = text(&except);
                    // As the operators do: without rooms everyone is meant.
                    opts.add_flag(BroadcastFlags::Broadcast);
                    let target = target::target(&opts).unwrap_or_default();
                    let selection = Selection::of_options(&server.local, opts);
                    assert_eq!(
                        reached(&server, selection),
                        expected(&server, &target),
                        "{target:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_usual_targets_take_one_call() {
        let server = server();
        let [a, ..] = server.sockets.map(|sid| Room::from(sid.as_str()));
        for (rooms, except) in [
            (vec![], vec![]),
            (vec![], vec![a.clone()]),
            (vec!["one".into(), "two".into()], vec!["muted".into()]),
            (
                vec!["one".into()],
                vec!["two".into(), Room::from(Sid::new().as_str())],
            ),
        ] {
            let target = Target {
                rooms: rooms.into(),
                except,
                ..Target::default()
            };
            let selection = Selection::of_target(&server.local, &target);
            assert!(
                matches!(selection, Selection::Options(_)),
                "{target:?}: {selection:?}"
            );
        }
        // The room that is named like `a` has another member.
        let only = Target {
            rooms: [a].into(),
            except: vec!["two".into()],
            ..Target::default()
        };
        let selection = Selection::of_target(&server.local, &only);
        assert_eq!(selection, Selection::Sockets(vec![server.sockets[0]]));
    }

    #[test]
    fn numbered_rooms_alone_select_nobody() {
        let server = server();
        let target = Target {
            rooms: [Room::Number(7.0)].into(),
            ..Target::default()
        };
        assert_eq!(
            Selection::of_target(&server.local, &target),
            Selection::Nobody
        );
    }

    #[test]
    fn a_socket_of_another_server_is_nobody_here() {
        let server = server();
        let opts = BroadcastOptions::new(Sid::new());
        assert_eq!(
            Selection::of_options(&server.local, opts),
            Selection::Nobody
        );
        let opts = BroadcastOptions::default();
        assert_eq!(
            Selection::of_options(&server.local, opts),
            Selection::Nobody
        );
        let [a, ..] = server.sockets;
        let opts = BroadcastOptions::new(a);
        assert_eq!(
            Selection::of_options(&server.local, opts),
            Selection::Sockets(vec![a])
        );
    }
}
