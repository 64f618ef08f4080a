//! `[uid, packet, opts]`, always msgpack.
//!
//! Node's receivers do not catch what is malformed here: one wrong message ends their process. So
//! all three elements are always written, with all their members.

use std::{borrow::Cow, cell::RefCell, mem, sync::Arc};

use switchboard_plugin::{
    BroadcastRef, Heard, Said,
    types::{Body, Broadcast, Payload, Target},
    wire::{
        Cursor, Format, MAX_MESSAGE_BYTES, MAX_NODE_ID_BYTES, Rejected, WireError, Writer, is_same,
        msgpack::{self, Token},
        unexpected,
        values::{self, PacketNamespace},
    },
};

/// Room for everything but the payload.
const OVERHEAD_BYTES: usize = 192;
const DEFAULT_NAMESPACE: &str = "/";

/// The head of an array of three.
const USUAL_HEAD: u8 = 0x93;
/// How a packet begins before its data, and goes on behind it, where Node's adapter or ours has written it.
const USUAL_BEGINNING: &[u8] = b"\x83\xa4type\x02\xa4data";
const USUAL_END: &[u8] = b"\xa3nsp";

/// Who sent a broadcast, without reading more of it. None: it is no broadcast.
pub fn peek_sender(payload: &[u8]) -> Option<&str> {
    begin(payload).map(|(sender, _)| sender)
}

/// The sender, and what stands behind it.
fn begin(payload: &[u8]) -> Option<(&str, &[u8])> {
    let mut reader = msgpack::Reader(payload);
    match (reader.token().ok()?, reader.token().ok()?) {
        (Token::Array(3..), Token::Text(sender)) => {
            Some((std::str::from_utf8(sender).ok()?, reader.0))
        }
        _ => None,
    }
}

/// How a broadcast of this node begins.
pub(super) fn beginning(node: &str) -> Vec<u8> {
    let mut beginning = Vec::new();
    msgpack::write_array_len(&mut beginning, 3);
    msgpack::write_text(&mut beginning, node);
    beginning
}

/// The last `opts` of a message, and what they are: broadcasts that follow each other mostly have the
/// same ones.
#[derive(Debug, Default, Clone)]
pub(super) struct LastOpts(RefCell<Option<(Vec<u8>, Arc<Target>)>>);

impl LastOpts {
    /// Longer ones are not worth being kept.
    const MAX_BYTES: usize = 512;

    fn read(&self, cursor: &mut Cursor<'_>) -> Result<Arc<Target>, WireError> {
        let Cursor::Msgpack(reader) = cursor else {
            return values::read_target(cursor).map(Arc::new);
        };
        let rest = reader.0;
        if let Some((bytes, target)) = &*self.0.borrow()
            && is_same(bytes, rest)
        {
            reader.0 = &[];
            return Ok(Arc::clone(target));
        }
        let target = Arc::new(values::read_target(cursor)?);
        if cursor.end().is_ok() {
            self.keep(rest, &target);
        }
        Ok(target)
    }

    fn write(&self, target: &Target, writer: &mut Writer) -> Result<(), Rejected> {
        if let Some((bytes, known)) = &*self.0.borrow()
            && known.is_like(target)
        {
            writer.written(bytes);
            return Ok(());
        }
        let mut opts = Writer::new(Format::Msgpack, 0);
        values::write_target(&mut opts, target)?;
        let opts = opts.finish()?;
        writer.written(&opts);
        self.keep(&opts, &Arc::new(target.clone()));
        Ok(())
    }

    fn keep(&self, bytes: &[u8], target: &Arc<Target>) {
        if bytes.len() <= Self::MAX_BYTES {
            self.0.replace(Some((bytes.to_vec(), Arc::clone(target))));
        }
    }
}

/// Reads a broadcast. None: it is for another namespace, or of this node itself; then its packet
/// is not decoded.
pub(super) fn read<'a>(
    payload: &'a [u8],
    namespace: &'a str,
    node: &str,
    opts: &LastOpts,
) -> Result<Option<Heard<'a>>, WireError> {
    if let Some((sender, rest)) = begin(payload) {
        if is_same(sender.as_bytes(), node.as_bytes()) {
            return Ok(None);
        }
        if let Some((target, data)) = read_usual(payload, sender, rest, namespace, opts) {
            return Ok(Some(heard(namespace, sender, target, data, None)));
        }
    }
    read_any(payload, namespace, opts)
}

/// Reads a broadcast however it is written.
fn read_any<'a>(
    payload: &'a [u8],
    namespace: &'a str,
    opts: &LastOpts,
) -> Result<Option<Heard<'a>>, WireError> {
    let mut cursor = Cursor::of_msgpack(payload)?;
    let (mut sender, mut packet, mut target) = (None, None, None);
    let mut index = 0;
    cursor.array("message", |cursor| {
        match index {
            0 => sender = Some(values::read_node(cursor)?),
            1 => packet = Some(values::read_packet(cursor)?),
            2 => target = Some(opts.read(cursor)?),
            _ => {}
        }
        index += 1;
        Ok(())
    })?;
    cursor.end()?;
    let (Some(sender), Some(packet), Some(target)) = (sender, packet, target) else {
        return Err(unexpected("message", "an array of uid, packet and opts"));
    };
    let meant = match &packet.namespace {
        PacketNamespace::Absent => Some(DEFAULT_NAMESPACE),
        PacketNamespace::None => None,
        PacketNamespace::Name(name) => Some(name.as_str()),
    };
    if meant != Some(namespace) {
        return Ok(None);
    }
    Ok(Some(heard(
        namespace,
        sender,
        target,
        packet.data,
        packet.id,
    )))
}

