//! Sessions for connection state recovery, as Node keeps them: in base64.

use switchboard_plugin::{
    types::Session,
    wire::{Rejected, WireError, session},
};

use super::base64;

/// Writes a session, see [`session::write`].
///
/// # Errors
/// When its data is not JSON, or refers to a binary part that is not there.
pub fn write(session: &Session) -> Result<String, Rejected> {
    Ok(base64::encode(&session::write(session)?))
}

/// Reads a session.
///
/// # Errors
/// When it is malformed.
pub fn read(text: &[u8]) -> Result<Session, WireError> {
    session::read(&base64::decode(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::types::{Payload, Room};

    use super::*;

    fn session(rooms: &[&str], json: &str, attachments: &[&[u8]]) -> Session {
        Session {
            pid: "7qqO3jS_N62n2ZzyAAAB".to_owned(),
            sid: "NnDHzXGtdvgLPzYwAAAA".to_owned(),
            rooms: rooms
                .iter()
                .map(|name| Room::Text((*name).into()))
                .collect(),
            data: Payload::new(json, attachments.iter().map(|part| part.to_vec()).collect()),
        }
    }

    /// The vector `session-key`.
    const NODES: &str = "hKNzaWS0Tm5ESHpYR3RkdmdMUHpZd0FBQUGjcGlktDdxcU8zalNfTjYybjJaenlBQUFCpXJvb21zkrRObkRIelhHdGR2Z0xQell3QUFBQaVyb29tMaRkYXRhgaR1c2VyonUx";

    #[test]
    fn a_session_has_the_very_bytes_that_node_writes() {
        let ours = session(&["NnDHzXGtdvgLPzYwAAAA", "room1"], r#"{"user":"u1"}"#, &[]);
        assert_eq!(write(&ours).unwrap(), NODES);
        let read = read(NODES.as_bytes()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{ours:?}"));
    }

    #[test]
    fn the_sockets_own_id_is_among_the_rooms_of_what_is_kept() {
        let written = write(&session(&["room1"], r#"{"user":"u1"}"#, &[])).unwrap();
        assert_eq!(written, NODES);
    }

    #[test]
    fn binary_data_and_rooms_of_both_types_survive() {
        let mut ours = session(&[], r#"{"key":{"_placeholder":true,"num":0}}"#, &[&[1, 2]]);
        ours.rooms = vec![
            Room::Text(ours.sid.clone()),
            Room::Number(42.0),
            Room::Text("42".into()),
        ];
        let read = read(write(&ours).unwrap().as_bytes()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{ours:?}"));
    }

    #[test]
    fn what_is_no_session_is_refused() {
        for bytes in [
            &b""[..],
            b"\x80",
            b"\x93\x01\x02\x03",
            b"\x83\xa3sid\xa1s\xa3pid\xa1p\xa4data\x80",
            b"\x83\xa3sid\xa1s\xa3pid\x07\xa5rooms\x90",
            b"\x83\xa3sid\xa1s\xa3pid\xa1p\xa5rooms\x90\x00",
        ] {
            assert!(read(base64::encode(bytes).as_bytes()).is_err(), "{bytes:?}");
        }
        let bare = b"\x83\xa3sid\xa1s\xa3pid\xa1p\xa5rooms\x90";
        let bare = read(base64::encode(bare).as_bytes()).unwrap();
        assert_eq!(bare.data.json, "{}");
    }
}
