//! Postgres is there, but the table is not, or takes nothing; and it does not grow for ever.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_tests::{
    Backends, Client, Clients, Cluster, Connect, Error, Postgres, Select, Transport, bytes, until,
};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    load::on_a_busy_machine,
    stage::{self, POSTGRES_URL_VARIABLE},
    verdict::counter,
};

const TABLE: &str = "socket_io_attachments";
/// As the documentation of Node's adapter has it.
const CREATE: &str = "CREATE TABLE socket_io_attachments (id bigserial UNIQUE, \
                      created_at timestamptz DEFAULT now(), payload bytea)";
/// Events of one story.
const COUNT: usize = 30;

/// Within this time after something was set right everything works.
fn max_return() -> Duration {
    match on_a_busy_machine() {
        true => Duration::from_secs(10),
        false => Duration::from_secs(2),
    }
}

/// Two servers, each with a client.
struct Pair {
    cluster: Cluster,
    near: Client,
    far: Client,
    _clients: Clients,
}

impl Pair {
    /// Servers whose role may not create tables.
    async fn without_rights(transport: Transport) -> Result<Self, Error> {
        let mut cluster = stage::builder(transport)
            .nodes(0)
            .without_waiting()
            .start()
            .await?;
        let postgres = postgres(&cluster)?;
        postgres.sql("CREATE ROLE chat LOGIN").await?;
        let url = postgres.url_of("chat");
        for _ in 0..2 {
            let variables = [(POSTGRES_URL_VARIABLE, url.as_str())];
            cluster.add_node_with(&variables).await?;
        }
        Self::with(cluster).await
    }

    async fn of(transport: Transport, toml: &str) -> Result<Self, Error> {
        let builder = stage::builder(transport).nodes(2).toml(toml);
        Self::with(builder.start().await?).await
    }

    async fn with(cluster: Cluster) -> Result<Self, Error> {
        let clients = Clients::start().await?;
        let near = clients.connect(cluster.node(0).url(), Connect::default());
        let far = clients.connect(cluster.node(1).url(), Connect::default());
        Ok(Self {
            near: near.await?,
            far: far.await?,
            cluster,
            _clients: clients,
        })
    }

    /// Sends numbered events with binary parts, and checks that the sender's own client gets them.
    async fn send(&self, event: &str) -> Outcome {
        for args in binary() {
            let sender = self.cluster.node(0);
            sender.broadcast(&Select::all(), event, args).await?;
        }
        assert_eq!(self.near.wait_for(event, COUNT).await?, binary());
        Ok(())
    }

    /// Everything is set right: what was kept is there soon, in order, and nothing was given up.
    async fn assert_all_arrive(&self, event: &str, since: Instant) -> Outcome {
        assert_eq!(self.far.wait_for(event, COUNT).await?, binary());
        let took = since.elapsed();
        println!("everything had arrived {took:?} after it was set right");
        assert!(took < max_return(), "it took {took:?}");
        assert_eq!(counter(self.cluster.node(0), "rejected").await?, 0);
        assert_eq!(counter(self.cluster.node(1), "lagged").await?, 0);
        Ok(())
    }
}

fn binary() -> Vec<Value> {
    (0..COUNT).map(|n| json!([n, bytes(&[7; 100])])).collect()
}

