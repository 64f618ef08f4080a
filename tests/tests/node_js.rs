//! The Node.js peers among themselves, over real Redis servers: what tests that mix them with our
//! servers rely on. A failure here is one of the peers, their backend, or the helpers.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_tests::{
    Answer, Clients, Connect, Error, NodeAdapter, NodeEmitter, NodeLaunch, Parser, Proxy, Redis,
    RedisCluster, Select, Sentinel, Server, bytes, until,
};

type Outcome = Result<(), Error>;

/// Makes a test of a story for each adapter.
macro_rules! with_each_adapter {
    ($story:ident: $($name:ident $adapter:ident)+) => {
        mod $story {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() -> Outcome {
                    super::$story(NodeAdapter::$adapter).await
                }
            )+
        }
    };
}

with_each_adapter! {
    two_servers_are_one:
    redis Redis
    redis_ioredis RedisIoredis
    sharded Sharded
    sharded_ioredis ShardedIoredis
    streams Streams
    streams_ioredis StreamsIoredis
}

async fn two_servers_are_one(adapter: NodeAdapter) -> Outcome {
    let redis = Redis::start().await?;
    for parser in [Parser::Common, Parser::Msgpack] {
        let launch = NodeLaunch::new(adapter).url(redis.url()).parser(parser);
        let [first, second] = pair(&launch).await?;
        every_operation(&first, &second, parser).await?;
    }
    Ok(())
}

/// One client on each server; the first server acts.
async fn every_operation(first: &Server, second: &Server, parser: Parser) -> Outcome {
    let clients = Clients::start().await?;
    let how = Connect::default().parser(parser);
    let near = clients.connect(first.url(), how.clone()).await?;
    let far = clients.connect(second.url(), how.room("far")).await?;
    let all = Select::all();

    let args = json!(["é", 1.5, null, { "in": [bytes(&[0, 255])] }]);
    first.broadcast(&all, "hello", args.clone()).await?;
    for client in [&near, &far] {
        assert_eq!(
            client.wait_for("hello", 1).await?,
            std::slice::from_ref(&args)
        );
    }

    far.answer("ask", Answer::With(json!([bytes(b"yes"), "and more"])))
        .await?;
    let acks = first
        .broadcast_with_ack(&all.clone().to("far"), "ask", json!([]))
        .await?;
    // Of Node.js the first argument comes through, and not whose it is.
    assert_eq!(acks.len(), 1, "{acks:?}");
    assert_eq!(acks[0].answer, Ok(vec![bytes(b"yes")]));

    first.join(&all, &["hall"]).await?;
    let there = Select::all().to("hall");
    let found = until(
        "both sockets in the hall",
        || first.fetch_sockets(&there),
        |found| found.len() == 2,
    )
    .await?;
    assert_eq!(found.iter().filter(|s| s.id == near.id()).count(), 1);
    first.leave(&there.except("far"), &["hall"]).await?;
    let mut rooms = first.rooms(&all).await?;
    rooms.retain(|room| room != near.id() && room != far.id());
    assert_eq!(rooms, ["far", "hall"]);

    second.set_data(far.id(), json!({ "name": "far" })).await?;
    let sockets = first.remote_sockets(&Select::all().to("far")).await?;
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0].data, json!({ "name": "far" }));
    assert_eq!(sockets[0].handshake["query"]["EIO"], "4");

    first.server_side_emit("/", "note", json!([1])).await?;
    let answers = first
        .server_side_emit_with_ack("/", "question", json!(["?"]))
        .await?;
    let values: Vec<_> = answers.answers.into_iter().map(|a| a.value).collect();
    assert_eq!(values, [json!({ "from": second.name(), "args": ["?"] })]);
    // In a Redis Cluster the two may take ways of different length.
    let events = until(
        "the note and the question",
        || second.server_events("/"),
        |events| events.len() == 2,
    )
    .await?;
    let mut events: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
    events.sort_unstable();
    assert_eq!(events, ["note", "question"]);

    first.disconnect(&Select::all().to("far")).await?;
    let reason = far.wait_until_disconnected().await?;
    assert_eq!(reason, "io server disconnect");
    assert!(near.is_connected().await?);
    Ok(())
}

with_each_adapter! {
    servers_meet_in_a_redis_cluster:
    redis Redis
    sharded Sharded
    sharded_ioredis ShardedIoredis
}

