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
    stage::{Stage, deaths, faulty, settle},
};

/// How the greeting of `host/src/capabilities/bus/frame.rs` begins: kind, magic, version.
const HELLO: &[u8] = b"\x01swbd-bus\x01\0";
/// Its numbers: incarnation, base, and the limits for one frame and for all that are under way.
const NUMBERS: &[u8] = b"\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\x10\0\0\0\0\0";

/// The name of a member that should not be there.
const INTRUDER: &str = "intruder";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_talks_nonsense_on_the_bus_is_cut_off_and_the_others_go_on() -> Outcome {
    let stage = Stage::set("").await?;
    let socket = socket(&stage);
    let offences: [(&str, Vec<u8>); 9] = [
        (
            "a frame of unknown kind 47",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        (
            "a frame of unknown kind",
            (0..4096_u32).map(|n| (n * 197 % 251) as u8).collect(),
        ),
        (
            "at most 65536 are allowed",
            [&u32::MAX.to_le_bytes(), HELLO].concat(),
        ),
        ("a frame of unknown kind 0", vec![0; 64]),
        (
            "not of a Switchboard bus",
            frame(&[b"\x01not-a-bus\0", NUMBERS, b"\x01x"].concat()),
        ),
        (
            "speaks version 255",
            frame(&[b"\x01swbd-bus\xff\0", NUMBERS, b"\x01x"].concat()),
        ),
        (
            "too short for its kind",
            frame(&[HELLO, NUMBERS, &[100]].concat()),
        ),
        ("an id of 0 bytes", frame(&[HELLO, NUMBERS, &[0]].concat())),
        ("did not begin with hello", frame(&data("x", 1, b"payload"))),
    ];
    for (why, bytes) in offences {
        assert_cut_off(&socket, why, &bytes).await?;
        assert_cluster_is_whole(&stage).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_bus_that_breaks_its_rules_is_cut_off_and_forgotten() -> Outcome {
    let stage = Stage::set("").await?;
    let socket = socket(&stage);
    let offences: [(&str, Vec<u8>); 9] = [
        ("a frame of unknown kind 77", frame(&[77, 0, 0])),
        ("may not send Stable", frame(&[5, 1, 0, 0, 0, 0, 0, 0, 0])),
        ("too short for its kind", frame(&[3, 1])),
        (
            "are allowed",
            [u32::MAX.to_le_bytes().as_slice(), &[3]].concat(),
        ),
        ("frame 9 follows frame 0", frame(&data(INTRUDER, 9, b""))),
        ("in the name of another", frame(&data("somebody", 1, b""))),
        ("are allowed", frame(&data(INTRUDER, 1, &[0; 2 << 20]))),
        ("confirmed after", frame(&[4, 255, 255, 255, 0, 0, 0, 0, 0])),
        ("may not send Hello", hello(INTRUDER)),
    ];
    for (why, bytes) in offences {
        let bytes = [hello(INTRUDER), bytes].concat();
        assert_cut_off(&socket, why, &bytes).await?;
        assert_cluster_is_whole(&stage).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_frames_hold_nonsense_costs_nobody_else_anything() -> Outcome {
    let stage = Stage::set("").await?;
    let mut intruder = connect(&socket(&stage)).await?;
    let nonsense = [
        hello(INTRUDER),
        frame(&data(INTRUDER, 1, b"")),
        frame(&data(INTRUDER, 2, b"not a batch of messages")),
        frame(&data(INTRUDER, 3, &[0xff; 10_000])),
        frame(&data(INTRUDER, 4, &[0; 10_000])),
    ]
    .concat();
    intruder.write_all(&nonsense).await.map_err(system)?;

    for server in stage.cluster.nodes() {
        let is_report =
            |line: &str| line.contains(INTRUDER) && line.contains("cannot read a frame");
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
async fn a_stranger_who_serves_the_socket_is_asked_with_pauses_until_he_is_gone() -> Outcome {
    let cut = |reason: &str| frame(&[&[8, 0], reason.as_bytes()].concat());
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

/// Sends this and checks that the other side ends the connection and says why.
async fn assert_cut_off(socket: &Path, why: &str, bytes: &[u8]) -> Outcome {
    let mut stream = connect(socket).await?;
    // It may be cut off before it has said it all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    // Ends with an error if the hub has closed while our bytes were still unread.
    let ended = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    let seconds = DEADLINE.as_secs();
    assert!(ended.is_ok(), "{why}: still connected after {seconds} s");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains(why), "`{why}` is not in: {answer}");
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
    frame(&[HELLO, NUMBERS, &[id.len() as u8], id.as_bytes()].concat())
}

/// The body of a frame with a payload.
fn data(sender: &str, seq: u64, payload: &[u8]) -> Vec<u8> {
    let (len, seq) = ([sender.len() as u8], seq.to_le_bytes());
    [&[3], &len, sender.as_bytes(), &seq, payload].concat()
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
