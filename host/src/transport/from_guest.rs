//! What a plugin returned, as the cluster core's values. Texts and bytes are moved, not copied;
//! what repeats from message to message (namespace, sender) is shared.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    bindings::{
        exports::switchboard::transport::subscriber as guest,
        switchboard::transport::{lifecycle, messages as wit},
    },
    cluster::{
        Body, Broadcast, Event, Failure, Membership, Message, Namespace, NodeId, Offset, Payload,
        RequestId, Room, SocketInfo, Target, TransportInfo,
    },
};

/// Converts the events of one poll.
///
/// # Errors
/// How the plugin broke its promise, if that cannot be borne.
pub(super) fn events(events: Vec<guest::Event>) -> Result<Taken, String> {
    let mut taken = Taken {
        events: Vec::with_capacity(events.iter().map(count).sum()),
        odd: None,
    };
    let mut shared = Shared::default();
    for event in events {
        match event {
            guest::Event::Messages(received) => shared.messages(received, &mut taken)?,
            guest::Event::NodeLeft(node) => taken.events.push(Event::NodeLeft(node.into())),
            guest::Event::Lagged(guest::Lag { missed, reason }) => {
                taken.events.push(Event::Lagged { missed, reason });
            }
        }
    }
    Ok(taken)
}

/// What a poll brought.
pub(super) struct Taken {
    pub(super) events: Vec<Event>,
    /// So many offsets stood beside so many messages. Nobody knows whose they are.
    pub(super) odd: Option<(usize, usize)>,
}

/// What the rooms of all `again` of a poll may take when each message has its own. What crosses the border
/// is limited there; this is what a plugin could make of little. A transport that takes about a MiB from its
/// backend in a poll comes to half of it, be every room a number of one byte.
const MAX_REPEATED_BYTES: usize = 64 << 20;

fn count(event: &guest::Event) -> usize {
    match event {
        guest::Event::Messages(received) => received.run.messages.len(),
        _ => 1,
    }
}

/// The last namespace and sender, which mostly differ in one of the two from run to run.
#[derive(Default)]
struct Shared {
    namespace: Option<Namespace>,
    sender: Option<NodeId>,
    /// Of targets, so far.
    repeated_bytes: usize,
}

impl Shared {
    fn messages(&mut self, received: guest::Received, taken: &mut Taken) -> Result<(), String> {
        let guest::Received { run, offsets } = received;
        let namespace = match &self.namespace {
            Some(known) if known.as_str() == run.namespace => known.clone(),
            _ => self.namespace.insert(run.namespace.into()).clone(),
        };
        let sender = match &self.sender {
            Some(known) if known.as_str() == run.sender => known.clone(),
            _ => self.sender.insert(run.sender.into()).clone(),
        };
        let counts = (offsets.len(), run.messages.len());
        let is_odd = counts.0 != 0 && counts.0 != counts.1;
        if is_odd {
            taken.odd = Some(counts);
        }
        let mut offsets = match is_odd {
            true => Vec::new().into_iter(),
            false => offsets.into_iter(),
        };
        // Where the last broadcast of the run stands.
        let mut last = None;
        for wit::MessageResult { recipient, body } in run.messages {
            let offset = offsets.next().filter(|offset| !offset.is_empty());
            let before = target_at(&taken.events, last);
            if let (wit::BodyResult::Again(_), Some(target)) = (&body, before) {
                self.repeats(target)?;
            }
            let Some(body) = in_full(body, before) else {
                taken.events.push(Event::Lagged {
                    missed: Some(1),
                    reason: NOBODY.to_owned(),
                });
                continue;
            };
            if matches!(body, Body::Broadcast(_)) {
                last = Some(taken.events.len());
            }
            let message = Message {
                namespace: namespace.clone(),
                sender: sender.clone(),
                recipient: recipient.map(NodeId::from),
                body,
            };
            let event = Event::Message(message, offset.map(Offset::from));
            taken.events.push(event);
        }
        Ok(())
    }

