//! Many events of which every receiver can tell whether it has got all.

use serde::{Deserialize, Serialize};

use super::Select;

/// Numbered events, named [`Flood::EVENT`] with the arguments stream, number, size and payload. The
/// payload's content follows from the number, so a client sees whether it got the right one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// To whom; `rooms` stays empty if `rooms_in_turn` is used.
    pub select: Select,
    /// Each event goes to the next one of these rooms only.
    #[serde(default)]
    pub rooms_in_turn: Vec<String>,
    /// Distinguishes the floods that one client receives.
    pub stream: String,
    /// The first number.
    #[serde(default)]
    pub first: u64,
    /// How many events.
    pub count: u64,
    /// Bytes of their payloads, in turn; at least one, at most 8 MiB each.
    pub sizes: Vec<usize>,
    /// Which payloads are binary.
    #[serde(default)]
    pub binary: Binary,
}

impl Flood {
    /// The event's name.
    pub const EVENT: &'static str = "flood";
    /// Limit for each of [`Flood::sizes`].
    pub const MAX_SIZE_BYTES: usize = 8 * 1024 * 1024;

    /// A flood of text payloads of one size.
    pub fn new(select: Select, stream: impl Into<String>, count: u64, size: usize) -> Self {
        Self {
            select,
            rooms_in_turn: Vec::new(),
            stream: stream.into(),
            first: 0,
            count,
            sizes: vec![size],
            binary: Binary::Never,
        }
    }

    /// Payloads of these sizes in turn, every other one binary.
    pub fn mixed(mut self, sizes: &[usize]) -> Self {
        self.sizes = sizes.to_vec();
        self.binary = Binary::EveryOther;
        self
    }
}

/// Which payloads of a [`Flood`] are binary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// All are text.
    #[default]
    Never,
    /// Those with odd numbers.
    EveryOther,
    /// All.
    Always,
}

/// How a [`Flood`] ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodReport {
    /// Events that the server accepted, from the first.
    pub accepted: u64,
    /// Why the next one was not accepted.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}
