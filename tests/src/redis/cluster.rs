//! A Redis Cluster: several masters that share the hash slots, without replicas.

use tokio::task::JoinSet;

use super::{Redis, RedisBuilder};
use crate::{Error, until};

/// Hash slots of every Redis Cluster.
const SLOTS: usize = 16_384;
/// After so long without an answer a node is taken for dead by the others.
const NODE_TIMEOUT_MS: u32 = 2_000;

/// Running masters of one Redis Cluster. Each is a [`Redis`]: it can be killed, frozen and started
/// again; it finds the others again by itself.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts masters and waits until all of them agree who serves which slots. Other programs want
    /// three at least; one is possible.
    ///
    /// # Errors
    /// What [`RedisBuilder::start`] says.
    pub async fn start(masters: usize) -> Result<Self, Error> {
        if !(1..=SLOTS).contains(&masters) {
            return Err(Error::Test(format!("a cluster of {masters} masters")));
        }
        let mut starting = JoinSet::new();
        for number in 0..masters {
            let builder = RedisBuilder {
                in_cluster: true,
                ..Redis::builder()
                    .name(format!("Redis Cluster node {number}"))
                    .option("cluster-node-timeout", NODE_TIMEOUT_MS.to_string())
            };
            starting.spawn(async move { (number, builder.start().await) });
        }
        let mut nodes = Vec::new();
        while let Some(started) = starting.join_next().await {
            let (number, node) =
                started.map_err(|error| Error::Test(format!("a start panicked: {error}")))?;
            nodes.push((number, node?));
        }
        nodes.sort_by_key(|(number, _)| *number);
        let cluster = Self {
            nodes: nodes.into_iter().map(|(_, node)| node).collect(),
        };
        cluster.join().await?;
        cluster.wait_until_complete().await?;
        Ok(cluster)
    }

    /// The masters, in the order of their slots.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The addresses of all masters; a client needs only one of them to find the others.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// Waits until every master serves and knows all others, for example after one was started
    /// again.
    ///
    /// # Errors
    /// [`Error::Deadline`] with what a master says instead.
    pub async fn wait_until_complete(&self) -> Result<(), Error> {
        let all = self.nodes.len().to_string();
        for node in &self.nodes {
            until(
                format!("{} to know {all} nodes and all slots", node.name()),
                || node.command(&["CLUSTER", "INFO"]),
                |info| {
                    info.line("cluster_state").as_deref() == Some("ok")
                        && info.line("cluster_size") == Some(all.clone())
                        && info.line("cluster_slots_ok") == Some(SLOTS.to_string())
                },
            )
            .await?;
        }
        Ok(())
    }

    async fn join(&self) -> Result<(), Error> {
        let [first, others @ ..] = &self.nodes[..] else {
            return Ok(());
        };
        let masters = self.nodes.len();
        for (number, node) in self.nodes.iter().enumerate() {
            let from = (number * SLOTS / masters).to_string();
            let to = ((number + 1) * SLOTS / masters - 1).to_string();
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &from, &to])
                .await?;
            // Different from the start: else the nodes find that out one after the other.
            let epoch = (number + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
                .await?;
        }
        for node in others {
            let port = node.port.number().to_string();
            let bus = node.bus_port.as_ref();
            let bus = bus.map_or(0, |bus| bus.number()).to_string();
            first
                .command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::RedisCluster;
    use crate::Error;

    #[tokio::test]
    async fn each_master_serves_its_own_slots() {
        let cluster = RedisCluster::start(3).await.unwrap();
        // Slot 12182, so the third one's.
        let set = &["SET", "foo", "1"];
        let [first, second, third] = cluster.nodes() else {
            panic!("three nodes were started");
        };
        third.command(set).await.unwrap();
        for other in [first, second] {
            let error = other.command(set).await.unwrap_err();
            let moved = format!("MOVED 12182 {}", third.addr());
            assert!(matches!(error, Error::Refused { .. }), "{error}");
            assert!(error.to_string().contains(&moved), "{error}");
        }
    }

    #[tokio::test]
    async fn a_master_that_comes_back_is_known_again() {
        let cluster = RedisCluster::start(3).await.unwrap();
        cluster.nodes()[1].kill().await.unwrap();
        cluster.nodes()[1].restart().await.unwrap();
        cluster.wait_until_complete().await.unwrap();
    }
}