    /// One more message gets what another said.
    fn repeats(&mut self, target: &Target) -> Result<(), String> {
        let rooms = target.rooms.len() + target.except.len();
        self.repeated_bytes += rooms * size_of::<Room>();
        match self.repeated_bytes > MAX_REPEATED_BYTES {
            true => Err(format!(
                "the rooms of its events would take more than {MAX_REPEATED_BYTES} bytes; write \
                 events for many rooms as `broadcast`, not as `again`"
            )),
            false => Ok(()),
        }
    }
}

/// Why there is a gap instead of an event.
const NOBODY: &str = "the transport plugin gave an `again` without a `broadcast` before it in its run, so \
    nobody knows for whom it is";

/// For whom the broadcast at this place is.
fn target_at(events: &[Event], at: Option<usize>) -> Option<&Target> {
    match events.get(at?)? {
        Event::Message(message, _) => match &message.body {
            Body::Broadcast(event) => Some(&event.target),
            _ => None,
        },
        _ => None,
    }
}

/// `before`: for whom the last broadcast before it in its run is. None: there is none, and it needs one.
fn in_full(body: wit::BodyResult, before: Option<&Target>) -> Option<Body> {
    use wit::BodyResult as G;
    Some(match body {
        G::Again(data) => Body::Broadcast(Broadcast {
            target: before?.clone(),
            data: payload(data),
            packet_id: None,
            request: None,
        }),
        G::InitialHeartbeat => Body::InitialHeartbeat,
        G::Heartbeat => Body::Heartbeat,
        G::AdapterClose => Body::AdapterClose,
        G::Broadcast(b) => Body::Broadcast(broadcast(b)),
        G::SocketsJoin(wit::RoomChangeResult {
            target: t,
            rooms: r,
        }) => Body::SocketsJoin {
            target: target(t),
            rooms: rooms(r),
        },
        G::SocketsLeave(wit::RoomChangeResult {
            target: t,
            rooms: r,
        }) => Body::SocketsLeave {
            target: target(t),
            rooms: rooms(r),
        },
        G::DisconnectSockets(wit::DisconnectionResult { target: t, close }) => {
            Body::DisconnectSockets {
                target: target(t),
                close,
            }
        }
        G::FetchSockets(wit::QueryResult { request, target: t }) => Body::FetchSockets {
            request: request.into(),
            target: target(t),
        },
        G::FetchRooms(wit::QueryResult { request, target: t }) => Body::FetchRooms {
            request: request.into(),
            target: target(t),
        },
        G::ServerEvent(wit::ServerEventResult { data, request }) => Body::ServerEvent {
            data: payload(data),
            request: request.map(RequestId::from),
        },
        G::CustomQuery(wit::CustomQueryResult {
            request,
            kind,
            data,
        }) => Body::CustomQuery {
            request: request.into(),
            kind: kind.into(),
            data: payload(data),
        },
        G::SocketsAnswer(wit::SocketsAnswerResult { request, sockets }) => Body::SocketsAnswer {
            request: request.into(),
            sockets: sockets.into_iter().map(socket).collect(),
        },
        G::ClientCount(wit::CountAnswerResult { request, clients }) => Body::ClientCount {
            request: request.into(),
            clients,
        },
        G::ClientAck(wit::AckAnswerResult {
            request,
            socket,
            data,
            error,
        }) => Body::ClientAck {
            request: request.into(),
            socket: socket.map(Arc::from),
            data: payload(data),
            error: error.map(Arc::from),
        },
        G::ServerEventAnswer(wit::ValueAnswerResult {
            request,
            data,
            error,
        }) => Body::ServerEventAnswer {
            request: request.into(),
            data: data.map(payload),
            error: error.map(Arc::from),
        },
        G::CustomAnswer(wit::ValueAnswerResult {
            request,
            data,
            error,
        }) => Body::CustomAnswer {
            request: request.into(),
            data: data.map(payload),
            error: error.map(Arc::from),
        },
        G::RoomsAnswer(wit::RoomsAnswerResult { request, rooms: r }) => Body::RoomsAnswer {
            request: request.into(),
            rooms: rooms(r),
        },
    })
}

pub(super) fn broadcast(broadcast: wit::BroadcastResult) -> Broadcast {
    let wit::BroadcastResult {
        target: t,
        data,
        packet_id,
        request,
    } = broadcast;
    Broadcast {
        target: target(t),
        data: payload(data),
        packet_id: packet_id.map(Arc::from),
        request: request.map(RequestId::from),
    }
}

