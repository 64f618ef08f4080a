//! What members and the hub say to each other: kinds of frames, their bytes, and the checks on
//! what arrives. No sockets here ([`super::wire`]) and no decisions ([`super::log`],
//! [`super::inbox`]).
//!
//! ```text
//! frame   = length u32 (of what follows)  kind u8  body
//! hello   = magic  version u16  incarnation u64  base u64  max-frame u32  max-unstable u64
//!           id  { id incarnation u64 }                       the others it knows
//! welcome = magic  version u16  incarnation u64  id  { id incarnation u64 base }
//! data    = id  seq u64  payload                             read and passed on as one piece
//! ack     = count u64         entries taken on this connection
//! stable  = seq u64           all members have the frames of this member up to here
//! joined  = id incarnation u64 base
//! left    = id
//! cut     = code u8  text     the hub ends this connection
//! bye     =                   the member leaves for good
//! id      = length u8 (1 to 128)  UTF-8
//! base    = 0 u8 | 1 u8 seq u64
//! ```
//!
//! Numbers are little endian. Later versions keep the layout of `frame`, of `cut`, and of the
//! beginning of `hello` and `welcome` up to the version.

use std::{str, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The version of the protocol that this build speaks.
const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"swbd-bus";

/// Longest id of a member, in bytes.
pub(super) const MAX_ID_BYTES: usize = 128;
/// Members of one bus; also how many others a `hello` may list.
pub(super) const MAX_MEMBERS: usize = 256;
/// The length of a frame and its kind.
pub(super) const HEADER_BYTES: usize = 5;
/// What a data frame has before its payload, at most.
pub(super) const MAX_DATA_HEAD_BYTES: usize = HEADER_BYTES + 1 + MAX_ID_BYTES + 8;
/// The longest frame of every other kind: a `welcome` with all members is 38 KiB.
pub(super) const MAX_CONTROL_BYTES: usize = 64 << 10;
/// What a cut may say.
const MAX_TEXT_BYTES: usize = 1024;

/// The other side broke the protocol. Only its own connection suffers.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadFrame(pub(super) String);

fn bad<T>(text: impl Into<String>) -> Result<T, BadFrame> {
    Err(BadFrame(text.into()))
}

/// Why the hub ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutCode {
    /// This member will not be served: it breaks the protocol, or there is no place for it.
    Refused,
    /// It took nothing for too long.
    Stalled,
    /// The hub's process leaves the bus: somebody else must serve.
    Leaving,
    /// The hub's process lives on, but its socket was removed: meet at the path again.
    Moved,
}

/// A member as others are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: Arc<str>,
    /// Differs between two processes, or two memberships, that use the same id.
    pub(super) incarnation: u64,
    /// The last of its frames that does not follow on this connection; none if that is not known,
    /// because it has not come back yet after a takeover.
    pub(super) base: Option<u64>,
}

/// What a member says first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hello {
    pub(super) id: Arc<str>,
    pub(super) incarnation: u64,
    /// All members have its frames up to here; it goes on with the next.
    pub(super) base: u64,
    /// Its longest payload.
    pub(super) max_frame_bytes: usize,
    /// How many bytes of payload it sends before it waits until they are stable.
    pub(super) max_unstable_bytes: usize,
    /// The members that it knows, with their incarnations.
    pub(super) others: Vec<(Arc<str>, u64)>,
}

/// Any frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    Hello(Hello),
    Welcome {
        hub: Arc<str>,
        incarnation: u64,
        members: Vec<Known>,
    },
    Data(Data),
    Ack {
        count: u64,
    },
    Stable {
        seq: u64,
    },
    Joined(Known),
    Left {
        id: Arc<str>,
    },
    Cut {
        code: CutCode,
        text: String,
    },
    Bye,
}

/// A data frame as it stands on the wire: passed on without being built again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Data {
    /// All of it, with the header.
    pub(super) whole: Bytes,
    /// Where the payload begins.
    payload_at: usize,
    pub(super) seq: u64,
}

impl Data {
    pub(super) fn sender(&self) -> &str {
        let id = self
            .whole
            .get(HEADER_BYTES + 1..self.payload_at - 8)
            .unwrap_or_default();
        // Checked when it was decoded.
        str::from_utf8(id).unwrap_or_default()
    }

    pub(super) fn payload(&self) -> Bytes {
        self.whole.slice(self.payload_at..)
    }

