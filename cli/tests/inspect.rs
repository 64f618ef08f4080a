//! Files that are no plugins, and one that is: each is told what it is and what to do, in one line, and a
//! server says the same.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use switchboard::{Board, Config};
use tempfile::TempDir;

/// A component with what a transport imports and exports, as far as names go.
fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
    let imports: String = imports
        .iter()
        .map(|name| format!("(import \"{name}\" (instance))\n"))
        .collect();
    let exports: String = exports
        .iter()
        .map(|name| format!("(export \"{name}\" (instance $empty))\n"))
        .collect();
    wat::parse_str(format!("(component {imports} (instance $empty) {exports})")).unwrap()
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// What is in the file, and the words that name it and what to do.
fn cases() -> Vec<(&'static str, Vec<u8>, [&'static str; 2])> {
    let publisher = "switchboard:transport/publisher@0.1.0";
    let subscriber = "switchboard:transport/subscriber@0.1.0";
    let whole = component(&[], &[publisher, subscriber]);
    vec![
        (
            "a WASI command",
            component(&[], &["wasi:cli/run@0.2.6"]),
            [
                "it is a WASI command (it exports `wasi:cli/run@0.2.6`)",
                "build a library",
            ],
        ),
        (
            "a WASI command of the old kind",
            module(
                r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
                   (func (export "_start")))"#,
            ),
            ["for WASI preview 1", "build it for wasm32-unknown-unknown"],
        ),
        (
            "a core module without metadata",
            module(r#"(module (func (export "add")))"#),
            [
                "core WebAssembly module without component metadata",
                "switchboard-plugin",
            ],
        ),
        (
            "a component of another world",
            component(&[], &["acme:images/resize@1.0.0"]),
            [
                "it is a component of another world: it exports `acme:images/resize@1.0.0`",
                "a transport exports",
            ],
        ),
        (
            "a component that exports nothing",
            component(&[], &[]),
            [
                "it does not export `switchboard:transport/publisher@0.1.0`",
                "a transport exports",
            ],
        ),
        (
            "a newer version of the contract",
            component(
                &[],
                &[
                    "switchboard:transport/publisher@0.2.0",
                    "switchboard:transport/subscriber@0.2.0",
                ],
            ),
            [
                "it exports `switchboard:transport/publisher@0.2.0`, and this host knows \
                 `switchboard:transport/publisher@0.1.0`",
                "update the server",
            ],
        ),
        (
            "a newer version of a capability",
            component(&["switchboard:bus/bus@7.0.0"], &[publisher, subscriber]),
            ["imports `switchboard:bus/bus@7.0.0`", "update the server"],
        ),
        (
            "half a transport",
            component(&[], &[publisher]),
            [
                "it does not export `switchboard:transport/subscriber@0.1.0`",
                "a transport exports",
            ],
        ),
        (
            "a transport without functions",
            whole.clone(),
            [
                "it does not fit the contract",
                "build it with the WIT files of this version",
            ],
        ),
        (
            "something that nobody has",
            component(&["acme:gpu/shader@1.2.0"], &[publisher, subscriber]),
            [
                "imports `acme:gpu/shader@1.2.0`, which this host does not provide",
                "update the server",
            ],
        ),
        (
            "half a file",
            whole[..whole.len() - 3].to_vec(),
            ["is not whole, or is still being written", "rename it"],
        ),
        ("an empty file", Vec::new(), ["is not whole", "rename it"]),
        (
            "a text file",
            b"#!/bin/sh\necho hello\n".to_vec(),
            ["is not WebAssembly", "copy a built plugin there"],
        ),
    ]
}

fn inspect(file: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .arg("inspect")
        .arg(file)
        .args(args)
        .output()
        .unwrap()
}

/// What it says, on both ways out, without line breaks.
fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(both).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Why a server does not start with this folder's plugin.
async fn refusal(folder: &Path) -> String {
    let config = format!(
        "transport = \"mine\"\ncache = false\nplugins = {:?}",
        folder.to_str().unwrap()
    );
    let config = Config::from_toml(&config, folder).unwrap();
    Board::open(config).await.err().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_plugin_is_told_what_it_is_and_what_to_do() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.wasm");
    for (what, bytes, words) in cases() {
        fs::write(&file, &bytes).unwrap();
        let output = inspect(&file, &[]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let (said, refusal) = (said(&output), refusal(folder.path()).await);
        for part in words {
            assert!(said.contains(part), "{what}: `{part}` is not in: {said}");
            assert!(
                refusal.contains(part),
                "{what}: `{part}` is not in: {refusal}"
            );
        }
        assert!(refusal.contains("mine.wasm"), "{what}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{what}: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_large_is_refused_before_it_is_read() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.wasm");
    // Sparse: it takes no room.
    File::create(&file).unwrap().set_len(200 << 20).unwrap();
    let (said, refusal) = (said(&inspect(&file, &[])), refusal(folder.path()).await);
    for part in [
        "holds 209715200 bytes",
        "at most 67108864",
        "build it in release mode",
    ] {
        assert!(said.contains(part), "{said}");
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[test]
fn names_that_no_plugin_can_have_are_told_so() {
    let folder = TempDir::new().unwrap();
    for name in ["Mine.wasm", "mine.so", "mine"] {
        let file = folder.path().join(name);
        fs::write(&file, component(&[], &[])).unwrap();
        let said = said(&inspect(&file, &[]));
        assert!(
            said.contains("is not called as a plugin is"),
            "{name}: {said}"
        );
    }
    // A compiler writes `_` where a plugin's name has `-`.
    let file = folder.path().join("my_own.wasm");
    fs::write(&file, component(&[], &[])).unwrap();
    let output = inspect(&file, &["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["name"], "my-own");
    let refused = json["refused"].as_str().unwrap();
    assert!(refused.contains("does not export"), "{refused}");
    assert!(json["digest"].as_str().unwrap().starts_with("sha256:"));
}
