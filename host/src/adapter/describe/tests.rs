//! A real server, spoken to over HTTP long-polling, as the other servers see it.

#![allow(clippy::unwrap_used)]

mod disconnect;
mod limits;
mod sessions;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use socketioxide::{
    ParserConfig, SocketIo, SocketIoBuilder, adapter::Emitter, extract::SocketRef,
    service::SocketIoService,
};
use socketioxide_core::Sid;
use tower_layer::Layer as _;
use tower_service::Service;

use super::*;
use crate::{
    Board, Config,
    adapter::{HandshakeLayer, HandshakeService, PeerAddr, tests::server::until},
    cluster::{
        local::Local,
        message::{Room, SocketInfo, Target},
    },
};

/// One server with two namespaces.
struct Server {
    board: Board,
    service: HandshakeService<SocketIoService<NotFound, Adapter<Emitter>>>,
    io: SocketIo<Adapter<Emitter>>,
}

/// What is behind the server.
#[derive(Clone)]
struct NotFound;

impl Service<Request<Full<Bytes>>> for NotFound {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        ready(Ok(Response::builder()
            .status(404)
            .body(Full::default())
            .unwrap()))
    }
}

fn alone() -> Config {
    Config::builder().transport("none").build().unwrap()
}

async fn board() -> Board {
    Board::open(alone()).await.unwrap()
}

impl Server {
    async fn start() -> Self {
        Self::build(SocketIo::builder(), alone()).await
    }

    async fn build(builder: SocketIoBuilder, config: Config) -> Self {
        let board = Board::open(config).await.unwrap();
        let (layer, io) = board.layer(builder);
        io.ns("/", async |_: SocketRef<Adapter<_>>, _: KeepAuth| {});
        io.ns("/chat", async |_: SocketRef<Adapter<_>>| {});
        let service = layer.layer(NotFound);
        Self { board, service, io }
    }

