//! What is said about text that is wrong.

use super::*;

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_right_one() {
    let cases = [
        (
            "[cluster]\nhearbeat_interval_ms = 1",
            "unknown key `hearbeat_interval_ms` in [cluster] (switchboard.toml:2:1); did you mean \
             `heartbeat_interval_ms`?",
        ),
        (
            "  trasport = 'redis'",
            "unknown key `trasport` at the top level (switchboard.toml:1:3); did you mean \
             `transport`?",
        ),
        (
            "# ä\n[clutser.outbox]\nmax_messages = 1",
            "unknown key `clutser` at the top level (switchboard.toml:2:2); did you mean \
             `cluster`?",
        ),
        (
            "cluster = { outbox = { maxMessages = 1 } }",
            "unknown key `maxMessages` in [cluster.outbox] (switchboard.toml:1:24); did you mean \
             `max_messages`?",
        ),
        (
            "[transports.local]\ncolour = 1",
            "unknown key `colour` in [transports.local] (switchboard.toml:2:1); known here: \
             `options`, `grants`, `limits`, `digest`",
        ),
        (
            "[transports.local.grants]\nbuss = ['main']",
            "unknown key `buss` in [transports.local.grants] (switchboard.toml:2:1); did you mean \
             `bus`?",
        ),
        (
            "[transports.local.grants]\nbus = [{ connection = 'main', chanels = [] }]",
            "unknown key `chanels` in [transports.local.grants.bus[0]] (switchboard.toml:2:31); \
             known here: `connection`",
        ),
        (
            "[connections.bus.main]\npth = ''",
            "unknown key `pth` in [connections.bus.main] (switchboard.toml:2:1); did you mean \
             `path`?",
        ),
        (
            "[connections.mysql.main]",
            "unknown key `mysql` in [connections] (switchboard.toml:1:14); known here: `bus`, \
             `redis`, `postgres`, `tcp`",
        ),
        (
            "\"a\\nb\" = 1",
            "unknown key `a\\nb` at the top level (switchboard.toml:1:1); known here: `name`, \
             `transport`, `plugins`, `watch_plugins_ms`, `cache`, `cluster`, `limits`, \
             `connections`, `transports`, `admin`",
        ),
    ];
    for (toml, expected) in cases {
        refused(toml, &[], &[expected]);
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_what_would_be_right() {
    let cases = [
        (
            "[cluster]\nheartbeat_interval_ms = '5s'",
            "`cluster.heartbeat_interval_ms` (switchboard.toml:2:25) must be a whole number, 0 or \
             more, not text",
        ),
        (
            "limits.cpu_ms = -5",
            "`limits.cpu_ms` (switchboard.toml:1:17) must be a whole number, 0 or more, not -5",
        ),
        (
            "limits.allow_wasi = 1",
            "`limits.allow_wasi` (switchboard.toml:1:21) must be `true` or `false`, not 1",
        ),
        (
            "limits.max_restarts = 5000000000",
            "`limits.max_restarts` (switchboard.toml:1:23) must be a whole number, 0 to \
             4294967295, not 5000000000",
        ),
        (
            "cluster = []",
            "`cluster` (switchboard.toml:1:11) must be a table, not a list",
        ),
        (
            "cache = 7",
            "`cache` (switchboard.toml:1:9) must be the path of a folder, or `false`, not 7",
        ),
        (
            "[cluster.outbox]\nwhen_full = 'wiat'",
            "`cluster.outbox.when_full` (switchboard.toml:2:13) must be one of `wait`, `fail`; did \
             you mean `wait`?",
        ),
        (
            "cluster.outbox.when_full = 5",
            "`cluster.outbox.when_full` (switchboard.toml:1:28) must be one of `wait`, `fail`, not \
             5",
        ),
        (
            "transports.local.grants.bus = 'main'",
            "`transports.local.grants.bus` (switchboard.toml:1:31) must be a list, not text",
        ),
        (
            "transports.local.grants.bus = [{}]",
            "`transports.local.grants.bus[0]` (switchboard.toml:1:32) needs the key `connection`",
        ),
        (
            "transports.local.grants.bus = [3]",
            "`transports.local.grants.bus[0]` (switchboard.toml:1:32) must be the name of a \
             connection, or a table with the key `connection`, not 3",
        ),
        (
            "transports.local.digest = 'sha256:00'",
            "`transports.local.digest` (switchboard.toml:1:27): a digest is `sha256:` and 64 \
             hexadecimal digits; `sha256sum FILE` prints the digits",
        ),
        (
            "transport = 'Redis'",
            "`transport` (switchboard.toml:1:13): a name is 1 to 64 lower-case letters, digits and \
             hyphens, and starts with a letter or a digit",
        ),
        (
            "transports.re_dis = {}",
            "`transports.re_dis` (switchboard.toml:1:12): a name is 1 to 64 lower-case letters, \
             digits and hyphens, and starts with a letter or a digit",
        ),
        (
            "transports.local.options = { a = nan }",
            "a number that is not finite cannot be used (switchboard.toml:1:34)",
        ),
    ];
    for (toml, expected) in cases {
        refused(toml, &[], &[expected]);
    }
}

#[test]
fn a_value_out_of_range_is_named_with_the_range() {
    let cases = [
        (
            "limits.cpu_ms = 0",
            "`limits.cpu_ms` (switchboard.toml:1:17) must be 1 to 3600000, not 0",
        ),
        (
            "transports.local.limits.memory_bytes = 5",
            "`transports.local.limits.memory_bytes` (switchboard.toml:1:40) must be 1048576 to \
             1073741824, not 5",
        ),
        (
            "limits.restart_backoff_min_ms = 6000",
            "`limits.restart_backoff_min_ms` (switchboard.toml:1:33) must be at most \
             `restart_backoff_max_ms`, which is 5000",
        ),
        (
            "[cluster]\nheartbeat_timeout_ms = 4000",
            "`cluster.heartbeat_timeout_ms` (switchboard.toml:2:24) is less than twice \
             heartbeat_interval_ms: one late heartbeat would lose a node",
        ),
        (
            "cluster.outbox.max_messages = 0",
            "`cluster.outbox.max_messages` (switchboard.toml:1:31) is 0: it must be at least 1",
        ),
        (
            "transports.local.grants.bus = ['mian']",
            "`transports.local.grants.bus` (switchboard.toml:1:31) names the connection `mian`, \
             and there is no [connections.bus.mian]; did you mean `main`?",
        ),
    ];
    for (toml, expected) in cases {
        refused(toml, &[], &[expected]);
    }
}

#[test]
fn a_syntax_error_is_reported_once_with_its_place() {
    let error = read_with("[cluster]\nheartbeat_interval_ms = = 5\n[limits", &[]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("not valid TOML (switchboard.toml:2:25): "),
        "{text}"
    );
    assert_eq!(error.problems().len(), 1, "{text}");
    let twice = read_with("name = 'a'\nname = 'b'", &[])
        .unwrap_err()
        .to_string();
    assert_eq!(
        twice,
        "not valid TOML (switchboard.toml:2:1): duplicate key"
    );
}

#[test]
fn all_problems_are_reported_together_in_the_order_of_the_file() {
    refused(
        "transport = '-'\nlimit = 1\n[limits]\ncpu_ms = 0\nmemory_bytes = ''\n\
         [transports.local]\ngrants.bus = ['x', 7, 'a b']",
        &[("SWITCHBOARD_NAM", "x"), ("SWITCHBOARD_CACHE", "7")],
        &[
            "`transport` (switchboard.toml:1:13): a name is 1 to 64 lower-case letters, digits and \
             hyphens, and starts with a letter or a digit",
            "unknown key `limit` at the top level (switchboard.toml:2:1); did you mean `limits`?",
            "`limits.cpu_ms` (switchboard.toml:4:10) must be 1 to 3600000, not 0",
            "`limits.memory_bytes` (switchboard.toml:5:16) must be a whole number, 0 or more, not \
             text",
            "`transports.local.grants.bus` (switchboard.toml:7:14) names the connection `x`, and \
             there is no [connections.bus.x]; known here: `main`",
            "`transports.local.grants.bus[1]` (switchboard.toml:7:20) must be the name of a \
             connection, or a table with the key `connection`, not 7",
            "`transports.local.grants.bus[2]` (switchboard.toml:7:23): a name is 1 to 64 \
             lower-case letters, digits and hyphens, and starts with a letter or a digit",
            "`cache` (environment variable SWITCHBOARD_CACHE) must be the path of a folder, or \
             `false`, not 7",
            "unknown key `nam` at the top level (environment variable SWITCHBOARD_NAM); did you \
             mean `name`?",
        ],
    );
}

#[test]
fn a_very_long_key_does_not_flood_the_log() {
    let error = read_with(&format!("{} = 1", "a".repeat(100_000)), &[]).unwrap_err();
    assert!(error.to_string().len() < 3000);
}

#[test]
fn a_flood_of_problems_is_cut_with_a_note() {
    let toml: String = (0..1000).map(|n| format!("wrong{n} = 1\n")).collect();
    let error = read_with(&toml, &[]).unwrap_err();
    assert_eq!(error.problems().len(), 65);
    assert!(
        error
            .to_string()
            .ends_with("64 problems are listed at most")
    );
}

#[test]
fn text_that_is_nested_without_end_is_refused() {
    let many = 200_000;
    for toml in [
        format!("a = {}", "[".repeat(many)),
        format!("a = {}", "{a=".repeat(many)),
        format!("{}a = 1", "a.".repeat(many)),
        format!("[{}a]", "a.".repeat(many)),
        format!("transports.local.options.{}a = 1", "a.".repeat(many)),
    ] {
        assert!(read_with(&toml, &[]).is_err(), "{} …", &toml[..40]);
        assert!(read_with("", &[("SWITCHBOARD_TRANSPORTS__A__OPTIONS", &toml)]).is_err());
    }
}
