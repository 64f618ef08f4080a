//! The task that says in every namespace that this node is alive, and notices who is not.
//!
//! Unlike Node's it sends a heartbeat at every interval, whatever else was sent: one small message
//! is cheaper than knowing.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::shared::Shared;

/// How often silence is checked, as in Node.js; oftener when the timeout is short.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let options = &shared.options;
    let check_every = CHECK_INTERVAL
        .min(options.heartbeat_timeout / 4)
        .max(Duration::from_millis(1));
    let now = Instant::now();
    let mut beat = interval_at(now + options.heartbeat_interval, options.heartbeat_interval);
    let mut check = interval_at(now + check_every, check_every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_check = now;
    loop {
        tokio::select! {
            _ = beat.tick() => {
                for namespace in shared.namespaces.names() {
                    shared.outbox.heartbeat(&namespace);
                }
            }
            _ = check.tick() => {
                // After a pause of the whole process (a suspended machine, a debugger) everybody
                // looks silent, though their messages are waiting to be read: read first.
                let late = last_check.elapsed() > check_every + options.heartbeat_timeout / 2;
                last_check = Instant::now();
                if !late {
                    expire(&shared);
                }
            }
        }
    }
}

fn expire(shared: &Shared) {
    let timeout = shared.options.heartbeat_timeout;
    for gone in shared.nodes.expire(timeout) {
        shared.node_gone(
            &gone,
            &format!("nothing was heard of it for more than {timeout:?}"),
        );
    }
}
