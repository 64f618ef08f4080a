//! Changing the transport of a whole cluster while it runs: nothing is lost, repeated or reordered.
//!
//! Every server has a *line*, an open transport on which it publishes. For a switch all of them open
//! another one and listen on both. Each then sends a *mark* as its last message on the old line and
//! goes on over the new one; what a sender says on the new line waits at every receiver for that
//! sender's mark. The rules by which the servers agree on it, whatever becomes of any of them in the
//! middle, stand in [`machine`], and are explored by the simulation in `sim`.
//!
//! - [`machine`] what one server decides: pure, no I/O, no clock. [`message`] what servers tell each
//!   other, [`control`] how that travels as messages of the cluster.
//! - [`merge`] the order of each sender across two lines: pure, too.
//! - `publisher`, `subscriber`: several lines in the place of one, for the outbox and the inbox.
//!   `side`: the way out of a line that this server does not publish on.
//! - `driver`: the task that feeds the machine and does what it says. `handle`: what an operator may
//!   ask.

mod control;
mod driver;
mod handle;
mod line_in;
mod lines;
mod machine;
mod merge;
mod message;
mod publisher;
mod side;
mod subscriber;

use futures_util::future::BoxFuture;

pub use self::handle::{Switch, SwitchError, SwitchNode, SwitchPhase, SwitchReport, Switched};
pub(crate) use self::{control::is_control, handle::Switchable, machine::LineId};
use super::link::{Publisher, Subscriber};

/// The two ways of a transport that was opened for a switch.
pub(crate) struct OpenLine {
    pub(crate) publisher: Box<dyn Publisher>,
    pub(crate) subscriber: Box<dyn Subscriber>,
}

/// What opens and closes transports for the switch, by name; `transport/` does it with plugins.
pub(crate) trait Opener: Send + Sync + 'static {
    /// Opens a transport. The error is for people, and says what to do.
    fn open(&self, line: LineId, transport: &str) -> BoxFuture<'static, Result<OpenLine, String>>;

    /// This server publishes on this line now.
    fn home(&self, line: LineId);

    /// The two ways of this line are closed: closes what is left of it.
    fn close(&self, line: LineId) -> BoxFuture<'static, ()>;
}

#[cfg(test)]
mod sim;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
