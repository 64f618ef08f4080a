//! `[uid, packet, opts]`, always msgpack.
//!
//! Node's receivers do not catch what is malformed here: one wrong message ends their process. So
//! all three elements are always written, with all their members.

use std::cell::RefCell;

use switchboard_plugin::{
    types::{Body, Broadcast, Message, Target},
    wire::{
        Cursor, Format, Rejected, WireError, Writer,
        msgpack::{self, Token},
        unexpected,
        values::{self, PacketNamespace},
    },
};

/// Room for everything but the payload.
const OVERHEAD_BYTES: usize = 192;
const DEFAULT_NAMESPACE: &str = "/";

/// Who sent a broadcast, without reading more of it. None: it is no broadcast.
pub fn peek_sender(payload: &[u8]) -> Option<&str> {
    let mut reader = msgpack::Reader(payload);
    match (reader.token().ok()?, reader.token().ok()?) {
        (Token::Array(3..), Token::Text(sender)) => std::str::from_utf8(sender).ok(),
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

/// The last `opts` that ended a message, and what they are: broadcasts that follow each other mostly
/// have the same ones.
#[derive(Debug, Default, Clone)]
pub(super) struct LastOpts(RefCell<Option<(Vec<u8>, Target)>>);

impl LastOpts {
    /// Longer ones are not worth being kept.
    const MAX_BYTES: usize = 512;

    fn read(&self, cursor: &mut Cursor<'_>) -> Result<Target, WireError> {
        let Cursor::Msgpack(reader) = cursor else {
            return values::read_target(cursor);
        };
        let rest = reader.0;
        if let Some((bytes, target)) = &*self.0.borrow()
            && bytes == rest
        {
            reader.0 = &[];
            return Ok(target.clone());
        }
        let target = values::read_target(cursor)?;
        if rest.len() <= Self::MAX_BYTES && cursor.end().is_ok() {
            self.0.replace(Some((rest.to_vec(), target.clone())));
        }
        Ok(target)
    }
}

/// Reads a broadcast. None: it is for another namespace, or of this node itself; then its packet
/// is not decoded.
pub(super) fn read(
    payload: &[u8],
    namespace: &str,
    node: &str,
    opts: &LastOpts,
) -> Result<Option<Message>, WireError> {
    if peek_sender(payload) == Some(node) {
        return Ok(None);
    }
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
    Ok(Some(Message {
        namespace: namespace.to_owned(),
        sender,
        recipient: None,
        body: Body::Broadcast(Broadcast {
            target,
            data: packet.data,
            packet_id: packet.id,
            request: None,
        }),
    }))
}

pub(super) fn write(
    sender: &str,
    namespace: &str,
    broadcast: &Broadcast,
) -> Result<Vec<u8>, Rejected> {
    let data = &broadcast.data;
    let attached: usize = data.attachments.iter().map(Vec::len).sum();
    let mut writer = Writer::new(Format::Msgpack, data.json.len() + attached + OVERHEAD_BYTES);
    writer.array(3);
    writer.text(sender);
    values::write_packet(
        &mut writer,
        data,
        broadcast.packet_id.as_deref(),
        Some(namespace),
    )?;
    values::write_target(&mut writer, &broadcast.target)?;
    writer.end_array();
    writer.finish()
}
