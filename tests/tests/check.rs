//! The command `switchboard check` finds what is wrong with a transport, and nothing wrong with one that
//! keeps its promises; it needs no Node.js and no files of ours. Each fault is looked for with the one
//! promise that it breaks.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use switchboard_tests::{Error, Nats, Postgres, Redis, built, programs};
use tempfile::TempDir;
use tokio::time::timeout;

type Outcome = Result<(), Error>;

/// Far longer than any of these takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// What a check has said.
struct Checked {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the command in a folder of its own.
async fn check(plugin: &Path, toml: Option<&str>, args: &[&str]) -> Result<Checked, Error> {
    let folder = TempDir::new().map_err(test_error)?;
    let mut command = programs::command(programs::Role::Shell)?;
    command
        .current_dir(folder.path())
        .arg("check")
        .arg(plugin)
        .args(args)
        // Where there is nothing: neither node nor anything else.
        .env("PATH", folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(toml) = toml {
        let file = folder.path().join("check.toml");
        std::fs::write(&file, toml).map_err(test_error)?;
        command.arg("--config").arg(file);
    }
    let output = timeout(PATIENCE, command.output())
        .await
        .map_err(|_| Error::Test("the check does not end".into()))?
        .map_err(test_error)?;
    Ok(Checked {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn broken() -> Result<PathBuf, Error> {
    Ok(built::fixtures("broken")?.join("broken.wasm"))
}

/// The transport with this fault breaks this promise, and the report says so with these words.
async fn assert_found(fault: &str, promise: &str, words: &[&str]) -> Outcome {
    let toml = format!(
        "[transports.broken]\noptions = {{ fault = '{fault}' }}\ngrants = {{ bus = ['main'] }}"
    );
    // What is awaited in vain costs all of it; memory is filled by twenty rounds of load.
    let limit = match promise.starts_with("memory") {
        true => "180",
        false => "20",
    };
    let args = ["--only", promise, "--limit", limit];
    let checked = check(&broken()?, Some(&toml), &args).await?;
    let (stdout, stderr) = (&checked.stdout, &checked.stderr);
    assert_eq!(checked.code, Some(1), "{fault}: {stdout}{stderr}");
    let (_, name) = promise.split_once("::").unwrap_or_default();
    let start = name.replace('_', " ");
    let start: String = start.chars().take(30).collect();
    let text = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [&["BROKEN", &start], words].concat() {
        assert!(
            text.contains(part),
            "{fault}: `{part}` is not in:\n{stdout}"
        );
    }
    Ok(())
}

macro_rules! found {
    ($($name:ident: $fault:literal breaks $promise:literal, $words:expr;)+) => {
        $(#[tokio::test]
        async fn $name() -> Outcome {
            assert_found($fault, $promise, &$words).await
        })+
    };
}

const FLOOD: &str = "order::a_hundred_thousand_small_events_arrive_complete_and_in_order";

found! {
    events_out_of_order_are_found: "reorders" breaks
        "order::a_hundred_thousand_small_events_arrive_complete_and_in_order",
        ["first_fault", "expected"];
    lost_events_are_found: "drops" breaks
        "order::events_for_different_rooms_stay_in_order", ["number 100: expected 99"];
    repeated_events_are_found: "repeats" breaks
        "order::events_for_different_rooms_stay_in_order", ["came after"];
    a_transport_that_says_it_has_sent_what_it_has_not_is_found: "lies" breaks
        "order::a_hundred_thousand_small_events_arrive_complete_and_in_order",
        ["first_fault"];
    a_poll_that_never_returns_is_found: "hangs" breaks
        "order::a_hundred_thousand_small_events_arrive_complete_and_in_order",
        ["a server says:", "poll", "limits.cpu_ms"];
    memory_that_grows_is_found: "leaks" breaks
        "memory::what_instances_keep_does_not_grow_with_what_they_have_done",
        ["it keeps what it should forget", "publisher"];
    binary_data_that_changes_is_found: "mangles" breaks
        "broadcast::binary_parts_arrive_in_their_places", ["00fe80"];
    excepted_rooms_that_get_events_are_found: "ignores-except" breaks
        "broadcast::an_excepted_room_gets_nothing", ["client"];
    events_for_a_room_that_everybody_gets_are_found: "forgets-clients" breaks
        "order::events_for_different_rooms_stay_in_order", ["a client in one room"];
    answers_that_are_forgotten_are_found: "forgets" breaks
        "requests::the_sockets_of_all_servers_are_found", ["left:", "right:"];
    answers_in_the_name_of_another_node_are_found: "impersonates" breaks
        "sockets::sockets_are_found_with_their_servers_and_rooms", ["asked node"];
}

#[tokio::test]
async fn the_same_transport_without_a_fault_keeps_those_promises() -> Outcome {
    let only = [
        FLOOD,
        "order::events_for_different_rooms_stay_in_order",
        "memory",
        "broadcast::binary_parts_arrive_in_their_places",
        "broadcast::an_excepted_room_gets_nothing",
        "requests::the_sockets_of_all_servers_are_found",
        "sockets::sockets_are_found_with_their_servers_and_rooms",
    ];
    let mut args = vec!["--json"];
    for name in only {
        args.extend(["--only", name]);
    }
    let checked = check(&broken()?, None, &args).await?;
    assert_eq!(
        checked.code,
        Some(0),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
    let report: Value = serde_json::from_str(&checked.stdout).map_err(test_error)?;
    assert_eq!(report["plugin"], "broken");
    let rows = report["rows"].as_array().cloned().unwrap_or_default();
    // And the first one: that servers find each other.
    assert_eq!(rows.len(), only.len() + 1, "{report}");
    assert!(rows.iter().all(|row| row["kept"] == "ok"), "{report}");
    Ok(())
}

/// Everything that `local` is held to beyond the scenarios, by the command itself.
#[tokio::test]
async fn our_own_transport_passes_by_the_command() -> Outcome {
    let plugin = built::plugins("local")?.join("local.wasm");
    let groups = [
        "pressure",
        "instances",
        "memory",
        "outage",
        "rooms",
        "emitter",
    ];
    let args: Vec<_> = groups.iter().flat_map(|group| ["--only", group]).collect();
    let checked = check(&plugin, None, &args).await?;
    assert_eq!(
        checked.code,
        Some(0),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
    assert!(
        checked.stdout.contains("left out  outage"),
        "{}",
        checked.stdout
    );
    assert!(
        checked.stdout.contains("local keeps all"),
        "{}",
        checked.stdout
    );
    Ok(())
}

/// What the scenarios of `conformance` do not show, over the backends of our others, by the command:
/// slow servers, upgrades, replaced instances, memory, and a backend that is cut off.
async fn assert_passes(plugin: &str, connections: &str, grants: &str) -> Outcome {
    let file = built::plugins(plugin)?.join(format!("{plugin}.wasm"));
    let toml = format!("{connections}\n[transports.{plugin}]\ngrants = {{ {grants} }}");
    let groups = ["pressure", "instances", "memory", "outage", "sessions"];
    let args: Vec<_> = groups.iter().flat_map(|group| ["--only", group]).collect();
    let checked = check(&file, Some(&toml), &args).await?;
    let (stdout, stderr) = (&checked.stdout, &checked.stderr);
    assert_eq!(checked.code, Some(0), "{stdout}{stderr}");
    // All of them, and that servers find each other.
    let sessions = usize::from(plugin == "redis-streams");
    let all = format!("keeps all {} promises", 6 + sessions);
    assert!(stdout.contains(&all), "{stdout}");
    let left_out = stdout.contains("left out  sessions");
    assert_eq!(left_out, sessions == 0, "{stdout}");
    Ok(())
}

#[tokio::test]
async fn redis_passes_by_the_command() -> Outcome {
    let redis = Redis::start().await?;
    let at = format!("[connections.redis.main]\nurl = '{}'", redis.url());
    assert_passes("redis", &at, "redis = ['main']").await
}

#[tokio::test]
async fn redis_streams_passes_by_the_command() -> Outcome {
    let redis = Redis::start().await?;
    let at = format!("[connections.redis.main]\nurl = '{}'", redis.url());
    assert_passes("redis-streams", &at, "redis = ['main']").await
}

#[tokio::test]
async fn postgres_passes_by_the_command() -> Outcome {
    let postgres = Postgres::start().await?;
    let at = format!("[connections.postgres.main]\nurl = '{}'", postgres.url());
    assert_passes("postgres", &at, "postgres = ['main']").await
}

#[tokio::test]
async fn nats_passes_by_the_command() -> Outcome {
    let nats = Nats::start().await?;
    let at = format!("[connections.tcp.main]\naddresses = ['{}']", nats.addr());
    assert_passes("nats", &at, "tcp = ['main']").await
}

#[tokio::test]
async fn what_cannot_be_checked_ends_otherwise_than_what_is_broken() -> Outcome {
    let nobody = "[connections.redis.main]\nurl = 'redis://127.0.0.1:1'";
    let options = "[transports.broken]\noptions = { fault = 'x' }";
    let missing = Path::new("nowhere/plugin.wasm");
    let broken = broken()?;
    for (what, plugin, toml, args, part) in [
        (
            "no file",
            missing,
            None,
            &[][..],
            "cannot read nowhere/plugin.wasm",
        ),
        (
            "no scenario",
            &*broken,
            None,
            &["--only", "odrer"][..],
            "no promise `odrer`",
        ),
        ("no TOML", &*broken, Some("x = "), &[][..], "check.toml"),
        (
            "no such key",
            &*broken,
            Some("trnsport = 'x'"),
            &[][..],
            "trnsport",
        ),
        (
            "no backend",
            &*broken,
            Some(nobody),
            &[][..],
            "the backend cannot be reached: 127.0.0.1:1",
        ),
        (
            "no such host",
            &*broken,
            Some("[connections.redis.main]\nurl = 'redis://nobody.invalid'"),
            &[][..],
            "nobody.invalid",
        ),
        (
            "refused options",
            &*broken,
            Some(options),
            &[][..],
            "there is no fault `x`",
        ),
    ] {
        let checked = check(plugin, toml, args).await?;
        assert_eq!(checked.code, Some(2), "{what}: {}", checked.stderr);
        assert!(checked.stderr.contains(part), "{what}: {}", checked.stderr);
        assert!(checked.stdout.is_empty(), "{what}: {}", checked.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn a_backend_that_refuses_the_plugin_is_told_with_its_own_words() -> Outcome {
    let redis = Redis::builder()
        .option("requirepass", "secret")
        .start()
        .await?;
    let file = built::plugins("redis")?.join("redis.wasm");
    let toml = format!(
        "[connections.redis.main]\nurl = '{}'\n[transports.redis]\ngrants = {{ redis = ['main'] }}",
        redis.url()
    );
    let checked = check(&file, Some(&toml), &["--only", "order", "--limit", "20"]).await?;
    assert_eq!(
        checked.code,
        Some(2),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
    for part in ["cannot work with its backend", "NOAUTH"] {
        assert!(checked.stderr.contains(part), "{}", checked.stderr);
    }
    Ok(())
}

fn test_error(error: impl std::fmt::Display) -> Error {
    Error::Test(error.to_string())
}
