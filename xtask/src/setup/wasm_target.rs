//! The toolchain that builds plugins for WebAssembly. In order: a Wasm target that the developer's
//! own toolchain has; Debian's toolchain in /usr, which has the library's sources but no Wasm
//! target, so that the library is built along; the target from rustup; Debian's toolchain from
//! apt-get. What is installed already comes before what has to be fetched, so that a machine
//! without a network works, and works at once.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{Version, apt, first_version};
use crate::process::{cargo, find_program, forget_outer_cargo, output, run};

/// The target that plugins are written for: no WASI imports.
const TARGET: &str = "wasm32-unknown-unknown";
/// Just as good, where it is the one that is installed; adds WASI imports.
const WASI_TARGET: &str = "wasm32-wasip2";

const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Debian's toolchain has the library's sources here.
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// The oldest compiler that this workspace accepts.
fn least_rust() -> Version {
    first_version(env!("CARGO_PKG_RUST_VERSION")).unwrap_or((1, 95))
}

/// How to build for WebAssembly.
#[derive(Debug, PartialEq)]
pub(crate) enum Builder {
    /// The developer's toolchain has this target.
    Own { target: &'static str },
    /// Debian's toolchain, with this linker.
    Debian { linker: PathBuf },
}

impl Builder {
    /// The target's name, which is also that of the folder with the output.
    pub(crate) fn target(&self) -> &'static str {
        match self {
            Self::Own { target } => target,
            Self::Debian { .. } => TARGET,
        }
    }

    /// `cargo build` for this target, without packages, profile and folders.
    pub(crate) fn cargo_build(&self) -> Command {
        match self {
            Self::Own { target } => {
                let mut command = cargo();
                forget_outer_cargo(&mut command).args(["build", "--target", target]);
                command
            }
            Self::Debian { linker } => {
                let mut command = Command::new(DEBIAN_CARGO);
                forget_outer_cargo(&mut command)
                    .env_remove("RUSTUP_TOOLCHAIN")
                    // Set by `cargo run` to the libraries of another compiler.
                    .env_remove("LD_LIBRARY_PATH")
                    .env("RUSTC", DEBIAN_RUSTC)
                    // Building the library along counts as unstable in a released compiler.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                    .args(["build", "-Zbuild-std=std,panic_abort", "--target", TARGET]);
                command
            }
        }
    }
}

impl fmt::Display for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own { target } => write!(f, "{target}"),
            Self::Debian { linker } => write!(
                f,
                "{TARGET}, built with Debian's toolchain (linker {})",
                linker.display()
            ),
        }
    }
}

/// Finds a way to build for WebAssembly, or says what is missing.
pub(crate) fn find() -> Result<Builder> {
    let sysroot = own_sysroot();
    if let Some(target) = sysroot.as_deref().and_then(installed_target) {
        return Ok(Builder::Own { target });
    }
    debian_compiler()
        .context("the Rust toolchain in use has no Wasm target, and Debian's cannot stand in")?;
    match linker(sysroot.as_deref()) {
        Some(linker) => Ok(Builder::Debian { linker }),
        None => bail!("Debian's toolchain is there, but no linker for it (rust-lld or wasm-ld)"),
    }
}

/// Installs what [`find`] misses.
pub(super) fn install() -> Result<()> {
    if debian_compiler().is_ok() {
        // Then only its linker is missing.
        return install_debians();
    }
    let Err(rustup) = add_with_rustup() else {
        return Ok(());
    };
    install_debians().with_context(|| format!("rustup: {rustup:#}; apt-get"))
}

/// What to type where nothing could be installed.
pub(super) fn by_hand() -> String {
    let rustup = format!("rustup target add {TARGET}");
    let with_apt = apt::is_here() && apt::has("rustc-web", least_rust());
    match (has_rustup(), with_apt) {
        (true, false) => rustup,
        (true, true) => format!("{rustup}    # or: {}", apt::line(DEBIAN_PACKAGES)),
        (false, true) => apt::line(DEBIAN_PACKAGES),
        (false, false) => format!("{rustup}    # after installing Rust from https://rustup.rs"),
    }
}

fn add_with_rustup() -> Result<()> {
    if !has_rustup() {
        bail!("this Cargo was not installed by rustup");
    }
    run(Command::new("rustup").args(["target", "add", TARGET]))
}

/// Rustup's Cargo sets the variable; without it another Cargo runs us, and a target that rustup
/// adds to a toolchain of its own would not help.
fn has_rustup() -> bool {
    env::var_os("RUSTUP_TOOLCHAIN").is_some() && find_program(&["rustup"]).is_some()
}

fn install_debians() -> Result<()> {
    if debian_compiler().is_err() {
        apt::require("rustc-web", least_rust())?;
        apt::install(DEBIAN_PACKAGES)?;
    }
    if linker(own_sysroot().as_deref()).is_none() {
        let about = output(Command::new(DEBIAN_RUSTC).arg("-vV"))?;
        let llvm = llvm_major(&about).context("rustc does not say which LLVM it has")?;
        apt::install(&[&format!("lld-{llvm}")])?;
    }
    Ok(())
}

