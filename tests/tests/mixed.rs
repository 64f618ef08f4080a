//! One cluster of our servers and a Node.js server with the official adapter: each side acts, the
//! other side's clients and handlers see it.

use serde_json::{Value, json};
use switchboard_tests::{
    Answer, Backends, Clients, Cluster, Connect, Emitter, Error, Looked, NodeAdapter, NodeEmitter,
    NodeLaunch, NodeServers, Parser, Select, Transport, bytes, until,
};

type Outcome = Result<(), Error>;

/// Two of ours, then the Node.js server.
const NODE_JS: usize = 2;

macro_rules! with_each_adapter {
    ($($name:ident $transport:ident $adapter:ident)+) => {
        $(
            mod $name {
                use super::*;

                #[tokio::test(flavor = "multi_thread")]
                async fn common() -> Outcome {
                    story(Transport::$transport(), NodeAdapter::$adapter, Parser::Common).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn msgpack() -> Outcome {
                    story(Transport::$transport(), NodeAdapter::$adapter, Parser::Msgpack).await
                }
            }
        )+
    };
}

with_each_adapter! {
    classic redis Redis
    classic_ioredis redis RedisIoredis
    sharded redis_sharded Sharded
    sharded_ioredis redis_sharded ShardedIoredis
    streams redis_streams Streams
    streams_ioredis redis_streams StreamsIoredis
    postgres postgres Postgres
    postgres_0_4 postgres Postgres04
    postgres_durable postgres_durable Postgres
}

/// The same on a Redis Cluster, where what differs is the way of a message, not its contents.
mod in_a_redis_cluster {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn classic() -> Outcome {
        let transport = Transport::redis_cluster();
        story(transport, NodeAdapter::Redis, Parser::Common).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sharded() -> Outcome {
        let transport = Transport::redis_sharded_cluster();
        story(transport, NodeAdapter::Sharded, Parser::Common).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sharded_ioredis() -> Outcome {
        let transport = Transport::redis_sharded_cluster();
        story(transport, NodeAdapter::ShardedIoredis, Parser::Common).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn streams() -> Outcome {
        let transport = Transport::redis_streams_cluster();
        story(transport, NodeAdapter::Streams, Parser::Common).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn streams_ioredis() -> Outcome {
        let transport = Transport::redis_streams_cluster();
        story(transport, NodeAdapter::StreamsIoredis, Parser::Msgpack).await
    }
}

async fn mixed(
    transport: Transport,
    adapter: NodeAdapter,
    parser: Parser,
) -> Result<Cluster, Error> {
    let is_sharded = transport.name().starts_with("redis_sharded");
    let mut cluster = Cluster::builder()
        .nodes(NODE_JS)
        .transport(transport)
        .parser(parser)
        .start()
        .await?;
    let mut launch = NodeLaunch::new(adapter);
    launch = match cluster.redis_cluster() {
        Some(redis) => launch.redis_cluster(redis.urls()),
        None => launch.url(url(&cluster)),
    };
    if is_sharded {
        launch = launch.options(json!({ "subscriptionMode": "static" }));
    }
    cluster.add_node_js(launch).await?;
    Ok(cluster)
}

/// Where the servers of a cluster meet.
fn url(cluster: &Cluster) -> String {
    match (cluster.redis(), cluster.postgres()) {
        (Some(redis), _) => redis.url(),
        (_, Some(postgres)) => postgres.url(),
        _ => String::new(),
    }
}

async fn story(transport: Transport, adapter: NodeAdapter, parser: Parser) -> Outcome {
    let cluster = mixed(transport, adapter, parser).await?;
    let clients = Clients::start().await?;
    for (actor, other) in [(0, NODE_JS), (NODE_JS, 1)] {
        act(&cluster, &clients, parser, actor, other).await?;
    }
    Ok(())
}

/// Server number `actor` acts; what it does is seen at server number `other`.
async fn act(
    cluster: &Cluster,
    clients: &Clients,
    parser: Parser,
    actor: usize,
    other: usize,
) -> Outcome {
    // In a Redis Cluster the package `redis` sends each PUBLISH to whichever node, and what a Node.js
    // server sends in the classic mode comes in any order. Over Postgres it sends over several
    // connections, and fetches the rows of what has come side by side.
    let is_in_order = match cluster.postgres() {
        Some(_) => false,
        None => actor != NODE_JS || cluster.redis_cluster().is_none(),
    };
    let is_ours = actor != NODE_JS;
    let in_order = |mut values: Vec<Value>| {
        if !is_in_order {
            values.sort_by_key(Value::to_string);
        }
        values
    };
    let (actor, other) = (cluster.node(actor), cluster.node(other));
    let how = Connect::default().parser(parser);
    let near = clients.connect(actor.url(), how.clone()).await?;
    let far = clients.connect(other.url(), how.room("far")).await?;
    let all = Select::all();
    let there = Select::all().to("far");

    // Events: text and binary, small and large, in the order of sending.
    let large = "x".repeat(1_000_000);
    let blob = bytes(&[7; 300_000]);
    let sent = [
        json!(["é", 1.5, null, { "in": [bytes(&[0, 255])] }]),
        json!([]),
        json!([large]),
        json!([blob, { "and": blob }]),
        // Nothing from 2^64 on: the msgpack library of Node.js clients does not know it.
        json!([9_007_199_254_740_991_i64, -1, 1.5e15 + 0.25, true]),
    ];
    for args in &sent {
        actor.broadcast(&all, "hello", args.clone()).await?;
    }
    let heard = near.wait_for("hello", sent.len()).await?;
    assert!(heard == sent || !is_ours, "of {}: {heard:?}", actor.name());
    for client in [&near, &far] {
        let heard = client.wait_for("hello", sent.len()).await?;
        let (heard, sent) = (in_order(heard), in_order(sent.to_vec()));
        assert_eq!(heard, sent, "of {}", actor.name());
    }
    actor.broadcast(&there, "room", json!([1])).await?;
    let but = all.clone().except("far");
    actor.broadcast(&but, "but", json!([2])).await?;
    let id = all.clone().to(far.id());
    actor.broadcast(&id, "id", json!([3])).await?;
    assert_eq!(far.wait_for("id", 1).await?, [json!([3])]);
    // In a Redis Cluster each room has an order of its own.
    assert_eq!(far.wait_for("room", 1).await?, [json!([1])]);
    assert_eq!(near.wait_for("but", 1).await?, [json!([2])]);
    assert!(far.received("but").await?.is_empty());
    assert!(near.received("room").await?.is_empty());

    // Acknowledgements: Node.js carries the first argument.
    let answer = Answer::With(json!([bytes(b"yes"), "and more"]));
    far.answer("ask", answer).await?;
    let acks = actor.broadcast_with_ack(&there, "ask", json!([])).await?;
    assert_eq!(acks.len(), 1, "{acks:?}");
    assert_eq!(acks[0].answer, Ok(vec![bytes(b"yes")]));

    // Rooms, and sockets with what is known of them.
    actor.join(&all, &["hall"]).await?;
    let hall = Select::all().to("hall");
    until(
        "both sockets in the hall",
        || actor.remote_sockets(&hall),
        |found| {
            [near.id(), far.id()]
                .iter()
                .all(|id| found.iter().any(|s| s.id == *id))
        },
    )
    .await?;
    actor.leave(&hall.clone().except("far"), &["hall"]).await?;
    other.set_data(far.id(), json!({ "name": "far" })).await?;
    let sockets = actor.remote_sockets(&there).await?;
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    assert_eq!(sockets[0].id, far.id());
    assert!(sockets[0].rooms.contains(&json!("hall")), "{sockets:?}");
    assert_eq!(sockets[0].data, json!({ "name": "far" }));
    assert_eq!(sockets[0].handshake["query"]["EIO"], "4");
    for member in ["address", "time", "url", "headers"] {
        let known = sockets[0].handshake.get(member);
        assert!(known.is_some_and(|value| !value.is_null()), "{member}");
    }

    // From server to server.
    let before = other.server_events("/").await?.len();
    actor.server_side_emit("/", "note", json!([1])).await?;
    let answers = actor
        .server_side_emit_with_ack("/", "question", json!(["?"]))
        .await?;
    let expected = json!({ "from": other.name(), "args": ["?"] });
    let values: Vec<Value> = answers.answers.into_iter().map(|a| a.value).collect();
    assert_eq!(values.len(), cluster.nodes().len() - 1, "{values:?}");
    assert!(values.contains(&expected), "{values:?}");
    let events = until(
        "both events",
        || other.server_events("/"),
        |events| events.len() >= before + 2,
    )
    .await?;
    let events = events[before..].iter().map(|e| json!(e.event)).collect();
    assert_eq!(in_order(events), ["note", "question"]);

    actor.disconnect(&there).await?;
    assert_eq!(far.wait_until_disconnected().await?, "io server disconnect");
    assert!(near.is_connected().await?);
    Ok(())
}

/// The calls that only our servers have find sockets of Node.js servers as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_a_node_server_is_found_by_its_id() -> Outcome {
    let cluster = mixed(Transport::redis(), NodeAdapter::Redis, Parser::Common).await?;
    let clients = Clients::start().await?;
    let theirs = clients
        .connect(cluster.node(NODE_JS).url(), Connect::default())
        .await?;
    let ours = cluster.node(0);
    assert_eq!(theirs.id().len(), 20, "an id as Node.js makes them");
    assert_eq!(
        ours.remote_join(theirs.id(), &["lobby"]).await?,
        Looked::Found(())
    );
    until(
        "the socket to be in the lobby",
        || ours.rooms_of(theirs.id()),
        |looked| matches!(looked, Looked::Found(rooms) if rooms.contains(&json!("lobby"))),
    )
    .await?;
    let nobody = ours.rooms_of("AAAAAAAAAAAAAAAAAAAA").await?;
    assert_eq!(nobody, Looked::NoSuchSocket);
    let found = ours.socket_ids(&Select::all().to("lobby")).await?;
    assert_eq!(found.items, [theirs.id()]);
    assert_eq!(
        ours.remote_disconnect(theirs.id(), true).await?,
        Looked::Found(())
    );
    theirs.wait_until_disconnected().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_emitter_reaches_node_servers() -> Outcome {
    let each = [
        (Transport::redis(), NodeAdapter::Redis),
        (Transport::redis_sharded(), NodeAdapter::Sharded),
        (Transport::postgres(), NodeAdapter::Postgres),
        (Transport::postgres_durable(), NodeAdapter::Postgres),
    ];
    for (transport, adapter) in each {
        let cluster = mixed(transport, adapter, Parser::Common).await?;
        let clients = Clients::start().await?;
        let node = cluster.node(NODE_JS);
        let theirs = Connect::default().room("far");
        let theirs = clients.connect(node.url(), theirs).await?;
        let emitter = Emitter::start(cluster.config()).await?;
        let there = Select::all().to("far");
        let args = json!([bytes(&[7]), "x"]);
        emitter.emit(&there, "news", args.clone()).await?;
        assert_eq!(theirs.wait_for("news", 1).await?, [args]);
        emitter.join(&there, &["hall"]).await?;
        let hall = Select::all().to("hall");
        // Node's adapter for Postgres fetches what stands in the table in no particular order.
        until(
            "the socket to be in the hall",
            || node.remote_sockets(&hall),
            |found| found.len() == 1,
        )
        .await?;
        emitter.emit(&hall, "in", json!([])).await?;
        theirs.wait_for("in", 1).await?;
        emitter.server_side_emit("/", "note", json!([5])).await?;
        until(
            "the note of the emitter",
            || node.server_events("/"),
            |events| events.iter().any(|event| event.args == [json!(5)]),
        )
        .await?;
        assert_eq!(
            node.server_count("/").await?,
            NODE_JS + 1,
            "it is no server"
        );
        emitter.disconnect(&there, false).await?;
        theirs.wait_until_disconnected().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_emitter_reaches_our_servers() -> Outcome {
    from_nodes_emitter(Transport::redis(), NodeAdapter::Redis, NodeEmitter::Redis).await
}

/// Its messages name no namespace, so Node's own servers have not heard them since version 0.4.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_emitter_for_postgres_reaches_our_servers() -> Outcome {
    for transport in [Transport::postgres(), Transport::postgres_durable()] {
        from_nodes_emitter(transport, NodeAdapter::Postgres, NodeEmitter::Postgres).await?;
    }
    Ok(())
}

async fn from_nodes_emitter(
    transport: Transport,
    adapter: NodeAdapter,
    emitter: NodeEmitter,
) -> Outcome {
    let cluster = mixed(transport, adapter, Parser::Common).await?;
    let clients = Clients::start().await?;
    let ours = Connect::default().room("far");
    let ours = clients.connect(cluster.node(0).url(), ours).await?;
    let emitter = emitter.start(&url(&cluster), &json!({})).await?;
    let there = Select::all().to("far");
    let args = json!([bytes(&[7]), "x"]);
    emitter.emit(&there, "news", args.clone()).await?;
    assert_eq!(ours.wait_for("news", 1).await?, [args]);
    emitter.join(&there, &["hall"]).await?;
    let hall = Select::all().to("hall");
    // Over Postgres each order has a connection of its own.
    until(
        "the socket to be in the hall",
        || cluster.node(0).remote_sockets(&hall),
        |found| found.len() == 1,
    )
    .await?;
    emitter.emit(&hall, "in", json!([])).await?;
    ours.wait_for("in", 1).await?;
    emitter.server_side_emit("/", "note", json!([5])).await?;
    until(
        "the note of the emitter",
        || cluster.node(0).server_events("/"),
        |events| events.iter().any(|event| event.args == [json!(5)]),
    )
    .await?;
    emitter.disconnect(&there, false).await?;
    ours.wait_until_disconnected().await?;
    Ok(())
}

/// Around the size from which on a message is no notification any more, each size arrives, in its
/// order. Of what Node.js sends the one of exactly 8000 bytes is lost, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn every_size_around_the_limit_of_notifications_arrives() -> Outcome {
    const SIZES: std::ops::Range<usize> = 7_700..8_060;
    for transport in [Transport::postgres(), Transport::postgres_durable()] {
        let cluster = mixed(transport, NodeAdapter::Postgres, Parser::Common).await?;
        let clients = Clients::start().await?;
        let ours = clients.connect(cluster.node(1).url(), Connect::default());
        let theirs = clients.connect(cluster.node(NODE_JS).url(), Connect::default());
        let (ours, theirs) = (ours.await?, theirs.await?);
        let sent: Vec<Value> = SIZES.map(|n| json!(["x".repeat(n)])).collect();
        for args in &sent {
            let all = Select::all();
            cluster
                .node(0)
                .broadcast(&all, "ours", args.clone())
                .await?;
        }
        assert_eq!(ours.wait_for("ours", sent.len()).await?, sent);
        let mut heard = theirs.wait_for("ours", sent.len()).await?;
        heard.sort_by_key(size);
        assert_eq!(heard, sent);

        for args in &sent {
            let all = Select::all();
            cluster
                .node(NODE_JS)
                .broadcast(&all, "theirs", args.clone())
                .await?;
        }
        let mut heard = ours.wait_for("theirs", sent.len() - 1).await?;
        heard.sort_by_key(size);
        let is_lost = |args: &&Value| !heard.contains(args);
        assert_eq!(sent.iter().filter(is_lost).count(), 1);
        heard.dedup();
        assert_eq!(heard.len(), sent.len() - 1);
    }
    Ok(())
}

fn size(args: &Value) -> usize {
    args[0].as_str().map_or(0, str::len)
}
