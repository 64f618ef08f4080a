//! What socketioxide's operators select, as the cluster says it.
//!
//! Only the translation: which local sockets a target means is for `select`.

use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room as LocalRoom};

use crate::cluster::message::{Room, Target};

/// The target that selects the same sockets on every server; none if the options select none.
///
/// socketioxide says "everyone" and "not the sender" with one flag and the sender's id beside the
/// rooms; Node.js says both with rooms alone, since there a socket's id is a room.
pub(super) fn target(opts: &BroadcastOptions) -> Option<Target> {
    let broadcast = opts.has_flag(BroadcastFlags::Broadcast);
    let mut target = Target {
        rooms: opts.rooms.iter().map(room).collect(),
        except: rooms(&opts.except),
        volatile: opts.has_flag(BroadcastFlags::Volatile),
        flags: None,
    };
    match opts.sid {
        Some(sender) if broadcast => target.except.push(sender.as_str().into()),
        Some(only) if target.rooms.is_empty() => target.rooms.push(only.as_str().into()),
        None if target.rooms.is_empty() && !broadcast => return None,
        _ => {}
    }
    Some(target)
}

/// Rooms as the cluster names them.
pub(super) fn rooms(rooms: &[LocalRoom]) -> Vec<Room> {
    rooms.iter().map(room).collect()
}

/// A name that lives as long as the program is not copied.
fn room(room: &LocalRoom) -> Room {
    Room::Text(room.into())
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;
    use socketioxide_core::Sid;

    use super::*;

    #[test]
    fn operators_become_targets() {
        let sid = Sid::new();
        let id = Room::from(sid.as_str());
        let text = |name: &str| Room::from(name);
        let everyone = BroadcastFlags::Broadcast;
        let check = |flags: &[BroadcastFlags], rooms: &[&'static str], sid, expected| {
            let mut opts = BroadcastOptions::default();
            opts.sid = sid;
            flags.iter().for_each(|flag| opts.add_flag(*flag));
            opts.rooms = rooms.iter().map(|&room| room.into()).collect();
            assert_eq!(target(&opts), expected, "{opts:?}");
        };
        let of = |rooms: Vec<Room>, except: Vec<Room>| {
            Some(Target {
                rooms: rooms.into(),
                except,
                ..Target::default()
            })
        };
        // io.emit()
        check(&[everyone], &[], None, of(vec![], vec![]));
        // io.to("a").emit()
        check(&[everyone], &["a"], None, of(vec![text("a")], vec![]));
        // socket.broadcast().emit()
        check(&[everyone], &[], Some(sid), of(vec![], vec![id.clone()]));
        // socket.to("a").emit()
        check(
            &[everyone],
            &["a"],
            Some(sid),
            of(vec![text("a")], vec![id.clone()]),
        );
        // socket.within("a").emit()
        check(&[], &["a"], Some(sid), of(vec![text("a")], vec![]));
        // remote_socket.emit()
        check(&[], &[], Some(sid), of(vec![id], vec![]));
        // what no operator makes
        check(&[], &[], None, None);
        check(&[], &["a"], None, of(vec![text("a")], vec![]));
        check(
            &[everyone, BroadcastFlags::Volatile],
            &[],
            None,
            Some(Target {
                volatile: true,
                ..Target::default()
            }),
        );
    }

    #[test]
    fn except_keeps_rooms_and_sender() {
        let sid = Sid::new();
        let mut opts = BroadcastOptions::new(sid);
        opts.add_flag(BroadcastFlags::Broadcast);
        opts.except = smallvec!["muted".into()];
        let target = target(&opts).unwrap_or_default();
        assert_eq!(
            target.except,
            [Room::from("muted"), Room::from(sid.as_str())]
        );
    }
}
