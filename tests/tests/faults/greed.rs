//! A plugin that asks for what it was not granted: it gets one line that names the missing grant,
//! touches nothing, and the rest of its messages go on.

use switchboard_tests::{Postgres, Redis};

use crate::{
    Outcome,
    stage::{Stage, counter, deaths},
};

/// How many messages, and over which of them it grabs.
const COUNT: u64 = 20;
const ODD: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_not_configured_is_refused_by_its_name() -> Outcome {
    let said = it_grabs("bus", "").await?;
    assert!(said.contains("there is no bus `elsewhere`"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_granted_is_refused() -> Outcome {
    let redis = Redis::start().await?;
    let connection = format!("[connections.redis.main]\nurl = \"{}\"", redis.url());
    let said = it_grabs("redis", &connection).await?;
    let hint =
        "`faulty` may not use the Redis `main`: allow it with grants = { redis = [\"main\"] }";
    assert!(said.contains(hint), "{said}");
    assert!(!said.contains("it was let"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_keys_and_channels_that_are_not_granted_are_refused_and_touch_nothing() -> Outcome
{
    let redis = Redis::start().await?;
    redis.command(&["SET", "secret", "kept"]).await?;
    let config = format!(
        "[connections.redis.main]\nurl = \"{}\"\n[transports.faulty]\ngrants.bus = [\"main\"]\n\
         grants.redis = [{{ connection = \"main\", keys = [\"ours*\"], channels = [\"ours*\"] }}]",
        redis.url()
    );
    let said = it_grabs("redis", &config).await?;
    for part in [
        "there is no Redis `elsewhere`",
        "FLUSHALL",
        "\"secret\"",
        "\"theirs\"",
        "EVAL",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(!said.contains("it was let"), "{said}");
    let kept = redis.command(&["GET", "secret"]).await?.as_text();
    assert_eq!(kept.as_deref(), Some("kept"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_channels_and_sql_that_are_not_granted_are_refused() -> Outcome {
    let postgres = Postgres::start().await?;
    postgres
        .sql("CREATE TABLE secrets AS SELECT 'kept'::text AS secret")
        .await?;
    let config = format!(
        "[connections.postgres.main]\nurl = \"{}\"\n[transports.faulty]\n\
         grants.bus = [\"main\"]\ngrants.postgres = [{{ connection = \"main\", tables = \
         [\"ours\"], channels = [\"ours\"] }}]",
        postgres.url()
    );
    let said = it_grabs("postgres", &config).await?;
    for part in [
        "the table \"secrets\"",
        "the channel \"theirs\"",
        "free SQL",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(!said.contains("it was let"), "{said}");
    Ok(())
}

/// What the log says of it, on one line.
async fn it_grabs(what: &str, config: &str) -> Result<String, switchboard_tests::Error> {
    let stage = Stage::set(config).await?;
    let word = format!("fault:grab-{what}-publish");
    stage.say(0..COUNT, &[(ODD, &word)]).await?;
    stage
        .assert_heard_there((0..COUNT).filter(|&number| number != ODD))
        .await?;
    let sender = stage.sender();
    assert_eq!(counter(sender, "rejected").await?, 1);
    assert_eq!(deaths(sender, "publisher").await?, 0);
    let is_loss = |line: &str| line.contains("ERROR") && line.contains("was given up");
    assert_eq!(sender.log().count(is_loss), 1);
    let line = sender.log().find(is_loss).unwrap_or_default();
    Ok(line.replace("\\\"", "\""))
}
