//! Whole servers on a Redis that fails: it is killed, cut off, stalled, promoted, or it refuses the
//! password. Three servers, with clients, under load from all of them.
//!
//! What is asserted is what `plugins/redis/README.md` promises, and more of `redis-streams` (`streams`):
//!
//! * clients of one server are served throughout;
//! * when Redis is back, every server hears every other one soon, without a restart;
//! * nothing is repeated, nothing comes out of order, nothing is changed;
//! * what was sent while Redis was away waits and arrives in order;
//! * what is missing was sent around the outage, and the servers say so.

mod cut;
mod failover;
mod killed;
mod load;
mod password;
mod stage;
mod stalled;
mod streams;
mod verdict;

/// What a test returns; the error says what did not happen.
type Outcome = Result<(), switchboard_tests::Error>;

/// Makes a test of a story for each way to use Redis.
macro_rules! in_both_modes {
    ($($story:ident)+) => {
        $(
            mod $story {
                use super::*;
                #[tokio::test(flavor = "multi_thread")]
                async fn classic() -> Outcome {
                    super::$story(Transport::redis()).await
                }
                #[tokio::test(flavor = "multi_thread")]
                async fn sharded() -> Outcome {
                    super::$story(Transport::redis_sharded()).await
                }
            }
        )+
    };
}
use in_both_modes;
