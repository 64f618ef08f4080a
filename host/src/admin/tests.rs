//! A socket in a folder of its own, and a server that is not there.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::mpsc,
    time::timeout,
};

use super::{
    AdminClient, AdminPlace, AdminSocket, ClientError, ErrorKind, Failure, MAX_REQUEST_BYTES,
    Operate, PluginReport, PluginState, Request, socket::MAX_CONNECTIONS,
};
use crate::{Status, SwitchReport, Switched};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// Says what it is asked.
#[derive(Default)]
struct Server(Mutex<Vec<Duration>>);

impl Operate for Server {
    fn status(&self, sample: Duration) -> BoxFuture<'_, Result<Status, Failure>> {
        self.0.lock().unwrap().push(sample);
        async { Err(Failure::new(ErrorKind::Closing, "it is stopping")) }.boxed()
    }

    fn plugins(&self) -> BoxFuture<'_, Result<Vec<PluginReport>, Failure>> {
        async { Ok(vec![plugin()]) }.boxed()
    }

    fn switch(
        &self,
        transport: String,
        _: bool,
        _: mpsc::Sender<SwitchReport>,
    ) -> BoxFuture<'_, Result<Switched, Failure>> {
        async move {
            Err(Failure::new(
                ErrorKind::Failed,
                format!("no `{transport}` here"),
            ))
        }
        .boxed()
    }

    fn abort(&self) -> BoxFuture<'_, Result<bool, Failure>> {
        async { Ok(false) }.boxed()
    }
}

fn plugin() -> PluginReport {
    PluginReport {
        name: "local".to_owned(),
        state: PluginState::Running,
        version: Some("1".to_owned()),
        description: None,
        digest: None,
        problem: None,
    }
}

fn start(path: &Path, server: &Arc<Server>) -> AdminSocket {
    let place = AdminPlace::prepare(path.to_owned()).unwrap();
    AdminSocket::start(place, Arc::clone(server) as Arc<dyn Operate>)
}

struct Stage {
    path: PathBuf,
    server: Arc<Server>,
    socket: AdminSocket,
    _folder: TempDir,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::Builder::new().prefix("sb-").tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let server = Arc::new(Server::default());
        let socket = start(&path, &server);
        Self {
            path,
            server,
            socket,
            _folder: folder,
        }
    }

    /// The task binds the socket in its own time.
    async fn client(&self) -> AdminClient {
        let connected = async {
            loop {
                match AdminClient::connect(&self.path).await {
                    Ok(client) => return client,
                    Err(ClientError::NobodyThere { .. }) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        timeout(SOON, connected).await.unwrap()
    }

    /// What is answered to these bytes, line by line, until the other end closes the connection.
    async fn talk(&self, bytes: &[u8]) -> Vec<Value> {
        drop(self.client().await);
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        timeout(SOON, stream.read_to_string(&mut text))
            .await
            .unwrap()
            .unwrap();
        let line = |line: &str| serde_json::from_str(line).unwrap();
        text.lines().map(line).collect()
    }
}

async fn ask(client: &mut AdminClient, request: Request) -> Result<Value, ClientError> {
    timeout(SOON, client.ask(&request, |_| {})).await.unwrap()
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other() {
    let stage = Stage::set();
    let mut client = stage.client().await;
    for sample_ms in [0, 700, u32::MAX] {
        let refused = ask(&mut client, Request::Status { sample_ms }).await;
        let is_it = matches!(&refused, Err(ClientError::Failed(failure)) if failure.kind == ErrorKind::Closing);
        assert!(is_it, "{refused:?}");
    }
    let asked = stage.server.0.lock().unwrap().clone();
    assert_eq!(
        asked,
        [0, 700, 10_000].map(Duration::from_millis),
        "at most 10 s"
    );
    let plugins: Vec<PluginReport> = client.ask(&Request::Plugins, |_| {}).await.unwrap();
    assert_eq!(plugins, [plugin()]);
}

#[tokio::test]
async fn nonsense_is_refused_and_the_next_request_is_answered() {
    let stage = Stage::set();
    let answers = stage
        .talk(b"nonsense\n\xff\n\n{\"command\":\"stop\"}\n{\"command\":\"plugins\"}\n")
        .await;
    assert_eq!(answers.len(), 5, "{answers:?}");
    for refused in &answers[..4] {
        assert_eq!(refused["error"]["kind"], "bad-request", "{refused}");
    }
    assert_eq!(answers[4]["result"][0]["name"], "local");
    assert_eq!(answers[4]["done"], true);
}

#[tokio::test]
async fn a_request_without_end_is_refused_and_cut_off() {
    let stage = Stage::set();
    let endless = vec![b' '; MAX_REQUEST_BYTES + 1];
    let answers = stage.talk(&endless).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    let message = answers[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("65536 bytes"), "{message}");
    assert_eq!(
        stage.talk(b"{\"command\":\"plugins\"}").await,
        [Value::Null; 0],
        "half a line"
    );
}

#[tokio::test]
async fn too_many_connections_are_told_so_and_those_that_are_there_go_on() {
    let stage = Stage::set();
    let mut clients = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut client = stage.client().await;
        // It is accepted, not only queued by the kernel.
        ask(&mut client, Request::Plugins).await.unwrap();
        clients.push(client);
    }
    let stream = UnixStream::connect(&stage.path).await.unwrap();
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line).await;
    assert!(read.is_ok() && line.contains("\"busy\""), "{line}");
    for client in &mut clients {
        ask(client, Request::Plugins).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_server_waits_until_the_first_one_has_ended() {
    let stage = Stage::set();
    drop(stage.client().await);
    let server = Arc::new(Server::default());
    let second = start(&stage.path, &server);
    let mut client = stage.client().await;
    let _ = ask(&mut client, Request::Status { sample_ms: 1 }).await;
    assert!(server.0.lock().unwrap().is_empty(), "the first one answers");

    stage.socket.close().await;
    let ended = ask(&mut client, Request::Plugins).await;
    assert!(matches!(ended, Err(ClientError::Lost(_))), "{ended:?}");
    let mut client = stage.client().await;
    let _ = ask(&mut client, Request::Status { sample_ms: 2 }).await;
    assert_eq!(server.0.lock().unwrap().len(), 1, "the second one answers");
    second.close().await;
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let error = AdminClient::connect(&path).await.unwrap_err().to_string();
    for part in ["no server listens", "admin.sock", "`admin.socket`"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_folder_that_others_can_write_is_refused_with_the_key() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let path = folder.path().join("admin.sock");
    let error = AdminPlace::prepare(path).err().unwrap().to_string();
    assert!(
        error.contains("open to other users; set `admin.socket`"),
        "{error}"
    );
}
