//! Running WebAssembly components: engine, compile cache, limits, instances.
//!
//! Nothing here knows Socket.IO or what a transport is: a `Guest` is an instance of some
//! component with a host state `X`, called under a deadline, a memory limit and a limit on its own
//! CPU time. Whatever goes wrong inside it is a [`Fault`], after which the guest is dead and is to
//! be replaced. May depend on nothing else in this crate.

mod engine;
mod examine;
mod guest;
mod limits;
mod load;
mod meter;
mod stdio;

pub use engine::{Runtime, RuntimeError};
pub(crate) use examine::examine;
pub use guest::Fault;
pub(crate) use guest::{Guest, GuestState};
pub use limits::Limits;
pub use load::LoadError;
pub(crate) use load::{Contract, Program, load};

#[cfg(test)]
mod tests;
