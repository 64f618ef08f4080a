//! Events: who gets them, and what happens to a server that comes, goes or hears nonsense.

use std::sync::{Arc, Weak};

use socketioxide_core::{
    Sid, Value,
    adapter::{
        BroadcastFlags, BroadcastOptions, CoreAdapter,
        errors::{BroadcastError, SocketError},
    },
    parser::Parse,
};
use socketioxide_parser_common::CommonParser;
use socketioxide_parser_msgpack::MsgPackParser;

use super::{hub::*, server::*};
use crate::{
    adapter::Error,
    cluster::message::{Body, Broadcast, Payload},
};

#[tokio::test(start_paused = true)]
async fn an_event_reaches_the_sockets_of_all_servers_whatever_their_parsers() {
    let (anna, bert, [a, b, c, d]) = pair().await;
    let of_anna = anna.parser.encode(anna.event(&args()));
    let of_bert = bert.parser.encode(bert.event(&args()));

    anna.adapter
        .broadcast(anna.event(&args()), everyone())
        .await
        .unwrap();
    let from_anna = (anna.received(2).await, bert.received(2).await);
    bert.adapter
        .broadcast(bert.event(&args()), everyone())
        .await
        .unwrap();
    let from_bert = (anna.received(2).await, bert.received(2).await);

    let at_anna = sorted([a, b])
        .into_iter()
        .map(|sid| (sid, of_anna.clone()))
        .collect::<Vec<_>>();
    let at_bert = sorted([c, d])
        .into_iter()
        .map(|sid| (sid, of_bert.clone()))
        .collect::<Vec<_>>();
    assert_eq!(from_anna, (at_anna.clone(), at_bert.clone()));
    assert_eq!(from_bert, (at_anna, at_bert));
}

/// Applications have thousands of them under way.
#[tokio::test(start_paused = true)]
async fn an_event_under_way_is_not_much_larger_than_what_it_holds() {
    let (anna, _bert, _) = pair().await;
    let (packet, opts) = (anna.event(&args()), everyone());
    let holds = size_of_val(&packet) + size_of_val(&opts);
    let under_way = anna.adapter.broadcast(packet, opts);
    let bytes = size_of_val(&under_way);
    assert!(bytes < 2 * holds + 256, "{bytes} bytes for {holds}");
    under_way.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rooms_senders_and_ids_hold_on_every_server() {
    let (anna, bert, [a, b, c, d]) = pair().await;
    anna.local().add_all(a, "room");
    bert.local().add_all(c, "room");
    bert.local().add_all(d, vec!["room", "muted"]);

    let mut opts = in_room("room");
    opts.sid = Some(a);
    opts.except.push("muted".into());
    opts.rooms.push(b.to_string().into());
    anna.adapter.broadcast(anna.event(&1), opts).await.unwrap();
    // A last one for all shows that nothing else is on its way.
    anna.adapter
        .broadcast(anna.event(&2), everyone())
        .await
        .unwrap();

    let ids = |sent: Vec<(Sid, Value)>| sorted(sent.into_iter().map(|(sid, _)| sid));
    assert_eq!(ids(anna.received(3).await), sorted([b, a, b]));
    assert_eq!(ids(bert.received(3).await), sorted([c, c, d]));
}

#[tokio::test(start_paused = true)]
async fn local_operations_stay_on_this_server() {
    let (anna, bert, [a, b, ..]) = pair().await;
    let mut opts = everyone();
    opts.add_flag(BroadcastFlags::Local);
    anna.adapter
        .broadcast(anna.event(&1), opts.clone())
        .await
        .unwrap();
    anna.adapter
        .broadcast(anna.event(&1), remote(a, ANNA))
        .await
        .unwrap();
    anna.adapter
        .broadcast(anna.event(&1), BroadcastOptions::new(b))
        .await
        .unwrap();
    anna.adapter
        .add_sockets(opts.clone(), "here")
        .await
        .unwrap();
    assert_eq!(anna.adapter.fetch_sockets(opts).await.unwrap().len(), 2);

    anna.adapter
        .broadcast(anna.event(&2), everyone())
        .await
        .unwrap();
    assert_eq!(anna.received(6).await.len(), 6);
    assert_eq!(
        bert.received(2).await.len(),
        2,
        "only the last event left the server"
    );
    assert!(
        !bert.adapter.rooms(everyone()).await.unwrap().is_empty(),
        "anna's are seen"
    );
    assert!(bert.local().rooms(everyone()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn local_errors_are_reported_and_the_other_servers_get_the_event() {
    let (anna, bert, [a, ..]) = pair().await;
    anna.stub.state().full.insert(a);
    let error = anna
        .adapter
        .broadcast(anna.event(&1), everyone())
        .await
        .unwrap_err();
    let BroadcastError::Socket(errors) = error else {
        panic!("{error}")
    };
    assert!(matches!(errors[..], [SocketError::InternalChannelFull]));
    assert_eq!(bert.received(2).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_cluster_local_sockets_are_served_and_the_error_says_so() {
    let (anna, _bert, _) = pair().await;
    anna.cluster.close().await;
    let error = anna
        .adapter
        .broadcast(anna.event(&1), everyone())
        .await
        .unwrap_err();
    assert!(matches!(error, BroadcastError::Adapter(_)), "{error}");
    assert_eq!(anna.received(2).await.len(), 2);
    let joined = anna.adapter.add_sockets(everyone(), "room").await;
    assert!(matches!(joined, Err(Error::Cluster(_))));
    assert_eq!(anna.local().sockets(in_room("room")).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_event_is_dropped_and_the_next_one_arrives() {
    let hub = Hub::default();
    let anna = Server::<MsgPackParser>::start(&hub, ANNA, [Sid::new()]);
    let peer = Peer::join(&hub, "6f6e").await;
    anna.knows(2).await;
    for json in ["[\"event\",", "{}", "[\"event\",1]"] {
        let data = Payload::text(json);
        let (target, packet_id, request) = Default::default();
        let broadcast = Broadcast {
            target,
            data,
            packet_id,
            request,
        };
        peer.say(Body::Broadcast(broadcast)).await;
    }
    let expected = anna.parser.encode(anna.event(&1));
    assert!(matches!(&anna.received(1).await[..], [(_, value)] if *value == expected));
}

#[tokio::test(start_paused = true)]
async fn closing_leaves_the_cluster() {
    let (anna, bert, _) = pair().await;
    bert.adapter.close().await.unwrap();
    anna.knows(1).await;
    anna.adapter
        .broadcast(anna.event(&1), everyone())
        .await
        .unwrap();
    assert_eq!(anna.received(2).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_dropped_without_closing_is_freed() {
    let hub = Hub::default();
    let anna = Server::<CommonParser>::start(&hub, ANNA, [Sid::new()]);
    let peer = Peer::join(&hub, "6f6e").await;
    anna.knows(2).await;
    let Server {
        adapter, cluster, ..
    } = anna;
    let freed: Weak<_> = Arc::downgrade(&adapter);
    drop(adapter);
    assert!(freed.upgrade().is_none());
    // What still arrives for it does no harm.
    let request = "r".into();
    peer.say(Body::FetchSockets {
        request,
        target: Default::default(),
    })
    .await;
    cluster.close().await;
}
