//! What other servers see of this one, and what they may do here.

use std::time::Duration;

use futures_util::StreamExt as _;
use socketioxide_core::{Sid, adapter::CoreAdapter};
use socketioxide_parser_common::CommonParser;

use super::{hub::*, log::Log, server::*};
use crate::{
    adapter::local::LocalNamespace,
    cluster::{
        local::Local,
        message::{Body, Broadcast, Payload, RequestId, Room, SocketInfo, Target},
    },
};

fn event(target: Target) -> Broadcast {
    Broadcast {
        target,
        data: Payload::text("[\"event\"]"),
        packet_id: None,
        request: None,
    }
}

fn rooms(rooms: &[&str]) -> Target {
    let rooms = rooms.iter().map(|room| Room::from(*room)).collect();
    Target {
        rooms,
        ..Target::default()
    }
}

async fn server() -> (
    Server<CommonParser>,
    LocalNamespace<super::stub::Stub<CommonParser>>,
    [Sid; 2],
) {
    let sockets = [Sid::new(), Sid::new()];
    let anna = Server::start(&Hub::default(), ANNA, sockets);
    let local = LocalNamespace::new(&anna.adapter);
    (anna, local, sockets)
}

#[tokio::test(start_paused = true)]
async fn a_socket_is_described_with_its_id_as_a_room_and_nothing_invented() {
    let hub = Hub::default();
    let a = Sid::new();
    let anna = Server::<CommonParser>::start(&hub, ANNA, [a]);
    anna.local().add_all(a, "room");
    let mut peer = Peer::join(&hub, "6f6e").await;
    let request = RequestId::from("r");
    let target = Target::default();
    peer.say(Body::FetchSockets { request, target }).await;

    let Body::SocketsAnswer { sockets, .. } = peer.hear().await else {
        panic!()
    };
    let [
        SocketInfo {
            id,
            rooms,
            handshake,
            data,
        },
    ] = &sockets[..]
    else {
        panic!("{sockets:?}")
    };
    assert_eq!(&**id, a.as_str());
    assert_eq!(rooms.len(), 2);
    assert!(rooms.contains(&Room::from(a.as_str())) && rooms.contains(&Room::from("room")));
    assert_eq!(
        handshake.json.as_str(),
        "{\"headers\":{},\"query\":{},\"auth\":{}}"
    );
    assert_eq!(data.json.as_str(), "{}");
}

#[tokio::test(start_paused = true)]
async fn only_packets_for_full_buffers_count_as_dropped() {
    let (anna, local, [a, b]) = server().await;
    anna.stub.state().full.insert(a);
    anna.stub.state().closed.insert(b);
    assert_eq!(local.broadcast(event(Target::default())), 1);
    assert_eq!(local.broadcast(event(rooms(&[a.as_str(), b.as_str()]))), 1);
    assert_eq!(local.broadcast(event(rooms(&[b.as_str()]))), 0);
    let volatile = Target {
        volatile: true,
        ..Target::default()
    };
    assert_eq!(local.broadcast(event(volatile)), 0);
    assert_eq!(anna.stub.state().volatile, 2);
}

#[tokio::test(start_paused = true)]
async fn numbered_rooms_select_and_change_nothing() {
    let (anna, local, [a, _]) = server().await;
    let five = Target {
        rooms: [Room::Number(5.0)].into(),
        ..Target::default()
    };
    assert_eq!(
        local
            .broadcast_with_ack(&event(five.clone()), Duration::from_secs(1))
            .0,
        0
    );
    assert!(local.sockets(&five).is_empty());
    local.join(&Target::default(), &[Room::Number(5.0), Room::from("five")]);
    assert_eq!(anna.local().socket_rooms(a).len(), 1);
    assert!(local.has_room(&Room::from("five")));
    assert!(!local.has_room(&Room::Number(5.0)));
}

#[tokio::test(start_paused = true)]
async fn ids_and_joined_rooms_are_rooms_that_this_server_has() {
    let (anna, local, [a, _]) = server().await;
    anna.local().add_all(a, "room");
    assert!(local.has_room(&Room::from("room")));
    assert!(local.has_room(&Room::from(a.as_str())));
    assert!(!local.has_room(&Room::from("other")));
    assert!(!local.has_room(&Room::from(Sid::new().as_str())));
    assert_eq!(local.rooms(&Target::default()), [Room::from("room")]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_nonsense_is_an_error_and_not_an_answer() {
    let (anna, local, [a, b]) = server().await;
    anna.stub.state().ack = Some(socketioxide_core::Value::Str("[1,".into(), None));
    let (clients, acks) =
        local.broadcast_with_ack(&event(Target::default()), Duration::from_secs(1));
    let acks: Vec<_> = acks.collect().await;
    assert_eq!((clients, acks.len()), (2, 2));
    for ack in acks {
        assert!([a, b].iter().any(|sid| sid.as_str() == &*ack.socket));
        assert!(ack.data.unwrap_err().starts_with("{\"Decode\":"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_server_is_gone_is_empty() {
    let (anna, local, [a, _]) = server().await;
    let cluster = anna.cluster.clone();
    anna.adapter.close().await.unwrap();
    drop(anna);
    assert_eq!(local.broadcast(event(Target::default())), 0);
    assert_eq!(
        local
            .broadcast_with_ack(&event(Target::default()), Duration::ZERO)
            .0,
        0
    );
    assert!(local.sockets(&Target::default()).is_empty());
    assert!(local.rooms(&Target::default()).is_empty());
    assert!(!local.has_room(&Room::from(a.as_str())));
    local.join(&Target::default(), &[Room::from("room")]);
    local.leave(&Target::default(), &[Room::from("room")]);
    local.disconnect(&Target::default(), true);
    cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn disconnecting_with_the_connection_disconnects_from_the_namespace() {
    let (anna, local, [a, b]) = server().await;
    anna.stub.state().full.insert(b);
    let (log, _guard) = Log::of_this_thread();
    local.disconnect(&Target::default(), true);
    assert!(!anna.stub.state().connected.contains(&a));
    assert!(
        anna.stub.state().connected.contains(&b),
        "its buffer was full"
    );
    let told = log.lines_with("stay connected");
    assert_eq!(told.len(), 1, "{told:?}");
    // The server's own operators come here too.
    assert!(!told[0].contains("another"), "{told:?}");
    local.disconnect(&Target::default(), false);
    assert_eq!(log.lines_with("stay connected").len(), 1, "not each time");
}
