//! Servers that cannot start: each ends at once, not with success, and with one message that names
//! the file or the key, the cause, and what to do.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
};

use switchboard_tests::{DEADLINE, Error};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::{Outcome, stage::fixtures};

/// A component that exports nothing.
const EMPTY: &str = "(component)";
/// A component that asks for something that no host has.
const NEEDY: &str = r#"(component (import "acme:gpu/shader@1.2.0" (instance)))"#;
/// A component that was built for another version of the contract.
const NEWER: &str = r#"(component (import "switchboard:bus/bus@7.0.0" (instance)))"#;
/// A core module that knows nothing of components and imports what none can give it.
const CORE: &str = r#"(module (import "env" "puts" (func (param i32) (result i32))))"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_no_plugin_is_refused_with_its_file_the_cause_and_what_to_do() -> Outcome {
    let whole = fs::read(fixtures()?.join("faulty.wasm")).map_err(test_error)?;
    let cases: [(&str, Vec<u8>, [&str; 2]); 7] = [
        (
            "something else",
            b"#!/bin/sh\n".to_vec(),
            ["is not WebAssembly", "copy a built plugin there"],
        ),
        (
            "half of it",
            whole[..whole.len() / 2].to_vec(),
            ["is not whole", "rename it"],
        ),
        ("nothing", Vec::new(), ["is not whole", "rename it"]),
        (
            "a core module",
            wasm(CORE)?,
            ["core WebAssembly module", "wit-bindgen"],
        ),
        (
            "no transport",
            wasm(EMPTY)?,
            [
                "does not export `switchboard:transport/publisher@0.1.0`",
                "a transport exports",
            ],
        ),
        (
            "an unknown import",
            wasm(NEEDY)?,
            ["imports `acme:gpu/shader@1.2.0`", "update the server"],
        ),
        (
            "an interface of another version",
            wasm(NEWER)?,
            [
                "imports `switchboard:bus/bus@7.0.0`",
                "it has switchboard:bus/bus@0.1.0",
            ],
        ),
    ];
    for (what, bytes, [cause, remedy]) in cases {
        let folder = Folder::new()?;
        fs::write(folder.path().join("plugins/faulty.wasm"), bytes).map_err(test_error)?;
        let message = folder.refused("").await?;
        assert_says(&message, what, &["plugins/faulty.wasm", cause, remedy]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_not_there_is_refused_with_what_is_there() -> Outcome {
    let message = Folder::with_faulty()?
        .refused("transport = \"fualty\"")
        .await?;
    assert_says(
        &message,
        "no such plugin",
        &[
            "plugins/fualty.wasm",
            "does not exist",
            "did you mean `faulty`?",
        ],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_not_the_allowed_file_is_refused_with_both_digests() -> Outcome {
    let digest = format!("sha256:{}", "0".repeat(64));
    let message = Folder::with_faulty()?
        .refused(&format!("[transports.faulty]\ndigest = \"{digest}\""))
        .await?;
    assert_says(
        &message,
        "another digest",
        &[
            "plugins/faulty.wasm",
            "`transports.faulty.digest`",
            &digest,
            "restore the file",
        ],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_wrong_is_refused_by_its_name() -> Outcome {
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "an unknown option of the plugin",
            "[transports.faulty.options]\nconection = \"main\"",
            &[
                "`faulty` refuses its configuration",
                "unknown field `conection`",
                "`connection`",
            ],
        ),
        (
            "a misspelt key",
            "[cluster.outbox]\nmax_mesages = 5",
            &[
                "unknown key `max_mesages`",
                "switchboard.toml:",
                "did you mean `max_messages`?",
            ],
        ),
        (
            "a value out of range",
            "[limits]\nmemory_bytes = 5",
            &[
                "`limits.memory_bytes`",
                "switchboard.toml:",
                "1048576 to 1073741824, not 5",
            ],
        ),
        (
            "a grant that the operator withholds",
            "[transports.faulty.grants]\nbus = []",
            &[
                "may not use the bus `main`",
                "grants = { bus = [\"main\"] }",
                "[transports.faulty]",
            ],
        ),
        (
            "a connection that does not exist",
            "[transports.faulty.options]\nconnection = \"mian\"",
            &["there is no bus `mian`", "did you mean `main`?"],
        ),
        (
            "a plugin that needs more than it may have",
            "[limits]\nmemory_bytes = 1048576\nrecycle_memory_bytes = 1048576",
            &["the transport `faulty`", "limits.memory_bytes"],
        ),
    ];
    for (what, toml, parts) in cases {
        let message = Folder::with_faulty()?.refused(toml).await?;
        assert_says(&message, what, parts);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_which_others_could_put_a_socket_is_refused_by_its_name() -> Outcome {
    let folder = Folder::with_faulty()?;
    let open = folder.path().join("open");
    fs::create_dir(&open).map_err(test_error)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).map_err(test_error)?;
    let path = open.join("bus.sock").display().to_string();
    let message = folder
        .refused(&format!("[connections.bus.main]\npath = {path:?}"))
        .await?;
    let open = open.display().to_string();
    let parts = [
        "[connections.bus.main]",
        &open,
        "is open to other users",
        "set `path`",
    ];
    assert_says(&message, "an open folder", &parts);
    Ok(())
}

/// A folder of its own with a configuration and plugins.
struct Folder(TempDir);

impl Folder {
    fn new() -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("sb-")
            .tempdir()
            .map_err(test_error)?;
        fs::create_dir(folder.path().join("plugins")).map_err(test_error)?;
        Ok(Self(folder))
    }

    fn with_faulty() -> Result<Self, Error> {
        let folder = Self::new()?;
        for file in ["faulty.wasm", "faulty.toml"] {
            let to = folder.path().join("plugins").join(file);
            fs::copy(fixtures()?.join(file), to).map_err(test_error)?;
        }
        Ok(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Starts a server that must not start, and returns its last words.
    async fn refused(&self, toml: &str) -> Result<String, Error> {
        let output = self.run(toml).await?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(1),
            "with {toml:?} it ended otherwise:\n{log}"
        );
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            !stdout.contains("LISTENING"),
            "with {toml:?} it took connections"
        );
        assert!(
            !log.contains("panicked"),
            "with {toml:?} it panicked:\n{log}"
        );
        // What was learned while it started is in the message; the log only distracts from it.
        assert_eq!(
            log.lines().count(),
            1,
            "one message and nothing else:\n{log}"
        );
        match log.strip_prefix("test-server: ") {
            Some(message) => Ok(message.trim_end().to_owned()),
            None => Err(Error::Test(format!("with {toml:?} it says only:\n{log}"))),
        }
    }

    async fn run(&self, toml: &str) -> Result<Output, Error> {
        let config = self.path().join("switchboard.toml");
        // Dotted keys may stand before tables, and the test's own key may replace the first one.
        let transport = match toml.starts_with("transport =") {
            true => "",
            false => "transport = \"faulty\"\n",
        };
        let text = format!("{transport}plugins = \"plugins\"\ncache = false\n{toml}\n");
        fs::write(&config, text).map_err(test_error)?;
        let server = Command::new(env!("CARGO_BIN_EXE_test-server"))
            .args(["--exit-with-stdin", "--name", "refused", "--config"])
            .arg(&config)
            .env("XDG_RUNTIME_DIR", self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(test_error)?;
        match timeout(DEADLINE, server.wait_with_output()).await {
            Ok(output) => output.map_err(test_error),
            Err(_) => Err(Error::Test(format!("with {toml:?} it started"))),
        }
    }
}

/// The message has these parts.
fn assert_says(message: &str, what: &str, parts: &[&str]) {
    for part in parts {
        assert!(
            message.contains(part),
            "{what}: `{part}` is not in: {message}"
        );
    }
}

fn wasm(text: &str) -> Result<Vec<u8>, Error> {
    wat::parse_str(text).map_err(test_error)
}

fn test_error(error: impl std::fmt::Display) -> Error {
    Error::Test(error.to_string())
}
