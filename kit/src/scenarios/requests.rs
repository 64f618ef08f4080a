//! Questions that every server answers: which sockets there are, how many servers.

use super::{CLIENTS, CLIENTS_PER_NODE, NODES, Outcome, Stage};
use crate::Select;

pub(super) async fn the_sockets_of_all_servers_are_found(stage: &Stage) -> Outcome {
    for (asked, node) in stage.cluster.nodes().iter().enumerate() {
        let found = node.fetch_sockets(&Select::all()).await?;
        let ids: Vec<_> = found.iter().map(|socket| socket.id.clone()).collect();
        assert_eq!(ids, stage.ids(0..CLIENTS), "asked {}", node.name());

        for (number, client) in stage.clients.iter().enumerate() {
            let socket = found.iter().find(|socket| socket.id == client.id());
            let socket = socket.expect("checked above");
            assert_eq!(socket.nsp, "/");
            // For its own sockets a server has a name that only it knows.
            let server = number / CLIENTS_PER_NODE;
            if server != asked {
                assert_eq!(socket.server, stage.cluster.node(server).node().await?);
            }
        }
    }
    Ok(())
}

pub(super) async fn only_the_sockets_that_match_are_found(stage: &Stage) -> Outcome {
    stage
        .join(&[(0, "red"), (2, "red"), (3, "blue"), (4, "blue"), (4, "red")])
        .await?;
    let node = stage.cluster.node(1);
    for (select, expected) in [
        (Select::all().to("red"), &[0, 2, 4][..]),
        (Select::all().to("red").to("blue"), &[0, 2, 3, 4]),
        (Select::all().to("red").except("blue"), &[0, 2]),
        (Select::all().except("red"), &[1, 3, 5]),
        (Select::all().local(), &[2, 3]),
        (Select::all().to("nobody"), &[]),
        (Select::all().to(stage.clients[5].id()), &[5]),
        (
            Select::all().except(stage.clients[5].id()),
            &[0, 1, 2, 3, 4],
        ),
    ] {
        let found = node.fetch_sockets(&select).await?;
        let found: Vec<_> = found.into_iter().map(|socket| socket.id).collect();
        assert_eq!(found, stage.ids(expected.iter().copied()), "{select:?}");
    }
    Ok(())
}

pub(super) async fn many_questions_at_once_get_their_own_answers(stage: &Stage) -> Outcome {
    stage.join(&[(0, "even"), (2, "even"), (4, "even")]).await?;
    let node = stage.cluster.node(0);
    let even = Select::all().to("even");
    let all = Select::all();
    let questions =
        (0..50).map(|number| node.fetch_sockets(if number % 2 == 0 { &even } else { &all }));
    let answers = futures_util::future::try_join_all(questions).await?;
    for (number, answer) in answers.iter().enumerate() {
        let expected = if number % 2 == 0 {
            CLIENTS / 2
        } else {
            CLIENTS
        };
        assert_eq!(answer.len(), expected, "question {number}");
    }
    Ok(())
}

pub(super) async fn every_server_counts_all_servers(stage: &Stage) -> Outcome {
    for node in stage.cluster.nodes() {
        assert_eq!(node.server_count("/").await?, NODES, "{}", node.name());
    }
    Ok(())
}