    pub(super) fn payload_len(&self) -> usize {
        self.whole.len() - self.payload_at
    }
}

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const DATA: u8 = 3;
const ACK: u8 = 4;
const STABLE: u8 = 5;
const JOINED: u8 = 6;
const LEFT: u8 = 7;
const CUT: u8 = 8;
const BYE: u8 = 9;

/// What the first bytes of a frame say: how long it is, if it may be that long.
///
/// # Errors
/// The kind is not known, or the length is over the limit of the kind. `max_payload` limits data.
pub(super) fn frame_len(
    header: &[u8; HEADER_BYTES],
    max_payload: usize,
) -> Result<usize, BadFrame> {
    let [a, b, c, d, kind] = *header;
    let rest = u32::from_le_bytes([a, b, c, d]) as usize;
    let limit = match kind {
        DATA => MAX_DATA_HEAD_BYTES + max_payload,
        HELLO..=BYE => MAX_CONTROL_BYTES,
        _ => return bad(format!("a frame of unknown kind {kind}")),
    };
    let len = rest.saturating_add(HEADER_BYTES - 1);
    if rest == 0 || len > limit {
        return bad(format!(
            "a frame of kind {kind} with {len} bytes; at most {limit} are allowed"
        ));
    }
    Ok(len)
}

/// Reads a whole frame, header included.
///
/// # Errors
/// Anything that is not exactly what the module says.
pub(super) fn decode(whole: Bytes) -> Result<Frame, BadFrame> {
    let mut reader = Reader(whole.get(4..).unwrap_or_default());
    let frame = match reader.u8()? {
        HELLO => {
            reader.magic()?;
            let incarnation = reader.u64()?;
            let base = reader.u64()?;
            let max_frame_bytes = reader.u32()? as usize;
            let max_unstable_bytes = reader.size()?;
            let id = reader.id()?;
            let mut others = Vec::new();
            while !reader.0.is_empty() {
                others.push((reader.id()?, reader.u64()?));
            }
            if others.len() > MAX_MEMBERS {
                return bad("a hello that lists too many members");
            }
            Frame::Hello(Hello {
                id,
                incarnation,
                base,
                max_frame_bytes,
                max_unstable_bytes,
                others,
            })
        }
        WELCOME => {
            reader.magic()?;
            let incarnation = reader.u64()?;
            let hub = reader.id()?;
            let mut members = Vec::new();
            while !reader.0.is_empty() {
                members.push(reader.known()?);
            }
            Frame::Welcome {
                hub,
                incarnation,
                members,
            }
        }
        DATA => {
            reader.id_text()?;
            let seq = reader.u64()?;
            if seq == 0 {
                return bad("a data frame with the number 0");
            }
            let payload_at = whole.len() - reader.0.len();
            return Ok(Frame::Data(Data {
                whole,
                payload_at,
                seq,
            }));
        }
        ACK => Frame::Ack {
            count: reader.u64()?,
        },
        STABLE => Frame::Stable { seq: reader.u64()? },
        JOINED => Frame::Joined(reader.known()?),
        LEFT => Frame::Left { id: reader.id()? },
        CUT => {
            let code = match reader.u8()? {
                1 => CutCode::Stalled,
                2 => CutCode::Leaving,
                3 => CutCode::Moved,
                _ => CutCode::Refused,
            };
            let text = reader.0.get(..MAX_TEXT_BYTES).unwrap_or(reader.0);
            let text = String::from_utf8_lossy(text).into_owned();
            return Ok(Frame::Cut { code, text });
        }
        BYE => Frame::Bye,
        kind => return bad(format!("a frame of unknown kind {kind}")),
    };
    if reader.0.is_empty() {
        Ok(frame)
    } else {
        bad("a frame with bytes after its end")
    }
}

