//! Many numbered events as fast as the server accepts them.

use std::time::Instant;

use serde_json::Number;
use socketioxide::operators::BroadcastOperators;

use super::Adapter;
use crate::{
    protocol::{Binary, Flood, FloodReport},
    value::{Arg, Args},
};

/// Emits one after the other, each as soon as the one before has been accepted, and stops at the
/// first that is not.
pub(crate) async fn run(
    operators: BroadcastOperators<Adapter>,
    flood: &Flood,
) -> Result<FloodReport, String> {
    if flood.sizes.is_empty() || flood.sizes.iter().any(|&size| size > Flood::MAX_SIZE_BYTES) {
        return Err(format!(
            "`sizes` takes at least one size, none above {} bytes",
            Flood::MAX_SIZE_BYTES
        ));
    }
    let start = Instant::now();
    let mut error = None;
    let mut accepted = 0;
    let mut sizes = flood.sizes.iter().copied().cycle();
    let mut rooms = flood.rooms_in_turn.iter().cycle();
    for number in flood.first..flood.first.saturating_add(flood.count) {
        let size = sizes.next().unwrap_or_default();
        let operators = match rooms.next() {
            Some(room) => operators.clone().to(room.clone()),
            None => operators.clone(),
        };
        let args = args(flood, number, size);
        if let Err(refusal) = operators.emit(Flood::EVENT, &args).await {
            error = Some(refusal.to_string());
            break;
        }
        accepted += 1;
    }
    Ok(FloodReport {
        accepted,
        error,
        elapsed_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn args(flood: &Flood, number: u64, size: usize) -> Args {
    let binary = match flood.binary {
        Binary::Never => false,
        Binary::EveryOther => number % 2 == 1,
        Binary::Always => true,
    };
    Args::from(vec![
        Arg::Text(flood.stream.clone()),
        Arg::Number(Number::from(number)),
        Arg::Number(Number::from(size)),
        payload(number, size, binary),
    ])
}

/// Made of one byte that follows from the number; the clients check it.
fn payload(number: u64, size: usize, binary: bool) -> Arg {
    // The remainders are below 256 and 26.
    if binary {
        Arg::Bytes(vec![(number % 256) as u8; size])
    } else {
        let letter = char::from(b'a' + (number % 26) as u8);
        Arg::Text(std::iter::repeat_n(letter, size).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Arg, payload};

    #[test]
    fn a_payload_follows_from_its_number() {
        assert_eq!(payload(27, 3, false), Arg::Text("bbb".into()));
        assert_eq!(payload(257, 2, true), Arg::Bytes(vec![1, 1]));
        assert_eq!(payload(0, 0, false), Arg::Text(String::new()));
    }
}
