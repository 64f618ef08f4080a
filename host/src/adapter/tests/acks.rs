//! Acknowledgements of the clients of all servers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastOptions, CoreAdapter},
    parser::Parse,
};
use socketioxide_parser_msgpack::MsgPackParser;

use super::{hub::*, server::*, stub::StubAckError};
use crate::{
    adapter::PayloadError,
    cluster::message::{Body, Payload},
};

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_all_clients_come_in_the_servers_own_form() {
    let (anna, bert, sockets) = pair().await;
    anna.stub.state().ack = Some(anna.parser.encode_value(&args(), None).unwrap());
    bert.stub.state().ack = Some(bert.parser.encode_value(&args(), None).unwrap());

    let acks = anna
        .adapter
        .broadcast_with_ack(anna.event(&1), everyone(), None)
        .await
        .unwrap();
    check_acks(anna.parser, acks.collect().await, sockets);
    let acks = bert
        .adapter
        .broadcast_with_ack(bert.event(&1), everyone(), None)
        .await
        .unwrap();
    check_acks(bert.parser, acks.collect().await, sockets);
}

fn check_acks<P: Parse>(
    parser: P,
    acks: Vec<(Sid, Result<Value, StubAckError>)>,
    sockets: [Sid; 4],
) {
    let mut from = Vec::new();
    for (sid, value) in acks {
        let read: Args = parser.decode_value(&mut value.unwrap(), false).unwrap();
        assert_eq!(read, args());
        from.push(sid);
    }
    assert_eq!(sorted(from), sorted(sockets));
}

#[tokio::test(start_paused = true)]
async fn errors_of_remote_clients_are_the_errors_that_local_ones_have() {
    let (anna, bert, [.., c, _]) = pair().await;
    let broken = Value::Bytes(Bytes::from_static(&[0xc1]));
    for (ack, expected) in [
        (None, StubAckError::Timeout),
        (Some(broken), decode_error()),
    ] {
        bert.stub.state().ack = ack;
        let opts = remote(c, BERT);
        let acks = anna
            .adapter
            .broadcast_with_ack(anna.event(&1), opts, None)
            .await
            .unwrap();
        assert_eq!(acks.collect::<Vec<_>>().await, [(c, Err(expected))]);
    }
}

fn decode_error() -> StubAckError {
    StubAckError::Decode(PayloadError::ReservedMarker.to_string())
}

#[tokio::test(start_paused = true)]
async fn the_time_for_acknowledgements_is_the_servers_own_unless_given() {
    let (anna, bert, _) = pair().await;
    let five = Duration::from_secs(5);
    for (given, expected) in [(None, five), (Some(2 * five), 2 * five)] {
        let opts = everyone();
        let acks = anna
            .adapter
            .broadcast_with_ack(anna.event(&1), opts, given)
            .await
            .unwrap();
        assert_eq!(acks.count().await, 4);
        assert_eq!(anna.stub.state().ack_timeout, Some(expected));
        assert_eq!(bert.stub.state().ack_timeout, Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_a_selection_without_sockets_end_at_once() {
    let (anna, ..) = pair().await;
    let opts = BroadcastOptions::default();
    let mut acks = anna
        .adapter
        .broadcast_with_ack(anna.event(&1), opts, None)
        .await
        .unwrap();
    assert!(acks.next().await.is_none());
    assert!(acks.next().await.is_none(), "fused");
    assert!(futures_core::FusedStream::is_terminated(&acks));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_node_clients_have_no_id_that_fits() {
    let hub = Hub::default();
    let anna = Server::<MsgPackParser>::start(&hub, ANNA, []);
    let mut peer = Peer::join(&hub, "6f6e").await;
    anna.knows(2).await;
    let event = anna.event(&1);
    let acks = anna
        .adapter
        .broadcast_with_ack(event, everyone(), None)
        .await
        .unwrap();
    let Body::Broadcast(broadcast) = peer.hear().await else {
        panic!()
    };
    assert_eq!(broadcast.data, Payload::text("[\"event\",1]"));
    assert_eq!(
        broadcast.target.flags.as_deref(),
        Some("{\"timeout\":5000}")
    );
    let request = broadcast.request.unwrap();
    peer.say(Body::ClientCount {
        request: request.clone(),
        clients: 4,
    })
    .await;
    let ok = Payload::text("[42]");
    for (socket, data, error) in [
        (Some("AAAAAAAAAAAAAAAAAAAA"), ok.clone(), None),
        (None, ok.clone(), None),
        (None, Payload::text("[42"), None),
        (None, Payload::text("[]"), Some("\"too many\"")),
    ] {
        let (request, socket) = (request.clone(), socket.map(Into::into));
        let error = error.map(Into::into);
        peer.say(Body::ClientAck {
            request,
            socket,
            data,
            error,
        })
        .await;
    }
    let acks: Vec<_> = acks.collect().await;
    assert_eq!(acks.len(), 4);
    let ok = Value::Bytes(Bytes::from_static(&[0x91, 42]));
    assert_eq!(acks[0], (Sid::ZERO, Ok(ok.clone())));
    assert_eq!(acks[1], (Sid::ZERO, Ok(ok)));
    assert!(matches!(acks[2].1, Err(StubAckError::Decode(_))));
    assert_eq!(acks[3].1, Err(StubAckError::Decode("too many".into())));
}
