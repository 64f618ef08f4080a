//! What an instance has done it must be able to forget.

use super::{Pair, instances};
use crate::{
    Error, Tally,
    scenarios::{Outcome, Setting},
};

/// Rounds after which memory is as large as it gets.
const WARM_UP: usize = 2;
/// Rounds over which it is measured.
const MEASURED: usize = 3;
/// Events and requests of one round.
const EVENTS: u64 = 8_000;
const SIZES: [usize; 3] = [1_000, 64, 2_000];
/// What may be added over all measured rounds: allocators take memory in large pieces. A plugin that
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
    let mut before = Vec::new();
    for round in 0..WARM_UP + MEASURED {
        let stream = format!("round {round}");
        pair.flood(&stream, EVENTS, &SIZES).await?;
        let tally = pair.client.wait_for_flood(&stream, EVENTS).await?;
        assert_eq!(tally, Tally::perfect(EVENTS), "{stream}");
        if round + 1 == WARM_UP {
            before = memory(&pair).await?;
        }
    }
    let after = memory(&pair).await?;
    for ((who, before), (_, after)) in before.iter().zip(&after) {
        let grown = after.saturating_sub(*before);
        assert!(
            grown <= MAX_GROWTH_BYTES,
            "it keeps what it should forget: the memory of the {who} grew from {before} to {after} \
             bytes over {} events",
            EVENTS * MEASURED as u64
        );
    }
    Ok(())
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
