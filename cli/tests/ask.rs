//! The command, asking servers that run in this process.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, process::Output, time::Duration};

use serde_json::Value;
use switchboard::{Board, Config};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with a configuration, and one plugin that nobody runs.
fn folder(toml: &str) -> TempDir {
    // Short, because a Unix socket's path has room for about a hundred bytes.
    let folder = tempfile::Builder::new().prefix("sb-").tempdir().unwrap();
    fs::write(folder.path().join("switchboard.toml"), toml).unwrap();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    fs::write(folder.path().join("plugins/torn.wasm"), b"\0asm").unwrap();
    folder
}

async fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command
        .args(args)
        .current_dir(folder)
        .env_remove("SWITCHBOARD_CONFIG")
        .kill_on_drop(true);
    timeout(DEADLINE, command.output()).await.unwrap().unwrap()
}

async fn ok(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

async fn refused(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args).await;
    assert!(!output.status.success(), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

const CONFIG: &str = "transport = \"none\"\n[admin]\nsocket = \"run/admin.sock\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_tells_how_it_stands() {
    let folder = folder(CONFIG);
    let folder = folder.path();
    let config = Config::from_file(folder.join("switchboard.toml")).unwrap();
    let board = Board::open(config).await.unwrap();

    let node = board.node().to_string();
    let text = ok(folder, &["status"]).await;
    for part in [
        &*node,
        "transport   none",
        "0/s",
        "nodes       0 other nodes",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let json: Value = serde_json::from_str(&ok(folder, &["status", "--json"]).await).unwrap();
    assert_eq!(json["node"], *node);
    assert!(json["rates"]["over_ms"].as_u64() >= Some(900), "{json}");
    assert_eq!(json["cluster"]["outbox_messages"], 0);

    let text = ok(folder, &["plugins", "--socket", "run/admin.sock"]).await;
    assert!(text.contains("torn") && text.contains("broken"), "{text}");
    let json: Value = serde_json::from_str(&ok(folder, &["plugins", "--json"]).await).unwrap();
    assert_eq!(json[0]["state"], "broken");

    board.close().await;
    let error = refused(folder, &["status"]).await;
    assert!(error.contains("no server listens on"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_be_asked_is_reported_with_what_to_do() {
    let without = folder("transport = \"none\"\n");
    let error = refused(without.path(), &["status"]).await;
    for part in ["[admin]", "socket =", "--socket"] {
        assert!(error.contains(part), "{error}");
    }
    let nobody = folder(CONFIG);
    let error = refused(nobody.path(), &["plugins"]).await;
    for part in ["no server listens on", "run/admin.sock", "is it running"] {
        assert!(error.contains(part), "{error}");
    }
    let error = refused(nobody.path(), &["status", "--config", "other.toml"]).await;
    assert!(error.contains("other.toml"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_socket_would_be_open_to_others_does_not_start() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder(CONFIG);
    let open = folder.path().join("run");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let config = Config::from_file(folder.path().join("switchboard.toml")).unwrap();
    let error = Board::open(config).await.err().unwrap();
    assert_eq!(error.fault(), switchboard::Fault::Configuration);
    assert!(error.to_string().contains("set `admin.socket`"), "{error}");
}
