//! Finding the crates that are built for WebAssembly: the workspace's members in `plugins/` and
//! `tests/fixtures/` that make a cdylib. A library for plugins, such as the SDK, makes none.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    process::{cargo, output},
    project::Project,
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A transport that people use.
    Plugin,
    /// A plugin that only tests use.
    Fixture,
}

/// A crate that becomes a plugin.
#[derive(Debug, PartialEq)]
pub(super) struct Guest {
    /// The folder's name, and the plugin's.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) package: String,
    /// What the compiler calls its output, without `.wasm`.
    pub(super) library: String,
    pub(super) folder: PathBuf,
}

pub(super) fn find(project: &Project) -> Result<Vec<Guest>> {
    let metadata = output(
        cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&project.root),
    )?;
    let metadata: Value = serde_json::from_str(&metadata).context("reading cargo's metadata")?;
    Ok(guests_in(&metadata, &project.root))
}

fn guests_in(metadata: &Value, root: &Path) -> Vec<Guest> {
    let mut guests: Vec<_> = list(&metadata["packages"])
        .filter_map(|package| guest(package, root))
        .collect();
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    guests
}

fn guest(package: &Value, root: &Path) -> Option<Guest> {
    let folder = Path::new(package["manifest_path"].as_str()?).parent()?;
    let kind = match folder.parent()?.strip_prefix(root).ok()?.to_str()? {
        "plugins" => Kind::Plugin,
        "tests/fixtures" => Kind::Fixture,
        _ => return None,
    };
    let library = list(&package["targets"])
        .find(|target| list(&target["crate_types"]).any(|made| made == "cdylib"))?;
    Some(Guest {
        name: folder.file_name()?.to_str()?.to_owned(),
        kind,
        package: package["name"].as_str()?.to_owned(),
        library: library["name"].as_str()?.replace('-', "_"),
        folder: folder.to_owned(),
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_the_cdylibs_in_the_two_folders() {
        let package = |path: &str, name: &str, made: &[&str]| {
            serde_json::json!({
                "name": name,
                "manifest_path": format!("/p/{path}/Cargo.toml"),
                "targets": [
                    { "name": "build-script-build", "crate_types": ["bin"] },
                    { "name": name.replace('-', "_"), "crate_types": made },
                ],
            })
        };
        let metadata = serde_json::json!({ "packages": [
            package("plugins/redis", "switchboard-transport-redis", &["cdylib", "rlib"]),
            package("plugins/local", "switchboard-transport-local", &["cdylib", "rlib"]),
            package("plugins/sdk", "switchboard-plugin", &["lib"]),
            package("tests/fixtures/trapper", "fixture-trapper", &["cdylib"]),
            package("host", "switchboard", &["lib"]),
            package("elsewhere/native", "native", &["cdylib"]),
        ]});

        let guests = guests_in(&metadata, Path::new("/p"));
        let found: Vec<_> = guests
            .iter()
            .map(|guest| (guest.name.as_str(), guest.kind, guest.library.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("local", Kind::Plugin, "switchboard_transport_local"),
                ("redis", Kind::Plugin, "switchboard_transport_redis"),
                ("trapper", Kind::Fixture, "fixture_trapper"),
            ]
        );
    }
}
