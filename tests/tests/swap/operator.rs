//! What an operator types: the command `switchboard` against running servers.

use serde_json::Value;
use switchboard_tests::{Cluster, Error, switchboard_command};

use crate::{Outcome, assert_all_on, builder};

/// Two servers, each with a socket of its own.
async fn cluster() -> Result<Cluster, Error> {
    let mut cluster = builder().nodes(0).start().await?;
    for number in 0..2 {
        let socket = cluster.folder().join(format!("admin{number}.sock"));
        let socket = socket.display().to_string();
        let variable = [("SWITCHBOARD_ADMIN__SOCKET", &*socket)];
        cluster.add_node_with(&variable).await?;
    }
    Ok(cluster)
}

/// What the command prints.
async fn run(cluster: &Cluster, words: &[&str]) -> Result<String, Error> {
    let socket = cluster.folder().join("admin1.sock").display().to_string();
    let words: Vec<&str> = words.iter().copied().chain(["--socket", &socket]).collect();
    switchboard_command(cluster.config(), &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_moves_the_cluster_and_says_where_every_server_stands() -> Outcome {
    let cluster = cluster().await?;
    let servers: Vec<_> = cluster.nodes().iter().map(|server| &**server).collect();
    let said = run(&cluster, &["switch", "redis"]).await?;
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("all servers went from local to redis in "),
        "{said}"
    );
    assert_all_on(&servers, "redis").await?;

    let said = run(&cluster, &["switch", "local", "--json"]).await?;
    let last: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .map_err(|error| Error::Test(format!("{error} in {said}")))?;
    assert_eq!(last["result"]["to"], "local", "{said}");
    assert_all_on(&servers, "local").await?;

    let said = run(&cluster, &["status"]).await?;
    for server in &servers {
        let node = server.node().await?;
        assert!(said.contains(&node), "`{node}` is not in:\n{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_cannot_be_ends_with_one_line_and_a_status() -> Outcome {
    let cluster = cluster().await?;
    let servers: Vec<_> = cluster.nodes().iter().map(|server| &**server).collect();
    let refused = run(&cluster, &["switch", "nowhere"]).await;
    let Err(Error::Refused { reason, .. }) = refused else {
        panic!("it was carried out: {refused:?}");
    };
    assert!(reason.contains("there is no plugin `nowhere`"), "{reason}");
    assert_eq!(reason.trim().lines().count(), 1, "{reason}");
    assert_all_on(&servers, "local").await?;

    let said = run(&cluster, &["abort"]).await?;
    assert!(said.contains("was not asked for a switch"), "{said}");
    Ok(())
}
