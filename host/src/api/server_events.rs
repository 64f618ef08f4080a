//! From server to server: events with and without answers, and questions that every server
//! answers.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    ApiError, NodeAnswer, Operators, ServerHandler,
    answers::node_answer,
    handlers::{Form, erase},
    operators::server_event,
};
use crate::{cluster::Partial, payload};

/// The kind of query that `socket.io-adapter-postgres` calls a custom request.
const CUSTOM_QUERY: &str = "custom";

/// Between the servers of this namespace; what was selected before makes no difference.
impl Operators {
    /// Sends an event to all other servers (`serverSideEmit` in Node.js). A tuple is several
    /// arguments (an array or a tuple struct, too), anything else is one; bytes travel as binary.
    ///
    /// # Errors
    /// [`ApiError::Payload`], [`ApiError::ReservedEvent`] and [`ApiError::Cluster`]: nothing was
    /// sent.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// board.of("/").server_side_emit("reload", &("config", 7)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn server_side_emit<T>(&self, event: &str, data: &T) -> Result<(), ApiError>
    where
        T: Serialize + ?Sized,
    {
        let data = server_event(event, data)?;
        Ok(self.cluster.server_event(&self.namespace, data).await?)
    }

    /// Sends an event to all other servers and collects their answers until all have come or the
    /// time is over. A server that has no handler says so, if it is a Rust server and the
    /// transport has a place for it; a Node.js server without a handler never answers and is
    /// among the missing.
    ///
    /// # Errors
    /// As [`server_side_emit`](Self::server_side_emit), and [`ApiError::NotServed`]; never because
    /// of an answer.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// let loads = board.of("/").server_side_emit_with_ack::<f64, _>("load", &()).await?;
    /// for answer in &loads.items {
    ///     match &answer.answer {
    ///         Ok(load) => println!("{}: {load}", answer.node),
    ///         Err(error) => println!("{}: {error}", answer.node),
    ///     }
    /// }
    /// println!("no answer from {:?}", loads.missing);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn server_side_emit_with_ack<A, T>(
        &self,
        event: &str,
        data: &T,
    ) -> Result<Partial<NodeAnswer<A>>, ApiError>
    where
        A: DeserializeOwned,
        T: Serialize + ?Sized,
    {
        let data = server_event(event, data)?;
        let answers = self
            .cluster
            .server_event_with_ack(&self.namespace, data, self.timeout)
            .await?;
        Ok(answers.map(|(node, answer)| node_answer(node, answer)))
    }

    /// Handles events that other servers send with
    /// [`server_side_emit`](Self::server_side_emit). A later handler of the same event replaces
    /// the earlier one.
    ///
    /// The handler takes what it needs: [`Data`](socketioxide::extract::Data) and
    /// [`TryData`](socketioxide::extract::TryData) are the event's arguments,
    /// [`NodeId`](crate::NodeId) the server that sent it, [`Operators`] this namespace. What it
    /// returns is the answer: nothing, an [`Answer`](super::Answer), a `Result` of either, or
    /// [`NoAnswer`](super::NoAnswer). Handlers start in the order in which the events arrive, and
    /// go on side by side.
    ///
    /// It is called while this server serves the namespace (`io.ns("/chat", …)`), before or after
    /// this call, and until [`off`](Self::off) or [`Board::close`](crate::Board::close). The name
    /// `switchboard:query` is taken ([`custom_request`](Self::custom_request)): a handler for it is
    /// not registered, with an error in the log.
    ///
    /// ```no_run
    /// # use socketioxide::extract::Data;
    /// # use switchboard::{Answer, NodeId};
    /// # fn run(board: switchboard::Board) {
    /// board.of("/").on("reload", async |Data((what, version)): Data<(String, u32)>, from: NodeId| {
    ///     println!("{from} wants {what} {version}");
    /// });
    /// board.of("/").on("load", async || Answer(0.5));
    /// # }
    /// ```
    pub fn on<M>(&self, event: &str, handler: impl ServerHandler<M>) {
        let handler = erase(self.cluster.downgrade(), handler, Form::Arguments);
        self.cluster
            .on_server_event(&self.namespace, event, handler);
    }

    /// Forgets a handler. False: there was none.
    pub fn off(&self, event: &str) -> bool {
        self.cluster.off_server_event(&self.namespace, event)
    }

    /// Asks every server of the namespace, this one included, and collects the answers of their
    /// [`custom_hook`](Self::custom_hook)s until all have come or the time is over.
    /// (`customRequest` in `socket.io-adapter-postgres`.)
    ///
    /// Over transports that have no such message it travels as a server event named
    /// `switchboard:query` with the arguments `"custom"` and `data`, which a Node.js server can
    /// answer with an ordinary handler.
    ///
    /// # Errors
    /// [`ApiError::Payload`], [`ApiError::NotServed`] and [`ApiError::Cluster`]: nobody was asked.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
    /// let versions = board.of("/").custom_request::<String, _>(&"version").await?;
    /// println!("{:?}", versions.items);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn custom_request<A, T>(&self, data: &T) -> Result<Partial<NodeAnswer<A>>, ApiError>
    where
        A: DeserializeOwned,
        T: Serialize + ?Sized,
    {
        let data = payload::from_value(data)?;
        let answers = self
            .cluster
            .query(&self.namespace, CUSTOM_QUERY, data, self.timeout)
            .await?;
        Ok(answers.map(|(node, answer)| node_answer(node, answer)))
    }

    /// Answers [`custom_request`](Self::custom_request)s of any server, this one included.
    /// (`customHook` in `socket.io-adapter-postgres`.) A later hook replaces the earlier one. See
    /// [`on`](Self::on) for what it may take and return.
    ///
    /// ```no_run
    /// # use socketioxide::extract::Data;
    /// # use switchboard::Answer;
    /// # fn run(board: switchboard::Board) {
    /// board.of("/").custom_hook(async |Data(question): Data<String>| {
    ///     match question.as_str() {
    ///         "version" => Ok(Answer(env!("CARGO_PKG_VERSION"))),
    ///         other => Err(format!("what is {other}?")),
    ///     }
    /// });
    /// # }
    /// ```
    pub fn custom_hook<M>(&self, handler: impl ServerHandler<M>) {
        let handler = erase(self.cluster.downgrade(), handler, Form::Value);
        self.cluster
            .on_query(&self.namespace, CUSTOM_QUERY, handler);
    }

    /// Forgets the [`custom_hook`](Self::custom_hook). False: there was none.
    pub fn custom_hook_off(&self) -> bool {
        self.cluster.off_query(&self.namespace, CUSTOM_QUERY)
    }
}