/// Reads what stands behind the sender, if it is written as usual. None: it is not, or is for another
/// namespace, or something is wrong with it.
fn read_usual(
    payload: &[u8],
    sender: &str,
    rest: &[u8],
    namespace: &str,
    opts: &LastOpts,
) -> Option<(Arc<Target>, Payload)> {
    let is_usual = payload.first() == Some(&USUAL_HEAD)
        && payload.len() <= MAX_MESSAGE_BYTES
        && sender.len() <= MAX_NODE_ID_BYTES;
    if !is_usual {
        return None;
    }
    let mut cursor = Cursor::Msgpack(msgpack::Reader(rest.strip_prefix(USUAL_BEGINNING)?));
    let data = values::read_event(&mut cursor).ok()?;
    let Cursor::Msgpack(reader) = &mut cursor else {
        return None;
    };
    reader.0 = reader.0.strip_prefix(USUAL_END)?;
    if reader.token().ok()? != Token::Text(namespace.as_bytes()) {
        return None;
    }
    let target = opts.read(&mut cursor).ok()?;
    cursor.end().ok()?;
    Some((target, data))
}

fn heard<'a>(
    namespace: &'a str,
    sender: impl Into<Cow<'a, str>>,
    target: Arc<Target>,
    data: Payload,
    packet_id: Option<String>,
) -> Heard<'a> {
    let body = match packet_id {
        None => Said::Event { target, data },
        packet_id => Said::Whole(Body::Broadcast(Broadcast {
            target: Arc::unwrap_or_clone(target),
            data,
            packet_id,
            request: None,
        })),
    };
    Heard {
        namespace: namespace.into(),
        sender: sender.into(),
        recipient: None,
        body,
    }
}

/// Written over `out`.
pub(super) fn write(
    sender: &str,
    namespace: &str,
    broadcast: BroadcastRef<'_>,
    opts: &LastOpts,
    out: &mut Vec<u8>,
) -> Result<(), Rejected> {
    let data = broadcast.data;
    let attached: usize = data.parts().iter().map(Vec::len).sum();
    let mut writer = Writer::again(Format::Msgpack, mem::take(out));
    writer.reserve(data.json.len() + attached + OVERHEAD_BYTES);
    writer.array(3);
    writer.text(sender);
    match broadcast.packet_id {
        None => {
            writer.written(USUAL_BEGINNING);
            writer.payload(data)?;
            writer.written(USUAL_END);
            writer.text(namespace);
        }
        id => values::write_packet(&mut writer, data, id, Some(namespace))?,
    }
    opts.write(broadcast.target, &mut writer)?;
    writer.end_array();
    *out = writer.finish()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use switchboard_plugin::types::Room;

    use super::*;

    fn written() -> Vec<u8> {
        let broadcast = Broadcast {
            target: Target {
                rooms: vec![Room::Text("r".to_owned())],
                except: None,
                volatile: false,
                other_flags: None,
            },
            data: Payload {
                json: r#"["e",{"k":1},"é"]"#.to_owned(),
                attachments: None,
            },
            packet_id: None,
            request: None,
        };
        let mut written = Vec::new();
        write(
            "them",
            "/chat",
            (&broadcast).into(),
            &LastOpts::default(),
            &mut written,
        )
        .unwrap();
        written
    }

    fn usual(payload: &[u8]) -> Option<Heard<'_>> {
        let (sender, rest) = begin(payload)?;
        let opts = LastOpts::default();
        let (target, data) = read_usual(payload, sender, rest, "/chat", &opts)?;
        Some(heard("/chat", sender, target, data, None))
    }

    #[test]
    fn what_is_read_the_usual_way_is_what_is_read_any_way() {
        let payload = written();
        let shown = |message: &Heard<'_>| format!("{message:?}");
        let check = |payload: &[u8]| {
            let Some(quickly) = usual(payload) else {
                return false;
            };
            let any = read_any(payload, "/chat", &LastOpts::default());
            assert_eq!(
                shown(&quickly),
                shown(&any.unwrap().unwrap()),
                "{payload:?}"
            );
            true
        };
        assert!(check(&payload), "what we write is written as usual");
        let mut alike = 0;
        for at in 0..payload.len() {
            for byte in 0..=255 {
                let mut payload = payload.clone();
                payload[at] = byte;
                alike += usize::from(check(&payload));
            }
            check(&payload[..at]);
            check(&[&payload[..at], b"x", &payload[at..]].concat());
        }
        assert!(alike > payload.len(), "other letters in texts, at least");
    }

    #[test]
    fn options_that_are_known_are_written_as_if_they_were_not() {
        let text = |name: &str| Room::Text(name.to_owned());
        let target = |rooms: &[Room], except: &[Room], volatile, flags: Option<&str>| Target {
            rooms: rooms.to_vec(),
            except: (!except.is_empty()).then(|| except.to_vec()),
            volatile,
            other_flags: flags.map(str::to_owned),
        };
        let targets = [
            target(&[], &[], false, None),
            target(&[text("1")], &[], false, None),
            target(&[Room::Number(1.0)], &[], false, None),
            target(&[], &[text("1")], false, None),
            target(&[], &[], true, None),
            target(&[], &[], false, Some(r#"{"compress":true}"#)),
        ];
        let known = LastOpts::default();
        for a in &targets {
            for b in &targets {
                for target in [a, a, b] {
                    let written = |opts: &LastOpts| {
                        let mut writer = Writer::new(Format::Msgpack, 0);
                        opts.write(target, &mut writer).unwrap();
                        writer.finish().unwrap()
                    };
                    assert_eq!(written(&known), written(&LastOpts::default()), "{target:?}");
                }
            }
        }
    }
}
