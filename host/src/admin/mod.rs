//! The operator's way into a running server: a local socket on which it answers questions.
//!
//! Off unless `[admin] socket` is set. What lives here: the socket and who may use it (`socket`), the
//! lines that are spoken there (`protocol`), one connection (`serve`), the other end of it for
//! programs (`client`), and what a server must be able to answer (`operate`). What does not: the
//! answers themselves, which are the [`Board`](crate::Board)'s.

mod client;
mod operate;
mod protocol;
mod serve;
mod socket;
#[cfg(test)]
mod tests;

pub use client::{AdminClient, ClientError};
pub(crate) use operate::Operate;
pub use operate::{PluginReport, PluginState};
pub use protocol::{Answer, ErrorKind, Failure, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Request};
pub use socket::AdminError;
pub(crate) use socket::{AdminPlace, AdminSocket};
