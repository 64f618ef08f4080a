//! Sockets and rooms of all servers: listing them and operating on them.

use socketioxide_core::{
    Sid,
    adapter::{BroadcastOptions, CoreAdapter},
};
use socketioxide_parser_common::CommonParser;

use super::{hub::*, server::*};
use crate::{
    adapter::server_id,
    cluster::message::{Body, Payload, Room, SocketInfo},
};

fn described(id: &str) -> SocketInfo {
    SocketInfo {
        id: id.into(),
        rooms: vec![Room::from(id), Room::Number(5.0), Room::from("node")],
        handshake: Payload::text("{}"),
        data: Payload::text("{}"),
    }
}

#[tokio::test(start_paused = true)]
async fn sockets_of_other_servers_can_be_listed_and_operated() {
    let (anna, bert, sockets @ [_, _, c, d]) = pair().await;
    let all = anna.adapter.fetch_sockets(everyone()).await.unwrap();
    assert_eq!(sorted(all.iter().map(|socket| socket.id)), sorted(sockets));
    let of_c = all.into_iter().find(|socket| socket.id == c).unwrap();
    assert_eq!(of_c.server_id, BERT.parse().unwrap());
    let opts = BroadcastOptions::new_remote(&of_c);

    anna.adapter
        .broadcast(anna.event(&1), opts.clone())
        .await
        .unwrap();
    assert!(matches!(bert.received(1).await[..], [(sid, _)] if sid == c));

    anna.adapter
        .add_sockets(opts.clone(), ["x", "y"])
        .await
        .unwrap();
    until(async || bert.local().socket_rooms(c).len() == 2).await;
    assert_eq!(
        sorted(anna.adapter.rooms(opts.clone()).await.unwrap()),
        ["x", "y"]
    );
    assert!(
        anna.local().socket_rooms(c).is_empty(),
        "no ghost of it here"
    );
    anna.adapter.del_sockets(opts.clone(), "x").await.unwrap();
    until(async || bert.local().socket_rooms(c).len() == 1).await;

    anna.adapter.disconnect_socket(opts).await.unwrap();
    until(async || bert.stub.state().connected.len() == 1).await;
    assert!(bert.stub.state().connected.contains(&d));
}

#[tokio::test(start_paused = true)]
async fn sockets_with_ids_of_another_form_are_left_out() {
    let hub = Hub::default();
    let anna = Server::<CommonParser>::start(&hub, ANNA, [Sid::new()]);
    let mut peer = Peer::join(&hub, "6f6e").await;
    anna.knows(2).await;
    let fits = Sid::new();
    let (sockets, _) = tokio::join!(anna.adapter.fetch_sockets(everyone()), async {
        let Body::FetchSockets { request, .. } = peer.hear().await else {
            panic!()
        };
        let sockets = vec![described("AAAAAAAAAAAAAAAAAAAA"), described(fits.as_str())];
        peer.say(Body::SocketsAnswer { request, sockets }).await;
    });
    let sockets = sockets.unwrap();
    assert_eq!(sockets.len(), 2);
    let remote = sockets.iter().find(|socket| socket.id == fits).unwrap();
    assert_eq!(remote.server_id, server_id::of(&peer.node));
}

#[tokio::test(start_paused = true)]
async fn rooms_of_all_servers_are_listed_once() {
    let (anna, bert, [a, b, c, _]) = pair().await;
    anna.local().add_all(a, ["both", "one"]);
    anna.local().add_all(b, "hers");
    bert.local().add_all(c, ["both", "his"]);
    let rooms = anna.adapter.rooms(everyone()).await.unwrap();
    assert_eq!(sorted(rooms), ["both", "hers", "his", "one"]);
    let rooms = anna.adapter.rooms(in_room("both")).await.unwrap();
    assert_eq!(sorted(rooms), ["both", "his", "one"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_left_out_at_the_deadline() {
    let hub = Hub::default();
    let anna = Server::<CommonParser>::start(&hub, ANNA, [Sid::new()]);
    let peer = Peer::join(&hub, "silent").await;
    anna.knows(2).await;
    let (sockets, rooms) = tokio::join!(
        anna.adapter.fetch_sockets(everyone()),
        anna.adapter.rooms(everyone())
    );
    assert_eq!(sockets.unwrap().len(), 1);
    assert!(rooms.unwrap().is_empty());
    drop(peer);
}
