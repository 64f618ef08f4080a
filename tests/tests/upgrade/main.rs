//! The plugin of running servers is replaced in their folder: a good one takes over and nobody
//! notices, and with any other one everything goes on as it was.

#[allow(dead_code)]
#[path = "../outage/load.rs"]
mod load;
#[allow(dead_code)]
#[path = "../outage/stage.rs"]
mod stage;
#[allow(dead_code)]
#[path = "../outage/verdict.rs"]
mod verdict;

mod folder;
mod outage;
mod refused;
mod revived;
mod swapped;

/// What a test returns; the error says what did not happen.
type Outcome = Result<(), switchboard_tests::Error>;
