//! Configuration text in, settings or messages out.

#![allow(clippy::unwrap_used)]

mod environment;
mod problems;

use std::{fs, time::Duration};

use super::*;

/// Reads a file in `/etc/app` with environment variables.
fn read_with(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let parse = |problems: &mut Problems| Document::parse(toml, DEFAULT_FILE, problems);
    read(parse, Path::new("/etc/app"), variables)
}

fn accepted(toml: &str, variables: &[(&str, &str)]) -> Config {
    read_with(toml, variables).unwrap_or_else(|error| panic!("refused:\n{error}\nin:\n{toml}"))
}

/// The file, with these variables, is refused with exactly these lines.
#[track_caller]
fn refused(toml: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let error = read_with(toml, variables).expect_err(toml);
    let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected, "for\n{toml}\nand {variables:?}");
    assert_eq!(error.to_string(), lines.join("\n"));
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = accepted("", &[]);
    let plugins = PathBuf::from("/etc/app/plugins");
    assert_eq!(
        config,
        Config {
            plugins,
            ..Config::default()
        }
    );
    assert_eq!(config.transport, Transport::Plugin(PluginName::local()));
    assert_eq!(Config::default().check(), Ok(()));
}

#[test]
fn every_part_can_be_written() {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let config = accepted(
        &format!(
            r#"
            name = "chat"
            transport = "none"
            plugins = "../plugins"
            cache = false
            [cluster]
            heartbeat_interval_ms = 2_000
            connection_state_recovery = true
            outbox.when_full = "fail"
            [limits]
            memory_bytes = 0x400_0000
            cpu_ms = 100
            allow_wasi = false
            [connections.bus.main]
            path = "chat.sock"
            [connections.bus.second-bus]
            [transports.local]
            options = {{ connection = "main", deep = [1, 2.5, {{ a = true }}, 2026-01-02] }}
            grants = {{ bus = ["main", {{ connection = "second-bus" }}, "*"] }}
            limits = {{ restart_backoff_min_ms = 1 }}
            digest = "sha256:{digest}"
            "#
        ),
        &[],
    );
    assert_eq!(config.name.as_str(), "chat");
    assert_eq!(config.transport, Transport::None);
    assert_eq!(config.plugins, Path::new("/etc/app/../plugins"));
    assert_eq!(config.cache, Cache::Off);
    assert_eq!(config.cluster.heartbeat_interval, Duration::from_secs(2));
    assert!(config.cluster.connection_state_recovery);
    assert!(!Config::default().cluster.connection_state_recovery);
    assert_eq!(config.limits.memory_bytes, 64 << 20);
    assert_eq!(config.limits.cpu, Duration::from_millis(100));
    assert!(!config.limits.allow_wasi);
    assert_eq!(
        config.connections.bus["main"].path,
        Path::new("/etc/app/chat.sock")
    );
    let local = &config.transports["local"];
    let options = serde_json::Value::Object(local.options.clone()).to_string();
    assert_eq!(
        options,
        r#"{"connection":"main","deep":[1,2.5,{"a":true},"2026-01-02"]}"#
    );
    let second = "second-bus".parse().map(Which::Named).unwrap();
    let main = Which::Named(ConnectionName::main());
    let grants = local.grants.as_ref().unwrap();
    assert_eq!(grants.bus, [main, second, Which::Any].map(Grant::new));
    assert_eq!(
        local.limits.restart_backoff_min,
        Some(Duration::from_millis(1))
    );
    assert_eq!(local.digest.unwrap().hex(), digest);
}

#[test]
fn relative_paths_are_relative_to_the_file_but_those_of_variables_are_not() {
    let here = env::current_dir().unwrap();
    let file = "plugins = 'p'\ncache = 'c'\nconnections.bus.main.path = 'b'";
    let config = accepted(file, &[]);
    assert_eq!(config.plugins, Path::new("/etc/app/p"));
    assert_eq!(config.cache, Cache::Folder("/etc/app/c".into()));
    assert_eq!(config.connections.bus["main"].path, Path::new("/etc/app/b"));
    let config = accepted(
        file,
        &[
            ("SWITCHBOARD_PLUGINS", "p"),
            ("SWITCHBOARD_CACHE", "/c"),
            ("SWITCHBOARD_CONNECTIONS__BUS__MAIN__PATH", "b"),
        ],
    );
    assert_eq!(config.plugins, here.join("p"));
    assert_eq!(config.cache, Cache::Folder("/c".into()));
    assert_eq!(config.connections.bus["main"].path, here.join("b"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switchboard.toml");
    let read = || Config::from_file(&path).unwrap_err().to_string();
    let shown = path.display();

    assert!(
        read().starts_with(&format!("cannot read {shown}: ")),
        "{}",
        read()
    );
    fs::write(&path, [0xff]).unwrap();
    assert_eq!(read(), format!("cannot read {shown}: it is not UTF-8 text"));
    fs::write(&path, vec![b' '; 2 << 20]).unwrap();
    assert_eq!(read(), format!("{shown} holds more than 1048576 bytes"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(
        read(),
        format!("cannot read {shown}: it is not a regular file")
    );
}

#[test]
fn a_file_is_read_with_its_folder_as_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.toml");
    fs::write(&path, "name = 'chat'\nlimits.cpu_ms = 9").unwrap();
    let config = Config::from_file(&path).unwrap();
    assert_eq!(config.name.as_str(), "chat");
    assert_eq!(config.plugins, folder.path().join("plugins"));
    assert_eq!(config.folder().path(), folder.path().join("plugins"));
}

#[test]
fn code_goes_before_everything_and_is_checked() {
    let config = accepted("name = 'file'", &[("SWITCHBOARD_TRANSPORT", "redis")]);
    let built = config
        .into_builder()
        .transport("local")
        .plugins("/p")
        .build()
        .unwrap();
    assert_eq!(built.name.as_str(), "file");
    assert_eq!(built.transport, Transport::Plugin(PluginName::local()));
    assert_eq!(built.plugins, Path::new("/p"));

    let error = Config::builder()
        .name("Not A Name")
        .limits(Limits {
            cpu: Duration::ZERO,
            ..Limits::default()
        })
        .build()
        .unwrap_err();
    let text = error.to_string();
    assert_eq!(error.problems().len(), 2, "{text}");
    assert!(
        text.contains("`name` cannot be \"Not A Name\": a name is"),
        "{text}"
    );
    assert!(
        text.contains("`limits.cpu_ms` must be 1 to 3600000, not 0"),
        "{text}"
    );
}
