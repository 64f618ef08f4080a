//! The bus's socket: who may reach it, and what becomes of somebody who talks nonsense on it.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use switchboard_tests::{DEADLINE, Error, Server, until};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::timeout,
};

use crate::{
    Outcome,
    stage::{Stage, deaths, faulty, settle, state},
};

/// The greeting of `host/src/capabilities/bus/frame.rs`: kind, magic, version.
const HELLO: &[u8] = b"\x01swbrdbus\x01";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_talks_nonsense_on_the_bus_is_cut_off_and_the_others_go_on() -> Outcome {
    let stage = Stage::set("").await?;
    let socket = socket(&stage);
    let offences: [(&str, Vec<u8>); 9] = [
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        (
            "random bytes",
            (0..4096_u32).map(|n| (n * 197 % 251) as u8).collect(),
        ),
        ("a giant frame", u32::MAX.to_le_bytes().to_vec()),
        ("an empty frame", vec![0; 64]),
        ("no greeting", frame(b"\x01notmagic\x01\x01x")),
        ("another version", frame(b"\x01swbrdbus\x09\x01x")),
        ("a name that is not there", frame(&[HELLO, &[200]].concat())),
        ("no name", frame(HELLO)),
        ("data before the greeting", frame(&data(1, b"payload"))),
    ];
    for (what, bytes) in offences {
        assert_cut_off(&socket, what, &bytes).await?;
        assert_cluster_is_whole(&stage).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_bus_that_breaks_its_rules_is_cut_off_and_forgotten() -> Outcome {
    let stage = Stage::set("").await?;
    let socket = socket(&stage);
    let offences: [(&str, Vec<u8>); 7] = [
        ("an unknown frame", frame(&[77])),
        ("a word of the hub", frame(&[5, 1, 0, 0, 0, 0, 0, 0, 0])),
        ("a frame cut short", frame(&[3, 1])),
        ("a giant frame", u32::MAX.to_le_bytes().to_vec()),
        (
            "frames out of order",
            [frame(&data(9, b"")), frame(&data(8, b""))].concat(),
        ),
        (
            "a receipt for what it was not given",
            frame(&[4, 255, 255, 255, 0, 0, 0, 0, 0]),
        ),
        ("a second greeting", hello("intruder")),
    ];
    for (what, bytes) in offences {
        let bytes = [hello("intruder"), bytes].concat();
        assert_cut_off(&socket, what, &bytes).await?;
        assert_cluster_is_whole(&stage).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_frames_hold_nonsense_costs_nobody_else_anything() -> Outcome {
    let stage = Stage::set("").await?;
    let mut intruder = connect(&socket(&stage)).await?;
    let nonsense = [
        hello("intruder"),
        frame(&data(1, b"")),
        frame(&data(2, b"not a batch of messages")),
        frame(&data(3, &[0xff; 10_000])),
        frame(&data(4, &[0; 10_000])),
    ]
    .concat();
    intruder.write_all(&nonsense).await.map_err(system)?;

    for server in stage.cluster.nodes() {
        let is_report =
            |line: &str| line.contains("intruder") && line.contains("cannot read a frame");
        server
            .log()
            .wait_for("the frame that cannot be read", is_report)
            .await?;
    }
    drop(intruder);
    assert_cluster_is_whole(&stage).await?;
    for server in stage.cluster.nodes() {
        assert_eq!(deaths(server, "subscriber").await?, 0, "{}", server.name());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_takes_nothing_holds_the_others_up_for_its_time_only() -> Outcome {
    let stage =
        Stage::set("[connections.bus.main]\nstall_timeout_ms = 1000\nmax_unstable_bytes = 1024")
            .await?;
    let mut silent = connect(&socket(&stage)).await?;
    silent.write_all(&hello("silent")).await.map_err(system)?;
    let members = || members(stage.sender());
    let is_there = |members: &Vec<Value>| members.iter().any(|member| member == "silent");
    until("the silent member to be on the bus", members, is_there).await?;

    stage.say(0..100, &[]).await?;
    stage.assert_heard_there(0..100).await?;
    assert_cluster_is_whole(&stage).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_own_user_can_reach_the_socket() -> Outcome {
    let folder = folder()?;
    let socket = folder.path().join("run/deep/bus.sock");
    let toml = format!(
        "connections.bus.main.path = {:?}",
        socket.display().to_string()
    );
    let _cluster = faulty()?.toml(toml).start().await?;

    let metadata = fs::metadata(&socket).map_err(system)?;
    assert!(metadata.file_type().is_socket());
    assert_eq!(mode(&socket)?, 0o600);
    for made in ["run", "run/deep"] {
        assert_eq!(mode(&folder.path().join(made))?, 0o700, "{made}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_which_others_could_put_a_socket_is_not_used() -> Outcome {
    let folder = folder()?;
    let open = folder.path().join("open");
    fs::create_dir(&open).map_err(system)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).map_err(system)?;
    let path = open.join("bus.sock").display().to_string();
    let cluster = faulty()?
        .nodes(1)
        .toml(format!("connections.bus.main.path = {path:?}"))
        .start()
        .await?;

    let server = cluster.node(0);
    let trouble = async || {
        let status = server.status().await?;
        Ok(status["buses"]["main"]["trouble"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    let is_named = |trouble: &String| trouble.contains("can be written by others");
    let trouble = until("the reason to be reported", trouble, is_named).await?;
    assert!(trouble.contains("set `path`"), "{trouble}");
    server
        .log()
        .wait_for("the reason", |line| {
            line.contains("can be written by others")
        })
        .await?;
    assert_eq!(
        state(server, "publisher").await?,
        "running",
        "it is not the plugin's fault"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_serves_the_socket_is_asked_with_pauses_until_he_is_gone() -> Outcome {
    let cut = |reason: &str| frame(&[&[8], reason.as_bytes()].concat());
    for (what, answer) in [
        ("it refuses everybody", cut("go away")),
        ("it hangs up", Vec::new()),
        (
            "it speaks something else",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        ),
    ] {
        a_stranger_is_outlived(what, answer).await?;
    }
    Ok(())
}

async fn a_stranger_is_outlived(what: &str, answer: Vec<u8>) -> Outcome {
    /// Far more than pauses allow in the time below, far fewer than a loop without any makes.
    const MAX_CONNECTIONS: usize = 100;

    let folder = folder()?;
    let socket = folder.path().join("bus.sock");
    let stranger = UnixListener::bind(&socket).map_err(system)?;
    let path = socket.display().to_string();
    let cluster = faulty()?
        .nodes(1)
        .toml(format!("connections.bus.main.path = {path:?}"))
        .start()
        .await?;
    let server = cluster.node(0);

    let mut connections = 0;
    // A slow machine makes fewer in this time, so it cannot fail for that.
    let _ = timeout(Duration::from_secs(2), async {
        while let Ok((mut stream, _)) = stranger.accept().await {
            connections += 1;
            let _ = stream.write_all(&answer).await;
        }
    })
    .await;
    assert!(connections > 0, "{what}: it never asked");
    assert!(
        connections < MAX_CONNECTIONS,
        "{what}: {connections} connections in 2 s"
    );

    drop(stranger);
    let role = async || {
        let status = server.status().await?;
        Ok(status["buses"]["main"]["role"].clone())
    };
    until(format!("{what}: it to serve the bus"), role, |role| {
        role == "hub"
    })
    .await?;
    let warnings = server.log().count(|line| line.contains("WARN"));
    assert!(warnings < MAX_CONNECTIONS, "{what}: {warnings} warnings");
    Ok(())
}

/// Sends this and checks that the other side ends the connection.
async fn assert_cut_off(socket: &Path, what: &str, bytes: &[u8]) -> Outcome {
    let mut stream = connect(socket).await?;
    // It may be cut off before it has said it all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    // Either is an end: the hub may close while our bytes are still unread.
    let ended = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    assert!(
        ended.is_ok(),
        "{what}: still connected after {} s",
        DEADLINE.as_secs()
    );
    Ok(())
}

/// Both servers know each other and nobody else, and hear each other.
async fn assert_cluster_is_whole(stage: &Stage) -> Outcome {
    for server in stage.cluster.nodes() {
        let members = || members(server);
        until("nobody else to be on the bus", members, |members| {
            members.len() == 1
        })
        .await?;
        assert_eq!(server.server_count("/").await?, 2, "{}", server.name());
    }
    settle(stage.sender(), "/", &stage.there).await?;
    settle(stage.receiver(), "/", &stage.here).await
}

async fn members(server: &Server) -> Result<Vec<Value>, Error> {
    let status = server.status().await?;
    let members = status["buses"]["main"]["members"].as_array();
    members
        .cloned()
        .ok_or_else(|| Error::Test(format!("no members in {status}")))
}

fn socket(stage: &Stage) -> PathBuf {
    stage.cluster.folder().join("bus.sock")
}

async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    UnixStream::connect(socket).await.map_err(system)
}

/// A frame of the bus: length, and what follows.
fn frame(body: &[u8]) -> Vec<u8> {
    let len = body.len() as u32;
    [&len.to_le_bytes(), body].concat()
}

fn hello(id: &str) -> Vec<u8> {
    frame(&[HELLO, &[id.len() as u8], id.as_bytes()].concat())
}

/// The body of a frame with a payload; the hub knows its sender.
fn data(seq: u64, payload: &[u8]) -> Vec<u8> {
    [&[3], seq.to_le_bytes().as_slice(), &[0], payload].concat()
}

/// Short, because a Unix socket's path has room for about a hundred bytes.
fn folder() -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("sb-")
        .tempdir()
        .map_err(system)
}

fn mode(path: &Path) -> Result<u32, Error> {
    let metadata = fs::metadata(path).map_err(system)?;
    Ok(metadata.permissions().mode() & 0o7777)
}

fn system(source: std::io::Error) -> Error {
    Error::System {
        what: "in the test itself".to_owned(),
        source,
    }
}
