//! Sessions for connection state recovery, in one Redis with a Node.js server: what one has saved the
//! other gives back, with what was missed. In Postgres, where Node's adapter has none, servers of ours
//! do so among themselves.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use switchboard::{Board, Config, PrivateId, Session};
use switchboard_tests::{
    Backends, Client, Clients, Cluster, Connect, NodeAdapter, NodeLaunch, NodeServers, Parser,
    Reply, Resume, Select, Server, Transport, promises,
    scenarios::{Scenario, Setting},
    until,
};

type Outcome = Result<(), switchboard_tests::Error>;

const OURS: usize = 0;
const NODE_JS: usize = 1;
const TTL: Duration = Duration::from_secs(60);
const WITH_OFFSETS: &str = "[cluster]\nconnection_state_recovery = true";

/// A server of ours, a Node.js server, and what saves and restores for ours.
async fn stage(adapter: NodeAdapter) -> Result<(Cluster, Board), switchboard_tests::Error> {
    let mut cluster = Cluster::builder()
        .nodes(1)
        .transport(Transport::redis_streams())
        .toml(WITH_OFFSETS)
        .start()
        .await?;
    let url = cluster.redis().unwrap().url();
    let launch = NodeLaunch::new(adapter)
        .url(url)
        .server_options(json!({ "connectionStateRecovery": {} }));
    cluster.add_node_js(launch).await?;
    let board = Board::open(Config::from_file(cluster.config()).unwrap()).await;
    Ok((cluster, board.unwrap()))
}

/// Numbers of the `news` that a client has, and their offsets.
async fn news(
    client: &Client,
    count: usize,
) -> Result<Vec<(i64, String)>, switchboard_tests::Error> {
    let news = client.wait_for("news", count).await?;
    let part = |args: &Value| {
        let number = args[0].as_i64().unwrap();
        (number, args[1].as_str().unwrap().to_owned())
    };
    Ok(news.iter().map(part).collect())
}

/// Waits until what a server has sent so far stands in the stream; `client` is one of its own.
async fn settle(server: &Server, client: &Client) -> Outcome {
    let others = Select::all().except("hall");
    server.broadcast(&others, "fence", json!([])).await?;
    client.wait_for("fence", 1).await?;
    Ok(())
}