fn llvm_major(about: &str) -> Option<u32> {
    let line = about
        .lines()
        .find(|line| line.starts_with("LLVM version"))?;
    first_version(line).map(|(major, _)| major)
}

/// Where the developer's toolchain lies.
fn own_sysroot() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let path = output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(path.trim()))
}

/// A Wasm target whose standard library is installed.
fn installed_target(sysroot: &Path) -> Option<&'static str> {
    [TARGET, WASI_TARGET].into_iter().find(|target| {
        let library = sysroot.join("lib/rustlib").join(target).join("lib");
        fs::read_dir(library).is_ok_and(|files| {
            files.flatten().any(|file| {
                let name = file.file_name();
                name.to_string_lossy().starts_with("libstd-")
            })
        })
    })
}

/// Is Debian's toolchain complete and new enough?
fn debian_compiler() -> Result<()> {
    for part in [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_LIBRARY] {
        if !Path::new(part).exists() {
            bail!("there is no {part}");
        }
    }
    let version = output(Command::new(DEBIAN_RUSTC).arg("--version"))?;
    let (major, minor) = least_rust();
    if first_version(&version) < Some((major, minor)) {
        bail!(
            "{DEBIAN_RUSTC} is {}; {major}.{minor} or later is needed",
            version.trim()
        );
    }
    Ok(())
}

/// A linker for Wasm: the one in the developer's toolchain, or one from Debian's packages.
fn linker(sysroot: Option<&Path>) -> Option<PathBuf> {
    let in_toolchain = sysroot.and_then(|sysroot| {
        let hosts = fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
        hosts
            .flatten()
            .map(|host| host.path().join("bin/rust-lld"))
            .find(|linker| linker.is_file())
    });
    in_toolchain.or_else(|| newest_llvm_linker(Path::new("/usr/lib")))
}

/// Debian has a folder for each version of LLVM; an older linker may not read the compiler's
/// newer object files.
fn newest_llvm_linker(lib: &Path) -> Option<PathBuf> {
    fs::read_dir(lib)
        .ok()?
        .flatten()
        .filter_map(|folder| {
            let name = folder.file_name();
            let version: u32 = name.to_str()?.strip_prefix("llvm-")?.parse().ok()?;
            let linker = folder.path().join("bin/wasm-ld");
            linker.is_file().then_some((version, linker))
        })
        .max()
        .map(|(_, linker)| linker)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn a_target_counts_when_its_library_is_there() {
        let sysroot = tempfile::tempdir().unwrap();
        let rustlib = sysroot.path().join("lib/rustlib");
        assert_eq!(installed_target(sysroot.path()), None);

        fs::create_dir_all(rustlib.join(TARGET).join("lib")).unwrap();
        assert_eq!(installed_target(sysroot.path()), None, "an empty folder");

        touch(rustlib.join(WASI_TARGET).join("lib/libstd-1.rlib"));
        assert_eq!(installed_target(sysroot.path()), Some(WASI_TARGET));

        touch(rustlib.join(TARGET).join("lib/libstd-1.rlib"));
        assert_eq!(installed_target(sysroot.path()), Some(TARGET));
    }

    #[test]
    fn the_toolchains_own_linker_is_found_whatever_the_host() {
        let sysroot = tempfile::tempdir().unwrap();
        let lld = sysroot.path().join("lib/rustlib/some-host/bin/rust-lld");
        touch(lld.clone());
        assert_eq!(linker(Some(sysroot.path())), Some(lld));
    }

    #[test]
    fn of_several_llvm_linkers_the_newest_is_taken() {
        let lib = tempfile::tempdir().unwrap();
        for version in ["9", "14", "22"] {
            touch(lib.path().join(format!("llvm-{version}/bin/wasm-ld")));
        }
        fs::create_dir(lib.path().join("llvm-30")).unwrap();
        assert_eq!(
            newest_llvm_linker(lib.path()),
            Some(lib.path().join("llvm-22/bin/wasm-ld"))
        );
    }

    #[test]
    fn debians_cargo_is_called_without_traces_of_the_outer_one() {
        let builder = Builder::Debian {
            linker: "/x/rust-lld".into(),
        };
        let command = builder.cargo_build();
        assert_eq!(command.get_program(), DEBIAN_CARGO);
        let set = |name: &str| {
            command
                .get_envs()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.map(|value| value.to_string_lossy().into_owned()))
        };
        assert_eq!(set("RUSTUP_TOOLCHAIN"), Some(None), "removed");
        assert_eq!(set("RUSTC"), Some(Some(DEBIAN_RUSTC.to_owned())));
        assert_eq!(set("CARGO_MANIFEST_DIR"), Some(None), "removed");
    }

    #[test]
    fn the_version_of_llvm_is_read_from_rustc() {
        assert_eq!(
            llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"),
            Some(22)
        );
    }
}