fn postgres(cluster: &Cluster) -> Result<&Postgres, Error> {
    let none = || Error::Test("these servers do not meet at Postgres".into());
    cluster.postgres().ok_or_else(none)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_table_text_goes_on_and_what_needs_a_row_is_given_up_and_reported() -> Outcome {
    let pair = Pair::without_rights(Transport::postgres()).await?;
    let sender = pair.cluster.node(0);
    pair.send("lost").await?;
    for n in 0..COUNT {
        let args = json!([n]);
        sender.broadcast(&Select::all(), "text", args).await?;
    }
    pair.far.wait_for("text", COUNT).await?;
    assert!(pair.far.received("lost").await?.is_empty());
    assert_eq!(counter(sender, "rejected").await?, COUNT as u64);
    let is_told = |line: &str| line.contains("cannot be created") && line.contains(TABLE);
    sender.log().wait_for("what is missing", is_told).await?;

    let postgres = postgres(&pair.cluster)?;
    let sequence = format!("{TABLE}_id_seq");
    postgres
        .sql(&format!(
            "{CREATE}; GRANT SELECT, INSERT, DELETE ON {TABLE} TO chat; \
             GRANT USAGE ON SEQUENCE {sequence} TO chat"
        ))
        .await?;
    pair.send("kept").await?;
    assert_eq!(pair.far.wait_for("kept", COUNT).await?, binary());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_table_a_durable_server_keeps_everything_until_there_is_one() -> Outcome {
    let pair = Pair::without_rights(Transport::postgres_durable()).await?;
    pair.send("kept").await?;
    sleep(Duration::from_secs(2)).await;
    assert!(pair.far.received("kept").await?.is_empty());
    let postgres = postgres(&pair.cluster)?;
    postgres
        .sql("GRANT CREATE ON SCHEMA public TO chat")
        .await?;
    pair.assert_all_arrive("kept", Instant::now()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_insert_a_durable_server_keeps_everything_until_it_has_it() -> Outcome
{
    let pair = Pair::of(Transport::postgres_durable(), "").await?;
    let postgres = postgres(&pair.cluster)?;
    // The servers are superusers: a trigger has the same effect, with another code.
    refuse(postgres, "42501").await?;
    pair.send("kept").await?;
    sleep(Duration::from_secs(1)).await;
    assert!(pair.far.received("kept").await?.is_empty());
    allow(postgres).await?;
    pair.assert_all_arrive("kept", Instant::now()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_everything_waits_for_room() -> Outcome {
    for transport in [Transport::postgres(), Transport::postgres_durable()] {
        let pair = Pair::of(transport, "").await?;
        let postgres = postgres(&pair.cluster)?;
        // Before there is a row, so that the table is there.
        pair.send("before").await?;
        assert_eq!(pair.far.wait_for("before", COUNT).await?, binary());
        refuse(postgres, "53100").await?;
        pair.send("kept").await?;
        sleep(Duration::from_secs(2)).await;
        assert!(pair.far.received("kept").await?.is_empty());
        allow(postgres).await?;
        pair.assert_all_arrive("kept", Instant::now()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_drops_is_created_again() -> Outcome {
    for transport in [Transport::postgres(), Transport::postgres_durable()] {
        let is_durable = transport == Transport::postgres_durable();
        let name = transport.name().to_owned();
        let pair = Pair::of(transport, "").await?;
        pair.send("before").await?;
        assert_eq!(pair.far.wait_for("before", COUNT).await?, binary());
        let postgres = postgres(&pair.cluster)?;
        postgres.sql(&format!("DROP TABLE {TABLE}")).await?;
        pair.send("kept").await?;
        assert_eq!(pair.far.wait_for("kept", COUNT).await?, binary(), "{name}");
        // Ids begin anew. Who knows rows by their ids has to notice that, and says so.
        let gaps = counter(pair.cluster.node(1), "lagged").await?;
        assert_eq!(gaps > 0, is_durable, "{name}: {gaps}");
    }
    Ok(())
}

/// Thirty cycles with a short interval. (A week of them is counted in the plugin's own tests.)
#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_deleted_all_the_time() -> Outcome {
    // Long enough for a receiver on a busy machine: a row that is gone before it is fetched is missed.
    let toml = "[transports.postgres.options]\ncleanupInterval = 1000";
    let pair = Pair::of(Transport::postgres(), toml).await?;
    let postgres = postgres(&pair.cluster)?;
    let count = format!("SELECT count(*) FROM {TABLE}");
    // Six times as long: a row is deleted after two of them at the latest.
    let end = Instant::now() + Duration::from_secs(6);
    let (mut sent, mut most) = (0_u64, 0);
    while Instant::now() < end {
        for args in binary() {
            let sender = pair.cluster.node(0);
            sender.broadcast(&Select::all(), "x", args).await?;
        }
        sent += COUNT as u64;
        most = most.max(postgres.number(&count).await?);
        sleep(Duration::from_millis(20)).await;
    }
    println!("{sent} rows in all, {most} at once");
    assert!(sent > 500 && most < sent / 2, "{most} of {sent}");
    // Also when nothing more is sent but heartbeats.
    until(
        "the table to be empty",
        || postgres.number(&count),
        |rows| *rows == 0,
    )
    .await?;
    pair.far
        .wait_for("x", usize::try_from(sent).unwrap_or_default())
        .await?;
    Ok(())
}

/// With heartbeats that are far apart, so that disks may sleep. Cleaning a clean table writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_cluster_can_be_told_to_write_nothing() -> Outcome {
    for (interval_ms, writes) in [(200, true), (300_000, false)] {
        let toml = format!(
            "[cluster]\nheartbeat_interval_ms = {interval_ms}\n\
             [transports.postgres.options]\ncleanupInterval = 100"
        );
        let pair = Pair::of(Transport::postgres_durable(), &toml).await?;
        pair.send("before").await?;
        pair.far.wait_for("before", COUNT).await?;
        let postgres = postgres(&pair.cluster)?;
        // What was sent is written out, perhaps a moment later.
        postgres.sql("CHECKPOINT").await?;
        let place = || postgres.sql("SELECT pg_current_wal_insert_lsn()");
        let stands_still = || async {
            let before = place().await?;
            sleep(Duration::from_secs(2)).await;
            Ok(before == place().await?)
        };
        if writes {
            assert!(!stands_still().await?, "heartbeats are written");
        } else {
            until("Postgres to write nothing", stands_still, |is| *is).await?;
        }
    }
    Ok(())
}

/// From now on Postgres takes no rows of messages, for the reason with this code.
async fn refuse(postgres: &Postgres, code: &str) -> Outcome {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON {TABLE} EXECUTE FUNCTION refuse()"
    );
    postgres.sql(&sql).await.map(drop)
}

async fn allow(postgres: &Postgres) -> Outcome {
    let sql = format!("DROP TRIGGER refuse ON {TABLE}");
    postgres.sql(&sql).await.map(drop)
}
