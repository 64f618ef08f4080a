//! The cluster core's values, as a plugin takes them: borrowed throughout. Lists inside messages
//! need room of their own; an arena holds those of one batch.

use bumpalo::Bump;

use crate::{
    bindings::switchboard::transport::messages as wit,
    cluster::{Body, Broadcast, Message, Payload, Room, SocketInfo, Target},
};

/// Converts a batch. What is allocated lives in `arena`.
pub(super) fn runs<'a>(arena: &'a Bump, batch: &'a [Message]) -> Vec<wit::RunParam<'a>> {
    let in_common =
        |a: &Message, b: &Message| (&a.namespace, &a.sender) == (&b.namespace, &b.sender);
    let runs = batch.chunk_by(in_common).filter_map(|messages| {
        let Message {
            namespace, sender, ..
        } = messages.first()?;
        Some(wit::RunParam {
            namespace: namespace.as_str(),
            sender: sender.as_str(),
            messages: in_a_run(arena, messages),
        })
    });
    runs.collect()
}

/// Messages of one run. For whom an event is, is said once for those that follow each other.
fn in_a_run<'a>(arena: &'a Bump, messages: &'a [Message]) -> &'a [wit::MessageParam<'a>] {
    let mut last: Option<&Target> = None;
    arena.alloc_slice_fill_iter(messages.iter().map(|message| {
        let mut is_again = false;
        if let Body::Broadcast(event) = &message.body {
            let known = last.replace(&event.target);
            let is_plain = event.packet_id.is_none() && event.request.is_none();
            is_again = is_plain && known == last;
        }
        wit::MessageParam {
            recipient: message.recipient.as_ref().map(|node| node.as_str()),
            body: match &message.body {
                Body::Broadcast(event) if is_again => {
                    wit::BodyParam::Again(payload(arena, &event.data))
                }
                whole => body(arena, whole),
            },
        }
    }))
}

fn body<'a>(arena: &'a Bump, body: &'a Body) -> wit::BodyParam<'a> {
    use wit::BodyParam as G;
    match body {
        Body::InitialHeartbeat => G::InitialHeartbeat,
        Body::Heartbeat => G::Heartbeat,
        Body::AdapterClose => G::AdapterClose,
        Body::Broadcast(b) => G::Broadcast(broadcast(arena, b)),
        Body::SocketsJoin { target, rooms } => G::SocketsJoin(room_change(arena, target, rooms)),
        Body::SocketsLeave { target, rooms } => G::SocketsLeave(room_change(arena, target, rooms)),
        Body::DisconnectSockets { target: t, close } => {
            G::DisconnectSockets(wit::DisconnectionParam {
                target: target(arena, t),
                close: *close,
            })
        }
        Body::FetchSockets { request, target: t } => G::FetchSockets(wit::QueryParam {
            request: request.as_str(),
            target: target(arena, t),
        }),
        Body::FetchRooms { request, target: t } => G::FetchRooms(wit::QueryParam {
            request: request.as_str(),
            target: target(arena, t),
        }),
        Body::ServerEvent { data, request } => G::ServerEvent(wit::ServerEventParam {
            data: payload(arena, data),
            request: request.as_ref().map(|id| id.as_str()),
        }),
        Body::CustomQuery {
            request,
            kind,
            data,
        } => G::CustomQuery(wit::CustomQueryParam {
            request: request.as_str(),
            kind,
            data: payload(arena, data),
        }),
        Body::SocketsAnswer { request, sockets } => G::SocketsAnswer(wit::SocketsAnswerParam {
            request: request.as_str(),
            sockets: list(arena, sockets, socket),
        }),
        Body::ClientCount { request, clients } => G::ClientCount(wit::CountAnswerParam {
            request: request.as_str(),
            clients: *clients,
        }),
        Body::ClientAck {
            request,
            socket,
            data,
            error,
        } => G::ClientAck(wit::AckAnswerParam {
            request: request.as_str(),
            socket: socket.as_deref(),
            data: payload(arena, data),
            error: error.as_deref(),
        }),
        Body::ServerEventAnswer {
            request,
            data,
            error,
        } => G::ServerEventAnswer(wit::ValueAnswerParam {
            request: request.as_str(),
            data: data.as_ref().map(|data| payload(arena, data)),
            error: error.as_deref(),
        }),
        Body::CustomAnswer {
            request,
            data,
            error,
        } => G::CustomAnswer(wit::ValueAnswerParam {
            request: request.as_str(),
            data: data.as_ref().map(|data| payload(arena, data)),
            error: error.as_deref(),
        }),
        Body::RoomsAnswer { request, rooms: r } => G::RoomsAnswer(wit::RoomsAnswerParam {
            request: request.as_str(),
            rooms: rooms(arena, r),
        }),
    }
}

