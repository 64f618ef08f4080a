//! Connection state recovery: events end with their offsets, and nothing overtakes them.

use bytes::Bytes;
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, CoreAdapter, errors::BroadcastError},
    parser::Parse,
};
use socketioxide_parser_common::CommonParser;
use socketioxide_parser_msgpack::MsgPackParser;

use super::{hub::*, server::*};
use crate::{
    adapter::Error,
    cluster::{ClusterOptions, message::Body},
};

async fn recovering_pair() -> (Server<CommonParser>, Server<MsgPackParser>, [Sid; 4]) {
    let hub = Hub::default();
    hub.keep_log();
    let options = ClusterOptions {
        connection_state_recovery: true,
        ..ClusterOptions::default()
    };
    pair_with(&hub, &options).await
}

type WithOffset = (String, Bytes, u64, String);

fn args_and(offset: &str) -> WithOffset {
    let (text, bytes, number) = args();
    (text, bytes, number, offset.to_owned())
}

/// What the sockets got, as their parser writes it.
fn read<P>(server: &Server<P>, sent: Vec<(Sid, Value)>) -> Vec<WithOffset>
where
    P: Parse + Send + Sync + 'static,
{
    let frame_of = |event: &WithOffset| server.parser.encode(server.event(event));
    sent.into_iter()
        .map(|(_, frame)| {
            let mut expected = ["1-0", "2-0"].map(args_and).into_iter();
            let found = expected.find(|event| frame_of(event) == frame);
            found.unwrap_or_else(|| panic!("{frame:?}"))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_ends_with_its_offset_on_every_server_whatever_its_parser() {
    let (anna, bert, _) = recovering_pair().await;
    let event = anna.event(&args());
    anna.adapter.broadcast(event, everyone()).await.unwrap();
    let first = vec![args_and("1-0"); 2];
    assert_eq!(read(&anna, anna.received(2).await), first);
    assert_eq!(read(&bert, bert.received(2).await), first);

    let event = bert.event(&args());
    bert.adapter.broadcast(event, everyone()).await.unwrap();
    let second = vec![args_and("2-0"); 2];
    assert_eq!(read(&anna, anna.received(2).await), second);
    assert_eq!(read(&bert, bert.received(2).await), second);
}

#[tokio::test(start_paused = true)]
async fn rooms_and_senders_hold_for_events_that_wait() {
    let (anna, bert, [a, b, c, d]) = recovering_pair().await;
    anna.local().add_all(a, "room");
    bert.local().add_all(c, "room");
    bert.local().add_all(d, ["room", "muted"]);
    let mut opts = in_room("room");
    opts.sid = Some(a);
    opts.except.push("muted".into());
    opts.rooms.push(b.to_string().into());
    let event = anna.event(&args());
    anna.adapter.broadcast(event, opts).await.unwrap();
    let ids = |sent: Vec<(Sid, Value)>| sorted(sent.into_iter().map(|(sid, _)| sid));
    assert_eq!(ids(anna.received(1).await), [b]);
    assert_eq!(ids(bert.received(1).await), [c]);
}

#[tokio::test(start_paused = true)]
async fn an_event_for_one_socket_of_this_server_stands_in_the_log_as_well() {
    let (anna, _bert, [a, ..]) = recovering_pair().await;
    for opts in [BroadcastOptions::new(a), remote(a, ANNA)] {
        let event = anna.event(&args());
        anna.adapter.broadcast(event, opts).await.unwrap();
    }
    let sent = anna.received(2).await;
    assert!(sent.iter().all(|(sid, _)| *sid == a));
    assert_eq!(read(&anna, sent), ["1-0", "2-0"].map(args_and));
}

#[tokio::test(start_paused = true)]
async fn local_and_volatile_events_are_there_at_once_and_have_no_offset() {
    let (anna, _bert, [..]) = recovering_pair().await;
    let plain = anna.parser.encode(anna.event(&1));
    for flag in [BroadcastFlags::Local, BroadcastFlags::Volatile] {
        let mut opts = everyone();
        opts.add_flag(flag);
        let event = anna.event(&1);
        anna.adapter.broadcast(event, opts).await.unwrap();
        let sent = anna.stub.take_sent();
        assert_eq!(sent.len(), 2, "before anything else could run");
        assert!(sent.iter().all(|(_, frame)| *frame == plain));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_done_to_sockets_overtakes_an_event() {
    let (anna, bert, [a, b, ..]) = recovering_pair().await;
    anna.local().add_all(a, "room");
    let emit = async |opts| {
        let event = anna.event(&args());
        anna.adapter.broadcast(event, opts).await.unwrap();
    };
    emit(in_room("room")).await;
    anna.adapter.del_sockets(everyone(), "room").await.unwrap();
    emit(in_room("room")).await;
    assert!(
        anna.local().socket_rooms(a).contains("room"),
        "the event goes first"
    );
    let sent = anna.received(1).await;
    assert_eq!(read(&anna, sent), [args_and("1-0")]);
    until(async || anna.cluster.stats().outbox_messages == 0).await;
    assert!(anna.stub.take_sent().is_empty(), "they have left the room");

    anna.adapter.add_sockets(everyone(), "room").await.unwrap();
    assert_eq!(anna.local().sockets(in_room("room")).len(), 2, "at once");

    emit(everyone()).await;
    anna.adapter.disconnect_socket(everyone()).await.unwrap();
    let reached = sorted(anna.received(2).await.into_iter().map(|(sid, _)| sid));
    assert_eq!(reached, sorted([a, b]));
    until(async || anna.stub.state().connected.is_empty()).await;
    until(async || bert.stub.state().connected.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn local_sockets_get_what_the_cluster_does_not_take() {
    let (anna, _bert, _) = recovering_pair().await;
    anna.cluster.close().await;
    let event = anna.event(&1);
    let error = anna.adapter.broadcast(event, everyone()).await.unwrap_err();
    assert!(matches!(error, BroadcastError::Adapter(_)), "{error}");
    let plain = anna.parser.encode(anna.event(&1));
    let sent = anna.stub.take_sent();
    assert!(sent.len() == 2 && sent.iter().all(|(_, frame)| *frame == plain));
    let joined = anna.adapter.add_sockets(everyone(), "room").await;
    assert!(matches!(joined, Err(Error::Cluster(_))));
    assert_eq!(anna.local().sockets(in_room("room")).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_are_asked_for_at_once() {
    let hub = Hub::default();
    hub.keep_log();
    let options = ClusterOptions {
        connection_state_recovery: true,
        ..ClusterOptions::default()
    };
    let a = Sid::new();
    let anna = Server::<CommonParser>::start_with(&hub, ANNA, [a], options);
    let mut peer = Peer::join(&hub, "6f6e").await;
    anna.knows(2).await;
    let plain = anna.parser.encode(anna.event(&1));
    let acks = anna
        .adapter
        .broadcast_with_ack(anna.event(&1), everyone(), None)
        .await;
    assert!(acks.is_ok());
    assert_eq!(anna.stub.take_sent(), [(a, plain)]);
    let Body::Broadcast(asked) = peer.hear().await else {
        panic!("an event")
    };
    assert_eq!(asked.data.json.as_str(), "[\"event\",1]");
}
