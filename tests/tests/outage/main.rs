//! Whole servers on a Redis, a Postgres or a NATS that fails: it is killed, cut off, stalled, promoted, or it
//! refuses the password. Three servers, with clients, under load from all of them.
//!
//! What is asserted is what `README.md` in `plugins/redis`, `plugins/postgres` and `plugins/nats` promises, and more
//! of `redis-streams` and of `postgres` with `durable` (`kept`):
//!
//! * clients of one server are served throughout;
//! * when the backend is back, every server hears every other one soon, without a restart;
//! * nothing is repeated, nothing comes out of order, nothing is changed;
//! * what was sent while the backend was away waits and arrives in order;
//! * what is missing was sent around the outage, and the servers say so.

mod cut;
mod failover;
mod kept;
mod killed;
mod load;
mod nats;
mod password;
mod stage;
mod stalled;
mod table;
mod verdict;

/// What a test returns; the error says what did not happen.
type Outcome = Result<(), switchboard_tests::Error>;

/// Makes a test of a story over each of some transports.
macro_rules! over_each {
    ([$($transport:ident)+] $story:ident $($more:ident)*) => {
        mod $story {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $transport() -> Outcome {
                    super::$story(Transport::$transport()).await
                }
            )+
        }
        over_each! { [$($transport)+] $($more)* }
    };
    ([$($transport:ident)+]) => {};
}
use over_each;
