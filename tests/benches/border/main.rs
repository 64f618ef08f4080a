//! What it costs to hand messages to a plugin and to get messages from one.
//!
//! | group | what is measured |
//! |---|---|
//! | `publish` | a batch into a plugin that forgets it: lowered by the host, lifted and freed there |
//! | `poll` | a batch out of a plugin that copies a prepared message: lifted and freed by the host |
//! | `native-copy` | the same batch as owned values of the plugin's types, without a border |
//! | `native-encode`, `native-decode` | those values to and from a frame of the `local` transport |
//!
//! A plugin that were linked into the server would still pay what the last three measure. Small
//! messages are reported per message: 1 Melem/s is 1 µs for each. Large ones per byte of JSON. One
//! thread does everything, so that no wake-up between threads is in the figures.

#[path = "../setup/mod.rs"]
mod setup;

mod messages;
mod native;
mod plugin;

use std::{process::ExitCode, time::Duration};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

use messages::SHAPES;

/// Samples of each benchmark; the fewest that Criterion takes are 10.
const SAMPLES: usize = 15;
/// How long each benchmark warms up.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long each benchmark measures.
const MEASURE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    setup::run(|criterion| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        plugin::publish(&mut group(criterion, "publish"), &runtime)?;
        plugin::poll(&mut group(criterion, "poll"), &runtime)?;
        native::copy(&mut group(criterion, "native-copy"));
        native::encode(&mut group(criterion, "native-encode"));
        native::decode(&mut group(criterion, "native-decode"))?;
        Ok(())
    })
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("border/{name}"));
    group
        .sample_size(SAMPLES)
        .warm_up_time(WARM_UP)
        .measurement_time(MEASURE);
    group
}
