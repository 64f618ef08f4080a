//! Stories of several clusters that are joined in memory. Logic of one part alone is tested
//! beside it.

#![allow(clippy::unwrap_used)]

mod acks;
mod calls;
mod closing;
mod membership;
mod node_events;
mod recovery;
mod requests;
mod room;
mod sending;
mod served;
mod servers;
