//! `cargo xtask`: the commands that set this project up, build its plugins, run the demo, the
//! tests and the benchmarks, and check what a change must pass. Each command is a module; this
//! file only picks one. Nothing here is part of the library or of a plugin.

use std::process::ExitCode;

mod bench;
mod ci;
mod cli;
mod demo;
mod plugins;
mod process;
mod project;
mod setup;
mod test;
mod wit;

fn main() -> ExitCode {
    match cli::run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
