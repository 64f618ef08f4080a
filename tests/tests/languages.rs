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

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_in_python_keeps_its_promises() -> Outcome {
    let Some(folder) = python().await? else {
        println!(
            "left out: there is no componentize-py; type: pip install componentize-py==0.25.1"
        );
        return Ok(());
    };
    let transport = Transport::plugin("python")
        .folder(folder.path())
        .toml(PYTHON);
    for (group, name) in CHOICE {
        let scenario = scenarios::find(group, name)
            .ok_or_else(|| Error::Test(format!("there is no scenario {group}::{name}")))?;
        scenario
            .run(Setting::new(transport.clone(), Parser::Common))
            .await?;
    }
    Ok(())
}

/// A folder with the plugin. None: the tool is missing.
async fn python() -> Result<Option<TempDir>, Error> {
    let tool = Command::new("componentize-py")
        .arg("--version")
        .output()
        .await;
    if !tool.is_ok_and(|tool| tool.status.success()) {
        return Ok(None);
    }
    let folder = tempfile::tempdir().map_err(system)?;
    let example = workspace("plugins/examples/python");
    fs::copy(
        example.join("python.toml"),
        folder.path().join("python.toml"),
    )
    .map_err(system)?;
    let built = Command::new("componentize-py")
        .arg("--quiet")
        .arg("--wit-path")
        .arg(workspace("wit/transport"))
        .arg("--wit-path")
        .arg(workspace("wit/bus"))
        .arg("--wit-path")
        .arg(workspace("plugins/examples/wit"))
        .args(["--world", "example:transport/bus-transport@0.1.0"])
        .args(["componentize", "app", "--python-path"])
        .arg(&example)
        .arg("--output")
        .arg(folder.path().join("python.wasm"))
        .output()
        .await
        .map_err(system)?;
    match built.status.success() {
        true => Ok(Some(folder)),
        false => Err(Error::Test(format!(
            "the example in Python cannot be built: {}",
            String::from_utf8_lossy(&built.stderr)
        ))),
    }
}

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn system(error: std::io::Error) -> Error {
    Error::Test(error.to_string())
}
