//! Node.js and npm packages, for the page of the demo and for tests against the official Socket.IO
//! client.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Found, first_version};
use crate::process::{find_program, output, run};

/// The oldest Node.js that the tests run on.
pub(super) const LEAST_MAJOR: u32 = 20;

pub(super) fn find() -> Found {
    let Some(node) = find_program(&["node"]) else {
        return Found::Missing(format!("no `node` (version {LEAST_MAJOR} or later)"));
    };
    if find_program(&["npm"]).is_none() {
        return Found::Missing("no `npm`".to_owned());
    }
    match output(Command::new(&node).arg("--version")) {
        Ok(text) => match first_version(&text) {
            Some((major, _)) if major >= LEAST_MAJOR => {
                Found::Ready(format!("{} ({})", text.trim(), node.display()))
            }
            _ => Found::Missing(format!(
                "{} is {}; version {LEAST_MAJOR} or later is needed",
                node.display(),
                text.trim()
            )),
        },
        Err(error) => Found::Missing(error.to_string()),
    }
}

/// Are the packages of this folder installed, as its lock file has them?
pub(super) fn find_packages(folder: &Path) -> Found {
    let Ok(wanted) = fs::read(folder.join("package-lock.json")) else {
        return Found::NotNeeded;
    };
    match fs::read(installed_lock(folder)) {
        Ok(installed) if installed == wanted => Found::Ready("as in package-lock.json".to_owned()),
        Ok(_) => Found::Missing("package-lock.json has changed".to_owned()),
        Err(_) => Found::Missing("not installed".to_owned()),
    }
}

pub(super) fn install(folder: &Path) -> Result<()> {
    // The packages we use need no install scripts, and others' should not run unasked.
    run(Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder))?;
    fs::copy(folder.join("package-lock.json"), installed_lock(folder))
        .context("cannot note which npm packages are installed")?;
    Ok(())
}

/// The lock file that the installed packages came from. Inside `node_modules`, so that they go
/// together; `npm ci` starts by emptying that folder.
fn installed_lock(folder: &Path) -> PathBuf {
    folder.join("node_modules/.installed-lock.json")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_missing_until_they_match_the_lock_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(matches!(find_packages(folder), Found::NotNeeded));

        fs::write(folder.join("package-lock.json"), "1").unwrap();
        assert!(matches!(find_packages(folder), Found::Missing(_)));

        fs::create_dir(folder.join("node_modules")).unwrap();
        fs::copy(folder.join("package-lock.json"), installed_lock(folder)).unwrap();
        assert!(matches!(find_packages(folder), Found::Ready(_)));

        fs::write(folder.join("package-lock.json"), "2").unwrap();
        assert!(matches!(find_packages(folder), Found::Missing(_)));
    }
}