    async fn request(&self, request: Request<Full<Bytes>>) -> Bytes {
        let response = self.service.clone().call(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap().to_bytes()
    }

    /// Opens a connection and enters namespaces with these packets.
    async fn connect(&self, open: Request<Full<Bytes>>, packets: &[&'static str]) -> Sid {
        let opened = self.request(open).await;
        let opened: Value = serde_json::from_slice(&opened[1..]).unwrap();
        let sid: Sid = opened["sid"].as_str().unwrap().parse().unwrap();
        for &packet in packets {
            self.send(sid, packet).await;
        }
        sid
    }

    async fn send(&self, sid: Sid, packet: &'static str) {
        let post = Request::post(format!("/socket.io/?EIO=4&transport=polling&sid={sid}"));
        self.request(post.body(Full::from(packet)).unwrap()).await;
    }

    fn local(&self, namespace: &str) -> Arc<dyn Local> {
        self.board.cluster().local(&namespace.into()).unwrap()
    }

    /// What another server gets of a socket, once it is there.
    async fn described(&self, namespace: &str, sid: Sid) -> SocketInfo {
        let target = only(sid);
        until(async || !self.local(namespace).sockets(&target).is_empty()).await;
        self.local(namespace).sockets(&target).remove(0)
    }

    fn is_in(&self, namespace: &str, sid: Sid) -> bool {
        self.io.of(namespace).unwrap().get_socket(sid).is_some()
    }
}

fn only(sid: Sid) -> Target {
    Target {
        rooms: [Room::from(sid.as_str())].into(),
        ..Target::default()
    }
}

fn open() -> Request<Full<Bytes>> {
    Request::get("/socket.io/?EIO=4&transport=polling&v=1&v=2&name=h%C3%A4")
        .header("host", "localhost:3000")
        .header("cookie", "session=secret")
        .header("x-tag", "a")
        .header("x-tag", "b")
        .extension(PeerAddr(SocketAddr::from(([10, 0, 0, 7], 4711))))
        .body(Full::default())
        .unwrap()
}

fn json(payload: &Payload) -> Value {
    serde_json::from_str(&payload.json).unwrap()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// The members and their types are those of the vectors captured from Node.js servers.
#[tokio::test]
async fn a_handshake_has_the_members_that_node_gives_it() {
    let server = Server::start().await;
    let before = now_ms();
    let sid = server.connect(open(), &["40{\"token\":\"t\"}"]).await;
    let info = server.described("/", sid).await;
    assert!(info.rooms.contains(&Room::from(sid.as_str())));
    assert!(info.handshake.attachments.is_empty());

    let mut handshake = json(&info.handshake);
    let issued = handshake["issued"].as_u64().unwrap();
    assert!((before..=now_ms()).contains(&issued));
    let time = payload::date::javascript_text(issued.try_into().unwrap()).unwrap();
    let expected = json!({
        "headers": {
            "host": "localhost:3000",
            "cookie": "session=secret",
            "x-tag": "a, b",
        },
        "time": time,
        "address": "10.0.0.7",
        "xdomain": false,
        "secure": false,
        "issued": issued,
        "url": "/socket.io/?EIO=4&transport=polling&v=1&v=2&name=h%C3%A4",
        "query": {"EIO": "4", "transport": "polling", "v": "2", "name": "h\u{e4}"},
        "auth": {"token": "t"},
    });
    assert_eq!(handshake, expected);
    assert_eq!(json(&info.data), json!({}));

    // The order of Node.js, too.
    let order = [
        "headers", "time", "address", "xdomain", "secure", "issued", "url", "query", "auth",
    ];
    let places = order.map(|name| info.handshake.json.find(&format!("\"{name}\":")).unwrap());
    assert!(places.is_sorted(), "{}", info.handshake.json);

    // The same connection in a namespace that does not keep `auth`.
    server.send(sid, "40/chat,{\"token\":\"t\"}").await;
    let chat = server.described("/chat", sid).await;
    handshake["auth"] = json!({});
    assert_eq!(json(&chat.handshake), handshake);
}

#[tokio::test]
async fn what_is_not_known_of_a_request_is_left_out() {
    let board = board().await;
    let (service, io) = SocketIo::builder()
        .with_adapter::<Adapter<_>>(board.clone())
        .build_with_inner_svc(NotFound);
    io.ns("/", async |_: SocketRef<Adapter<_>>| {});
    // Straight to the server, without the layer's note.
    let server = Server {
        service: HandshakeLayer::new().layer(service.clone()),
        board,
        io,
    };
    let bare = Request::get("/socket.io/?transport=polling&EIO=4")
        .header("origin", "http://elsewhere")
        .body(Full::default())
        .unwrap();
    let response = Service::call(&mut service.clone(), bare).await.unwrap();
    let opened = response.into_body().collect().await.unwrap().to_bytes();
    let opened: Value = serde_json::from_slice(&opened[1..]).unwrap();
    let sid: Sid = opened["sid"].as_str().unwrap().parse().unwrap();
    server.send(sid, "40").await;

    let unattached = server.described("/", sid).await;
    let nothing = json!({"headers": {}, "query": {}, "auth": {}});
    assert_eq!(json(&unattached.handshake), nothing);

    server.board.attach(&server.io);
    let attached = server.described("/", sid).await;
    let expected = json!({
        "headers": {"origin": "http://elsewhere"},
        "xdomain": true,
        "url": "/socket.io/?transport=polling&EIO=4",
        "query": {"EIO": "4", "transport": "polling"},
        "auth": {},
    });
    assert_eq!(json(&attached.handshake), expected);

    server.board.close().await;
    assert!(server.board.attachment().describer("/").is_none());
}

#[tokio::test]
async fn headers_can_be_hidden() {
    let server = Server::start().await;
    server.board.hide_headers(["Cookie", "authorization"]);
    server.board.hide_headers(["x-tag".to_owned()]);
    let sid = server.connect(open(), &["40"]).await;
    let handshake = json(&server.described("/", sid).await.handshake);
    assert_eq!(handshake["headers"], json!({"host": "localhost:3000"}));
}

#[tokio::test]
async fn the_data_of_a_socket_is_what_the_application_chooses() {
    #[derive(Clone, serde::Serialize)]
    struct User {
        name: &'static str,
        picture: Option<Bytes>,
    }
    let server = Server::start().await;
    let sid = server.connect(open(), &["40", "40/chat,"]).await;
    let nobody = server.described("/", sid).await;
    assert_eq!(json(&nobody.data), json!({}));

    server.board.socket_data_extension::<User>();
    let nobody = server.described("/", sid).await;
    assert_eq!(json(&nobody.data), json!({}));
    let picture = Some(Bytes::from_static(&[1, 2]));
    let socket = server.io.get_socket(sid).unwrap();
    socket.extensions.insert(User {
        name: "ada",
        picture: picture.clone(),
    });
    let ada = server.described("/", sid).await;
    assert_eq!(
        json(&ada.data),
        json!({"name": "ada", "picture": {"_placeholder": true, "num": 0}})
    );
    assert_eq!(
        ada.data.attachments,
        picture.into_iter().collect::<Vec<_>>()
    );
    let elsewhere = server.described("/chat", sid).await;
    assert_eq!(
        json(&elsewhere.data),
        json!({}),
        "extensions are per namespace"
    );

    server
        .board
        .socket_data(|socket| (socket.ns().to_owned(), 1));
    let chat = server.described("/chat", sid).await;
    assert_eq!(json(&chat.data), json!(["/chat", 1]));
}

#[tokio::test]
async fn data_that_fails_costs_nothing_but_itself() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let server = Server::start().await;
    let sid = server.connect(open(), &["40"]).await;
    server.described("/", sid).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    server.board.socket_data(move |_| -> Value {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("the application's fault")
    });
    let info = server.described("/", sid).await;
    assert!(calls.load(Ordering::Relaxed) > 0);
    assert_eq!(json(&info.data), json!({}));
    assert_eq!(json(&info.handshake)["address"], json!("10.0.0.7"));

    server.board.socket_data(|_| Refuses);
    assert_eq!(json(&server.described("/", sid).await.data), json!({}));
    server.board.socket_data(|_| 5);
    assert_eq!(json(&server.described("/", sid).await.data), json!(5));
}

#[tokio::test]
async fn an_auth_that_other_servers_could_not_read_is_not_kept() {
    let server = Server::start().await;
    let deep: &'static str = format!("40{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64)).leak();
    for packet in [deep, "40{\"a\":}", "40"] {
        let sid = server.connect(open(), &[packet]).await;
        let info = server.described("/", sid).await;
        assert_eq!(json(&info.handshake)["auth"], json!({}), "{packet}");
    }
}

#[tokio::test]
async fn half_a_character_in_an_auth_is_repaired_before_it_travels() {
    let server = Server::start().await;
    let packet = r#"40{"n":"\ud83d","m":"\ud83d\ude00"}"#;
    let sid = server.connect(open(), &[packet]).await;
    let info = server.described("/", sid).await;
    let auth = &json(&info.handshake)["auth"];
    assert_eq!(*auth, json!({"n": "\u{fffd}", "m": "\u{1f600}"}));
}

#[tokio::test]
async fn the_auth_of_a_msgpack_client_keeps_its_binary_parts() {
    let builder = SocketIo::builder().with_parser(ParserConfig::msgpack());
    let server = Server::build(builder, alone()).await;
    let sid = server.connect(open(), &[]).await;
    // {"type":0,"nsp":"/","data":{"key":<bytes 1 2>}}, as polling carries binary: in base64.
    let connect = "bg6R0eXBlAKNuc3ChL6RkYXRhgaNrZXnEAgEC";
    server.send(sid, connect).await;
    let info = server.described("/", sid).await;
    assert_eq!(
        json(&info.handshake)["auth"],
        json!({"key": {"_placeholder": true, "num": 0}})
    );
    assert_eq!(info.handshake.attachments, [Bytes::from_static(&[1, 2])]);
}

/// The server holds the board, which holds the server.
#[tokio::test]
async fn closing_the_board_frees_the_server() {
    let server = Server::start().await;
    let held = Arc::new(());
    let weak = Arc::downgrade(&held);
    server.io.ns("/held", move |_: SocketRef<Adapter<_>>| {
        let held = held.clone();
        async move { drop(held) }
    });
    server.board.close().await;
    server.board.attach(&server.io);
    drop(server);
    until(async || weak.upgrade().is_none()).await;
}

#[tokio::test]
async fn a_socket_that_left_meanwhile_is_unknown() {
    let server = Server::start().await;
    let describer = server.board.attachment().describer("/").unwrap();
    let gone = describer.describe(Sid::new());
    assert_eq!(gone.handshake, Description::unknown().handshake);
    assert!(server.board.attachment().describer("/nowhere").is_none());
}
