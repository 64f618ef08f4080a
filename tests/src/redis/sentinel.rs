//! A master, a replica, and three Sentinels that make the replica the master when the master is gone.

use super::{Redis, RedisBuilder};
use crate::{Error, until};

/// How many Sentinels.
const SENTINELS: usize = 3;
/// How many of them must agree that the master is gone.
const QUORUM: usize = 2;
/// After so long without an answer the master is taken for dead.
const DOWN_AFTER_MS: u32 = 500;
/// A new election is not begun before twice this time after one that failed.
const FAILOVER_TIMEOUT_MS: u32 = 3_000;

/// Two Redis servers under the watch of three Sentinels.
#[derive(Debug)]
pub struct Sentinel {
    // First, so that they do not see the servers go.
    sentinels: Vec<Redis>,
    servers: [Redis; 2],
}

impl Sentinel {
    /// What clients call the master.
    pub const MASTER: &'static str = "main";

    /// Starts everything and waits until the replica has its copy and the Sentinels know both servers
    /// and each other. Takes a few seconds: they look around every two.
    ///
    /// # Errors
    /// What [`RedisBuilder::start`] says.
    pub async fn start() -> Result<Self, Error> {
        let first = Redis::builder().name("the first Redis").start().await?;
        let (host, port) = place(&first);
        let second = Redis::builder()
            .name("the second Redis")
            .option("replicaof", format!("{host} {port}"))
            .start()
            .await?;
        until(
            "the replica to have its copy",
            || first.command(&["INFO", "replication"]),
            |info| {
                info.line("slave0")
                    .is_some_and(|replica| replica.contains("state=online"))
            },
        )
        .await?;

        let mut sentinels = Vec::new();
        for number in 0..SENTINELS {
            let master = Self::MASTER;
            let builder = RedisBuilder {
                sentinel: Some(format!(
                    "sentinel monitor {master} {host} {port} {QUORUM}\n\
                     sentinel down-after-milliseconds {master} {DOWN_AFTER_MS}\n\
                     sentinel failover-timeout {master} {FAILOVER_TIMEOUT_MS}\n"
                )),
                ..Redis::builder().name(format!("Sentinel {number}"))
            };
            sentinels.push(builder.start().await?);
        }
        let all = Self {
            sentinels,
            servers: [first, second],
        };
        all.wait_until_complete().await?;
        Ok(all)
    }

    /// The addresses of the Sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Redis::url).collect()
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The two servers, the one that was the master at the start first.
    pub fn servers(&self) -> &[Redis; 2] {
        &self.servers
    }

    /// The server that the first Sentinel takes for the master.
    ///
    /// # Errors
    /// What [`Redis::command`] says.
    pub async fn master(&self) -> Result<&Redis, Error> {
        let port = master_port(&self.sentinels[0]).await?;
        self.servers
            .iter()
            .find(|server| Some(i64::from(server.port.number())) == port)
            .ok_or_else(|| Error::Test(format!("a stranger at port {port:?} is the master")))
    }

    /// Kills the master and waits until all Sentinels say that the other server is it, and that
    /// serves as one. Returns it.
    ///
    /// # Errors
    /// [`Error::Deadline`] if that does not happen; what [`Redis::command`] says.
    pub async fn failover(&self) -> Result<&Redis, Error> {
        let next = self.replica().await?;
        self.master().await?.kill().await?;
        self.wait_for_master(next).await?;
        Ok(next)
    }

    /// Makes the replica the master, and the master its replica, in good order. Returns the new
    /// master.
    ///
    /// # Errors
    /// [`Error::Deadline`] if that does not happen; what [`Redis::command`] says.
    pub async fn switch_over(&self) -> Result<&Redis, Error> {
        let next = self.replica().await?;
        self.sentinels[0]
            .command(&["SENTINEL", "FAILOVER", Self::MASTER])
            .await?;
        self.wait_for_master(next).await?;
        Ok(next)
    }

    async fn replica(&self) -> Result<&Redis, Error> {
        let master = self.master().await?.addr();
        let [first, second] = &self.servers;
        Ok(if first.addr() == master {
            second
        } else {
            first
        })
    }

    async fn wait_for_master(&self, next: &Redis) -> Result<(), Error> {
        let port = Some(i64::from(next.port.number()));
        for sentinel in &self.sentinels {
            until(
                format!("{} to take {} for the master", sentinel.name(), next.name()),
                || master_port(sentinel),
                |&found| found == port,
            )
            .await?;
        }
        until(
            format!("{} to be a master", next.name()),
            || next.command(&["INFO", "replication"]),
            |info| info.line("role").as_deref() == Some("master"),
        )
        .await?;
        Ok(())
    }

    async fn wait_until_complete(&self) -> Result<(), Error> {
        let others = i64::try_from(self.sentinels.len()).unwrap_or(i64::MAX) - 1;
        for sentinel in &self.sentinels {
            until(
                format!("{} to know the replica and the others", sentinel.name()),
                || sentinel.command(&["SENTINEL", "MASTER", Self::MASTER]),
                |master| {
                    let count = |name| master.field(name).and_then(super::Reply::as_integer);
                    count("num-slaves") == Some(1) && count("num-other-sentinels") == Some(others)
                },
            )
            .await?;
        }
        Ok(())
    }
}

async fn master_port(sentinel: &Redis) -> Result<Option<i64>, Error> {
    let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinel::MASTER];
    let found = sentinel.command(&words).await?;
    Ok(found.as_list().get(1).and_then(super::Reply::as_integer))
}

fn place(redis: &Redis) -> (String, u16) {
    (redis.addr().ip().to_string(), redis.addr().port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Sentinel;

    #[tokio::test]
    async fn the_replica_takes_over_with_the_data_when_the_master_is_killed() {
        let sentinel = Sentinel::start().await.unwrap();
        let [first, second] = sentinel.servers();
        assert_eq!(sentinel.master().await.unwrap().addr(), first.addr());
        first.command(&["SET", "a", "1"]).await.unwrap();
        first.command(&["WAIT", "1", "0"]).await.unwrap();

        let next = sentinel.failover().await.unwrap();
        assert_eq!(next.addr(), second.addr());
        let answer = next.command(&["GET", "a"]).await.unwrap();
        assert_eq!(answer.as_text().as_deref(), Some("1"));
        next.command(&["SET", "a", "2"]).await.unwrap();
    }

    #[tokio::test]
    async fn master_and_replica_change_places() {
        let sentinel = Sentinel::start().await.unwrap();
        let next = sentinel.switch_over().await.unwrap();
        assert_eq!(next.addr(), sentinel.servers()[1].addr());
        next.command(&["SET", "a", "2"]).await.unwrap();
    }
}
