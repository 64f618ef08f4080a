//! Three servers, and on each of them one client over WebSocket and one over long polling.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_tests::{Client, Clients, Cluster, Connect, Error, Parser, Select, Way};

use crate::Outcome;

/// How many servers.
pub(crate) const NODES: usize = 3;
/// Clients on each server; client `c` is on server `c / CLIENTS_PER_NODE`.
pub(crate) const CLIENTS_PER_NODE: usize = 2;
/// How many clients.
pub(crate) const CLIENTS: usize = NODES * CLIENTS_PER_NODE;

/// The set-up of a story. Client 0 and 1 are on server 0, 2 and 3 on server 1, 4 and 5 on server 2;
/// those with even numbers use WebSocket, the others long polling.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) clients: Vec<Client>,
    parser: Parser,
    process: Clients,
}

impl Stage {
    pub(crate) async fn set(parser: Parser) -> Result<Self, Error> {
        let cluster = Cluster::builder()
            .nodes(NODES)
            .parser(parser)
            .start()
            .await?;
        let mut stage = Self {
            cluster,
            clients: Vec::new(),
            parser,
            process: Clients::start().await?,
        };
        for client in 0..CLIENTS {
            let client = stage.connect(client, Connect::default()).await?;
            stage.clients.push(client);
        }
        Ok(stage)
    }

    /// Connects a further client where client number `place` is, in the same way.
    pub(crate) async fn connect(&self, place: usize, how: Connect) -> Result<Client, Error> {
        let way = if place.is_multiple_of(2) {
            Way::Websocket
        } else {
            Way::Polling
        };
        let server = self.cluster.node(place / CLIENTS_PER_NODE);
        let how = how.way(way).parser(self.parser);
        self.process.connect(server.url(), how).await
    }

    /// Lets clients join rooms: `(client, room)`.
    pub(crate) async fn join(&self, memberships: &[(usize, &str)]) -> Outcome {
        for &(client, room) in memberships {
            self.clients[client]
                .emit_with_ack("join", json!([[room]]))
                .await?;
        }
        Ok(())
    }

    /// Waits until everything that any server has sent to any client so far has arrived. Servers
    /// send in order, so what is not there afterwards was not sent.
    pub(crate) async fn settle(&self) -> Outcome {
        self.settle_among(&self.clients.iter().collect::<Vec<_>>(), "/")
            .await
    }

    /// The same for some clients of a namespace.
    pub(crate) async fn settle_among(&self, clients: &[&Client], nsp: &str) -> Outcome {
        let mut expected = Vec::new();
        for client in clients {
            expected.push(client.received("fence").await?.len() + self.cluster.nodes().len());
        }
        for server in self.cluster.nodes() {
            server
                .broadcast(&Select::nsp(nsp), "fence", json!([]))
                .await?;
        }
        for (client, expected) in clients.iter().zip(expected) {
            client.wait_for("fence", expected).await?;
        }
        Ok(())
    }

    /// Checks that exactly these clients have got the event, each once and with these arguments.
    #[track_caller]
    pub(crate) fn assert_only<'a>(
        &'a self,
        clients: &'a [usize],
        event: &'a str,
        args: &'a Value,
    ) -> impl Future<Output = Outcome> + 'a {
        let story = std::panic::Location::caller();
        async move {
            self.settle().await?;
            for (number, client) in self.clients.iter().enumerate() {
                let expected: &[Value] = match clients.contains(&number) {
                    true => std::slice::from_ref(args),
                    false => &[],
                };
                let received = client.received(event).await?;
                assert_eq!(received, expected, "`{event}` at client {number} ({story})");
            }
            Ok(())
        }
    }

    /// The ids of these clients, as they are listed in sorted answers.
    pub(crate) fn ids(&self, clients: impl IntoIterator<Item = usize>) -> Vec<String> {
        let ids: BTreeSet<_> = clients
            .into_iter()
            .map(|client| self.clients[client].id().to_owned())
            .collect();
        ids.into_iter().collect()
    }
}
