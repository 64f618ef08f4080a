//! Where `cargo xtask` puts what it builds, for tests and benchmarks.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::Error;

/// Compiled plugins of all tests: what one has compiled the others find.
pub fn cache() -> PathBuf {
    target().join("test-cache")
}

/// The folder with our plugins, checked for the one that is needed (`none` needs none).
///
/// # Errors
/// When it has not been built; the text says what to type.
pub fn plugins(transport: &str) -> Result<PathBuf, Error> {
    find(
        "SWITCHBOARD_TEST_PLUGINS",
        "plugins",
        transport,
        "cargo xtask plugins",
    )
}

/// The folder with the fixtures, checked for the one that is needed.
///
/// # Errors
/// As [`plugins`].
pub fn fixtures(fixture: &str) -> Result<PathBuf, Error> {
    find(
        "SWITCHBOARD_TEST_FIXTURES",
        "fixtures",
        fixture,
        "cargo xtask plugins --fixtures",
    )
}

fn find(variable: &str, folder: &str, name: &str, command: &str) -> Result<PathBuf, Error> {
    let folder = env::var_os(variable).map_or_else(|| target().join(folder), PathBuf::from);
    let plugin = folder.join(format!("{name}.wasm"));
    if name == "none" || plugin.is_file() {
        return Ok(folder);
    }
    Err(Error::Setup {
        what: format!("there is no plugin {}", plugin.display()),
        fix: format!("build it with `{command}`, or set {variable}"),
    })
}

fn target() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join("target")
}