async fn servers_meet_in_a_redis_cluster(adapter: NodeAdapter) -> Outcome {
    let redis = RedisCluster::start(3).await?;
    let launch = NodeLaunch::new(adapter).redis_cluster(redis.urls());
    let [first, second] = pair(&launch).await?;
    every_operation(&first, &second, Parser::Common).await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_follow_the_sentinels_to_the_next_master() -> Outcome {
    let redis = Sentinel::start().await?;
    let launch =
        NodeLaunch::new(NodeAdapter::RedisIoredis).sentinel(redis.urls(), Sentinel::MASTER);
    let [first, second] = pair(&launch).await?;
    let clients = Clients::start().await?;
    let client = clients.connect(second.url(), Connect::default()).await?;
    redis.failover().await?;
    until_it_arrives(&first, &client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn emitters_reach_clients_and_servers() -> Outcome {
    let redis = Redis::start().await?;
    let launch = NodeLaunch::new(NodeAdapter::Redis).url(redis.url());
    let [first, second] = pair(&launch).await?;
    let clients = Clients::start().await?;
    let near = clients.connect(first.url(), Connect::default()).await?;
    let far = clients
        .connect(second.url(), Connect::default().room("far"))
        .await?;
    for kind in [NodeEmitter::Redis, NodeEmitter::RedisIoredis] {
        let emitter = kind.start(&redis.url(), &json!({})).await?;
        let event = format!("{kind:?}");
        let args = json!([bytes(&[7]), "x"]);
        emitter.emit(&Select::all(), &event, args.clone()).await?;
        for client in [&near, &far] {
            assert_eq!(
                client.wait_for(&event, 1).await?,
                std::slice::from_ref(&args)
            );
        }
        let there = Select::all().to("far");
        emitter.join(&there, &["hall"]).await?;
        emitter.emit(&Select::all().to("hall"), "in", args).await?;
        far.wait_for("in", 1).await?;
        emitter.leave(&there, &["hall"]).await?;
        emitter.server_side_emit("/", &event, json!([])).await?;
        emitter
            .server_side_emit("/", "note", json!([event]))
            .await?;
        for server in [&first, &second] {
            until(
                "the note of the emitter",
                || server.server_events("/"),
                |events| events.iter().any(|e| e.args == [json!(event)]),
            )
            .await?;
        }
    }
    assert!(near.received("in").await?.is_empty());
    assert_eq!(far.received("in").await?.len(), 2);
    let emitter = NodeEmitter::Redis.start(&redis.url(), &json!({})).await?;
    emitter.disconnect(&Select::all().to("far"), true).await?;
    far.wait_until_disconnected().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_network_was_cut_hears_the_others_again() -> Outcome {
    let redis = Redis::start().await?;
    let network = Proxy::start(redis.addr()).await?;
    let launch = NodeLaunch::new(NodeAdapter::Redis).url(redis.url());
    let first = launch.clone().name("first").start().await?;
    let url = format!("redis://{}", network.addr());
    let second = launch.name("second").url(url).start().await?;
    let clients = Clients::start().await?;
    let client = clients.connect(second.url(), Connect::default()).await?;
    until_it_arrives(&first, &client).await?;

    network.cut().await?;
    first.broadcast(&Select::all(), "lost", json!([])).await?;
    // Redis has no subscriber any more, so it is lost, not late.
    until(
        "Redis to miss the subscriber",
        || redis.command(&["PUBSUB", "NUMSUB", "socket.io-request#/#"]),
        |reply| {
            reply
                .field("socket.io-request#/#")
                .and_then(|n| n.as_integer())
                == Some(1)
        },
    )
    .await?;
    first.broadcast(&Select::all(), "lost", json!([])).await?;
    network.heal().await?;
    until_it_arrives(&first, &client).await?;
    assert_eq!(client.received("lost").await?, Vec::<Value>::new());
    Ok(())
}

/// Servers that know each other.
async fn pair(launch: &NodeLaunch) -> Result<[Server; 2], Error> {
    let start = |name| {
        let launch = launch.clone().name(name);
        async move { launch.start().await }
    };
    let (first, second) = tokio::try_join!(start("first"), start("second"))?;
    for server in [&first, &second] {
        until(
            format!("{} to know two servers", server.name()),
            || server.server_count("/"),
            |&count| count == 2,
        )
        .await?;
    }
    Ok([first, second])
}

/// Sends until something arrives: what is sent while a backend is away may be lost.
async fn until_it_arrives(from: &Server, to: &switchboard_tests::Client) -> Outcome {
    let already = to.received("ping").await?.len();
    until(
        "an event to arrive",
        || async {
            from.broadcast(&Select::all(), "ping", json!([])).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(to.received("ping").await?.len())
        },
        |&count| count > already,
    )
    .await?;
    Ok(())
}
