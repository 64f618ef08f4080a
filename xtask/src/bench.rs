//! `cargo xtask bench`: runs the benchmarks of the tests crate against freshly built plugins. What
//! is measured is written there.

use crate::{
    cli::{self, Args},
    plugins::{self, Wanted},
    process::{cargo, run},
    project::Project,
    setup::{self, Task},
    test::tell_folders,
};

pub(crate) const COMMAND: cli::Command = cli::Command {
    name: "bench",
    summary: "run the benchmarks, or those whose name contains a text",
    help: "\
Builds the plugins and everything else optimised, runs the benchmarks in tests/ and prints what
they measure. The first run builds Wasmtime once more, since tests and the demo use another
profile.

Usage: cargo xtask bench [FILTER] [-- BENCH-OPTIONS]

  FILTER  run only benchmarks whose name contains this text
  --      what follows goes to Criterion, for example `-- --quick`",
    options: &[],
    max_words: 1,
    run: |project: &Project, args: &Args| {
        setup::ensure(project, Task::Bench)?;
        let wanted = Wanted {
            fixtures: true,
            ..Wanted::default()
        };
        plugins::build(project, &wanted)?;

        // Only the benchmarks: the library's tests, which Cargo would run along, do not know
        // Criterion's options.
        let mut command = cargo();
        command
            .args(["bench", "-p", "switchboard-tests", "--bench", "*", "--"])
            .args(&args.words)
            .args(&args.rest)
            .current_dir(&project.root);
        tell_folders(&mut command, &project.plugins(), &project.fixtures());
        run(&mut command)
    },
};
