//! The Node.js programs of the tests, in `tests/node`.

use std::path::Path;

use tokio::process::Command;

use crate::Error;

/// A program of `tests/node`, to be started, if the npm package that it needs is installed.
pub(crate) fn node_script(file: &str, package: &str) -> Result<Command, Error> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
    if !folder.join("node_modules").join(package).is_dir() {
        return Err(Error::Setup {
            what: format!(
                "the npm package {package} is not installed in {}",
                folder.display()
            ),
            fix: "type: cargo xtask setup".into(),
        });
    }
    let mut command = Command::new("node");
    command.arg(folder.join(file));
    Ok(command)
}
