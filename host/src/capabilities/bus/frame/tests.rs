//! Frames there and back, and everything that is not one.

#![allow(clippy::unwrap_used)]

use super::*;

const LIMIT: usize = 1000;

fn bytes(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    encode(frame, &mut out);
    out.freeze()
}

fn data(sender: &str, seq: u64, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    encode_data_head(sender, seq, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.freeze()
}

fn read(whole: &[u8]) -> Result<Frame, BadFrame> {
    let header = whole
        .first_chunk()
        .ok_or_else(|| BadFrame("no header".into()))?;
    let len = frame_len(header, LIMIT)?;
    match whole.len().cmp(&len) {
        std::cmp::Ordering::Equal => decode(Bytes::copy_from_slice(whole)),
        _ => bad("another length"),
    }
}

fn every_kind() -> Vec<Bytes> {
    let known = |base| Known {
        id: "ü".into(),
        incarnation: u64::MAX,
        base,
    };
    let hello = Hello {
        id: "me".into(),
        incarnation: 7,
        base: 8,
        max_frame_bytes: 9,
        max_unstable_bytes: 10,
        others: vec![("you".into(), 11), ("they".into(), 12)],
    };
    let members = vec![known(None), known(Some(3))];
    vec![
        bytes(&Frame::Hello(hello)),
        bytes(&Frame::Welcome {
            hub: "hub".into(),
            incarnation: 1,
            members,
        }),
        data("me", 5, b"payload"),
        data("me", 6, b""),
        bytes(&Frame::Ack { count: 1 }),
        bytes(&Frame::Stable { seq: 2 }),
        bytes(&Frame::Joined(known(Some(0)))),
        bytes(&Frame::Left { id: "x".into() }),
        bytes(&Frame::Cut {
            code: CutCode::Moved,
            text: "why".into(),
        }),
        bytes(&Frame::Bye),
    ]
}

#[test]
fn what_is_written_is_read_back() {
    for whole in every_kind() {
        let frame = read(&whole).unwrap();
        assert_eq!(bytes(&frame), whole, "{frame:?}");
    }
    let Ok(Frame::Data(frame)) = read(&data("me", 5, b"payload")) else {
        panic!("no data")
    };
    assert_eq!((frame.sender(), frame.seq), ("me", 5));
    assert_eq!(
        (&frame.payload()[..], frame.payload_len()),
        (&b"payload"[..], 7)
    );
}

#[test]
fn what_is_wrong_is_refused_with_a_reason() {
    let framed = |body: &[u8]| {
        let mut whole = (body.len() as u32).to_le_bytes().to_vec();
        whole.extend_from_slice(body);
        whole
    };
    let mut newer = every_kind()[0].to_vec();
    newer[13] = 2;
    for (wrong, reason) in [
        (vec![0xff, 0xff, 0xff, 0xff, DATA], "at most"),
        (vec![0, 0, 0, 0, DATA], "at most"),
        (
            data("me", 1, &[0; LIMIT + MAX_ID_BYTES]).to_vec(),
            "at most",
        ),
        (framed(&[77]), "unknown kind 77"),
        (framed(&[ACK, 1, 2]), "too short"),
        (framed(&[BYE, 1]), "after its end"),
        (framed(b"\x01GET / HTTP/1.1"), "not of a Switchboard bus"),
        (newer, "version 2"),
        (framed(&[LEFT, 0]), "an id of 0 bytes"),
        (framed(&[LEFT, 200, 1]), "an id of 200 bytes"),
        (framed(&[LEFT, 1, 0xff]), "not UTF-8"),
        (data("me", 0, b"").to_vec(), "number 0"),
    ] {
        let error = read(&wrong).unwrap_err().to_string();
        assert!(error.contains(reason), "expected {reason:?}, got {error:?}");
    }
}

#[test]
fn a_long_reason_is_cut_and_never_an_error() {
    let frame = Frame::Cut {
        code: CutCode::Refused,
        text: "ü".repeat(2000),
    };
    assert!(matches!(read(&bytes(&frame)), Ok(Frame::Cut { .. })));
}

#[test]
fn damaged_frames_never_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for good in every_kind() {
        for _ in 0..2000 {
            let mut damaged = good.to_vec();
            let at = random() % damaged.len();
            damaged[at] = random() as u8;
            let _ = read(&damaged);
            damaged.truncate(at);
            let _ = decode(damaged.into());
        }
    }
}