fn target(target: wit::TargetResult) -> Target {
    let wit::TargetResult {
        rooms: r,
        except,
        volatile,
        other_flags,
    } = target;
    Target {
        rooms: r.into_iter().map(room).collect(),
        except: rooms(except.unwrap_or_default()),
        volatile,
        flags: other_flags.map(Arc::from),
    }
}

pub(super) fn rooms(rooms: Vec<wit::RoomResult>) -> Vec<Room> {
    rooms.into_iter().map(room).collect()
}

pub(super) fn room(room: wit::RoomResult) -> Room {
    match room {
        wit::RoomResult::Text(text) => Room::Text(text.into()),
        wit::RoomResult::Number(number) => Room::Number(number),
    }
}

pub(super) fn payload(payload: wit::PayloadResult) -> Payload {
    let wit::PayloadResult { json, attachments } = payload;
    Payload {
        json: json.into(),
        attachments: attachments.into_iter().flatten().map(Bytes::from).collect(),
    }
}

fn socket(socket: wit::SocketResult) -> SocketInfo {
    let wit::SocketResult {
        id,
        rooms: r,
        handshake,
        data,
    } = socket;
    SocketInfo {
        id: id.into(),
        rooms: rooms(r),
        handshake: payload(handshake),
        data: payload(data),
    }
}

pub(super) fn failure(failure: lifecycle::Failure) -> Failure {
    match failure {
        lifecycle::Failure::Unavailable(why) => Failure::Unavailable(why),
        lifecycle::Failure::Rejected(why) => Failure::Rejected(why),
    }
}

pub(super) fn info(info: lifecycle::TransportInfo) -> TransportInfo {
    TransportInfo {
        membership: match info.membership {
            lifecycle::Membership::Heartbeats => Membership::Heartbeats,
            lifecycle::Membership::Counted => Membership::Counted,
        },
        rooms_query: info.rooms_query,
        custom_query: info.custom_query,
        reports_leaving: info.reports_leaving,
    }
}