fn broadcast<'a>(arena: &'a Bump, broadcast: &'a Broadcast) -> wit::BroadcastParam<'a> {
    wit::BroadcastParam {
        target: target(arena, &broadcast.target),
        data: payload(arena, &broadcast.data),
        packet_id: broadcast.packet_id.as_deref(),
        request: broadcast.request.as_ref().map(|id| id.as_str()),
    }
}

fn room_change<'a>(
    arena: &'a Bump,
    of: &'a Target,
    change: &'a [Room],
) -> wit::RoomChangeParam<'a> {
    wit::RoomChangeParam {
        target: target(arena, of),
        rooms: rooms(arena, change),
    }
}

fn target<'a>(arena: &'a Bump, target: &'a Target) -> wit::TargetParam<'a> {
    wit::TargetParam {
        rooms: rooms(arena, &target.rooms),
        except: unless_empty(rooms(arena, &target.except)),
        volatile: target.volatile,
        other_flags: target.flags.as_deref(),
    }
}

pub(super) fn rooms<'a>(arena: &'a Bump, rooms: &'a [Room]) -> &'a [wit::RoomParam<'a>] {
    list(arena, rooms, |_, room| match room {
        Room::Text(text) => wit::RoomParam::Text(text),
        Room::Number(number) => wit::RoomParam::Number(*number),
    })
}

pub(super) fn payload<'a>(arena: &'a Bump, payload: &'a Payload) -> wit::PayloadParam<'a> {
    wit::PayloadParam {
        json: payload.json.as_str(),
        attachments: unless_empty(list(arena, &payload.attachments, |_, bytes| bytes.as_ref())),
    }
}

fn socket<'a>(arena: &'a Bump, socket: &'a SocketInfo) -> wit::SocketParam<'a> {
    wit::SocketParam {
        id: &socket.id,
        rooms: rooms(arena, &socket.rooms),
        handshake: payload(arena, &socket.handshake),
        data: payload(arena, &socket.data),
    }
}

/// What is seldom there costs nothing when it is not: even an empty list is a call into the guest.
fn unless_empty<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

fn list<'a, T, U>(
    arena: &'a Bump,
    items: &'a [T],
    convert: impl Fn(&'a Bump, &'a T) -> U,
) -> &'a [U] {
    if items.is_empty() {
        return &[];
    }
    arena.alloc_slice_fill_iter(items.iter().map(|item| convert(arena, item)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(namespace: &str, rooms: &[&str], packet_id: Option<&str>) -> Message {
        Message {
            namespace: namespace.into(),
            sender: "a".into(),
            recipient: None,
            body: Body::Broadcast(Broadcast {
                target: Target {
                    rooms: rooms.iter().copied().map(Room::from).collect(),
                    ..Target::default()
                },
                data: Payload::text("[1]"),
                packet_id: packet_id.map(Into::into),
                request: None,
            }),
        }
    }

    /// What is said of each message: for which rooms, or that it is for those of the one before.
    fn said(batch: &[Message]) -> Vec<Vec<String>> {
        let one = |message: &wit::MessageParam<'_>| match &message.body {
            wit::BodyParam::Broadcast(event) => {
                format!("{:?} {:?}", event.target.rooms.len(), event.packet_id)
            }
            wit::BodyParam::Again(data) => format!("again {}", data.json),
            _ => "other".to_owned(),
        };
        let arena = Bump::new();
        runs(&arena, batch)
            .iter()
            .map(|run| run.messages.iter().map(one).collect())
            .collect()
    }

    #[test]
    fn events_for_the_same_clients_say_so_once_in_a_run() {
        let heartbeat = Message {
            body: Body::Heartbeat,
            ..event("/", &[], None)
        };
        let with = |change: &dyn Fn(&mut Broadcast)| {
            let mut message = event("/", &["r"], None);
            if let Body::Broadcast(event) = &mut message.body {
                change(event);
            }
            message
        };
        let batch = [
            event("/", &["r"], None),
            event("/", &["r"], None),
            with(&|event| event.request = Some("q".into())),
            event("/", &["r"], None),
            with(&|event| event.target.volatile = true),
            with(&|event| event.target.except = vec![Room::from("x")]),
            with(&|event| event.target.flags = Some("{}".into())),
            event("/", &["r", "s"], None),
            event("/", &["r", "s"], Some("7")),
            heartbeat,
            event("/", &["r", "s"], None),
            event("/", &["s", "r"], None),
            event("/chat", &["s", "r"], None),
            event("/chat", &["s", "r"], None),
        ];
        assert_eq!(
            said(&batch),
            [
                vec![
                    "1 None",
                    "again [1]",
                    "1 None",
                    "again [1]",
                    "1 None",
                    "1 None",
                    "1 None",
                    "2 None",
                    "2 Some(\"7\")",
                    "other",
                    "again [1]",
                    "2 None",
                ],
                vec!["2 None", "again [1]"],
            ]
        );
    }
}
