//! Where the servers talk about switches: a namespace of their own, which Node.js servers pass over
//! and in which nobody else is. So who is heard in it is a server of Switchboard, and a node that is
//! heard elsewhere only is not.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::BoxStream};

use super::message::{self, ControlMessage};
use crate::cluster::{
    Body, Broadcast, Local, LocalAck, Message, Namespace, NodeId, Payload, Room, SocketInfo, Target,
};

/// The namespace. Clients cannot connect to it, because no server has handlers for it.
pub(crate) const NAMESPACE: &str = "/.switchboard";

/// Is this the namespace in which servers talk among themselves?
pub(crate) fn is_control(namespace: &Namespace) -> bool {
    namespace.as_str() == NAMESPACE
}

/// The name of the server event.
const EVENT: &str = "switchboard:switch";

/// A message of this node; `text` is made by [`text`].
pub(super) fn message(node: &NodeId, text: String) -> Message {
    Message {
        namespace: Namespace::from(NAMESPACE),
        sender: node.clone(),
        recipient: None,
        body: body(text),
    }
}

/// What such a message says, for the outbox.
pub(super) fn body(text: String) -> Body {
    Body::ServerEvent {
        data: Payload::text(text),
        request: None,
    }
}

/// How it is written.
pub(super) fn text(said: &ControlMessage) -> String {
    format!("[\"{EVENT}\",{}]", message::encode(said))
}

/// Is it this very text of this server's?
pub(super) fn is(message: &Message, text: &str) -> bool {
    said(message) == Some(text)
}

fn said(message: &Message) -> Option<&str> {
    match &message.body {
        Body::ServerEvent { data, .. } if message.namespace.as_str() == NAMESPACE => {
            Some(data.json.as_str())
        }
        _ => None,
    }
}

/// What another node says about switches. The outer none: it is another kind of message. The inner
/// one: it cannot be understood.
pub(super) fn read(message: &Message) -> Option<Option<ControlMessage>> {
    let text = said(message)?.trim();
    let open = text.strip_prefix('[')?.trim_start();
    let rest = open.strip_prefix('"')?.strip_prefix(EVENT)?;
    let rest = rest.strip_prefix('"')?.trim_start();
    let said = rest
        .strip_prefix(',')
        .and_then(|rest| rest.strip_suffix(']'));
    Some(said.and_then(message::decode))
}

/// This server's side of the namespace: nobody is in it.
pub(super) struct Nobody(Namespace);

impl Nobody {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Namespace::from(NAMESPACE)))
    }
}

impl Local for Nobody {
    fn namespace(&self) -> &Namespace {
        &self.0
    }

    fn broadcast(&self, _: Broadcast) -> usize {
        0
    }

    fn broadcast_with_ack(
        &self,
        _: &Broadcast,
        _: Duration,
    ) -> (u32, BoxStream<'static, LocalAck>) {
        (0, futures_util::stream::empty().boxed())
    }

    fn join(&self, _: &Target, _: &[Room]) {}

    fn leave(&self, _: &Target, _: &[Room]) {}

    fn disconnect(&self, _: &Target, _: bool) {}

    fn sockets(&self, _: &Target) -> Vec<SocketInfo> {
        Vec::new()
    }

    fn rooms(&self, _: &Target) -> Vec<Room> {
        Vec::new()
    }

    fn has_room(&self, _: &Room) -> bool {
        false
    }
}
