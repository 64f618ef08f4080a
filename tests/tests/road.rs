//! The whole road of a stranger who ships a transport: a new crate, its tests, the plugin, what it is,
//! what it promises, and a running server.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::json;
use switchboard_tests::{Clients, Cluster, Connect, Error, Select, Transport, programs, until};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

type Outcome = Result<(), Error>;

/// For a build from nothing on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);
const NAME: &str = "my-own";

fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Runs a command that must succeed, and returns what it says.
async fn run(mut command: Command) -> Result<String, Error> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .map_err(|_| Error::Test(format!("{command:?} does not end")))?
        .map_err(Error::system(format!("cannot start {command:?}")))?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}:\n{out}{err}");
    Ok(out.into_owned())
}

fn switchboard(args: &[&str]) -> Result<Command, Error> {
    let mut command = programs::command(programs::Role::Shell)?;
    command.args(args);
    Ok(command)
}

/// Where cargo has built the programs: the profile's folder is in it.
fn target() -> Result<PathBuf, Error> {
    let switchboard = programs::command(programs::Role::Shell)?;
    let program = Path::new(switchboard.as_std().get_program());
    let target = program.ancestors().nth(2);
    Ok(target.unwrap_or(program).to_owned())
}

/// The program of `cargo xtask`, which cargo has built beside the command.
fn xtask() -> Result<Command, Error> {
    Ok(Command::new(target()?.join("debug/xtask")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_transport_is_built_checked_and_put_into_a_running_server() -> Outcome {
    let scratch = TempDir::new().map_err(test_error)?;
    let (krate, plugins) = (scratch.path().join(NAME), scratch.path().join("plugins"));

    // New. With the versions that are here already, so that nothing has to be fetched.
    let mut new = switchboard(&["new", NAME])?;
    new.current_dir(scratch.path());
    new.arg("--sdk").arg(repository().join("plugins/sdk"));
    let said = run(new).await?;
    assert!(said.contains("cargo t"), "{said}");
    fs::copy(repository().join("Cargo.lock"), krate.join("Cargo.lock")).map_err(test_error)?;

    // Its own tests, natively, by the alias that it brings.
    let mut test = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    test.current_dir(&krate).args(["t", "--offline"]);
    // Kept, so that the next run has little to build.
    test.env("CARGO_TARGET_DIR", target()?.join("road"));
    let said = run(test).await?;
    assert!(said.contains("5 passed"), "{said}");

    // The plugin.
    let mut build = xtask()?;
    build
        .args(["plugins", "--path"])
        .arg(&krate)
        .arg("--out")
        .arg(&plugins);
    build.env("CARGO_NET_OFFLINE", "true");
    run(build).await?;
    let wasm = plugins.join(format!("{NAME}.wasm"));

    // What it is.
    let mut inspect = switchboard(&["inspect"])?;
    inspect.arg(&wasm);
    let said = run(inspect).await?;
    for part in [
        "plugin      my-own 0.1.0",
        "asks for    bus 0.1.0",
        "would load it",
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }

    // What it promises: a few of all.
    let mut check = switchboard(&["check"])?;
    check.arg(&wasm);
    for group in ["broadcast", "acks", "custom", "instances", "pressure"] {
        check.args(["--only", group]);
    }
    let said = run(check).await?;
    assert!(said.contains("my-own keeps all"), "{said}");

    into_a_running_server(scratch.path(), &wasm).await
}

/// Servers on `local`, whose plugin folder gets the new one; then they are moved over to it.
async fn into_a_running_server(scratch: &Path, wasm: &Path) -> Outcome {
    let folder = scratch.join("live");
    fs::create_dir(&folder).map_err(test_error)?;
    let ours = switchboard_tests::built::plugins("local")?;
    for file in ["local.wasm", "local.toml"] {
        fs::copy(ours.join(file), folder.join(file)).map_err(test_error)?;
    }
    let socket = scratch.join("admin.sock").display().to_string();
    let second_bus = scratch.join("own.sock").display().to_string();
    let cluster = Cluster::builder()
        .transport(Transport::local().folder(&folder))
        .nodes(1)
        .toml(format!("[admin]\nsocket = {socket:?}"))
        .toml(format!(
            "[connections.bus.own]\npath = {second_bus:?}\n[transports.{NAME}]\noptions = \
             {{ connection = 'own' }}\ngrants = {{ bus = ['own'] }}"
        ))
        .start()
        .await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(0).url(), Connect::default())
        .await?;

    for ending in ["toml", "wasm"] {
        let from = wasm.with_extension(ending);
        let new = folder.join("new");
        fs::copy(&from, &new)
            .and_then(|_| fs::rename(&new, folder.join(format!("{NAME}.{ending}"))))
            .map_err(test_error)?;
    }
    let listed = async || run(switchboard(&["plugins", "--socket", &socket])?).await;
    until("the plugin to be listed", listed, |text| {
        text.contains(NAME)
    })
    .await?;
    run(switchboard(&["switch", NAME, "--socket", &socket])?).await?;
    let status = async || run(switchboard(&["status", "--socket", &socket])?).await;
    let is_it = |text: &String| text.contains(&format!("transport   {NAME} 0.1.0"));
    until("the status to show it", status, is_it).await?;

    // The clients have noticed nothing.
    cluster
        .node(0)
        .broadcast(&Select::all(), "hello", json!(["again"]))
        .await?;
    assert_eq!(client.wait_for("hello", 1).await?, [json!(["again"])]);
    Ok(())
}

fn test_error(error: impl std::fmt::Display) -> Error {
    Error::Test(error.to_string())
}