async fn our_server_restores_what_node_saved(adapter: NodeAdapter) -> Outcome {
    let (cluster, board) = stage(adapter).await?;
    let (ours, node) = (cluster.node(OURS), cluster.node(NODE_JS));
    let clients = Clients::start().await?;
    let there = clients
        .connect(node.url(), Connect::default().room("hall"))
        .await?;
    let here = clients.connect(ours.url(), Connect::default()).await?;

    // The same event has the same offset at every server.
    ours.broadcast(&Select::all(), "news", json!([1])).await?;
    assert_eq!(news(&there, 1).await?, news(&here, 1).await?);
    node.broadcast(&Select::all(), "news", json!([2])).await?;
    assert_eq!(news(&there, 2).await?, news(&here, 2).await?);

    let session = there.session().await?;
    there.break_off().await?;
    let (id, pid) = (session.id.unwrap(), session.pid.unwrap());
    let key = format!("sio:session:{pid}");
    let redis = cluster.redis().unwrap();
    let exists = ["EXISTS", key.as_str()];
    let saved = || redis.command(&exists);
    until("the session to be saved", saved, |answer| {
        *answer == Reply::Integer(1)
    })
    .await?;

    let hall = Select::all().to("hall");
    ours.broadcast(&hall, "news", json!([3])).await?;
    ours.broadcast(&Select::all().except("hall"), "news", json!([4]))
        .await?;
    ours.broadcast(&Select::all().to("elsewhere"), "news", json!([5]))
        .await?;
    ours.broadcast(&hall.clone().volatile(), "news", json!([6]))
        .await?;
    settle(ours, &here).await?;
    node.broadcast(&Select::all(), "news", json!([7])).await?;
    // All of it is in the stream when the last one is here.
    let here = here.wait_for("news", 4).await?;
    assert_eq!(here.last().unwrap()[0], 7);

    let pid: PrivateId = pid.parse().unwrap();
    let offset = session.offset.unwrap();
    let restored = board.restore_session("/", &pid, offset.clone(), 100).await;
    let restored = restored.unwrap().unwrap();
    assert_eq!(restored.session.sid().as_str(), id);
    let mut rooms = restored.session.room_names();
    rooms.sort();
    let mut expected = vec![id, "hall".to_owned()];
    expected.sort();
    assert_eq!(rooms, expected);
    let missed: Vec<_> = restored
        .missed
        .iter()
        .map(|p| (p.event(), p.as_json()))
        .collect();
    assert_eq!(
        missed,
        [("news", r#"["news",3]"#), ("news", r#"["news",7]"#)]
    );
    assert_eq!(
        restored.missed[1].offset().as_str(),
        here.last().unwrap()[1]
    );

    let again = board.restore_session("/", &pid, offset, 100).await;
    assert_eq!(again, Ok(None));
    board.close().await;
    Ok(())
}

async fn a_node_server_restores_what_we_saved(adapter: NodeAdapter) -> Outcome {
    let (cluster, board) = stage(adapter).await?;
    let (ours, node) = (cluster.node(OURS), cluster.node(NODE_JS));
    let clients = Clients::start().await?;
    let here = clients.connect(ours.url(), Connect::default()).await?;
    ours.broadcast(&Select::all(), "news", json!([1])).await?;
    let (_, offset) = news(&here, 1).await?.remove(0);

    let pid = PrivateId::random().unwrap();
    let session = Session::new(pid.clone(), "ours-0123456789-ours", ["hall"]);
    let session = session.with_data(&json!({ "name": "ada" })).unwrap();
    board.persist_session(&session, TTL).await.unwrap();
    let hall = Select::all().to("hall");
    ours.broadcast(&hall, "news", json!([2])).await?;
    ours.broadcast(&Select::all().to("elsewhere"), "news", json!([3]))
        .await?;
    settle(ours, &here).await?;
    node.broadcast(&hall, "news", json!([4])).await?;

    let resume = Resume {
        pid: pid.as_str().to_owned(),
        offset,
    };
    let how = Connect {
        session: Some(resume),
        ..Connect::default()
    };
    let back = clients.connect(node.url(), how).await?;
    let session = back.session().await?;
    assert!(session.recovered, "{session:?}");
    assert_eq!(session.id.as_deref(), Some("ours-0123456789-ours"));
    let missed: Vec<_> = news(&back, 2).await?.into_iter().map(|(n, _)| n).collect();
    assert_eq!(missed, [2, 4]);
    let found = ours.remote_sockets(&hall).await?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].id, "ours-0123456789-ours");
    assert_eq!(found[0].data, json!({ "name": "ada" }));
    board.close().await;
    Ok(())
}

macro_rules! with_each_client {
    ($($name:ident $adapter:ident)+) => {
        $(mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn our_server_restores_what_node_saved() -> Outcome {
                super::our_server_restores_what_node_saved(NodeAdapter::$adapter).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_node_server_restores_what_we_saved() -> Outcome {
                super::a_node_server_restores_what_we_saved(NodeAdapter::$adapter).await
            }
        })+
    };
}

with_each_client! {
    redis Streams
    ioredis StreamsIoredis
}

/// What the kit promises of every transport that keeps sessions.
async fn servers_share_sessions(transport: Transport) -> Outcome {
    let of_sessions = |scenario: &&Scenario| scenario.group == "sessions";
    let promises: Vec<_> = promises::all().iter().filter(of_sessions).collect();
    assert!(!promises.is_empty());
    for promise in promises {
        let setting = Setting::new(&transport, Parser::Common);
        promise.run(setting).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_a_durable_postgres_share_sessions() -> Outcome {
    servers_share_sessions(Transport::postgres_durable()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_redis_streams_share_sessions() -> Outcome {
    servers_share_sessions(Transport::redis_streams()).await
}
