//! `cargo xtask ci`: all checks that a change must pass, cheapest first. Each step is a command
//! that one can type alone.

use std::time::Instant;

use crate::{
    cli::{self, Args},
    process::{cargo, run},
    project::Project,
};

pub(crate) const COMMAND: cli::Command = cli::Command {
    name: "ci",
    summary: "run every check that a change must pass",
    help: "\
Runs every check that a change must pass, cheapest first, and stops at the first that fails:
formatting, the WIT packages, lints, documentation, and all tests.

Usage: cargo xtask ci",
    options: &[],
    max_words: 0,
    run: |project: &Project, _: &Args| {
        for step in STEPS {
            let start = Instant::now();
            let mut command = cargo();
            // Incremental data would be written and never read; and it is large.
            command
                .args(step.command)
                .envs(step.env.iter().copied())
                .env("CARGO_INCREMENTAL", "0")
                .current_dir(&project.root);
            run(&mut command)?;
            eprintln!(
                "=== {} passed in {:.0} s\n",
                step.name,
                start.elapsed().as_secs_f64()
            );
        }
        Ok(())
    },
};

struct Step {
    name: &'static str,
    /// Arguments for Cargo.
    command: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

/// Lints and documentation share what Cargo checks, and the tests come last, because they need the
/// only full build.
const STEPS: &[Step] = &[
    Step {
        name: "formatting",
        command: &["fmt", "--all", "--check"],
        env: &[],
    },
    Step {
        name: "the WIT packages",
        command: &["xtask", "wit"],
        env: &[],
    },
    Step {
        name: "lints",
        command: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        env: &[],
    },
    Step {
        name: "documentation",
        command: &["doc", "--workspace", "--no-deps"],
        env: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Step {
        name: "tests",
        command: &["xtask", "test"],
        // So long are the decoders of each plugin fed with damaged messages. (No name that begins
        // with SWITCHBOARD_: servers take those for configuration.)
        env: &[("FUZZ_SECONDS", "30")],
    },
];
