//! Debian's packages: what can be had, and installing it as root or through sudo. Which packages
//! are wanted is decided elsewhere.

use std::{process::Command, sync::OnceLock};

use anyhow::{Result, bail};

use super::{Version, first_version};
use crate::process::{find_program, output, run};

/// How long to wait for another package manager to finish.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// This is a system with apt-get.
pub(super) fn is_here() -> bool {
    find_program(&["apt-get"]).is_some()
}

/// The package can be had in this version or a later one.
pub(super) fn has(package: &str, version: Version) -> bool {
    candidate(package).is_some_and(|found| found >= version)
}

/// Fails, saying what there is, unless a package can be had in this version or a later one.
pub(super) fn require(package: &str, version: Version) -> Result<()> {
    if !is_here() {
        bail!("this system has no apt-get");
    }
    if !has(package, version) && can_install() {
        update()?;
    }
    match candidate(package) {
        Some(found) if found >= version => Ok(()),
        Some((major, minor)) => bail!(
            "apt-get offers {package} {major}.{minor}, and {}.{} or later is needed",
            version.0,
            version.1
        ),
        None => bail!("apt-get does not know the package {package}"),
    }
}

/// Installs packages, without those they only recommend.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    if !is_here() {
        bail!("this system has no apt-get");
    }
    if !can_install() {
        bail!("installing packages takes root, or a sudo that asks for no password");
    }
    if packages.iter().any(|package| candidate(package).is_none()) {
        update()?;
    }
    let install = || run(as_root(&["install", "-y", "--no-install-recommends"]).args(packages));
    // A package list that is out of date names files that the mirrors no longer have.
    install().or_else(|_| update().and_then(|()| install()))
}

/// What to type to install packages.
pub(super) fn line(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

fn update() -> Result<()> {
    run(&mut as_root(&["update"]))
}

#[derive(Clone, Copy, PartialEq)]
enum Right {
    Root,
    Sudo,
    None,
}

/// Whether [`install`] has the right to do so.
pub(super) fn can_install() -> bool {
    right() != Right::None
}

fn right() -> Right {
    static RIGHT: OnceLock<Right> = OnceLock::new();
    *RIGHT.get_or_init(|| {
        if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
            Right::Root
        } else if output(Command::new("sudo").args(["-n", "true"])).is_ok() {
            Right::Sudo
        } else {
            Right::None
        }
    })
}

fn as_root(args: &[&str]) -> Command {
    let mut command = match right() {
        Right::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            command
        }
        Right::Root | Right::None => {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        }
    };
    command.args(["-q", "-o", LOCK_TIMEOUT]).args(args);
    command
}

/// The version of a package that would be installed.
fn candidate(package: &str) -> Option<Version> {
    let policy = output(
        Command::new("apt-cache")
            .args(["policy", package])
            .env("LC_ALL", "C"),
    );
    candidate_in(&policy.ok()?)
}

fn candidate_in(policy: &str) -> Option<Version> {
    policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))
        .and_then(first_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_apts_answer() {
        let known = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n";
        assert_eq!(candidate_in(known), Some((1, 96)));
        let none = "nothing:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidate_in(none), None);
        assert_eq!(candidate_in(""), None);
    }
}
