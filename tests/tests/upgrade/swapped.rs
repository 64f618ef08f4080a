//! Good plugins take over, under load from every server: nothing is lost, nothing comes twice,
//! nothing is out of order, and every question is answered.

use std::{fs, time::Duration};

use switchboard_tests::Transport;
use tokio::time::sleep;

use crate::{
    Outcome,
    folder::{Folder, SETTINGS, test_error, wait_until_runs},
    load::Load,
    stage::{SERVERS, Stage, builder},
    verdict::Verdict,
};

/// How often the plugin is replaced.
const TIMES: usize = 10;
/// A busy machine compiles for long: no question may be given up because of that.
const PATIENT: Duration = Duration::from_secs(60);
/// The load goes on for so long with each plugin.
const BETWEEN: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_replaced_ten_times_under_load_over_a_bus() -> Outcome {
    it_is_replaced_under_load("local", Transport::local()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_replaced_ten_times_under_load_over_redis() -> Outcome {
    it_is_replaced_under_load("redis", Transport::redis()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_replaced_ten_times_under_load_over_redis_streams() -> Outcome {
    it_is_replaced_under_load("redis-streams", Transport::redis_streams()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_replaced_ten_times_under_load_over_postgres() -> Outcome {
    it_is_replaced_under_load("postgres", Transport::postgres()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_replaced_ten_times_under_load_over_nats() -> Outcome {
    it_is_replaced_under_load("nats", Transport::nats()).await
}

async fn it_is_replaced_under_load(plugin: &str, transport: Transport) -> Outcome {
    let folder = Folder::of(plugin)?;
    let cluster = builder(transport.folder(folder.path()))
        .nodes(SERVERS)
        .toml(SETTINGS)
        .toml(format!(
            "cluster.request_timeout_ms = {}",
            PATIENT.as_millis()
        ))
        .start()
        .await?;
    let stage = Stage::with(cluster, Vec::new()).await?;
    let load = Load::start_patient(&stage, PATIENT).await?;
    let facts = load.facts();
    for time in 0..TIMES {
        let plugin = folder.variant(&time.to_string());
        // Both ways in which files are replaced.
        match time % 2 {
            0 => folder.put(&plugin)?,
            _ => folder.overwrite(&plugin)?,
        }
        for server in stage.servers() {
            wait_until_runs(server, &plugin).await?;
        }
        sleep(BETWEEN).await;
    }
    Verdict::of(&stage, load).await?.assert_nothing_lost();
    facts.assert_every_question_answered(SERVERS as u64);
    for server in stage.servers() {
        let steps = [
            "loading it",
            "compiled in",
            "is open beside",
            "now runs the new version",
        ];
        for step in steps {
            let lines = server.log().count(|line| line.contains(step));
            assert_eq!(lines, TIMES, "{}: `{step}`", server.name());
        }
        for instance in server.status().await?["transport"]["instances"]
            .as_array()
            .into_iter()
            .flatten()
        {
            assert_eq!(instance["faults"], 0, "{}: {instance}", server.name());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_changes_is_a_new_version_too() -> Outcome {
    let folder = Folder::of("local")?;
    let cluster = builder(Transport::local().folder(folder.path()))
        .nodes(2)
        .toml(SETTINGS)
        .start()
        .await?;
    let manifest = fs::read_to_string(folder.manifest()).map_err(test_error)?;
    let newer = manifest.replace("version = \"0.1.0\"", "version = \"0.1.0-patched\"");
    assert_ne!(manifest, newer, "the manifest has another version by now");
    fs::write(folder.manifest(), newer).map_err(test_error)?;
    for server in cluster.nodes() {
        let is_it = |line: &str| line.contains("now runs") && line.contains("0.1.0-patched");
        server.log().wait_for("the new version", is_it).await?;
        let status = server.status().await?;
        assert_eq!(status["transport"]["version"], "0.1.0-patched");
    }
    Ok(())
}
