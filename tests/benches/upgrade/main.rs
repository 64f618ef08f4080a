//! How long clients wait while the plugin of running servers is replaced: three servers of one
//! machine, each of which sends to the others all the time; the file of the plugin is replaced again
//! and again.
//!
//! | figure | what it is |
//! |---|---|
//! | undisturbed | the longest pause between two messages of one server at another, while nothing happens |
//! | upgrade | the same from the moment at which the file is replaced until all servers run the new one, and a little longer |
//!
//! Each server gives one figure for every other one and every upgrade. All servers run in this process
//! and share its processors with the compiler, which works for all three at once: with a server to
//! each machine it works for one. A message that is lost, repeated or out of order is a failure, not a
//! figure.

mod gaps;
mod servers;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use servers::Servers;

/// Whatever keeps the benchmark from running, in words for whoever started it.
type Failure = Box<dyn std::error::Error>;

/// The plugin is replaced so often.
const UPGRADES: usize = 30;
/// Watched so long after each, and as long without one.
const AFTERWARDS: Duration = Duration::from_millis(200);
/// Pauses without an upgrade, for comparison.
const UNDISTURBED: usize = 30;

fn main() -> ExitCode {
    // `cargo bench FILTER` runs every program with the text that a benchmark's name must contain.
    let mut filters = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    // `swap` means this one, too: an upgrade in place is one.
    let is_ours = |filter: &String| {
        ["upgrade", "swap"]
            .iter()
            .any(|name| name.contains(&**filter))
    };
    if !filters.all(|filter| is_ours(&filter)) {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(measure()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), Failure> {
    let servers = Servers::open().await?;
    let mut undisturbed = Vec::new();
    let mut upgrade = Vec::new();
    let mut took = Vec::new();
    for _ in 0..UNDISTURBED {
        servers.forget_gaps();
        sleep(AFTERWARDS * 2).await;
        undisturbed.extend(servers.longest_gaps());
    }
    for number in 0..UPGRADES {
        servers.forget_gaps();
        let since = Instant::now();
        servers.replace(number).await?;
        took.push(since.elapsed());
        sleep(AFTERWARDS).await;
        upgrade.extend(servers.longest_gaps());
    }
    servers.close().await?;
    print("undisturbed", undisturbed);
    print("upgrade", upgrade);
    print("until all servers run the new plugin", took);
    Ok(())
}

fn print(what: &str, mut figures: Vec<Duration>) {
    figures.sort_unstable();
    let at = |share: f64| {
        let index = ((figures.len() as f64 * share).ceil() as usize).max(1) - 1;
        figures.get(index).copied().unwrap_or_default()
    };
    println!(
        "{what}: median {:.1?}, p90 {:.1?}, p99 {:.1?}, longest {:.1?} ({} figures)",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        figures.len()
    );
}
