//! Which connections a subscription has. One, to a single server. In a cluster, one to any node for
//! channels and patterns, and for shard channels one to each node that owns slots of theirs; slots
//! that move and nodes that die are followed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::{Core, feed, names::Home};
use crate::capabilities::redis::{
    cluster::Cluster,
    pipeline::Backend,
    slots::{SlotMap, slot_of},
};

/// How often the map is asked for without a reason: a node can be cut off from the others and not
/// from us.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// How often while something has no place.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The connections that run; they end with it.
struct Running {
    core: Arc<Core>,
    tasks: JoinSet<()>,
    homes: HashMap<Home, AbortHandle>,
}

/// Keeps all connections of a subscription until the task is aborted.
pub(super) async fn run(core: Arc<Core>) {
    let mut running = Running {
        core: Arc::clone(&core),
        tasks: JoinSet::new(),
        homes: HashMap::new(),
    };
    running.start(&Home::Main);
    let Backend::Cluster(cluster) = &core.router.backend else {
        // It never ends by itself.
        running.tasks.join_next().await;
        return;
    };
    let mut changes = cluster.changes();
    loop {
        let mut is_settled = false;
        if let Ok(slots) = cluster.slots(&core.router).await {
            let used = {
                let owner = |name: &str| slots.owner(slot_of(name.as_bytes())).cloned();
                let mut state = core.lock();
                state.names.leave_nodes(|node| slots.nodes().contains(node));
                state.names.assign(owner)
            };
            running.keep(used);
            is_settled = core.lock().names.unconfirmed() == 0;
        }
        wait(&core, cluster, &mut changes, is_settled).await;
    }
}

async fn wait(
    core: &Core,
    cluster: &Cluster,
    changes: &mut watch::Receiver<Option<Arc<SlotMap>>>,
    is_settled: bool,
) {
    let pause = match is_settled {
        true => LOOK_AROUND,
        false => LOOK_AGAIN,
    };
    tokio::select! {
        () = core.reassign.notified() => {}
        Ok(()) = changes.changed() => {}
        () = sleep(pause) => cluster.doubt(),
    }
}

impl Running {
    fn start(&mut self, home: &Home) {
        if self.homes.contains_key(home) {
            return;
        }
        let feed = feed::run(Arc::clone(&self.core), home.clone());
        let handle = self.tasks.spawn(feed);
        self.homes.insert(home.clone(), handle);
    }

    fn keep(&mut self, mut used: HashSet<Home>) {
        used.insert(Home::Main);
        self.homes.retain(|home, handle| {
            let is_used = used.contains(home);
            if !is_used {
                handle.abort();
                self.core.lock().names.forget(home);
            }
            is_used
        });
        used.iter().for_each(|home| self.start(home));
        while self.tasks.try_join_next().is_some() {}
    }
}
