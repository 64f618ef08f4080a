//! What an instance has done it must be able to forget.

use super::{Pair, instances};
use crate::{
    Error, Tally,
    scenarios::{Outcome, Setting},
};

/// Rounds before memory is looked at.
const WARM_UP: usize = 2;
/// Rounds in a row over which it must not grow: buffers reach their size with the largest burst, and
/// when that comes is chance.
const QUIET: usize = 3;
/// A plugin whose memory still grows after so many rounds forgets nothing.
const MAX_ROUNDS: usize = 20;
/// Events and requests of one round.
const EVENTS: u64 = 8_000;
const SIZES: [usize; 3] = [1_000, 64, 2_000];
/// What may be added over those rounds: allocators take memory in large pieces. A plugin that
/// kept a tenth of what goes through it would need more.
const MAX_GROWTH_BYTES: u64 = 2 << 20;

/// Instances are not replaced however much they use (within what they may), or growth would not be
/// seen.
const NO_RECYCLING: &str = "
    [limits]
    memory_bytes = 268435456
    recycle_memory_bytes = 268435456
";

pub(super) async fn does_not_grow(setting: &Setting) -> Outcome {
    let pair = Pair::start(setting, NO_RECYCLING).await?;
    let (mut before, mut quiet) = (Vec::new(), 0);
    let mut growth = String::new();
    for round in 1..=MAX_ROUNDS {
        let stream = format!("round {round}");
        pair.flood(&stream, EVENTS, &SIZES).await?;
        let tally = pair.client.wait_for_flood(&stream, EVENTS).await?;
        assert_eq!(tally, Tally::perfect(EVENTS), "{stream}");
        if round < WARM_UP {
            continue;
        }
        let now = memory(&pair).await?;
        match grown(&before, &now) {
            None if round > WARM_UP => quiet += 1,
            found => {
                growth = found.unwrap_or_default();
                (before, quiet) = (now, 0);
            }
        }
        if quiet == QUIET {
            return Ok(());
        }
    }
    panic!("it keeps what it should forget: after {MAX_ROUNDS} rounds of {EVENTS} events {growth}");
}

/// Whose memory has grown, if it has.
fn grown(before: &[(String, u64)], now: &[(String, u64)]) -> Option<String> {
    let both = before.iter().zip(now);
    let mut grown =
        both.filter(|((_, before), (_, now))| now.saturating_sub(*before) > MAX_GROWTH_BYTES);
    grown.next().map(|((who, before), (_, now))| {
        format!("the memory of the {who} has grown again, from {before} to {now} bytes")
    })
}

/// Of every instance of the two servers, by what it is.
async fn memory(pair: &Pair) -> Result<Vec<(String, u64)>, Error> {
    let mut all = Vec::new();
    for server in pair.cluster.nodes() {
        for instance in instances(server).await? {
            let role = instance["role"].as_str().unwrap_or_default();
            let bytes = instance["memory_bytes"].as_u64().unwrap_or_default();
            all.push((format!("{role} of {}", server.name()), bytes));
        }
    }
    Ok(all)
}
