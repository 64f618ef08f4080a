//! The servers of the tests: an adapter over stub sockets and a real `Cluster` each.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, RemoteSocketData},
    packet::Packet,
    parser::Parse,
};
use socketioxide_parser_common::CommonParser;
use socketioxide_parser_msgpack::MsgPackParser;
use tokio::{sync::mpsc, time::timeout};

use super::{hub::Hub, stub::Stub};
use crate::{
    adapter::{Adapter, Attachment},
    cluster::{Cluster, ClusterOptions, message::NodeId},
};

/// One server.
pub(super) struct Server<P: Parse + Send + Sync + 'static> {
    pub(super) stub: Stub<P>,
    pub(super) adapter: Arc<Adapter<Stub<P>>>,
    pub(super) cluster: Cluster,
    pub(super) parser: P,
}

impl<P: Parse + Send + Sync + 'static> Server<P> {
    pub(super) fn start<const N: usize>(hub: &Hub, node: &str, sockets: [Sid; N]) -> Self {
        Self::start_with(hub, node, sockets, ClusterOptions::default())
    }

    pub(super) fn start_with<const N: usize>(
        hub: &Hub,
        node: &str,
        sockets: [Sid; N],
        options: ClusterOptions,
    ) -> Self {
        let (publisher, subscriber) = hub.join();
        let cluster = Cluster::start(
            NodeId::from(node),
            options,
            Box::new(publisher),
            Box::new(subscriber),
        );
        let (stub, local) = Stub::with(sockets);
        let adapter = Arc::new(Adapter::over(cluster.clone(), Attachment::default(), local));
        let (ready, mut is_ready) = mpsc::channel(1);
        adapter.clone().init(move || ready.try_send(()).unwrap());
        assert!(
            is_ready.try_recv().is_ok(),
            "a server does not wait for its cluster"
        );
        Self {
            stub,
            adapter,
            cluster,
            parser: P::default(),
        }
    }

    pub(super) fn event<T: serde::Serialize>(&self, data: &T) -> Packet {
        Packet::event(
            "/chat",
            self.parser.encode_value(data, Some("event")).unwrap(),
        )
    }

    pub(super) fn local(&self) -> &CoreLocalAdapter<Stub<P>> {
        &self.adapter.local
    }

    pub(super) async fn knows(&self, servers: u16) {
        until(async || self.adapter.server_count().await.unwrap() == servers).await;
    }

    /// The data of the packets that each socket gets, once `count` are there.
    pub(super) async fn received(&self, count: usize) -> Vec<(Sid, Value)> {
        until(async || self.stub.state().sent.len() >= count).await;
        self.stub.take_sent()
    }
}

/// Waits for something that other tasks bring about.
pub(in crate::adapter) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting)
        .await
        .expect("it did not happen");
}

pub(super) fn everyone() -> BroadcastOptions {
    let mut opts = BroadcastOptions::default();
    opts.add_flag(BroadcastFlags::Broadcast);
    opts
}

pub(super) fn in_room(room: &str) -> BroadcastOptions {
    let mut opts = everyone();
    opts.rooms.push(room.to_owned().into());
    opts
}

pub(super) fn remote(id: Sid, node: &str) -> BroadcastOptions {
    let server_id = node.parse().unwrap();
    BroadcastOptions::new_remote(&RemoteSocketData {
        id,
        server_id,
        ns: "/chat".into(),
    })
}

pub(super) const ANNA: &str = "anna000000000000";

pub(super) const BERT: &str = "bert000000000000";

/// A server with the common parser and sockets a, b and one with msgpack and c, d.
pub(super) async fn pair() -> (Server<CommonParser>, Server<MsgPackParser>, [Sid; 4]) {
    pair_with(&Hub::default(), &ClusterOptions::default()).await
}

pub(super) async fn pair_with(
    hub: &Hub,
    options: &ClusterOptions,
) -> (Server<CommonParser>, Server<MsgPackParser>, [Sid; 4]) {
    let sockets @ [a, b, c, d] = [Sid::new(), Sid::new(), Sid::new(), Sid::new()];
    let anna = Server::start_with(hub, ANNA, [a, b], options.clone());
    let bert = Server::start_with(hub, BERT, [c, d], options.clone());
    anna.knows(2).await;
    bert.knows(2).await;
    (anna, bert, sockets)
}

pub(super) fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

pub(super) type Args = (String, Bytes, u64);

pub(super) fn args() -> Args {
    (
        "häl\"lo".into(),
        Bytes::from_static(&[0, 159, 146, 150]),
        u64::MAX,
    )
}