/// Appends a frame of any kind but data.
pub(super) fn encode(frame: &Frame, out: &mut BytesMut) {
    let start = out.len();
    out.put_u32_le(0);
    match frame {
        Frame::Hello(hello) => {
            out.put_u8(HELLO);
            put_magic(out);
            out.put_u64_le(hello.incarnation);
            out.put_u64_le(hello.base);
            out.put_u32_le(u32::try_from(hello.max_frame_bytes).unwrap_or(u32::MAX));
            out.put_u64_le(hello.max_unstable_bytes as u64);
            put_id(out, &hello.id);
            for (id, incarnation) in hello.others.iter().take(MAX_MEMBERS) {
                put_id(out, id);
                out.put_u64_le(*incarnation);
            }
        }
        Frame::Welcome {
            hub,
            incarnation,
            members,
        } => {
            out.put_u8(WELCOME);
            put_magic(out);
            out.put_u64_le(*incarnation);
            put_id(out, hub);
            members.iter().for_each(|member| put_known(out, member));
        }
        Frame::Data(data) => {
            out.truncate(start);
            return out.extend_from_slice(&data.whole);
        }
        Frame::Ack { count } => {
            out.put_u8(ACK);
            out.put_u64_le(*count);
        }
        Frame::Stable { seq } => {
            out.put_u8(STABLE);
            out.put_u64_le(*seq);
        }
        Frame::Joined(member) => {
            out.put_u8(JOINED);
            put_known(out, member);
        }
        Frame::Left { id } => {
            out.put_u8(LEFT);
            put_id(out, id);
        }
        Frame::Cut { code, text } => {
            out.put_u8(CUT);
            out.put_u8(match code {
                CutCode::Refused => 0,
                CutCode::Stalled => 1,
                CutCode::Leaving => 2,
                CutCode::Moved => 3,
            });
            let text = text.as_bytes();
            out.extend_from_slice(text.get(..MAX_TEXT_BYTES).unwrap_or(text));
        }
        Frame::Bye => out.put_u8(BYE),
    }
    let len = out.len() - start - 4;
    put_len(out, start, len);
}

/// Appends what a data frame has before its payload.
pub(super) fn encode_data_head(sender: &str, seq: u64, payload_len: usize, out: &mut BytesMut) {
    let start = out.len();
    out.put_u32_le(0);
    out.put_u8(DATA);
    put_id(out, sender);
    out.put_u64_le(seq);
    let len = out.len() - start - 4 + payload_len;
    put_len(out, start, len);
}

fn put_len(out: &mut BytesMut, at: usize, len: usize) {
    // Payloads are limited far below 4 GiB.
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if let Some(prefix) = out.get_mut(at..at + 4) {
        prefix.copy_from_slice(&len.to_le_bytes());
    }
}

fn put_magic(out: &mut BytesMut) {
    out.extend_from_slice(MAGIC);
    out.put_u16_le(VERSION);
}

/// Ids are checked when a bus starts and when one is read: none is longer than a byte can say.
fn put_id(out: &mut BytesMut, id: &str) {
    out.put_u8(u8::try_from(id.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(id.as_bytes());
}

fn put_known(out: &mut BytesMut, member: &Known) {
    put_id(out, &member.id);
    out.put_u64_le(member.incarnation);
    out.put_u8(u8::from(member.base.is_some()));
    if let Some(base) = member.base {
        out.put_u64_le(base);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadFrame> {
        match self.0.split_at_checked(len) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => bad("a frame that is too short for its kind"),
        }
    }

    fn u8(&mut self) -> Result<u8, BadFrame> {
        self.take(1).map(|mut bytes| bytes.get_u8())
    }

    fn u32(&mut self) -> Result<u32, BadFrame> {
        self.take(4).map(|mut bytes| bytes.get_u32_le())
    }

    fn u64(&mut self) -> Result<u64, BadFrame> {
        self.take(8).map(|mut bytes| bytes.get_u64_le())
    }

    fn size(&mut self) -> Result<usize, BadFrame> {
        self.u64()
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    fn magic(&mut self) -> Result<(), BadFrame> {
        if self.take(MAGIC.len())? != MAGIC {
            return bad("a greeting that is not of a Switchboard bus");
        }
        let [a, b] = *self.take(2)? else {
            return bad("a greeting without a version");
        };
        let version = u16::from_le_bytes([a, b]);
        if version != VERSION {
            return bad(format!(
                "the other process speaks version {version} of the bus protocol and this one \
                 version {VERSION}: run the same release of Switchboard in all processes of this \
                 bus, or give them another path"
            ));
        }
        Ok(())
    }

    fn id_text(&mut self) -> Result<&'a str, BadFrame> {
        let len = usize::from(self.u8()?);
        if len == 0 || len > MAX_ID_BYTES {
            return bad(format!(
                "an id of {len} bytes; 1 to {MAX_ID_BYTES} are allowed"
            ));
        }
        str::from_utf8(self.take(len)?).or_else(|_| bad("an id that is not UTF-8"))
    }

    fn id(&mut self) -> Result<Arc<str>, BadFrame> {
        self.id_text().map(Arc::from)
    }

    fn known(&mut self) -> Result<Known, BadFrame> {
        let id = self.id()?;
        let incarnation = self.u64()?;
        let base = match self.u8()? {
            0 => None,
            _ => Some(self.u64()?),
        };
        Ok(Known {
            id,
            incarnation,
            base,
        })
    }
}

#[cfg(test)]
mod tests;
