//! Servers that come, leave and are killed: nobody waits for the dead, and nothing that was accepted
//! is lost.
//!
//! Nothing in these clusters ends because time is up: a scenario that had to wait for that would fail.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{Outcome, Setting};
use crate::{Answer, Clients, DEADLINE, Error, Flood, NodeEvent, Select, Server, Tally, until};

pub(super) async fn a_question_ends_when_a_server_is_killed_and_names_it(
    setting: &Setting,
) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    let clients = Clients::start().await?;
    let (asking, answering, dying) = (cluster.node(0), cluster.node(1), cluster.node(2));
    let here = clients.connect(asking.url(), setting.connect()).await?;
    let there = clients.connect(answering.url(), setting.connect()).await?;
    let lost = clients.connect(dying.url(), setting.connect()).await?;

    // A frozen server gets the question and does not answer it.
    let dying_id = dying.node().await?;
    dying.pause().await?;
    let everyone = Select::all();
    let question = asking.fetch_sockets_marked(&everyone, "asked");
    let kill = async {
        there.wait_for("asked", 1).await?;
        dying.kill().await
    };
    let (found, killed) = tokio::join!(question, kill);
    killed?;

    let found: Vec<_> = found?.into_iter().map(|socket| socket.id).collect();
    assert!(found.iter().any(|id| id == here.id()), "{found:?}");
    assert!(found.iter().any(|id| id == there.id()), "{found:?}");
    assert!(!found.iter().any(|id| id == lost.id()), "{found:?}");
    is_named_as_missing(asking, &dying_id).await
}

pub(super) async fn acknowledgements_end_when_a_server_is_killed(setting: &Setting) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    let clients = Clients::start().await?;
    let (asking, answering, dying) = (cluster.node(0), cluster.node(1), cluster.node(2));
    let there = clients.connect(answering.url(), setting.connect()).await?;
    there.answer("ask", Answer::With(json!(["here"]))).await?;
    // It gets the event and never answers, so its server is waited for until it dies.
    let silent = clients.connect(dying.url(), setting.connect()).await?;

    let long = Select::all().timeout(Duration::from_secs(600));
    let question = asking.broadcast_with_ack(&long, "ask", json!([]));
    let kill = async {
        there.wait_for("ask", 1).await?;
        silent.wait_for("ask", 1).await?;
        dying.kill().await
    };
    let (acks, killed) = tokio::join!(question, kill);
    killed?;

    let answers: Vec<_> = acks?
        .into_iter()
        .filter_map(|ack| ack.answer.ok())
        .collect();
    assert_eq!(answers, [vec![json!("here")]]);
    Ok(())
}

pub(super) async fn a_killed_server_is_counted_no_more(setting: &Setting) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    cluster.node(1).kill().await?;
    cluster.wait_until_complete("/").await
}

pub(super) async fn a_server_that_stops_leaves_at_once_and_cleanly(setting: &Setting) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(2).url(), setting.connect())
        .await?;

    let status = cluster.node(2).stop().await?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    client.wait_until_disconnected().await?;
    cluster.wait_until_complete("/").await
}

pub(super) async fn what_a_server_sent_before_it_stopped_arrives(setting: &Setting) -> Outcome {
    const COUNT: u64 = 5_000;
    let cluster = setting.patient_cluster().nodes(2).start().await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(1).url(), setting.connect())
        .await?;

    let flood = Flood::new(Select::all(), "last", COUNT, 200);
    assert_eq!(cluster.node(0).flood(flood).await?.accepted, COUNT);
    cluster.node(0).stop().await?;
    assert_eq!(
        client.wait_for_flood("last", COUNT).await?,
        Tally::perfect(COUNT)
    );
    Ok(())
}

pub(super) async fn a_new_server_takes_part_at_once(setting: &Setting) -> Outcome {
    let mut cluster = setting.patient_cluster().nodes(2).start().await?;
    let clients = Clients::start().await?;
    cluster.node(0).kill().await?;
    cluster.add_node().await?;

    let client = clients
        .connect(cluster.node(2).url(), setting.connect())
        .await?;
    cluster
        .node(1)
        .broadcast(&Select::all(), "welcome", json!([]))
        .await?;
    client.wait_for("welcome", 1).await?;
    assert_eq!(
        cluster.node(1).fetch_sockets(&Select::all()).await?.len(),
        1
    );
    Ok(())
}

