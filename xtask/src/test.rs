//! `cargo xtask test`: prepares everything the tests start, runs them all with Cargo's own test
//! runner, and adds their results up. The tests themselves are in the crates and in `tests/`.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};

use crate::{
    cli::{self, Args, Opt},
    plugins::{self, Wanted},
    process::{cargo, line, run, say},
    project::{FIXTURES_VARIABLE, PLUGINS_VARIABLE, Project},
    setup::{self, Task},
};

/// How many tests of a program run at the same time, as Rust's test runner reads it.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

pub(crate) const COMMAND: cli::Command = cli::Command {
    name: "test",
    summary: "run all tests, or those whose name contains a text",
    help: "\
Runs all tests: the crates' own, and those in tests/ that start real servers, Node.js clients and
a browser. Builds the plugins first and installs what is missing.

Usage: cargo xtask test [FILTER] [--no-setup] [-- TEST-OPTIONS]

  FILTER      run only tests whose name contains this text
  --no-setup  take the tools as they are: look for none, install none
  --          what follows goes to the test programs, for example `-- --nocapture`",
    options: &[Opt::flag("--no-setup")],
    max_words: 1,
    run: |project, args: &Args| {
        if !args.has("--no-setup") {
            setup::ensure(project, Task::Test)?;
        }
        plugins::build(
            project,
            &Wanted {
                fixtures: true,
                ..Wanted::default()
            },
        )?;
        build_servers(project)?;
        let results = run_tests(project, args)?;
        say(format_args!("\n{results}"));
        results.verdict(args.words.first().map(String::as_str))
    },
};

/// Builds the programs that tests start. `cargo test` alone builds only those of the crate that a
/// test belongs to. With the tests' own targets in the same call Cargo chooses the same features
/// for the dependencies as it does for `cargo test`, and builds none of them twice.
fn build_servers(project: &Project) -> Result<()> {
    run(cargo()
        .args(["build", "--workspace", "--bins", "--tests"])
        .current_dir(&project.root))
}

fn run_tests(project: &Project, args: &Args) -> Result<Results> {
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(&args.words)
        .current_dir(&project.root);
    if !args.rest.is_empty() {
        command.arg("--").args(&args.rest);
    }
    tell_folders(&mut command, &project.plugins(), &project.fixtures());
    if env::var_os(THREADS_VARIABLE).is_none() {
        command.env(THREADS_VARIABLE, threads().to_string());
    }
    eprintln!("$ {}", line(&command));

    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", line(&command)))?;
    let mut results = Results::default();
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        let mut stdout = std::io::stdout().lock();
        while output.read_until(b'\n', &mut bytes)? > 0 {
            stdout.write_all(&bytes)?;
            stdout.flush()?;
            results.add(&String::from_utf8_lossy(&bytes));
            bytes.clear();
        }
    }
    results.succeeded = child.wait()?.success();
    Ok(results)
}

/// Most tests wait for servers of theirs more than they work.
fn threads() -> usize {
    2 * thread::available_parallelism().map_or(1, usize::from)
}

/// Tells test and benchmark programs where the plugins are.
pub(crate) fn tell_folders(command: &mut Command, plugins: &Path, fixtures: &Path) {
    command
        .env(PLUGINS_VARIABLE, plugins)
        .env(FIXTURES_VARIABLE, fixtures);
}

/// What all test programs together have reported.
#[derive(Debug, Default, PartialEq)]
struct Results {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Cargo's own opinion; false also when something did not compile.
    succeeded: bool,
}

impl Results {
    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }

    fn verdict(&self, filter: Option<&str>) -> Result<()> {
        if self.failed > 0 {
            bail!("tests failed; their names are above");
        }
        if !self.succeeded {
            bail!("not all tests could be built and run; the reason is above");
        }
        match (self.passed, filter) {
            (0, Some(filter)) => bail!("no test has {filter:?} in its name"),
            (0, None) => bail!("no test was run"),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.ignored
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn results(output: &str) -> Results {
        let mut results = Results {
            succeeded: true,
            ..Results::default()
        };
        output.lines().for_each(|line| results.add(line));
        results
    }

    #[test]
    fn the_results_of_all_test_programs_are_added_up() {
        let results = results(
            "test a ... ok\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.01s\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(results.to_string(), "4 passed, 2 failed, 1 skipped");
        assert!(results.verdict(None).is_err());
    }

    #[test]
    fn a_filter_that_matches_nothing_is_a_mistake() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out";
        let error = results(none).verdict(Some("ordr")).unwrap_err();
        assert_eq!(error.to_string(), "no test has \"ordr\" in its name");
    }

    #[test]
    fn code_that_does_not_compile_is_a_failure_although_no_test_failed() {
        let mut results = results("test result: ok. 3 passed; 0 failed; 0 ignored");
        assert!(results.verdict(None).is_ok());
        results.succeeded = false;
        assert!(results.verdict(None).is_err());
    }
}
