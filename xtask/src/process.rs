//! Running other programs: finding them, echoing what is run, naming what failed, and keeping one
//! Cargo's environment out of another's. What is run is the caller's business.

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Prints a line. That nobody reads it (`| head`) is no reason to stop in the middle of something.
pub(crate) fn say(text: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The Cargo that runs us: the one the developer chose. What it told us of our own package it must not
/// hear again: build scripts look at that, and everything behind them would be built anew whenever
/// `cargo build` comes after `cargo xtask`.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_our_package) {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn is_of_our_package(name: &str) -> bool {
    const FAMILIES: &[&str] = &[
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PRIMARY_",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Runs a command in view of the developer and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command quietly and returns what it prints; its complaints become the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first of these programs on the PATH.
pub(crate) fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    names.iter().find_map(|name| {
        env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    })
}

/// Takes everything out of a command's environment that was meant for the Cargo around us: with
/// it, a build for another target or by another toolchain would get the wrong compiler or flags.
pub(crate) fn forget_outer_cargo(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_outer_cargo) {
            command.env_remove(name);
        }
    }
    command
}

fn is_outer_cargo(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "CARGO",
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_UNSTABLE_BUILD_STD",
        "MAKEFLAGS",
        "OUT_DIR",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    const FAMILIES: &[&str] = &[
        "CARGO_BUILD_RUST",
        "CARGO_BUILD_TARGET",
        "CARGO_CFG_",
        "CARGO_ENCODED_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
    ];
    is_of_our_package(name)
        || NAMES.contains(&name)
        || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// A command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_cargo_keeps_the_users_settings_and_loses_the_outer_cargos() {
        for kept in [
            "CARGO_HOME",
            "CARGO_BUILD_JOBS",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
            "CARGO_TERM_COLOR",
            "RUSTUP_HOME",
            "PATH",
        ] {
            assert!(!is_outer_cargo(kept), "{kept} must stay");
        }
        for gone in [
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_VERSION",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
        ] {
            assert!(is_outer_cargo(gone), "{gone} must go");
        }
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["build", "-p", "x"]);
        assert_eq!(line(&command), "cargo build -p x");
    }

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let error = output(&mut command).expect_err("the program fails");
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
}