pub(super) async fn a_server_knows_the_others_and_since_when(setting: &Setting) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    cluster.wait_until_complete("/chat").await?;
    for (number, server) in cluster.nodes().iter().enumerate() {
        let mut others = Vec::new();
        for (other, node) in cluster.nodes().iter().enumerate() {
            if other != number {
                others.push(node.node().await?);
            }
        }
        others.sort();
        let nodes = server.nodes().await?;
        let ids: Vec<_> = nodes.iter().map(|node| node.id.clone()).collect();
        assert_eq!(ids, others, "{}", server.name());
        for node in &nodes {
            assert_eq!(node.namespaces, ["/", "/chat"], "{node:?}");
            assert!(node.since_ms <= node.last_heard_ms, "{node:?}");
            assert!(age(node.since_ms) < DEADLINE, "{node:?}");
            assert!(age(node.last_heard_ms) < DEADLINE, "{node:?}");
        }
        let in_chat = server.nodes_in("/chat").await?;
        let ids: Vec<_> = in_chat.iter().map(|node| node.id.clone()).collect();
        assert_eq!(ids, others, "{}", server.name());
        assert_eq!(server.nodes_in("/dyn-1").await?, []);
    }
    Ok(())
}

pub(super) async fn a_server_that_comes_and_stops_is_told(setting: &Setting) -> Outcome {
    let mut cluster = setting.patient_cluster().nodes(1).start().await?;
    let guest = cluster.add_node().await?.node().await?;
    cluster.wait_until_complete("/chat").await?;
    cluster.node(1).stop().await?;
    let news = news_of(cluster.node(0), &guest, 4).await?;
    assert_eq!(news, come_and_gone(&guest, "goodbye"));
    Ok(())
}

pub(super) async fn a_server_that_is_killed_is_told(setting: &Setting) -> Outcome {
    let cluster = setting.patient_cluster().nodes(2).start().await?;
    cluster.wait_until_complete("/chat").await?;
    let lost = cluster.node(1).node().await?;
    cluster.node(1).kill().await?;
    let news = news_of(cluster.node(0), &lost, 4).await?;
    let reason = match setting.transport().capabilities().reports_deaths {
        true => "reported_gone",
        false => "silent",
    };
    assert_eq!(news, come_and_gone(&lost, reason));
    Ok(())
}

/// So many events about one node, each namespace's in order.
async fn news_of(server: &Server, node: &str, count: usize) -> Result<Vec<NodeEvent>, Error> {
    let is_about = |event: &NodeEvent| match event {
        NodeEvent::Joined { node: about, .. } | NodeEvent::Left { node: about, .. } => {
            about == node
        }
        NodeEvent::Missed(_) => true,
    };
    let news = async || {
        let mut news = server.node_events().await?;
        news.retain(is_about);
        Ok(news)
    };
    let mut news = until("the news", news, |news| news.len() >= count).await?;
    news.sort_by_key(|event| match event {
        NodeEvent::Joined { nsp, .. } | NodeEvent::Left { nsp, .. } => nsp.clone(),
        NodeEvent::Missed(_) => String::new(),
    });
    Ok(news)
}

fn come_and_gone(node: &str, reason: &str) -> Vec<NodeEvent> {
    let in_one = |nsp: &str| {
        [
            NodeEvent::Joined {
                node: node.to_owned(),
                nsp: nsp.to_owned(),
            },
            NodeEvent::Left {
                node: node.to_owned(),
                nsp: nsp.to_owned(),
                reason: reason.to_owned(),
            },
        ]
    };
    [in_one("/"), in_one("/chat")].concat()
}

fn age(since_ms: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
        .saturating_sub(Duration::from_millis(since_ms))
}

/// The answer of socketioxide has no room for it, so the log says who did not answer.
async fn is_named_as_missing(asking: &Server, node: &str) -> Outcome {
    let is_warning = |line: &str| line.contains("WARN") && line.contains(node);
    asking
        .log()
        .wait_for("a warning that names the killed server", is_warning)
        .await?;
    until(
        "the killed server to be forgotten",
        || asking.server_count("/"),
        |&count| count == 2,
    )
    .await?;
    Ok(())
}
