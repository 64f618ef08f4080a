//! What a plugin's file is, and whether a server would take it: for people who write plugins and for
//! those who are about to trust one. Nothing of the plugin is run.

use std::{fs, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::plugin::link;
use crate::{
    Error,
    config::{Cache, Limits},
    plugins::PluginFile,
    runtime::{Runtime, examine},
};

/// A plugin's file, looked at from outside.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The file's name without `.wasm`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// One line for people, from the manifest beside it.
    pub description: Option<String>,
    /// The plugin's own version, from the manifest.
    pub version: Option<String>,
    /// `component`, or `core module with component metadata`; none if it is neither.
    pub kind: Option<&'static str>,
    /// The interfaces that it exports, with their versions.
    pub exports: Vec<String>,
    /// The interfaces that it imports, with their versions.
    pub imports: Vec<String>,
    /// What it will ask the operator for: a capability each, and the connections that the manifest
    /// names, if it names any.
    pub asks: Vec<Ask>,
    /// The linear memory that each of its two or three instances begins with, in bytes.
    pub memory_bytes: Option<u64>,
    /// What in the manifest does not fit the file. Each is one line.
    pub warnings: Vec<String>,
    /// Why a server would refuse it: what it is, and what to do. None: it would be loaded.
    pub refused: Option<String>,
}

/// One capability that a plugin uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ask {
    /// `bus`, `redis`, …
    pub capability: String,
    /// Its version.
    pub version: String,
    /// The connections that the manifest asks for, as it writes them; empty without a manifest.
    pub connections: Vec<String>,
}

/// Inspects the plugin in the file `NAME.wasm`, with the manifest `NAME.toml` beside it. Compiles it, which takes
/// tenths of a second the first time: call it on a thread that may block.
///
/// # Errors
/// When the file cannot be read, or is no whole WebAssembly file: the same error that a server would
/// give. What is wrong with a whole one is in [`Inspection::refused`].
pub fn inspect(path: &Path) -> Result<Inspection, Error> {
    let file = PluginFile::open(path)?;
    let runtime = Runtime::new(Cache::default().folder())?;
    let examined = examine(&runtime, &file.bytes);
    // WASI is allowed unless the operator says otherwise.
    let refused = link(&runtime, &file.bytes, Limits::default().allow_wasi).err();
    let mut inspection = Inspection {
        name: file.name.to_string(),
        bytes: file.bytes.len() as u64,
        digest: file.digest.to_string(),
        description: file.manifest.description.clone(),
        version: file.manifest.version.clone(),
        kind: None,
        exports: Vec::new(),
        imports: Vec::new(),
        asks: Vec::new(),
        memory_bytes: None,
        warnings: Vec::new(),
        refused: refused.map(|reason| reason.to_string()),
    };
    if let Ok(examined) = examined {
        inspection.kind = Some(match examined.was_core_module {
            true => "core module with component metadata",
            false => "component",
        });
        let grants = grants(&file);
        inspection.asks = asks(&examined.imports, &grants);
        inspection.warnings = in_vain(&inspection.asks, &grants);
        inspection.exports = examined.exports;
        inspection.imports = examined.imports;
        inspection.memory_bytes = examined.memory_bytes;
    }
    Ok(inspection)
}

/// The manifest's grants as they are written there: whatever kinds there are. That they make sense was
/// checked when the file was read.
fn grants(file: &PluginFile) -> Value {
    let text = fs::read_to_string(file.manifest_path()).unwrap_or_default();
    let manifest: Option<Value> = toml::from_str(&text).ok();
    manifest.map_or(Value::Null, |manifest| manifest["grants"].clone())
}

/// The capabilities among the imports: those of Switchboard that are not the contract itself.
fn asks(imports: &[String], asked: &Value) -> Vec<Ask> {
    let ask = |import: &String| {
        let (package, rest) = import.strip_prefix("switchboard:")?.split_once('/')?;
        if package == "transport" {
            return None;
        }
        let connections = asked[package].as_array().into_iter().flatten();
        Some(Ask {
            capability: package.to_owned(),
            version: rest.split_once('@')?.1.to_owned(),
            connections: connections.map(shown).collect(),
        })
    };
    imports.iter().filter_map(ask).collect()
}

/// What the manifest asks for, and the file does not use.
fn in_vain(asks: &[Ask], grants: &Value) -> Vec<String> {
    let kinds = grants
        .as_object()
        .into_iter()
        .flat_map(|grants| grants.keys());
    let unused = kinds.filter(|kind| !asks.iter().any(|ask| ask.capability == **kind));
    let lines = unused.map(|kind| {
        format!("the manifest asks for `{kind}`, which the file does not import: leave it out")
    });
    lines.collect()
}

fn shown(grant: &Value) -> String {
    match grant {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{asks, in_vain};

    #[test]
    fn what_is_asked_for_is_what_is_imported_with_the_manifests_connections() {
        let imports = [
            "switchboard:bus/bus@0.1.0",
            "switchboard:redis/redis@0.1.0",
            "switchboard:transport/node@0.1.0",
            "wasi:clocks/wall-clock@0.2.6",
        ];
        let imports = imports.map(str::to_owned);
        let manifest = json!({ "redis": ["main", { "connection": "log" }] });
        let asks = asks(&imports, &manifest);
        let seen: Vec<_> = asks
            .iter()
            .map(|ask| (ask.capability.as_str(), ask.connections.len()))
            .collect();
        assert_eq!(seen, [("bus", 0), ("redis", 2)]);
        assert_eq!(asks[1].connections[1], r#"{"connection":"log"}"#);
        assert_eq!(in_vain(&asks, &manifest), [""; 0]);
        let of_another = in_vain(&asks, &json!({ "bus": ["*"], "tcp": ["main"] }));
        assert!(of_another.len() == 1 && of_another[0].contains("`tcp`"));
    }
}
