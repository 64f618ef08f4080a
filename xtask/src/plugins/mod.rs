//! `cargo xtask plugins`: builds the transport plugins, and for tests the fixtures, into folders
//! that a server can use as they are. Which crates those are is in `guests.rs`, turning compiler
//! output into a component in `component.rs`, writing the folder in `folder.rs`.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    cli::{self, Args, Opt},
    process::run,
    project::Project,
    setup::{self, Task, wasm_target},
};
use folder::Folder;
use guests::{Guest, Kind};

mod component;
mod folder;
mod guests;
mod other;

pub(crate) const COMMAND: cli::Command = cli::Command {
    name: "plugins",
    summary: "build the transport plugins",
    help: "\
Builds every transport plugin as a WebAssembly component: plugins/NAME becomes
target/plugins/NAME.wasm, with its manifest NAME.toml beside it. A file whose content stays the
same is not touched.

Usage: cargo xtask plugins [--out DIR] [--fixtures] [--path DIR]

  --out DIR   put the plugins here instead; other files there are left alone
  --fixtures  also build the tests' own plugins (tests/fixtures/*) into target/fixtures
  --path DIR  build the plugin crate in this folder instead, which `switchboard new` wrote, with
              whatever toolchain there is; it goes to DIR/target unless --out says otherwise",
    options: &[
        Opt::value("--out"),
        Opt::flag("--fixtures"),
        Opt::value("--path"),
    ],
    max_words: 0,
    run: |project, args: &Args| {
        setup::ensure(project, Task::Plugins)?;
        if let Some(path) = args.value("--path") {
            return other::build(project, Path::new(path), args.value("--out").map(Path::new));
        }
        build(
            project,
            &Wanted {
                out: args.value("--out").map(PathBuf::from),
                fixtures: args.has("--fixtures"),
            },
        )
    },
};

/// What to build, and where to.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Where the plugins go; none: [`Project::plugins`].
    pub(crate) out: Option<PathBuf>,
    /// The fixtures too.
    pub(crate) fixtures: bool,
}

/// Builds plugins. The tools must be there.
pub(crate) fn build(project: &Project, wanted: &Wanted) -> Result<()> {
    let mut guests = guests::find(project)?;
    guests.retain(|guest| guest.kind == Kind::Plugin || wanted.fixtures);
    if guests.is_empty() {
        bail!("there is no plugin crate among the workspace's members in plugins/");
    }

    let builder = wasm_target::find()?;
    compile(project, &builder, &guests)?;
    let compiled = project.wasm_target().join(builder.target()).join(PROFILE);

    let plugins = match &wanted.out {
        Some(out) => Folder::shared(out.clone()),
        None => Folder::own(project.plugins()),
    };
    fill(project, plugins, &guests, Kind::Plugin, &compiled)?;
    if wanted.fixtures {
        let fixtures = Folder::own(project.fixtures());
        fill(project, fixtures, &guests, Kind::Fixture, &compiled)?;
    }
    Ok(())
}

/// The profile for plugins in the workspace's Cargo.toml.
const PROFILE: &str = "plugin";

/// One call for all, so that Cargo builds what they share once.
fn compile(project: &Project, builder: &wasm_target::Builder, guests: &[Guest]) -> Result<()> {
    let mut command = builder.cargo_build();
    command
        .args(["--profile", PROFILE, "--lib", "--target-dir"])
        .arg(project.wasm_target())
        .current_dir(&project.root);
    remap_home(&mut command);
    for guest in guests {
        command.args(["-p", &guest.package]);
    }
    run(&mut command)
}

/// Panic messages name source files: not those of this machine's user, please, and the same ones
/// wherever the plugin is built.
fn remap_home(command: &mut Command) {
    if let Some(home) = cargo_home() {
        let mut remap = OsString::from("--remap-path-prefix=");
        remap.push(home);
        remap.push("=/cargo");
        // Unlike RUSTFLAGS it takes a path with spaces.
        command.env("CARGO_ENCODED_RUSTFLAGS", remap);
    }
}

/// Where Cargo keeps the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
}

fn fill(
    project: &Project,
    mut folder: Folder,
    guests: &[Guest],
    kind: Kind,
    compiled: &Path,
) -> Result<()> {
    for guest in guests.iter().filter(|guest| guest.kind == kind) {
        let module = compiled.join(format!("{}.wasm", guest.library));
        let module = fs::read(&module)
            .with_context(|| format!("the build has not made {}", module.display()))?;
        let component = component::from_compiled(&module)
            .with_context(|| format!("the plugin {} is not a valid component", guest.name))?;

        // The manifest first: a server that watches the folder acts when the .wasm changes.
        match fs::read(guest.folder.join(format!("{}.toml", guest.name))) {
            Ok(manifest) => {
                folder.write(&format!("{}.toml", guest.name), &manifest)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("the manifest of {}", guest.name));
            }
        }
        let written = folder.write(&format!("{}.wasm", guest.name), &component)?;
        eprintln!(
            "  {:9} {:24} {:>6} KiB  {}",
            if written { "new" } else { "unchanged" },
            guest.name,
            component.len().div_ceil(1024),
            project.display(&folder.path().join(format!("{}.wasm", guest.name)))
        );
    }
    folder.finish()
}