pub(super) fn offsets(offsets: Vec<String>) -> Vec<Offset> {
    offsets.into_iter().map(Offset::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sender: &str, messages: usize, offsets: &[&str]) -> guest::Event {
        let message = || wit::MessageResult {
            recipient: None,
            body: wit::BodyResult::Heartbeat,
        };
        guest::Event::Messages(guest::Received {
            run: wit::RunResult {
                namespace: "/".to_owned(),
                sender: sender.to_owned(),
                messages: std::iter::repeat_with(message).take(messages).collect(),
            },
            offsets: offsets.iter().map(|&offset| offset.to_owned()).collect(),
        })
    }

    #[test]
    fn a_run_becomes_its_messages_with_offsets_only_if_each_has_one() {
        let taken = all(vec![
            run("a", 2, &["1", "2"]),
            run("a", 0, &[]),
            guest::Event::NodeLeft("a".to_owned()),
            run("b", 1, &[]),
            run("b", 2, &["", "3"]),
        ]);
        let shown = |taken: &Taken| -> Vec<String> {
            let one = |event: &Event| match event {
                Event::Message(message, offset) => {
                    let offset = offset.as_ref().map_or("", Offset::as_str);
                    format!("{}{}{offset}", message.namespace, message.sender)
                }
                other => format!("{other:?}"),
            };
            taken.events.iter().map(one).collect()
        };
        let left = format!("{:?}", Event::NodeLeft("a".into()));
        assert_eq!(shown(&taken), ["/a1", "/a2", &left, "/b", "/b", "/b3"]);
        assert_eq!(taken.odd, None);

        for (messages, offsets) in [(2, &["4"][..]), (1, &["5", "6"]), (0, &["7"])] {
            let taken = all(vec![run("c", messages, offsets)]);
            assert_eq!(shown(&taken), vec!["/c"; messages]);
            assert_eq!(taken.odd, Some((offsets.len(), messages)));
        }
    }

    fn all(given: Vec<guest::Event>) -> Taken {
        match events(given) {
            Ok(taken) => taken,
            Err(why) => panic!("{why}"),
        }
    }

    fn data(json: &str) -> wit::PayloadResult {
        wit::PayloadResult {
            json: json.to_owned(),
            attachments: None,
        }
    }

    fn event(room: &str) -> wit::BodyResult {
        wit::BodyResult::Broadcast(wit::BroadcastResult {
            target: wit::TargetResult {
                rooms: vec![wit::RoomResult::Text(room.to_owned())],
                except: None,
                volatile: true,
                other_flags: None,
            },
            data: data("[\"first\"]"),
            packet_id: Some("7".to_owned()),
            request: Some("q".to_owned()),
        })
    }

    fn run_of(bodies: Vec<wit::BodyResult>) -> guest::Event {
        let offsets = (0..bodies.len()).map(|n| n.to_string()).collect();
        let message = |body| wit::MessageResult {
            recipient: None,
            body,
        };
        guest::Event::Messages(guest::Received {
            run: wit::RunResult {
                namespace: "/".to_owned(),
                sender: "a".to_owned(),
                messages: bodies.into_iter().map(message).collect(),
            },
            offsets,
        })
    }

    /// For which room, with which packet id, what, and the offset.
    fn said(taken: &Taken) -> Vec<String> {
        let one = |event: &Event| match event {
            Event::Message(message, offset) => {
                let what = match &message.body {
                    Body::Broadcast(Broadcast {
                        target,
                        data,
                        packet_id,
                        request,
                    }) => {
                        assert!(target.volatile && packet_id.is_some() == request.is_some());
                        let id = packet_id.as_deref().unwrap_or("-");
                        format!("{:?} {id} {}", target.rooms, data.json.as_str())
                    }
                    other => other.name().to_owned(),
                };
                format!("{what} {}", offset.as_ref().map_or("", Offset::as_str))
            }
            other => format!("{other:?}"),
        };
        taken.events.iter().map(one).collect()
    }

    #[test]
    fn one_more_event_is_for_the_clients_of_the_last_broadcast_of_its_run() {
        let again = || wit::BodyResult::Again(data("[2]"));
        let taken = all(vec![run_of(vec![
            event("r"),
            again(),
            wit::BodyResult::Heartbeat,
            again(),
            event("s"),
            again(),
        ])]);
        assert_eq!(taken.odd, None);
        assert_eq!(
            said(&taken),
            [
                r#"[Text("r")] 7 ["first"] 0"#,
                r#"[Text("r")] - [2] 1"#,
                "heartbeat 2",
                r#"[Text("r")] - [2] 3"#,
                r#"[Text("s")] 7 ["first"] 4"#,
                r#"[Text("s")] - [2] 5"#,
            ]
        );
    }

    #[test]
    fn one_more_event_than_none_is_dropped_and_the_others_keep_their_offsets() {
        let again = || wit::BodyResult::Again(data("[2]"));
        let heartbeat = || wit::BodyResult::Heartbeat;
        let taken = all(vec![
            run_of(vec![event("r")]),
            run_of(vec![heartbeat(), again(), heartbeat()]),
        ]);
        let gap = Event::Lagged {
            missed: Some(1),
            reason: NOBODY.to_owned(),
        };
        assert_eq!(
            said(&taken),
            [
                r#"[Text("r")] 7 ["first"] 0"#,
                "heartbeat 0",
                &format!("{gap:?}"),
                "heartbeat 2"
            ]
        );
    }

    #[test]
    fn little_that_would_take_much_is_a_fault() {
        let wide = |rooms: usize| {
            let mut wide = event("r");
            if let wit::BodyResult::Broadcast(event) = &mut wide {
                let number = |n| wit::RoomResult::Number(n as f64);
                event.target.except = Some((0..rooms).map(number).collect());
            }
            wide
        };
        let run = |rooms: usize, n: usize| {
            let again = std::iter::repeat_with(|| wit::BodyResult::Again(data("[2]")));
            run_of(std::iter::once(wide(rooms)).chain(again.take(n)).collect())
        };
        let most = MAX_REPEATED_BYTES / size_of::<Room>() / 1000;
        // The broadcast's own room counts, too.
        assert!(events(vec![run(999, most / 2), run(999, most / 2)]).is_ok());
        assert!(events(vec![run(999, most / 2), run(999, most / 2 + 2)]).is_err());
    }
}
