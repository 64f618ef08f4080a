//! Instances of the plugin that are replaced while it works: by another version, and because they have
//! used too much memory.

use std::{fs, path::PathBuf, time::Duration};

use switchboard::plugins::Digest;
use tokio::time::sleep;

use super::{Pair, flood, instances};
use crate::{
    Error, Server, Tally,
    scenarios::{Outcome, Setting},
    until,
};

/// Looked at so often that nobody waits for it.
const WATCHED: &str = "watch_plugins_ms = 50";
/// How often it is replaced.
const UPGRADES: usize = 3;
/// Between two rounds of the load, so that a slow machine has time for the upgrade.
const PAUSE: Duration = Duration::from_millis(20);
/// The load goes on for so long with each version.
const BETWEEN: Duration = Duration::from_millis(200);

/// As little as there can be: an instance that has used more is replaced after its call.
const FORGETFUL: &str = "
    [limits]
    recycle_memory_bytes = 1048576
";

pub(super) async fn upgraded(setting: &Setting) -> Outcome {
    const ROUND: u64 = 500;
    let pair = Pair::start(setting, WATCHED).await?;
    let file = plugin(&pair, setting);
    let original = fs::read(&file).map_err(Error::system("cannot read the plugin"))?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = async {
        let mut sent = 0;
        while !*stopped.borrow() {
            let mut flood = flood("upgrade", ROUND, &[64, 2_000, 0]);
            flood.first = sent;
            let report = pair.sender().flood(flood).await?;
            super::assert_accepted(&report, ROUND);
            sent += ROUND;
            sleep(PAUSE).await;
        }
        Ok::<_, Error>(sent)
    };
    let upgrades = async {
        let done = async {
            for number in 0..UPGRADES {
                let newer = variant(&original, number);
                put(&file, &newer)?;
                let digest = Digest::of(&newer).to_string();
                for server in pair.cluster.nodes() {
                    wait_until_runs(server, &digest).await?;
                }
                sleep(BETWEEN).await;
            }
            Ok(())
        };
        let done: Outcome = done.await;
        // Also when it failed, or the load would never end.
        let _ = stop.send(true);
        done
    };
    let (sent, upgraded) = tokio::join!(load, upgrades);
    upgraded?;
    let sent = sent?;
    let tally = pair.client.wait_for_flood("upgrade", sent).await?;
    assert_eq!(
        tally,
        Tally::perfect(sent),
        "the plugin was upgraded {UPGRADES} times under load"
    );
    assert_no_deaths(&pair).await
}

pub(super) async fn replaced(setting: &Setting) -> Outcome {
    const COUNT: u64 = 300;
    let pair = Pair::start(setting, FORGETFUL).await?;
    // Large payloads, so that instances pass the mark again and again.
    pair.flood("replaced", COUNT, &[200_000, 64, 1_000_000, 0, 16_384])
        .await?;
    let tally = pair.client.wait_for_flood("replaced", COUNT).await?;
    assert_eq!(
        tally,
        Tally::perfect(COUNT),
        "instances were replaced as often as they had used a megabyte"
    );
    assert_no_deaths(&pair).await
}

async fn assert_no_deaths(pair: &Pair) -> Outcome {
    for server in pair.cluster.nodes() {
        for instance in instances(server).await? {
            assert_eq!(
                instance["faults"],
                0,
                "an instance died: {} of {}, {}",
                instance["role"],
                server.name(),
                instance["last_error"]
            );
        }
    }
    Ok(())
}

fn plugin(pair: &Pair, setting: &Setting) -> PathBuf {
    let name = setting.transport().name();
    pair.cluster
        .folder()
        .join("plugins")
        .join(format!("{name}.wasm"))
}

/// The same plugin with other bytes: a section that nobody reads is added.
fn variant(plugin: &[u8], number: usize) -> Vec<u8> {
    let name = format!("variant {number}");
    // Far below 128, so that each length is one byte.
    let length = u8::try_from(name.len()).unwrap_or(0);
    let mut bytes = plugin.to_vec();
    bytes.extend([0, length + 1, length]);
    bytes.extend(name.as_bytes());
    bytes
}

/// Puts another file in the place of the plugin, in one step.
fn put(file: &std::path::Path, bytes: &[u8]) -> Outcome {
    let new = file.with_extension("new");
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, file))
        .map_err(Error::system("cannot replace the plugin"))
}

async fn wait_until_runs(server: &Server, digest: &str) -> Outcome {
    let runs = || async { Ok(server.status().await?["transport"]["digest"].clone()) };
    let what = format!("{} to run the new version of the plugin", server.name());
    until(what, runs, |runs| *runs == *digest).await?;
    Ok(())
}
