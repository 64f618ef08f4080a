//! What every benchmark needs before it can measure: the plugins that were built, a configuration
//! that uses them, and a program that says what is missing. Nothing here measures.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use criterion::Criterion;
use switchboard::Config;
use toml::{Table, Value};

/// Whatever keeps a benchmark from running, in words for whoever started it.
pub(crate) type Failure = Box<dyn Error>;

/// A folder of built plugins, and where it comes from.
pub(crate) struct Folder {
    /// The variable with which `cargo xtask bench` names it.
    pub(crate) variable: &'static str,
    /// Where it is otherwise, below the workspace's `target`.
    pub(crate) name: &'static str,
    /// What fills it.
    pub(crate) command: &'static str,
}

/// Runs the benchmarks that `measure` defines, under Criterion's command line.
pub(crate) fn run(measure: impl FnOnce(&mut Criterion) -> Result<(), Failure>) -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args();
    match measure(&mut criterion) {
        Ok(()) => {
            criterion.final_summary();
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// A configuration that uses a plugin of a folder. `more` is further configuration.
///
/// # Errors
/// When the plugin is not built; the text says what to type.
pub(crate) fn config(folder: &Folder, plugin: &str, more: Table) -> Result<Config, Failure> {
    let target = target_folder();
    let plugins =
        env::var_os(folder.variable).map_or_else(|| target.join(folder.name), PathBuf::from);
    let file = plugins.join(format!("{plugin}.wasm"));
    if !file.is_file() {
        return Err(format!(
            "there is no plugin {}; build it with `{}`, or set {}",
            file.display(),
            folder.command,
            folder.variable
        )
        .into());
    }
    let mut config = more;
    config.insert("transport".into(), plugin.into());
    config.insert("plugins".into(), text(&plugins)?);
    // The tests' own, so that a plugin they have compiled is not compiled again.
    config.insert("cache".into(), text(&target.join("test-cache"))?);
    Ok(Config::from_toml(&config.to_string(), &target)?)
}

/// A path as TOML.
pub(crate) fn text(path: &Path) -> Result<Value, Failure> {
    let text = path
        .to_str()
        .ok_or_else(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.into())
}

fn target_folder() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join("target")
}
