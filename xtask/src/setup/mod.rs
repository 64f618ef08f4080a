//! `cargo xtask setup`: the tools that the other commands need, one row each, and how to get
//! those that are missing. How a tool is found is in the modules beside this one; a new tool is a
//! row in [`TOOLS`].

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    cli::{self, Args, Opt},
    process::find_program,
    project::Project,
};

mod apt;
mod browser;
mod nats;
mod node;
mod postgres;
mod redis;
pub(crate) mod wasm_target;

pub(crate) const COMMAND: cli::Command = cli::Command {
    name: "setup",
    summary: "find or install the tools that the other commands need",
    help: "\
Finds the tools that the other commands need and installs what is missing.

Usage: cargo xtask setup [--check]

  --check  only report; fails if something is missing

The other commands do this by themselves, each for what it needs. System packages are installed
with apt-get, as root or through a sudo that asks for no password; elsewhere the line to type is
printed instead.",
    options: &[Opt::flag("--check")],
    max_words: 0,
    run: |project, args: &Args| {
        let tools: Vec<&Tool> = TOOLS.iter().collect();
        if args.has("--check") {
            check(project, &tools)
        } else {
            let start = Instant::now();
            install_missing(project, &tools, Report::All)?;
            eprintln!("ready ({:.1} s)", start.elapsed().as_secs_f64());
            Ok(())
        }
    },
};

/// Redis' server, if there is one.
pub(crate) fn redis_server() -> Option<std::path::PathBuf> {
    redis::program()
}

/// The folder of Postgres' programs, if there are any.
pub(crate) fn postgres_programs() -> Option<std::path::PathBuf> {
    postgres::programs()
}

/// What a command is about to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Task {
    Plugins,
    Demo,
    Test,
    Bench,
}

/// Something that must be on the machine.
struct Tool {
    name: &'static str,
    needed_by: &'static [Task],
    find: fn(&Project) -> Found,
    install: Install,
    /// What to type, or do, where it cannot be installed from here.
    by_hand: fn() -> String,
}

enum Found {
    /// Which one it is.
    Ready(String),
    /// What is wrong.
    Missing(String),
    /// This checkout has no use for it.
    NotNeeded,
}

enum Install {
    /// From Debian's packages.
    Apt {
        packages: &'static [&'static str],
        /// A package that must be at least of this version for the others to be worth installing.
        at_least: Option<(&'static str, Version)>,
    },
    /// In some other way.
    By(fn(&Project) -> Result<()>),
}

/// Major and minor number.
type Version = (u32, u32);

const TOOLS: &[Tool] = &[
    Tool {
        name: "Wasm target",
        needed_by: &[Task::Plugins, Task::Demo, Task::Test, Task::Bench],
        find: |_| match wasm_target::find() {
            Ok(builder) => Found::Ready(builder.to_string()),
            Err(why) => Found::Missing(format!("{why:#}")),
        },
        install: Install::By(|_| wasm_target::install()),
        by_hand: wasm_target::by_hand,
    },
    Tool {
        name: "Node.js",
        needed_by: &[Task::Demo, Task::Test],
        find: |_| node::find(),
        install: Install::Apt {
            packages: &["nodejs", "npm"],
            at_least: Some(("nodejs", (node::LEAST_MAJOR, 0))),
        },
        by_hand: || "install Node.js 20 or later with npm from https://nodejs.org".to_owned(),
    },
    Tool {
        name: "npm packages of the demo",
        needed_by: &[Task::Demo, Task::Test],
        find: |project| node::find_packages(&project.root.join("examples/chat/web")),
        install: Install::By(|project| node::install(&project.root.join("examples/chat/web"))),
        by_hand: || "npm ci --prefix examples/chat/web".to_owned(),
    },
    Tool {
        name: "npm packages of the tests",
        needed_by: &[Task::Test],
        find: |project| node::find_packages(&project.root.join("tests/node")),
        install: Install::By(|project| node::install(&project.root.join("tests/node"))),
        by_hand: || "npm ci --prefix tests/node".to_owned(),
    },
    Tool {
        name: "Chromium",
        needed_by: &[Task::Test],
        find: browser::find,
        install: Install::Apt {
            packages: &["chromium"],
            at_least: None,
        },
        by_hand: browser::by_hand,
    },
    Tool {
        name: "Redis",
        needed_by: &[Task::Test],
        find: |_| redis::find(),
        install: Install::Apt {
            packages: &["redis-server"],
            at_least: Some(("redis-server", redis::LEAST)),
        },
        by_hand: redis::by_hand,
    },
    Tool {
        name: "NATS",
        needed_by: &[Task::Test],
        find: |_| nats::find(),
        install: Install::Apt {
            packages: &["nats-server"],
            at_least: None,
        },
        by_hand: nats::by_hand,
    },
    Tool {
        name: "Postgres",
        needed_by: &[Task::Test],
        find: |_| postgres::find(),
        install: Install::Apt {
            packages: &["postgresql"],
            at_least: Some(("postgresql", postgres::LEAST)),
        },
        by_hand: postgres::by_hand,
    },
    Tool {
        name: "PgBouncer",
        needed_by: &[Task::Test],
        find: |_| postgres::find_pgbouncer(),
        install: Install::Apt {
            packages: &["pgbouncer"],
            at_least: None,
        },
        by_hand: || "install PgBouncer from https://www.pgbouncer.org".to_owned(),
    },
    Tool {
        name: "OpenSSL",
        needed_by: &[Task::Test],
        // Makes the certificate of a Redis server with TLS.
        find: |_| match find_program(&["openssl"]) {
            Some(program) => Found::Ready(program.display().to_string()),
            None => Found::Missing("no `openssl`".to_owned()),
        },
        install: Install::Apt {
            packages: &["openssl"],
            at_least: None,
        },
        by_hand: || "install the command `openssl`".to_owned(),
    },
];

