//! What a member and the hub say to each other over the socket.
//!
//! ```text
//! frame   length (4 bytes, little endian) of what follows, kind (1 byte), body
//! ```
//!
//! The length is checked before anything is allocated; whatever is wrong ends that connection and
//! nothing else.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Starts every `Hello` and `Welcome`; the last byte is the version.
const MAGIC: [u8; 8] = *b"swbrdbus";
const VERSION: u8 = 1;

/// Longest node id in bytes.
pub(super) const MAX_ID_BYTES: usize = 128;
/// Longest reason in a `Cut`.
const MAX_REASON_BYTES: usize = 1024;
/// What a frame may hold besides its payload.
const MAX_HEAD_BYTES: usize = 1 + 8 + 1 + MAX_ID_BYTES;
/// Most members in one bus, and so in a `Welcome`.
pub(super) const MAX_MEMBERS: usize = 256;

/// One frame. `Data` goes both ways: towards the hub its sender is empty, the hub knows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    /// First word of a member: its id, and whom it knew on the bus before.
    Hello { id: Arc<str>, known: Vec<Arc<str>> },
    /// The hub's answer: who it lives with, and who else is there.
    Welcome {
        hub: Arc<str>,
        members: Vec<Arc<str>>,
    },
    /// A payload. `seq` counts the frames of its sender.
    Data {
        sender: Arc<str>,
        seq: u64,
        payload: Bytes,
    },
    /// The member has taken so many `Data` on this connection.
    Ack { count: u64 },
    /// Every member has taken this member's frames up to here.
    Stable { seq: u64 },
    /// A member came.
    Joined { id: Arc<str> },
    /// A member went.
    Left { id: Arc<str> },
    /// The hub ends this connection, and why.
    Cut { reason: String },
    /// The member leaves for good.
    Bye,
    /// The hub ends, its process lives on: connect again.
    HandingOver,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one frame; none at a clean end.
pub(super) async fn read<R: AsyncRead + Unpin>(
    from: &mut R,
    max_payload: usize,
) -> io::Result<Option<Frame>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let len = u32::from_le_bytes(len) as usize;
    let limit = (max_payload + MAX_HEAD_BYTES).max(MAX_MEMBERS * (MAX_ID_BYTES + 1) + 256);
    if len == 0 || len > limit {
        return Err(invalid(&format!(
            "a frame of {len} bytes, the limit is {limit}"
        )));
    }
    let mut body = BytesMut::zeroed(len);
    from.read_exact(&mut body).await?;
    decode(body.freeze()).map(Some)
}

fn decode(mut body: Bytes) -> io::Result<Frame> {
    let [kind] = array(&mut body)?;
    let frame = match kind {
        1 => {
            greeting(&mut body)?;
            Frame::Hello {
                id: id(&mut body)?,
                known: ids(&mut body)?,
            }
        }
        2 => {
            greeting(&mut body)?;
            Frame::Welcome {
                hub: id(&mut body)?,
                members: ids(&mut body)?,
            }
        }
        3 => Frame::Data {
            seq: number(&mut body)?,
            sender: optional_id(&mut body)?,
            payload: body.split_to(body.len()),
        },
        4 => Frame::Ack {
            count: number(&mut body)?,
        },
        5 => Frame::Stable {
            seq: number(&mut body)?,
        },
        6 => Frame::Joined { id: id(&mut body)? },
        7 => Frame::Left { id: id(&mut body)? },
        8 => {
            let reason = body.split_to(body.len().min(MAX_REASON_BYTES));
            body.clear();
            Frame::Cut {
                reason: String::from_utf8_lossy(&reason).into_owned(),
            }
        }
        9 => Frame::Bye,
        10 => Frame::HandingOver,
        _ => return Err(invalid(&format!("a frame of unknown kind {kind}"))),
    };
    if body.is_empty() {
        Ok(frame)
    } else {
        Err(invalid("a frame that is too long"))
    }
}

fn greeting(body: &mut Bytes) -> io::Result<()> {
    if array::<8>(body)? != MAGIC {
        return Err(invalid("no greeting of a Switchboard bus"));
    }
    let [version] = array(body)?;
    if version != VERSION {
        return Err(invalid(&format!(
            "the other side speaks version {version} of the bus, this one {VERSION}: run one \
             version of Switchboard on this socket"
        )));
    }
    Ok(())
}

fn array<const N: usize>(body: &mut Bytes) -> io::Result<[u8; N]> {
    if body.len() < N {
        return Err(invalid("a frame that is too short"));
    }
    let taken = body.split_to(N);
    taken
        .as_ref()
        .try_into()
        .map_err(|_| invalid("a frame that is too short"))
}

fn number(body: &mut Bytes) -> io::Result<u64> {
    array(body).map(u64::from_le_bytes)
}

fn optional_id(body: &mut Bytes) -> io::Result<Arc<str>> {
    let [len] = array(body)?;
    let len = usize::from(len);
    if len > MAX_ID_BYTES || len > body.len() {
        return Err(invalid("an id that is too long"));
    }
    let id = body.split_to(len);
    std::str::from_utf8(&id)
        .map(Arc::from)
        .map_err(|_| invalid("an id that is not UTF-8"))
}

fn id(body: &mut Bytes) -> io::Result<Arc<str>> {
    let id = optional_id(body)?;
    if id.is_empty() {
        Err(invalid("an empty id"))
    } else {
        Ok(id)
    }
}

