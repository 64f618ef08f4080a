//! Who is granted what, and what is said about it.

use std::{fs, path::Path};

use super::*;

/// What the configuration comes to for a plugin `local` with this manifest.
fn resolve(manifest: &str, config: &str) -> Result<Resolved, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("local.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    fs::write(folder.path().join("local.toml"), manifest).unwrap();
    let config = Config::from_toml(config, folder.path()).unwrap();
    let plugins = crate::plugins::PluginFolder::new(folder.path());
    config.resolve(&plugins.find(&PluginName::local()).unwrap())
}

#[test]
fn a_connection_is_granted_when_it_is_asked_for_and_allowed() {
    let granted = |manifest: &str, operator: &str| {
        let config = format!("[connections.bus.b]\n[connections.bus.c]\n{operator}");
        let resolved = resolve(manifest, &config).unwrap();
        resolved
            .buses()
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let allowed = |buses: &str| format!("[transports.local.grants]\n{buses}");
    for (asked, operator, expected) in [
        ("", String::new(), ""),
        ("", "[transports.local]".to_owned(), ""),
        ("", allowed("bus = ['main', 'b']"), "b main"),
        ("grants.bus = ['main']", String::new(), "main"),
        ("grants.bus = ['*']", String::new(), "b c main"),
        (
            "grants.bus = ['main', 'b']",
            allowed("bus = ['b', 'c']"),
            "b",
        ),
        ("grants.bus = ['*']", allowed("bus = ['c']"), "c"),
        ("grants.bus = ['c']", allowed("bus = ['*']"), "c"),
        ("grants.bus = ['main']", allowed(""), ""),
        ("grants = {}", allowed("bus = ['main']"), ""),
    ] {
        assert_eq!(
            granted(asked, &operator),
            expected,
            "for {asked:?} and {operator:?}"
        );
    }
}

#[test]
fn a_redis_is_granted_only_when_the_operator_says_so() {
    let granted = |manifest: &str, operator: &str| {
        let config = format!("connections.redis.main.url = 'redis://h'\n{operator}");
        let resolved = resolve(manifest, &config).unwrap();
        resolved.redis("main").is_ok()
    };
    let narrow = "grants.redis = [{ connection = 'main', commands = ['XADD'], keys = ['s*'] }]";
    for (asked, operator, expected) in [
        ("", "", false),
        ("grants.redis = ['main']", "", false),
        ("grants.redis = ['*']", "[transports.local]", false),
        (
            "grants.redis = ['main']",
            "transports.local.grants.redis = ['main']",
            true,
        ),
        (narrow, "transports.local.grants.redis = ['*']", true),
        ("", "transports.local.grants.redis = ['main']", true),
        (
            "grants.bus = ['main']",
            "transports.local.grants.redis = ['main']",
            false,
        ),
        (
            "grants.redis = ['main']",
            "transports.local.grants.bus = ['main']",
            false,
        ),
    ] {
        let is_granted = granted(asked, operator);
        assert_eq!(is_granted, expected, "for {asked:?} and {operator:?}");
    }
}

#[test]
fn what_is_granted_can_be_told_to_people() {
    let manifest = "[grants]\nbus = ['main']\n\
                    redis = [{ connection = 'main', commands = ['XADD', 'PUBSUB NUMSUB'], \
                    keys = ['s*'] }]";
    let told = |operator: &str| {
        let config = format!(
            "connections.redis.main.url = 'redis://h'\n\
             [transports.local.grants]\nbus = ['*']\nredis = [{operator}]"
        );
        resolve(manifest, &config).unwrap().grants()
    };
    let redis = "redis `main`: commands XADD PUBSUB-NUMSUB, keys s*, all channels";
    assert_eq!(told("'main'"), ["bus `main`", redis]);
    let narrower = "{ connection = 'main', commands = ['XADD'], channels = [] }";
    let of_that = format!("{redis}; of that commands XADD, all keys, no channels");
    assert_eq!(told(narrower), ["bus `main`", &of_that]);
    assert_eq!(told(""), ["bus `main`"]);
}

#[test]
fn a_wrong_redis_is_refused_by_its_key_and_a_secret_is_not_repeated() {
    for (config, expected) in [
        (
            "connections.redis.main = {}",
            "`connections.redis.main.url`",
        ),
        (
            "connections.redis.main.uri = 'redis://h'",
            "did you mean `url`",
        ),
        (
            "connections.redis.main.url = 'http://u:hunter2@h'",
            "redis://",
        ),
        (
            "connections.redis.main.url = 'redis://h'\n\
             transports.local.grants.redis = ['mian']",
            "did you mean `main`",
        ),
        (
            "connections.redis.main.url = 'redis://h'\n\
             transports.local.grants.redis = [{ connection = 'main', commands = ['XAD'] }]",
            "did you mean `XADD`",
        ),
    ] {
        let error = Config::from_toml(config, "/").unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
        assert!(!error.contains("hunter2"), "{error:?}");
        assert_eq!(error.lines().count(), 1, "one mistake, one line: {error:?}");
    }
}

#[test]
fn a_postgres_is_granted_only_when_the_operator_says_so() {
    let config = "connections.postgres.main.url = 'postgres://h'\n";
    let granted = |manifest: &str, operator: &str| {
        let resolved = resolve(manifest, &format!("{config}{operator}")).unwrap();
        (resolved.postgres("main").is_ok(), resolved.warnings.len())
    };
    let asks = "grants.postgres = [{ connection = 'main', tables = ['t*'], channels = ['c*'] }]";
    let allows = "transports.local.grants.postgres = ['main']";
    for (asked, operator, expected) in [
        ("", "", (false, 0)),
        (asks, "", (false, 1)),
        (asks, "transports.local.grants.bus = ['main']", (false, 1)),
        (asks, allows, (true, 0)),
        (asks, "transports.local.grants.postgres = ['*']", (true, 0)),
        ("", allows, (true, 0)),
        // The bus is asked for in vain, too.
        ("grants.bus = ['main']", allows, (false, 1)),
        // A name alone asks for nothing, and that is pointed out.
        ("grants.postgres = ['main']", allows, (true, 1)),
    ] {
        let is_granted = granted(asked, operator);
        assert_eq!(is_granted, expected, "for {asked:?} and {operator:?}");
    }
}

#[test]
fn a_tcp_connection_is_granted_only_when_the_operator_says_so() {
    let config = "connections.tcp.main.addresses = ['h:1']\n";
    let resolved =
        |manifest: &str, operator: &str| resolve(manifest, &format!("{config}{operator}")).unwrap();
    let allows = "transports.local.grants.tcp = ['main']";
    for (asked, operator, expected) in [
        ("", "", false),
        ("grants.tcp = ['*']", "", false),
        ("grants.tcp = ['*']", allows, true),
        ("", allows, true),
        ("grants.bus = ['main']", allows, false),
    ] {
        let is_granted = resolved(asked, operator).tcp("main").is_ok();
        assert_eq!(is_granted, expected, "for {asked:?} and {operator:?}");
    }
    let denied = resolved("grants.tcp = ['main']", "");
    assert_eq!(
        denied.tcp("main").unwrap_err().to_string(),
        "`local` may not use the TCP connection `main`: allow it with grants = { tcp = [\"main\"] } \
         in [transports.local]"
    );
    let wide = "transports.local.grants.tcp = [{ connection = 'main', endpoints = ['*.h:*'] }]";
    let grants = resolved("", wide).grants();
    assert_eq!(grants, ["tcp `main`: its addresses, *.h:*"]);
}

#[test]
fn a_wrong_tcp_connection_is_refused_by_its_key() {
    let address = "connections.tcp.main.addresses = ['h:1']\n";
    for (config, expected) in [
        (
            "connections.tcp.main = {}",
            "`connections.tcp.main.addresses`",
        ),
        (
            "connections.tcp.main.adresses = ['h:1']",
            "did you mean `addresses`",
        ),
        ("connections.tcp.main.addresses = ['h']", "HOST:PORT"),
        (
            "transports.local.grants.tcp = ['mian']",
            "did you mean `main`",
        ),
        (
            "transports.local.grants.tcp = [{ connection = 'main', endpoints = ['h'] }]",
            "HOST:PORT",
        ),
        (
            "connections.tcp.main.encryption = 'tls'",
            "must be one of `off`, `on`",
        ),
    ] {
        let config = match config.contains("main.a") || config.contains("= {}") {
            true => config.to_owned(),
            false => format!("{address}{config}"),
        };
        let error = Config::from_toml(&config, "/").unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
        assert_eq!(error.lines().count(), 1, "one mistake, one line: {error:?}");
    }
}

#[test]
fn a_wrong_postgres_is_refused_by_its_key_and_a_secret_is_not_repeated() {
    let url = "connections.postgres.main.url = 'postgres://h'\n";
    let with_url = |rest: &str| format!("{url}{rest}");
    for (config, expected) in [
        (
            "connections.postgres.main = {}".to_owned(),
            "`connections.postgres.main.url`",
        ),
        (
            with_url("connections.postgres.main.uri = 'postgres://h'"),
            "did you mean `url`",
        ),
        (
            "connections.postgres.main.url = 'http://u:hunter2@h'".to_owned(),
            "postgres://",
        ),
        (
            "connections.postgres.main.url = 'postgres://u:hunter2@h:x/d'".to_owned(),
            "postgres://user:password@host",
        ),
        (
            with_url("connections.postgres.main.pool_size = 0"),
            "`connections.postgres.main.pool_size`",
        ),
        (
            with_url("transports.local.grants.postgres = ['mian']"),
            "did you mean `main`",
        ),
        (
            with_url(
                "transports.local.grants.postgres = [{ connection = 'main', tabels = ['t'] }]",
            ),
            "did you mean `tables`",
        ),
        (
            with_url("transports.local.grants.postgres = [{ connection = 'main', tables = [''] }]"),
            "1 to 512 bytes",
        ),
    ] {
        let error = Config::from_toml(&config, "/").unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
        assert!(!error.contains("hunter2"), "{error:?}");
        assert_eq!(error.lines().count(), 1, "one mistake, one line: {error:?}");
    }
}

#[test]
fn an_empty_configuration_gives_the_local_plugin_its_bus() {
    let resolved = resolve("grants.bus = ['main']", "").unwrap();
    let path = BusOptions::default_path("default");
    assert_eq!(
        resolved.bus("main"),
        Ok(&BusOptions {
            path,
            ..BusOptions::default()
        })
    );
    assert_eq!(resolved.options, "{}");
    assert_eq!(resolved.limits, Limits::default());
    assert_eq!(resolved.warnings, [""; 0]);
}

#[test]
fn a_bus_without_a_path_is_named_after_the_cluster() {
    let config = "name = 'chat'\nconnections.bus.b = {}\nconnections.bus.c.path = '/c'";
    let resolved = resolve("grants.bus = ['*']", config).unwrap();
    let path = |name| resolved.bus(name).unwrap().path.as_path();
    assert_eq!(path("main"), BusOptions::default_path("chat"));
    assert_eq!(path("b"), BusOptions::default_path("chat-b"));
    assert_eq!(path("c"), Path::new("/c"));
}

#[test]
fn a_denial_says_which_key_would_change_it() {
    let manifest = "grants.bus = ['main', 'b']";
    let config = "connections.bus.b = {}\nconnections.bus.c = {}\n\
                  transports.local.grants.bus = ['main']";
    let resolved = resolve(manifest, config).unwrap();
    let not_allowed = "`local` may not use the bus `b`: allow it with grants = { bus = [\"b\"] \
                       } in [transports.local]";
    for (name, expected) in [
        ("b", not_allowed),
        (
            "c",
            "the manifest of `local` does not ask for the bus `c`: add it to `grants.bus` in \
             local.toml beside the plugin",
        ),
        (
            "mian",
            "there is no bus `mian`: add [connections.bus.mian]; did you mean `main`?",
        ),
        (
            "a\nb",
            "\"a\\nb\" cannot be a bus: a name is 1 to 64 lower-case letters, digits and \
             hyphens, and starts with a letter or a digit",
        ),
    ] {
        assert_eq!(resolved.bus(name).unwrap_err().to_string(), expected);
    }
    assert_eq!(resolved.warnings, [not_allowed]);
    assert!(
        resolved
            .bus(&"x".repeat(100_000))
            .unwrap_err()
            .to_string()
            .len()
            < 300
    );
}

#[test]
fn the_operators_options_go_before_the_manifests() {
    let manifest = "[options]\na = 1\nb = [1, 2]\nc = { d = 1, e = 2 }";
    let config = "[transports.local.options]\nb = [3]\nc.e = 4\nf = true";
    let resolved = resolve(manifest, config).unwrap();
    let options: Value = serde_json::from_str(&resolved.options).unwrap();
    assert_eq!(
        options,
        serde_json::json!({ "a": 1, "b": [3], "c": { "d": 1, "e": 4 }, "f": true })
    );
}

#[test]
fn the_limits_of_a_transport_go_before_those_of_all() {
    let config = "limits = { cpu_ms = 5, max_restarts = 3 }\n\
                  transports.local.limits.cpu_ms = 7";
    let limits = resolve("", config).unwrap().limits;
    assert_eq!((limits.cpu.as_millis(), limits.max_restarts), (7, 3));
}

#[test]
fn a_file_that_the_operator_did_not_pin_is_refused() {
    let digest = crate::plugins::Digest::of(b"another");
    let config = format!("transports.local.digest = '{digest}'");
    let error = resolve("", &config).unwrap_err().to_string();
    assert!(
        error.contains("is not the file that `transports.local.digest` allows"),
        "{error}"
    );
    assert!(error.contains(&digest.to_string()), "{error}");
}

#[test]
fn settings_under_a_name_that_is_nearly_right_are_pointed_out() {
    let resolved = resolve("", "[transports.lokal]").unwrap();
    assert_eq!(
        resolved.warnings,
        [
            "nothing is set for `local`, but there is [transports.lokal]: is it meant for \
          `local`?"
        ]
    );
}
