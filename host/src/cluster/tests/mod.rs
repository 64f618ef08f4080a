//! Stories of several clusters that are joined in memory. Logic of one part alone is tested
//! beside it.

#![allow(clippy::unwrap_used)]

mod acks;
mod closing;
mod membership;
mod requests;
mod sending;
