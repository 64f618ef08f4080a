//! Plugins that are not written in Rust: the examples are built with the tools of their language and
//! held to the scenarios, like any stranger's plugin. Left out where those tools are not installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use switchboard_tests::{
    Error, Parser, Transport,
    scenarios::{self, Outcome, Setting},
};
use tempfile::TempDir;
use tokio::process::Command;

/// What messages there are, in both directions; order; sizes; a death.
const CHOICE: &[(&str, &str)] = &[
    ("broadcast", "binary_parts_arrive_in_their_places"),
    (
        "operators",
        "an_event_reaches_the_sockets_that_were_selected",
    ),
    ("operators", "clients_acknowledge_with_their_names"),
    ("sockets", "sockets_are_found_with_their_servers_and_rooms"),
    ("rooms", "the_rooms_of_all_servers_are_listed_once"),
    ("server_events", "every_other_server_answers"),
    ("custom", "every_server_answers_a_custom_request"),
    ("nodes", "a_killed_server_is_counted_no_more"),
    ("sizes", "a_large_event_reaches_every_server"),
    ("order", "events_of_all_sizes_stay_in_order"),
];

/// The interpreter alone takes 40 MB.
const PYTHON: &str = "[transports.python.limits]\nmemory_bytes = 268435456";

/// The folder with a plugin. None: the tools are missing.
type Built = Result<Option<TempDir>, Error>;

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_in_python_keeps_its_promises() -> Outcome {
    let hint = "pip install componentize-py==0.25.1";
    it_keeps_its_promises("python", python().await?, PYTHON, hint).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_in_c_keeps_its_promises() -> Outcome {
    let hint = "cargo install wit-bindgen-cli; pip install ziglang";
    it_keeps_its_promises("c", c().await?, "", hint).await
}

async fn it_keeps_its_promises(
    name: &str,
    built: Option<TempDir>,
    toml: &str,
    hint: &str,
) -> Outcome {
    let Some(folder) = built else {
        println!("left out: the tools are not installed; type: {hint}");
        return Ok(());
    };
    let transport = Transport::plugin(name).folder(folder.path()).toml(toml);
    for (group, name) in CHOICE {
        let scenario = scenarios::find(group, name)
            .ok_or_else(|| Error::Test(format!("there is no scenario {group}::{name}")))?;
        scenario
            .run(Setting::new(transport.clone(), Parser::Common))
            .await?;
    }
    Ok(())
}

async fn python() -> Built {
    if !is_there("componentize-py", &["--version"]).await {
        return Ok(None);
    }
    let folder = with_manifest("python")?;
    let mut command = Command::new("componentize-py");
    command
        .arg("--quiet")
        .arg("--wit-path")
        .arg(workspace("wit/transport"))
        .arg("--wit-path")
        .arg(workspace("wit/bus"))
        .arg("--wit-path")
        .arg(workspace("plugins/examples/wit"))
        .args(["--world", "example:transport/bus-transport@0.1.0"])
        .args(["componentize", "app", "--python-path"])
        .arg(workspace("plugins/examples/python"))
        .arg("--output")
        .arg(folder.path().join("python.wasm"));
    run(command).await?;
    Ok(Some(folder))
}

async fn c() -> Built {
    let has_bindings = is_there("wit-bindgen", &["--version"]).await;
    if !has_bindings || !is_there("python3", &["-m", "ziglang", "version"]).await {
        return Ok(None);
    }
    let folder = with_manifest("c")?;
    let scratch = tempfile::tempdir().map_err(system)?;
    let wit = scratch.path().join("wit");
    for (from, to) in [
        ("plugins/examples/wit/world.wit", "world.wit"),
        ("wit/bus/bus.wit", "deps/bus/bus.wit"),
        ("wit/transport/messages.wit", "deps/transport/messages.wit"),
        (
            "wit/transport/transport.wit",
            "deps/transport/transport.wit",
        ),
    ] {
        let to = wit.join(to);
        fs::create_dir_all(to.parent().unwrap_or(&wit)).map_err(system)?;
        fs::copy(workspace(from), to).map_err(system)?;
    }
    let mut bindings = Command::new("wit-bindgen");
    bindings
        .args(["c", "--world", "bus-transport", "--out-dir"])
        .arg(scratch.path())
        .arg(&wit);
    run(bindings).await?;
    let mut compiler = Command::new("python3");
    compiler
        .args(["-m", "ziglang", "cc", "--target=wasm32-wasi"])
        .args(["-mexec-model=reactor", "-O2", "-s", "-Wall", "-Wextra"])
        .args(["-Werror", "-Wl,-z,stack-size=65536", "-I"])
        .arg(scratch.path())
        .arg(workspace("plugins/examples/c/transport.c"))
        .arg(scratch.path().join("bus_transport.c"))
        .arg(scratch.path().join("bus_transport_component_type.o"))
        .arg("-o")
        .arg(folder.path().join("c.wasm"));
    run(compiler).await?;
    Ok(Some(folder))
}

async fn is_there(program: &str, args: &[&str]) -> bool {
    let tool = Command::new(program).args(args).output().await;
    tool.is_ok_and(|tool| tool.status.success())
}

/// An empty plugin folder, but for the example's manifest.
fn with_manifest(name: &str) -> Result<TempDir, Error> {
    let folder = tempfile::tempdir().map_err(system)?;
    let manifest = format!("{name}.toml");
    let from = workspace("plugins/examples").join(name).join(&manifest);
    fs::copy(from, folder.path().join(manifest)).map_err(system)?;
    Ok(folder)
}

async fn run(mut command: Command) -> Result<(), Error> {
    let output = command.output().await.map_err(system)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Test(format!(
            "the example cannot be built: {command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))),
    }
}

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn system(error: std::io::Error) -> Error {
    Error::Test(error.to_string())
}
