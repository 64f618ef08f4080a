//! Settings from environment variables.

use super::*;

#[test]
fn the_environment_goes_before_the_file() {
    let config = accepted(
        "name = 'file'\ntransport = 'redis'\n[cluster]\nheartbeat_interval_ms = 1000\n\
         close_timeout_ms = 7",
        &[
            ("SWITCHBOARD_TRANSPORT", "redis-streams"),
            ("switchboard_Cluster__Heartbeat_Interval_ms", "2000"),
            (
                "SWITCHBOARD_CONNECTIONS__BUS__SECOND_BUS__PATH",
                "/tmp/a.sock",
            ),
            (
                "SWITCHBOARD_TRANSPORTS__REDIS_STREAMS__GRANTS",
                "{ bus = ['main'] }",
            ),
            (
                "SWITCHBOARD_TRANSPORTS__REDIS_STREAMS__OPTIONS__MAX_LEN",
                "10",
            ),
            (
                "SWITCHBOARD_TRANSPORTS__REDIS_STREAMS__OPTIONS__NAME",
                "has spaces",
            ),
            ("SWITCHBOARD_CACHE", "false"),
        ],
    );
    assert_eq!(config.name.as_str(), "file");
    assert_eq!(config.transport.to_string(), "redis-streams");
    assert_eq!(config.cluster.heartbeat_interval, Duration::from_secs(2));
    assert_eq!(config.cluster.close_timeout, Duration::from_millis(7));
    assert_eq!(
        config.connections.bus["second-bus"].path,
        Path::new("/tmp/a.sock")
    );
    assert_eq!(config.cache, Cache::Off);
    let streams = &config.transports["redis-streams"];
    assert_eq!(
        streams.grants.as_ref().unwrap().bus,
        [ConnectionName::main().into()]
    );
    let options = serde_json::Value::Object(streams.options.clone());
    assert_eq!(
        options,
        serde_json::json!({ "max_len": 10, "name": "has spaces" })
    );
}

#[test]
fn a_variable_that_looks_like_a_number_is_text_where_text_is_wanted() {
    for name in ["1234", "007", "true", "1e5"] {
        assert_eq!(
            accepted("", &[("SWITCHBOARD_NAME", name)]).name.as_str(),
            name
        );
    }
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    let variables = [
        "PATH",
        "SWITCHBOARD",
        "SWITCHBOARD_CONFIG",
        "SWITCHBOARD_LOG",
        "SWITCHBOARD_TEST_PLUGINS",
        "SWITCHBOARD_SERVICE_HOST",
        "SWITCHBOARD_SERVICE_PORT_HTTP",
        "SWITCHBOARD_PORT",
        "SWITCHBOARD_PORT_80_TCP_ADDR",
        "ÄSWITCHBOARD_NAME",
    ];
    for name in variables {
        accepted("", &[(name, "/x")]);
    }
}

#[test]
fn variables_that_mean_nothing_are_refused() {
    refused(
        "",
        &[("SWITCHBOARD_CLUSTER__HEARTBEAT_INTERVAL", "1")],
        &[
            "unknown key `heartbeat_interval` in [cluster] (environment variable \
           SWITCHBOARD_CLUSTER__HEARTBEAT_INTERVAL); did you mean `heartbeat_interval_ms`?",
        ],
    );
    refused(
        "",
        &[("SWITCHBOARD_CLUSTER__", "1")],
        &[
            "environment variable SWITCHBOARD_CLUSTER__ is no setting: `__` stands between a table \
           and its key",
        ],
    );
    refused(
        "",
        &[("SWITCHBOARD_NAME", "a"), ("SWITCHBOARD_name", "b")],
        &["environment variable SWITCHBOARD_name says again what another variable has said"],
    );
    refused(
        "",
        &[
            ("SWITCHBOARD_LIMITS", "5"),
            ("SWITCHBOARD_LIMITS__CPU_MS", "5"),
        ],
        &[
            "`limits` (environment variable SWITCHBOARD_LIMITS) must be a table, not 5",
            "environment variable SWITCHBOARD_LIMITS__CPU_MS sets a key of what another variable \
             has set to a plain value",
        ],
    );
    let deep = format!("SWITCHBOARD_{}", ["a"; 100].join("__"));
    assert!(read_with("", &[(&deep, "1")]).is_err());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;

    let variable = ("SWITCHBOARD_NAME".into(), OsString::from_vec(vec![0xff]));
    let error = read(|_| Document::default(), Path::new(""), [variable]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("SWITCHBOARD_NAME is not UTF-8 text"),
        "{error}"
    );
}
