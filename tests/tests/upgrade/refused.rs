//! Plugins that cannot take over: the one that runs goes on, and one line of the log says why.

use std::fs;

use switchboard_tests::{Cluster, Error, Server, Transport, built};

use crate::{
    Outcome,
    folder::{Folder, SETTINGS, digest, runs, test_error, variant, wait_until_runs},
    stage::builder,
};

/// A component that is no transport.
const EMPTY: &str = "(component)";

/// Two servers that follow a folder.
struct Servers {
    folder: Folder,
    cluster: Cluster,
    running: String,
}

impl Servers {
    async fn start() -> Result<Self, Error> {
        let folder = Folder::of_fixture("faulty")?;
        let transport = Transport::plugin("faulty").folder(folder.path());
        let cluster = builder(transport).nodes(2).toml(SETTINGS);
        let cluster = cluster.start().await?;
        let running = digest(&fs::read(folder.file()).map_err(test_error)?);
        Ok(Self {
            folder,
            cluster,
            running,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Server> {
        self.cluster.nodes().iter().map(|server| &**server)
    }

    /// Everybody refuses what is in the folder now, says so once with these words, and goes on.
    async fn assert_refused(&self, what: &str, words: &[&str]) -> Outcome {
        for server in self.all() {
            let is_it = |line: &str| {
                line.contains("the new file is not used, what runs goes on")
                    && words.iter().all(|word| line.contains(word))
            };
            server.log().wait_for(what, is_it).await?;
            assert_eq!(runs(server).await?, self.running, "{what}");
        }
        self.assert_whole().await?;
        for server in self.all() {
            let is_it = |line: &str| words.iter().all(|word| line.contains(word));
            assert_eq!(server.log().count(is_it), 1, "{what}: told once");
        }
        Ok(())
    }

    /// Everybody answers everybody.
    async fn assert_whole(&self) -> Outcome {
        for server in self.all() {
            let answers = server
                .server_side_emit_with_ack("/", "question", serde_json::json!(["?"]))
                .await?;
            assert_eq!(answers.answers.len(), 1, "{}: {answers:?}", server.name());
        }
        Ok(())
    }

    /// In the end a good one takes over.
    async fn assert_upgradable(&self) -> Outcome {
        let plugin = self.folder.variant("good");
        self.folder.put(&plugin)?;
        for server in self.all() {
            wait_until_runs(server, &plugin).await?;
        }
        self.assert_whole().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_plugin_is_refused_and_what_runs_goes_on() -> Outcome {
    let servers = Servers::start().await?;
    let whole = servers.folder.variant("whole");
    let half = &whole[..whole.len() / 2];
    let empty = wat::parse_str(EMPTY).map_err(test_error)?;
    let nonsense = [&whole[..8], &[1, 4, 9, 9, 9, 9]].concat();
    let cases: [(&str, &[u8], &[&str]); 4] = [
        ("something else", b"#!/bin/sh\n", &["is not WebAssembly"]),
        ("half of it", half, &["is not whole"]),
        ("no transport", &empty, &["does not export"]),
        ("nonsense", &nonsense, &["cannot be compiled"]),
    ];
    for (what, bytes, words) in cases {
        servers.folder.put(bytes)?;
        servers.assert_refused(what, words).await?;
    }
    servers.assert_upgradable().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_open_is_refused_and_what_runs_goes_on() -> Outcome {
    let servers = Servers::start().await?;
    let manifest = fs::read_to_string(servers.folder.manifest()).map_err(test_error)?;
    for (what, options, words) in [
        (
            "the way out traps",
            "open = \"trap-publisher\"",
            &["`publisher.open` trapped", "failed when it was opened"] as &[&str],
        ),
        (
            "the way in traps",
            "open = \"trap-subscriber\"",
            &["`subscriber.open` trapped", "failed when it was opened"],
        ),
        (
            "it refuses its options",
            "conection = \"main\"",
            &["refuses its configuration", "conection"],
        ),
        (
            "its connection does not exist",
            "connection = \"mian\"",
            &["there is no bus `mian`"],
        ),
    ] {
        fs::write(
            servers.folder.manifest(),
            format!("{manifest}\n[options]\n{options}\n"),
        )
        .map_err(test_error)?;
        servers.assert_refused(what, words).await?;
    }
    let pinned = format!("digest = \"{}\"\n{manifest}", digest(b"another"));
    fs::write(servers.folder.manifest(), pinned).map_err(test_error)?;
    let words = ["is not the file that `digest` in"];
    servers.assert_refused("another digest", &words).await?;
    fs::write(servers.folder.manifest(), manifest).map_err(test_error)?;
    servers.assert_upgradable().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_removed_runs_on_and_another_one_is_only_reported() -> Outcome {
    let servers = Servers::start().await?;
    let original = fs::read(servers.folder.file()).map_err(test_error)?;
    fs::remove_file(servers.folder.file()).map_err(test_error)?;
    for server in servers.all() {
        let is_it = |line: &str| line.contains("the file was removed; the transport runs on");
        server.log().wait_for("the removal", is_it).await?;
        assert_eq!(runs(server).await?, servers.running);
    }
    servers.assert_whole().await?;
    let other = servers.folder.path().join("another.wasm");
    fs::write(&other, variant(&original, "other")).map_err(test_error)?;
    for server in servers.all() {
        let is_it = |line: &str| line.contains("another") && line.contains("is available");
        server.log().wait_for("another plugin", is_it).await?;
        assert_eq!(runs(server).await?, servers.running);
    }
    servers.assert_upgradable().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_keeps_no_sessions_does_not_take_over_from_one_that_does() -> Outcome {
    let folder = Folder::of_fixture("sessions")?;
    let transport = Transport::plugin("sessions").folder(folder.path());
    let cluster = builder(transport).nodes(1).toml(SETTINGS).start().await?;
    let without = fs::read(built::fixtures("null")?.join("null.wasm")).map_err(test_error)?;
    let with = folder.variant("with sessions");
    folder.put(&without)?;
    let server = cluster.node(0);
    let is_it = |line: &str| line.contains("keeps no sessions, and the one that runs does");
    server.log().wait_for("the reason", is_it).await?;
    folder.put(&with)?;
    wait_until_runs(server, &with).await
}
