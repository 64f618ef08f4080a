//! `switchboard new`: the crate of a transport plugin that builds at once, works, and has a test. What is
//! written stands in `cli/template/`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use switchboard::config::PluginName;

use crate::say::say;

/// The SDK's package, by which its folder is known.
const SDK: &str = "switchboard-plugin";

/// Where the SDK is in a checkout of Switchboard.
const SDK_FOLDER: &str = "plugins/sdk";

/// Names that would be in the way: of the crate itself, of Rust's, and what servers take for none.
const TAKEN: [&str; 6] = ["none", "test", "core", "std", "alloc", "switchboard-plugin"];

/// Every file: where it goes, and what is in it. `NAME` becomes the plugin's name, `CRATE` the same as
/// Rust writes it, `SDK` the dependency.
const TEMPLATE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../template/Cargo.toml.txt")),
    (
        ".cargo/config.toml",
        include_str!("../template/cargo-config.toml.txt"),
    ),
    (".gitignore", "/target\n"),
    ("NAME.toml", include_str!("../template/manifest.toml.txt")),
    ("README.md", include_str!("../template/README.md.txt")),
    ("src/lib.rs", include_str!("../template/lib.rs.txt")),
    ("tests/pair.rs", include_str!("../template/pair.rs.txt")),
    (
        ".github/workflows/ci.yml",
        include_str!("../template/ci.yml.txt"),
    ),
];

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The plugin's name: lower-case letters, digits and hyphens. Servers choose it by this name.
    name: String,
    /// Where to put the crate; default: a folder of the plugin's name, here. It must not be there yet, or
    /// be empty.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The folder of the crate `switchboard-plugin`; default: that of the checkout of Switchboard which this
    /// folder or this executable is in, or which the executable was built in.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

impl New {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let name = checked(&self.name)?;
        let folder = self.path.unwrap_or_else(|| PathBuf::from(name.as_str()));
        if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some())
            || folder.is_file()
        {
            bail!(
                "{} is there already: name another folder with --path DIR",
                folder.display()
            );
        }
        let sdk = match self.sdk {
            Some(sdk) if is_sdk(&sdk) => fs::canonicalize(sdk)?,
            Some(sdk) => bail!(
                "{} is not the folder of the crate `{SDK}`: in a checkout of Switchboard it is \
                 {SDK_FOLDER}",
                sdk.display()
            ),
            None => match find_sdk() {
                Some(sdk) => sdk,
                None => bail!(
                    "the crate `{SDK}` is not published yet: say where it is with --sdk DIR, in a checkout \
                     of Switchboard {SDK_FOLDER}"
                ),
            },
        };
        let dependency = dependency(&sdk)?;
        for (file, content) in TEMPLATE {
            let path = folder.join(file.replace("NAME", name.as_str()));
            let content = filled(content, name.as_str(), &dependency);
            let parent = path.parent().unwrap_or(&folder);
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, content))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        say(&format!(
            "wrote {folder}, with the SDK in {sdk}\n\n    cd {folder}\n    cargo t                    \
             # its tests, without Wasm\n    cargo build --release      # the plugin\n",
            folder = folder.display(),
            sdk = sdk.display()
        ))?;
        Ok(())
    }
}

fn checked(name: &str) -> anyhow::Result<PluginName> {
    let checked: PluginName = match name.parse() {
        Ok(name) => name,
        Err(error) => bail!("`{name}` cannot be a plugin's name: {error}"),
    };
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        bail!("`{name}` cannot be the name of a crate: begin it with a letter");
    }
    if TAKEN.contains(&name) {
        bail!("`{name}` means something else already: choose another name");
    }
    Ok(checked)
}

fn filled(content: &str, name: &str, dependency: &str) -> String {
    content
        .replace("NAME", name)
        .replace("CRATE", &name.replace('-', "_"))
        .replace("SDK", dependency)
}

/// What Cargo.toml says after `switchboard-plugin = `.
fn dependency(sdk: &Path) -> anyhow::Result<String> {
    let path = sdk
        .to_str()
        .with_context(|| format!("{} is not UTF-8", sdk.display()))?;
    // Quoted as TOML quotes, which is as JSON does for a path.
    Ok(format!("{{ path = {} }}", serde_json::to_string(path)?))
}

/// The SDK of the checkout that the working directory is in, else this executable, else that it was built
/// in.
fn find_sdk() -> Option<PathBuf> {
    let built_in = Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let places = [env::current_dir().ok(), env::current_exe().ok(), built_in];
    places.into_iter().flatten().find_map(|place| {
        place
            .ancestors()
            .map(|folder| folder.join(SDK_FOLDER))
            .find(|sdk| is_sdk(sdk))
    })
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let mut lines = manifest.lines();
    lines.any(|line| line.trim() == format!("name = \"{SDK}\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_do_for_a_plugin_and_for_a_crate() {
        assert!(checked("my-nats2").is_ok());
        for (name, part) in [
            ("My", "lower-case letters"),
            ("my_nats", "lower-case letters"),
            ("../x", "lower-case letters"),
            ("", "lower-case letters"),
            ("2nats", "begin it with a letter"),
            ("none", "means something else"),
        ] {
            let error = checked(name).unwrap_err().to_string();
            assert!(error.contains(part), "{name}: {error}");
        }
    }

    #[test]
    fn a_crate_is_written_once_and_all_names_in_it_are_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my-nats");
        let new = || New {
            name: "my-nats".into(),
            path: Some(path.clone()),
            sdk: None,
        };
        new().run().unwrap();
        for (file, _) in TEMPLATE {
            let file = path.join(file.replace("NAME", "my-nats"));
            let content = fs::read_to_string(&file).unwrap();
            for left in ["NAME", "CRATE", "SDK ", "= SDK"] {
                assert!(!content.contains(left), "`{left}` in {}", file.display());
            }
        }
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"my-nats\""), "{manifest}");
        let test = fs::read_to_string(path.join("tests/pair.rs")).unwrap();
        assert!(test.contains("my_nats::"), "{test}");
        let error = new().run().unwrap_err().to_string();
        assert!(error.contains("--path"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_the_sdk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let new = New {
            name: "mine".into(),
            path: Some(folder.path().join("mine")),
            sdk: Some(folder.path().to_owned()),
        };
        let error = new.run().unwrap_err().to_string();
        assert!(error.contains("plugins/sdk"), "{error}");
    }
}
