//! Hostile plugins, wrong configuration and rude neighbours against real server processes: whatever
//! a plugin does, a server serves its own clients, gives up no message but the poisoned one, and
//! says what happened.
//!
//! The plugin is `tests/fixtures/faulty`: the transport `local`, with faults on demand.

mod bus_socket;
mod given_up;
mod greed;
mod lies;
mod poll;
mod publish;
mod queues;
mod refused;
mod stage;

/// What a test returns; the error says what did not happen.
type Outcome = Result<(), switchboard_tests::Error>;
