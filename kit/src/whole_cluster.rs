//! What a server knows and does in the whole cluster, beyond socketioxide's own operators.

use std::time::Duration;

use serde_json::Value;

use crate::{
    Acks, Answers, Error, Looked, NodeEvent, NodeSeen, Partial, RemoteSocket, Select, Server,
    ServerEvent,
    protocol::Command,
    server::{list, owned},
};

impl Server {
    /// Emits an event, `args` is a JSON array, and returns what is known of the clients'
    /// acknowledgements, with Switchboard's own operators.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call), here and in all methods that follow.
    pub async fn emit_with_ack(
        &self,
        select: &Select,
        event: &str,
        args: Value,
    ) -> Result<Acks, Error> {
        self.ask(Command::BroadcastWithAck {
            select: select.clone().by_board(),
            event: event.to_owned(),
            args: list(args)?,
        })
        .await
    }

    /// Sockets with all that is known of them, by id.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn remote_sockets(&self, select: &Select) -> Result<Vec<RemoteSocket>, Error> {
        let select = select.clone();
        let sockets = self.ask(Command::RemoteSockets { select }).await;
        let mut sockets: Vec<RemoteSocket> = sockets?;
        sockets.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(sockets)
    }

    /// The ids of sockets, sorted.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn socket_ids(&self, select: &Select) -> Result<Partial<String>, Error> {
        let select = select.clone();
        let mut ids: Partial<String> = self.ask(Command::SocketIds { select }).await?;
        ids.items.sort();
        Ok(ids)
    }

    /// The rooms of sockets, those of their own ids among them.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn all_rooms(&self, select: &Select) -> Result<Partial<Value>, Error> {
        let select = select.clone();
        self.ask(Command::AllRooms { select }).await
    }

    /// The rooms of one socket of the namespace `/`.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn rooms_of(&self, id: &str) -> Result<Looked<Vec<Value>>, Error> {
        let (nsp, socket) = root_and(id);
        self.ask(Command::RoomsOf { nsp, socket }).await
    }

    /// Makes one socket of the namespace `/` join rooms.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn remote_join(&self, id: &str, rooms: &[&str]) -> Result<Looked<()>, Error> {
        let ((nsp, socket), rooms) = (root_and(id), owned(rooms));
        self.ask(Command::RemoteJoin { nsp, socket, rooms }).await
    }

    /// Makes one socket of the namespace `/` leave rooms.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn remote_leave(&self, id: &str, rooms: &[&str]) -> Result<Looked<()>, Error> {
        let ((nsp, socket), rooms) = (root_and(id), owned(rooms));
        self.ask(Command::RemoteLeave { nsp, socket, rooms }).await
    }

    /// Disconnects one socket of the namespace `/`; with `close` its whole connection.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn remote_disconnect(&self, id: &str, close: bool) -> Result<Looked<()>, Error> {
        let (nsp, socket) = root_and(id);
        self.ask(Command::RemoteDisconnect { nsp, socket, close })
            .await
    }

    /// Gives one of this server's sockets the data that other servers see.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn set_data(&self, socket: &str, data: Value) -> Result<(), Error> {
        let socket = socket.to_owned();
        self.ask(Command::SetData { socket, data }).await
    }

    /// Emits an event to the other servers; `args` is a JSON array.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn server_side_emit(&self, nsp: &str, event: &str, args: Value) -> Result<(), Error> {
        self.ask(Command::ServerSideEmit {
            nsp: nsp.to_owned(),
            event: event.to_owned(),
            args: list(args)?,
        })
        .await
    }

    /// Emits an event to the other servers, `args` is a JSON array, and returns their answers, by
    /// node. Waits as long as the server does by itself.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn server_side_emit_with_ack(
        &self,
        nsp: &str,
        event: &str,
        args: Value,
    ) -> Result<Answers, Error> {
        self.question(nsp, event, args, None).await
    }

    /// The same with a limit for the wait.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn server_side_emit_with_ack_within(
        &self,
        timeout: Duration,
        nsp: &str,
        event: &str,
        args: Value,
    ) -> Result<Answers, Error> {
        self.question(nsp, event, args, Some(timeout)).await
    }

    async fn question(
        &self,
        nsp: &str,
        event: &str,
        args: Value,
        timeout: Option<Duration>,
    ) -> Result<Answers, Error> {
        let answers = self.ask(Command::ServerSideEmitWithAck {
            nsp: nsp.to_owned(),
            event: event.to_owned(),
            args: list(args)?,
            timeout_ms: timeout.map(millis),
        });
        Ok(sorted(answers.await?))
    }

    /// The events of other servers that have arrived here, oldest first.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn server_events(&self, nsp: &str) -> Result<Vec<ServerEvent>, Error> {
        let nsp = nsp.to_owned();
        self.ask(Command::ServerEvents { nsp }).await
    }

    /// Asks every server's custom hook, this one's too, and returns the answers, by node. A hook
    /// answers with its node's id (`from`) and what it was asked (`data`).
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn custom_request(&self, nsp: &str, data: Value) -> Result<Answers, Error> {
        let answers = self.ask(Command::CustomRequest {
            nsp: nsp.to_owned(),
            data,
            timeout_ms: None,
        });
        Ok(sorted(answers.await?))
    }

    /// The other servers in a namespace, by id.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn nodes_in(&self, nsp: &str) -> Result<Vec<NodeSeen>, Error> {
        self.seen(Some(nsp.to_owned())).await
    }

    /// The other servers, by id.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn nodes(&self) -> Result<Vec<NodeSeen>, Error> {
        self.seen(None).await
    }

    async fn seen(&self, nsp: Option<String>) -> Result<Vec<NodeSeen>, Error> {
        let mut nodes: Vec<NodeSeen> = self.ask(Command::Nodes { nsp }).await?;
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(nodes)
    }

    /// What has become known of other servers since this one started, oldest first.
    ///
    /// # Errors
    /// See [`Process::call`](crate::Process::call).
    pub async fn node_events(&self) -> Result<Vec<NodeEvent>, Error> {
        self.ask(Command::NodeEvents).await
    }
}

fn root_and(id: &str) -> (String, String) {
    ("/".to_owned(), id.to_owned())
}

fn sorted(mut answers: Answers) -> Answers {
    answers.answers.sort_by(|a, b| a.node.cmp(&b.node));
    answers
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
