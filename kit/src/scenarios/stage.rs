//! Three servers, and on each of them one client over WebSocket and one over long polling.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Given, Outcome, Setting};
use crate::{Client, Clients, Cluster, Connect, Emitter, Error, Select, Server, Way};

/// For clients and servers that never answer: long enough for those that do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

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
    setting: Setting,
    process: Clients,
}

impl Given for Stage {
    async fn given(setting: &Setting) -> Result<Self, Error> {
        let mut stage = Self {
            cluster: setting.cluster().nodes(NODES).start().await?,
            clients: Vec::new(),
            setting: setting.clone(),
            process: Clients::start().await?,
        };
        for client in 0..CLIENTS {
            let client = stage.connect(client, Connect::default()).await?;
            stage.clients.push(client);
        }
        Ok(stage)
    }
}

impl Stage {
    /// Connects a further client where client number `place` is, in the same way.
    pub(crate) async fn connect(&self, place: usize, how: Connect) -> Result<Client, Error> {
        let way = if place.is_multiple_of(2) {
            Way::Websocket
        } else {
            Way::Polling
        };
        let how = how.way(way).parser(self.setting.parser());
        let url = self.server_of(place).url();
        self.process.connect(url, how).await
    }

    /// Connects a client to a further namespace over the same connection.
    pub(crate) async fn connect_beside(&self, number: usize, nsp: &str) -> Result<Client, Error> {
        let how = Connect::default().nsp(nsp);
        self.process
            .connect_beside(&self.clients[number], how)
            .await
    }

    /// The server of client number `place`.
    pub(crate) fn server_of(&self, place: usize) -> &Arc<Server> {
        self.cluster.node(place / CLIENTS_PER_NODE)
    }

    /// Is this the node id of one of the servers?
    pub(crate) async fn is_server(&self, id: &str) -> Result<bool, Error> {
        for server in self.cluster.nodes() {
            if server.node().await? == id {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits until everything that an emitter has sent to the clients so far has arrived there.
    pub(crate) async fn emitted(&self, emitter: &Emitter) -> Outcome {
        let mut expected = Vec::new();
        for client in &self.clients {
            expected.push(client.received("emitted").await?.len() + 1);
        }
        emitter.emit(&Select::all(), "emitted", json!([])).await?;
        for (client, expected) in self.clients.iter().zip(expected) {
            client.wait_for("emitted", expected).await?;
        }
        Ok(())
    }

    /// Checks that a volatile event has reached the clients that could take it, and none twice.
    pub(crate) async fn assert_volatile(&self, event: &str, args: &Value) -> Outcome {
        self.settle().await?;
        for (number, client) in self.clients.iter().enumerate() {
            let received = client.received(event).await?;
            // A polling client misses it between two of its requests, which is the meaning of
            // volatile.
            if number.is_multiple_of(2) {
                assert_eq!(received, std::slice::from_ref(args), "client {number}");
            } else {
                assert!(received.len() <= 1, "client {number} got it twice");
            }
        }
        Ok(())
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