/// Sees to it that everything is there for a task; says nothing if it is.
pub(crate) fn ensure(project: &Project, task: Task) -> Result<()> {
    let tools: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| tool.needed_by.contains(&task))
        .collect();
    install_missing(project, &tools, Report::MissingOnly)
}

fn check(project: &Project, tools: &[&Tool]) -> Result<()> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| is_missing(tool, project, Report::All).is_some())
        .map(|tool| format!("  {}: {}", tool.name, tool.line_to_type()))
        .collect();
    if !missing.is_empty() {
        bail!("`cargo xtask setup` would install:\n{}", missing.join("\n"));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Report {
    All,
    MissingOnly,
}

fn install_missing(project: &Project, tools: &[&Tool], report: Report) -> Result<()> {
    for tool in tools {
        if is_missing(tool, project, report).is_none() {
            continue;
        }
        if let Err(error) = tool.install(project) {
            bail!(tool.request(&format!("could not be installed ({error:#})")));
        }
        if let Some(why) = is_missing(tool, project, Report::All) {
            bail!(tool.request(&format!("was installed, but {why}")));
        }
    }
    Ok(())
}

/// Looks for a tool, and says what was found. Some: why it is not usable.
fn is_missing(tool: &Tool, project: &Project, report: Report) -> Option<String> {
    match (tool.find)(project) {
        Found::Ready(which) => {
            if report == Report::All {
                eprintln!("  ok       {:26} {which}", tool.name);
            }
            None
        }
        Found::NotNeeded => None,
        Found::Missing(why) => {
            eprintln!("  missing  {:26} {why}", tool.name);
            Some(why)
        }
    }
}

impl Tool {
    fn install(&self, project: &Project) -> Result<()> {
        match &self.install {
            Install::Apt { packages, at_least } => {
                if let Some((package, version)) = at_least {
                    apt::require(package, *version)?;
                }
                apt::install(packages)
            }
            Install::By(install) => install(project),
        }
    }

    /// Tells the developer what we cannot do.
    fn request(&self, why: &str) -> String {
        format!(
            "{} {why}.\n\nType this, then try again:\n\n    {}\n",
            self.name,
            self.line_to_type()
        )
    }

    fn line_to_type(&self) -> String {
        match &self.install {
            Install::Apt { packages, at_least }
                if apt::is_here()
                    && at_least.is_none_or(|(package, version)| apt::has(package, version)) =>
            {
                apt::line(packages)
            }
            _ => (self.by_hand)(),
        }
    }
}

/// Reads the first `major.minor` in a text such as `v20.20.2` or `rustc 1.96.0 (…)`. Debian
/// writes an epoch before some versions (`1:22.1`), which is none of them.
fn first_version(text: &str) -> Option<Version> {
    let text = text.split_once(':').map_or(text, |(_, after)| after);
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text[start..].split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        for (text, version) in [
            ("v20.20.2", Some((20, 20))),
            ("rustc 1.96.0 (ac68faa20 2026-05-25)", Some((1, 96))),
            ("1.96.0+dfsg1-1~deb12u2", Some((1, 96))),
            ("1:22.1.8-1~deb12u1", Some((22, 1))),
            ("24", Some((24, 0))),
            ("(none)", None),
        ] {
            assert_eq!(first_version(text), version, "of {text:?}");
        }
    }

    #[test]
    fn a_task_needs_only_its_own_tools() {
        let of = |task| {
            TOOLS
                .iter()
                .filter(|tool| tool.needed_by.contains(&task))
                .count()
        };
        assert_eq!(of(Task::Plugins), 1, "plugins need the Wasm target only");
        assert_eq!(of(Task::Test), TOOLS.len(), "the tests need everything");
    }
}
