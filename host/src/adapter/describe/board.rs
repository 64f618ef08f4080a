//! What an application says of its server to the board.

use serde::Serialize;
use socketioxide::{
    SocketIo, SocketIoBuilder,
    adapter::{Adapter as SocketioxideAdapter, Emitter},
    extract::SocketRef,
    layer::SocketIoLayer,
};
use tower_layer::Stack;

use crate::{
    Board,
    adapter::{Adapter, HandshakeLayer},
};

/// What [`Board::layer`] makes: the server, with requests noted before they reach it.
pub type BoardLayer = Stack<SocketIoLayer<Adapter<Emitter>>, HandshakeLayer>;

impl Board {
    /// Finishes a builder: the server joins the cluster through this board, which learns when its
    /// clients connect ([`HandshakeLayer`]) and can describe them to other servers
    /// ([`attach`](Self::attach)).
    ///
    /// ```no_run
    /// # use socketioxide::{SocketIo, extract::SocketRef};
    /// # fn build(board: switchboard::Board) {
    /// let (layer, io) = board.layer(SocketIo::builder().max_buffer_size(1024));
    /// io.ns("/", async |socket: SocketRef<switchboard::Adapter<_>>| {
    ///     socket.join("everyone");
    /// });
    /// // axum::Router::new().layer(layer)
    /// # let _ = layer;
    /// # }
    /// ```
    pub fn layer<A: SocketioxideAdapter>(
        &self,
        builder: SocketIoBuilder<A>,
    ) -> (BoardLayer, SocketIo<Adapter<Emitter>>) {
        let (layer, io) = builder
            .with_adapter::<Adapter<Emitter>>(self.clone())
            .build_layer();
        self.attach(&io);
        (Stack::new(layer, HandshakeLayer::new()), io)
    }

    /// Lets other servers see how clients of this server connected, and what
    /// [`socket_data`](Self::socket_data) says of them; lets `disconnect` with `close` reach all
    /// namespaces of a client; and lets what arrives be handed out in portions that fit the buffers
    /// of the sockets (`max_buffer_size`). [`layer`](Self::layer) has done it already; a server that
    /// was built by hand needs it. The last one counts.
    ///
    /// As in Node.js, the other servers get **all headers, cookies and credentials among them**
    /// ([`hide_headers`](Self::hide_headers) leaves some out), `url` and `query` of the request
    /// that opened the connection. They get `time`, `issued` and `address` if a [`HandshakeLayer`]
    /// has noted them, and `auth` if the namespace keeps it
    /// ([`KeepAuth`](super::KeepAuth)); else these are left out (`auth` is `{}`).
    ///
    /// The server holds the board, and from now on the board holds the server, until
    /// [`close`](Self::close): without it neither is ever freed.
    ///
    /// ```no_run
    /// # fn build(board: switchboard::Board) {
    /// let (service, io) = socketioxide::SocketIo::builder()
    ///     .with_adapter::<switchboard::Adapter<_>>(board.clone())
    ///     .build_svc();
    /// board.attach(&io);
    /// # let _ = service;
    /// # }
    /// ```
    pub fn attach(&self, io: &SocketIo<Adapter<Emitter>>) {
        let buffer = io.config().engine_config.max_buffer_size;
        self.cluster().sockets_hold(buffer);
        self.attachment().attach(io.clone());
    }

    /// Chooses the `data` that other servers get of a socket of this one, the counterpart of
    /// Node.js's `socket.data`. The function is called when another server (or
    /// [`fetch_sockets`](crate::Operators::fetch_sockets) here) asks, once for each socket, and
    /// should be quick: what other servers send waits meanwhile. When it panics, or its value
    /// cannot be sent, `data` is `{}` and the log tells why. All handshakes and data of one answer
    /// have `cluster.max_description_bytes`; the sockets beyond are listed without. A later function
    /// replaces the earlier one. Needs [`layer`](Self::layer) or [`attach`](Self::attach).
    ///
    /// ```no_run
    /// # fn run(board: switchboard::Board) {
    /// board.socket_data(|socket| serde_json::json!({ "rooms": socket.rooms().len() }));
    /// # }
    /// ```
    pub fn socket_data<T: Serialize>(
        &self,
        data: impl Fn(&SocketRef<Adapter<Emitter>>) -> T + Send + Sync + 'static,
    ) {
        self.attachment().set_data(move |socket| Some(data(socket)));
    }

    /// The `data` of a socket is the value of this type among its extensions, `{}` if there is
    /// none. Otherwise as [`socket_data`](Self::socket_data).
    ///
    /// ```no_run
    /// # use socketioxide::{SocketIo, extract::SocketRef};
    /// #[derive(Clone, serde::Serialize)]
    /// struct User {
    ///     name: String,
    /// }
    ///
    /// # fn run(board: switchboard::Board) {
    /// let (layer, io) = board.layer(SocketIo::builder());
    /// board.socket_data_extension::<User>();
    /// io.ns("/", async |socket: SocketRef<switchboard::Adapter<_>>| {
    ///     socket.extensions.insert(User { name: "ada".to_owned() });
    /// });
    /// # let _ = layer;
    /// # }
    /// ```
    pub fn socket_data_extension<T: Serialize + Clone + Send + Sync + 'static>(&self) {
        self.attachment()
            .set_data(|socket| socket.extensions.get::<T>());
    }

    /// Leaves headers out of what other servers get of the clients of this one, for example
    /// `["authorization", "cookie"]`; upper and lower case are the same. Adds to those that were
    /// hidden before. Does not concern `query` and `auth`.
    pub fn hide_headers(&self, names: impl IntoIterator<Item = impl AsRef<str>>) {
        let names = names.into_iter();
        self.attachment()
            .hide_headers(names.map(|name| name.as_ref().to_ascii_lowercase()));
    }
}
