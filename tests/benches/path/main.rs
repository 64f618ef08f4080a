//! The whole path of a message between two servers of one machine: outbox, `local.wasm`, bus,
//! `local.wasm`, inbox.
//!
//! | group | what is measured |
//! |---|---|
//! | `burst` | messages per second: one sender, as fast as the outbox takes them, until all are there |
//! | `latency` | one message alone, from `send` to the receiving namespace |
//!
//! Both servers run in this process and share its threads, but meet at a Unix socket like any two
//! servers. No client takes part: what arrives is counted where the adapter would give
//! it to the sockets. A message that is lost or out of order is a failure, not a figure.

#[path = "../setup/mod.rs"]
mod setup;

mod arrivals;
mod pair;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};
use tokio::runtime::Runtime;

use pair::Pair;
use setup::Failure;

/// Length of an event's JSON text, and how many make a burst: enough to fill the outbox or to reach
/// a steady state, and few enough for a second.
const BURSTS: [(usize, u64); 3] = [(64, 20_000), (1024, 10_000), (16 * 1024, 2_000)];
/// Samples of each benchmark; the fewest that Criterion takes are 10.
const SAMPLES: usize = 10;
/// How long each benchmark warms up.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long each benchmark measures, unless a burst takes longer.
const MEASURE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    setup::run(|criterion| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let pair = runtime.block_on(Pair::open())?;
        burst(&mut group(criterion, "burst"), &runtime, &pair);
        latency(&mut group(criterion, "latency"), &runtime, &pair);
        runtime.block_on(pair.close());
        Ok(())
    })
}

fn burst(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, pair: &Pair) {
    // A burst is long: the same number in every sample.
    group.sampling_mode(SamplingMode::Flat);
    for (json_bytes, count) in BURSTS {
        group.throughput(Throughput::Elements(count));
        measure(group, runtime, pair, json_bytes, count);
    }
}

fn latency(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, pair: &Pair) {
    for (json_bytes, _) in BURSTS {
        measure(group, runtime, pair, json_bytes, 1);
    }
}

/// Sends `count` messages, waits until they are there, and does so again.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    pair: &Pair,
    json_bytes: usize,
    count: u64,
) {
    group.bench_function(format!("{json_bytes}B"), |bencher| {
        bencher.iter_custom(|times| {
            let sent = runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..times {
                    pair.pass(count, json_bytes).await?;
                }
                Ok::<_, Failure>(start.elapsed())
            });
            sent.unwrap_or_else(|failure| panic!("{failure}"))
        });
    });
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("path/{name}"));
    group
        .sample_size(SAMPLES)
        .warm_up_time(WARM_UP)
        .measurement_time(MEASURE);
    group
}
