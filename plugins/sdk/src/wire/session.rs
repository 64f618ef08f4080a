//! Sessions for connection state recovery, as Node keeps them: a msgpack map of
//! `sid`, `pid`, `rooms`, `data`; and which events a session has missed.

use std::collections::HashSet;

use crate::types::{Payload, Room, Session, Target};

use super::{Cursor, Format, Rejected, WireError, Writer, values};

/// Longest private id of a client, in bytes. Node's have 20.
pub const MAX_PID_BYTES: usize = 64;

/// Room for everything but the data and the rooms.
const OVERHEAD_BYTES: usize = 128;

/// Writes a session. The socket's own id is among its rooms afterwards, as Node has it: packets for
/// it alone are missed packets, too.
///
/// # Errors
/// When its data is not JSON, or refers to a binary part that is not there.
pub fn write(session: &Session) -> Result<Vec<u8>, Rejected> {
    let data = &session.data;
    let attached: usize = data.parts().iter().map(Vec::len).sum();
    let capacity = data.json.len() + attached + 24 * session.rooms.len() + OVERHEAD_BYTES;
    let mut writer = Writer::new(Format::Msgpack, capacity);
    writer.object(4);
    writer.key("sid").text(&session.sid);
    writer.key("pid").text(&session.pid);
    writer.key("rooms");
    let is_own = |room: &Room| matches!(room, Room::Text(name) if *name == session.sid);
    if session.rooms.iter().any(is_own) {
        values::write_rooms(&mut writer, &session.rooms);
    } else {
        let mut rooms = vec![Room::Text(session.sid.clone())];
        rooms.extend_from_slice(&session.rooms);
        values::write_rooms(&mut writer, &rooms);
    }
    writer.key("data").payload(data)?;
    writer.end_object();
    writer.finish()
}

/// Reads a session.
///
/// # Errors
/// When it is malformed.
pub fn read(bytes: &[u8]) -> Result<Session, WireError> {
    let mut cursor = Cursor::of_msgpack(bytes)?;
    let (mut sid, mut pid, mut rooms, mut data) = (None, None, None, None);
    cursor.object("session", |key, cursor| {
        match key {
            "sid" => sid = Some(cursor.text("sid")?.into_owned()),
            "pid" => pid = Some(cursor.text("pid")?.into_owned()),
            "rooms" => rooms = Some(values::read_rooms(cursor)?),
            "data" => data = Some(cursor.payload()?),
            _ => {}
        }
        Ok(())
    })?;
    cursor.end()?;
    Ok(Session {
        pid: pid.ok_or(WireError::Missing("pid"))?,
        sid: sid.ok_or(WireError::Missing("sid"))?,
        rooms: rooms.ok_or(WireError::Missing("rooms"))?,
        data: data.unwrap_or_else(|| Payload {
            json: "{}".to_owned(),
            attachments: None,
        }),
    })
}

/// The rooms that a session was in; the socket's own id is one of them.
#[derive(Debug)]
pub struct Rooms<'a>(HashSet<RoomKey<'a>>);

/// Rooms are the same if type and value are.
#[derive(Debug, PartialEq, Eq, Hash)]
enum RoomKey<'a> {
    Text(&'a str),
    Number(u64),
}

impl<'a> RoomKey<'a> {
    fn of(room: &'a Room) -> Self {
        match room {
            Room::Text(text) => Self::Text(text),
            // JavaScript has two zeros, which are equal.
            Room::Number(number) => Self::Number((number + 0.0).to_bits()),
        }
    }
}

impl<'a> Rooms<'a> {
    /// Those of a session.
    pub fn of(session: &'a Session) -> Self {
        let rooms = session.rooms.iter().map(RoomKey::of);
        Self(rooms.chain([RoomKey::Text(&session.sid)]).collect())
    }

    /// Whether an event with this target was for the session.
    pub fn are_in(&self, target: &Target) -> bool {
        let is_mine = |room: &Room| self.0.contains(&RoomKey::of(room));
        let is_meant = target.rooms.is_empty() || target.rooms.iter().any(is_mine);
        is_meant && !target.excepted().iter().any(is_mine)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::unless_empty;

    fn session(rooms: Vec<Room>) -> Session {
        Session {
            pid: "pid".to_owned(),
            sid: "sid".to_owned(),
            rooms,
            data: Payload {
                json: "{}".to_owned(),
                attachments: None,
            },
        }
    }

    fn text(room: &str) -> Room {
        Room::Text(room.to_owned())
    }

    #[test]
    fn rooms_are_told_apart_by_type_and_value() {
        let session = session(vec![text("a"), Room::Number(42.0), Room::Number(-0.0)]);
        let rooms = Rooms::of(&session);
        let target = |rooms: Vec<Room>, except: Vec<Room>| Target {
            rooms,
            except: unless_empty(except),
            volatile: false,
            other_flags: None,
        };
        for (to, but, expected) in [
            (vec![], vec![], true),
            (vec![text("a")], vec![], true),
            (vec![text("b"), text("a")], vec![], true),
            (vec![text("b")], vec![], false),
            (vec![Room::Number(42.0)], vec![], true),
            (vec![text("42")], vec![], false),
            (vec![Room::Number(0.0)], vec![], true),
            (vec![text("sid")], vec![], true),
            (vec![], vec![text("a")], false),
            (vec![text("a")], vec![text("sid")], false),
        ] {
            let target = target(to, but);
            assert_eq!(rooms.are_in(&target), expected, "{target:?}");
        }
    }

    #[test]
    fn a_session_is_read_as_it_was_written_with_the_sockets_own_room() {
        let written = write(&session(vec![text("a")])).unwrap();
        let read = read(&written).unwrap();
        assert_eq!(
            format!("{:?}", read.rooms),
            format!("{:?}", [text("sid"), text("a")])
        );
        assert_eq!((read.sid.as_str(), read.pid.as_str()), ("sid", "pid"));
    }

    #[test]
    fn what_is_no_session_is_refused() {
        for bytes in [
            &b""[..],
            b"\x80",
            b"\xc1",
            b"\x83\xa3sid\xa1s\xa3pid\x07\xa5rooms\x90",
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
