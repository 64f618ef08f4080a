//! The two halves: batches to Redis ([`Out`]), and messages from it ([`In`]).
//!
//! * `fate`: what Redis' replies mean for a batch. Pure.
//! * `ahead`: what overtook a message that did not go. Pure.

mod ahead;
mod fate;
mod publisher;
mod subscriber;

use switchboard_plugin::{OpenFailure, redis::Error};

pub use publisher::Out;
pub use subscriber::In;

fn open_failure(error: Error) -> OpenFailure {
    match error {
        Error::Denied(why) => OpenFailure::Unsupported(why),
        other => OpenFailure::Unavailable(text(other)),
    }
}

fn text(error: Error) -> String {
    match error {
        Error::Denied(why) | Error::Unavailable(why) => why,
        Error::TooLarge(limit) => format!("over the Redis connection's limit of {limit} bytes"),
    }
}
