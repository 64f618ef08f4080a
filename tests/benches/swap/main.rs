//! How long clients hear nothing while the cluster changes its transport: three servers, one of which
//! sends a message every millisecond.
//!
//! | line | what is measured |
//! |---|---|
//! | `switch A -> B` | the longest time between two messages at either receiver, from the order to switch until all servers are done; and how long that takes |
//! | `rest` | the same time between two messages when nothing happens, on the last transport: what the machine and the load make of it |
//!
//! The servers run in this process and share its threads, but meet at a Unix socket or at a Redis
//! server like any others. A message that is lost or out of order is a failure, not a figure.

#[path = "../setup/mod.rs"]
#[allow(dead_code)]
mod setup;

#[path = "../path/arrivals.rs"]
#[allow(dead_code)]
mod arrivals;
mod gaps;
mod trio;

use std::{env, process::ExitCode, time::Duration};

use gaps::Summary;
use setup::Failure;
use trio::Trio;

/// The way round; each step is measured as often.
const ROUND: [&str; 4] = ["redis", "local", "redis-streams", "local"];
const ROUNDS: usize = 25;
/// Between two switches.
const PAUSE: Duration = Duration::from_millis(100);
/// How long nothing happens, once for each round.
const REST: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    // What cargo and people say: `--bench`, and the part of a name.
    let wanted = env::args().skip(1).filter(|word| !word.starts_with('-'));
    if !wanted.into_iter().all(|word| "swap".contains(&*word)) {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let measured = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(measure()));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), Failure> {
    let trio = Trio::open("local").await?;
    let sending = trio.send();
    let mut from = "local";
    let mut steps: Vec<(String, Summary, Summary)> = Vec::new();
    let mut rest = Summary::default();
    for round in 0..ROUNDS {
        for (at, to) in ROUND.into_iter().enumerate() {
            tokio::time::sleep(PAUSE).await;
            trio.gaps(|gaps| gaps.begin());
            let switched = trio.switch_to(to).await?;
            let gap = trio.longest();
            if round == 0 {
                let name = format!("switch {from} -> {to}");
                steps.push((name, Summary::default(), Summary::default()));
            }
            if let Some((_, gaps, took)) = steps.get_mut(at) {
                gaps.add(gap);
                took.add(Duration::from_millis(switched.took_ms));
            }
            from = to;
        }
        tokio::time::sleep(PAUSE).await;
        trio.gaps(|gaps| gaps.begin());
        tokio::time::sleep(REST).await;
        rest.add(trio.longest());
    }
    trio.close(sending).await?;
    println!(
        "{:<32} {:>30} {:>30}",
        "", "longest gap: p50 / p99 / max", "took: p50 / p99 / max"
    );
    for (name, gaps, took) in &steps {
        println!("swap/{name:<27} {gaps:>30} {took:>30}");
    }
    println!("swap/{:<27} {rest:>30}", "rest");
    Ok(())
}