/// The ids that are left in a frame.
fn ids(body: &mut Bytes) -> io::Result<Vec<Arc<str>>> {
    let mut ids = Vec::new();
    while !body.is_empty() {
        ids.push(id(body)?);
    }
    if ids.len() > MAX_MEMBERS {
        return Err(invalid("too many members"));
    }
    Ok(ids)
}

/// Writes one frame. The payload is not copied if `to` passes large writes through.
pub(super) async fn write<W: AsyncWrite + Unpin>(to: &mut W, frame: &Frame) -> io::Result<()> {
    let mut head = Vec::with_capacity(64);
    head.extend_from_slice(&[0; 4]);
    let mut payload: &[u8] = &[];
    match frame {
        Frame::Hello { id, known } => {
            greet(&mut head, 1);
            put_id(&mut head, id);
            known.iter().for_each(|member| put_id(&mut head, member));
        }
        Frame::Welcome { hub, members } => {
            greet(&mut head, 2);
            put_id(&mut head, hub);
            members.iter().for_each(|member| put_id(&mut head, member));
        }
        Frame::Data {
            sender,
            seq,
            payload: data,
        } => {
            head.push(3);
            head.extend_from_slice(&seq.to_le_bytes());
            put_id(&mut head, sender);
            payload = data;
        }
        Frame::Ack { count } => {
            head.push(4);
            head.extend_from_slice(&count.to_le_bytes());
        }
        Frame::Stable { seq } => {
            head.push(5);
            head.extend_from_slice(&seq.to_le_bytes());
        }
        Frame::Joined { id } => {
            head.push(6);
            put_id(&mut head, id);
        }
        Frame::Left { id } => {
            head.push(7);
            put_id(&mut head, id);
        }
        Frame::Cut { reason } => {
            head.push(8);
            payload = reason.as_bytes();
            payload = payload.get(..MAX_REASON_BYTES).unwrap_or(payload);
        }
        Frame::Bye => head.push(9),
        Frame::HandingOver => head.push(10),
    }
    let len = (head.len() - 4 + payload.len()) as u32;
    if let Some(prefix) = head.get_mut(..4) {
        prefix.copy_from_slice(&len.to_le_bytes());
    }
    to.write_all(&head).await?;
    to.write_all(payload).await
}

fn greet(head: &mut Vec<u8>, kind: u8) {
    head.push(kind);
    head.extend_from_slice(&MAGIC);
    head.push(VERSION);
}

/// Ids are checked when a bus starts and when they are read: none is longer than a byte can say.
fn put_id(head: &mut Vec<u8>, id: &str) {
    head.push(id.len() as u8);
    head.extend_from_slice(id.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LIMIT: usize = 1000;

    fn every_kind() -> Vec<Frame> {
        vec![
            Frame::Hello {
                id: "a".into(),
                known: vec![],
            },
            Frame::Hello {
                id: "a".into(),
                known: vec!["b".into(), "c".into()],
            },
            Frame::Welcome {
                hub: "a".into(),
                members: vec!["b".into(), "ü".into()],
            },
            Frame::Welcome {
                hub: "a".into(),
                members: vec![],
            },
            Frame::Data {
                sender: "a".into(),
                seq: u64::MAX,
                payload: Bytes::from_static(b"x"),
            },
            Frame::Data {
                sender: "".into(),
                seq: 0,
                payload: Bytes::new(),
            },
            Frame::Ack { count: 7 },
            Frame::Stable { seq: 8 },
            Frame::Joined { id: "a".into() },
            Frame::Left { id: "a".into() },
            Frame::Cut {
                reason: "too slow".into(),
            },
            Frame::Bye,
            Frame::HandingOver,
        ]
    }

    async fn bytes(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, frame).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn every_frame_survives_a_round_trip() {
        for frame in every_kind() {
            let written = bytes(&frame).await;
            let got = read(&mut written.as_slice(), LIMIT).await.unwrap();
            assert_eq!(got, Some(frame));
        }
        assert_eq!(
            read(&mut [].as_slice(), LIMIT).await.unwrap(),
            None,
            "a clean end"
        );
    }

    #[tokio::test]
    async fn what_is_wrong_is_refused() {
        let frame = |body: &[u8]| {
            let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
            bytes.extend_from_slice(body);
            bytes
        };
        let mut newer = bytes(&Frame::Hello {
            id: "a".into(),
            known: vec![],
        })
        .await;
        newer[13] = 2;
        for (wrong, expected) in [
            (u32::MAX.to_le_bytes().to_vec(), "the limit is"),
            (0u32.to_le_bytes().to_vec(), "the limit is"),
            (frame(&[77]), "unknown kind 77"),
            (frame(&[4, 1, 2]), "too short"),
            (frame(&[9, 1]), "too long"),
            (frame(b"\x01GET / HTTP/1.1"), "no greeting"),
            (newer, "version 2"),
            (frame(&[6, 0]), "empty id"),
            (frame(&[6, 200, 1, 2]), "too long"),
            (frame(&[6, 1, 0xff]), "not UTF-8"),
        ] {
            let error = read(&mut wrong.as_slice(), LIMIT)
                .await
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(expected),
                "expected {expected:?}, got {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn damaged_frames_never_panic() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for frame in every_kind() {
            let good = bytes(&frame).await;
            for _ in 0..2000 {
                let mut damaged = good.clone();
                let at = random() as usize % damaged.len();
                damaged[at] = random() as u8;
                let _ = read(&mut damaged.as_slice(), LIMIT).await;
            }
        }
    }
}
