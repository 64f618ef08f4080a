//! The two halves: batches to Postgres ([`Out`]), and messages from it ([`In`]).
//!
//! * `letters`: messages as notifications.
//! * `fleeting`: sending them once, as they are.
//! * `kept`: sending them through the table, exactly once.
//! * `tables`: the tables, and their cleaning.
//! * `outcome`: what Postgres' answers mean.
//! * `rows`: fetching rows that notifications name.
//! * `log`: where a reader of kept rows stands, and catching up.

mod fleeting;
mod kept;
mod letters;
mod log;
pub(crate) mod outcome;
mod publisher;
pub(crate) mod rows;
mod subscriber;
pub(crate) mod tables;

pub use publisher::Out;
pub use subscriber::In;
