//! A plugin that is away, for a while or for good: local clients are served, the other direction
//! works, and the operator is told once.

use serde_json::json;
use switchboard_tests::{Select, until};

use crate::{
    Outcome,
    stage::{Stage, instance, say, settle, state, wait_until_heard},
};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_publisher_is_away_local_clients_are_served_and_others_are_heard() -> Outcome {
    // Once it has died it stays away for longer than any test is patient.
    let stage = Stage::set(
        "limits.restart_backoff_min_ms = 3600000\n\
         limits.restart_backoff_max_ms = 3600000\n\
         cluster.close_timeout_ms = 200",
    )
    .await?;
    let sender = stage.sender();
    stage.say(0..1, &[(0, "fault:trap-publish")]).await?;
    wait_until_state(&stage, "restarting").await?;

    stage.say(1..50, &[]).await?;
    stage.assert_heard_here(0..50).await?;
    let echo = stage
        .here
        .emit_with_ack("echo", json!(["still here"]))
        .await?;
    assert_eq!(echo, json!(["still here"]));
    // What others say arrives as ever.
    say(stage.receiver(), "/", 50, "").await?;
    wait_until_heard(&stage.here, 51).await?;
    assert!(stage.there.received("said").await?.len() <= 1, "it is away");

    // It can still be stopped, and says what it could not send.
    assert!(sender.stop().await?.is_some_and(|status| status.success()));
    let is_report = |line: &str| line.contains("closed before all messages could be sent");
    sender
        .log()
        .wait_for("what was not sent", is_report)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_dies_too_often_is_given_up_once_and_loudly() -> Outcome {
    let stage = Stage::set("limits.max_restarts = 1").await?;
    let sender = stage.sender();
    stage.say(0..1, &[(0, "fault:trap-publish")]).await?;
    wait_until_state(&stage, "failed").await?;
    let report = instance(sender, "publisher").await?;
    assert_eq!(report["faults"], 2, "{report}");
    let error = report["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("limits.max_restarts"), "{report}");

    stage.say(1..50, &[]).await?;
    stage.assert_heard_here(0..50).await?;
    say(stage.receiver(), "/", 50, "").await?;
    wait_until_heard(&stage.here, 51).await?;
    assert_eq!(state(sender, "subscriber").await?, "running");
    assert_eq!(state(stage.receiver(), "publisher").await?, "running");

    let is_report = |line: &str| line.contains("ERROR") && line.contains("the plugin was given up");
    assert_eq!(sender.log().count(is_report), 1);
    assert_eq!(
        instance(sender, "publisher").await?["faults"],
        2,
        "it is left alone"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_subscriber_was_given_up_is_still_heard_by_the_others() -> Outcome {
    let stage = Stage::set("limits.max_restarts = 0").await?;
    let receiver = stage.receiver();
    stage.say(0..1, &[(0, "fault:trap-poll")]).await?;
    let look = || state(receiver, "subscriber");
    until("the subscriber to be given up", look, |state| {
        state == "failed"
    })
    .await?;

    settle(receiver, "/", &stage.here).await?;
    receiver
        .broadcast(&Select::all(), "local", json!([]))
        .await?;
    stage.there.wait_for("local", 1).await?;
    stage.here.wait_for("local", 1).await?;
    let is_report = |line: &str| line.contains("ERROR") && line.contains("the plugin was given up");
    assert_eq!(receiver.log().count(is_report), 1);
    Ok(())
}

async fn wait_until_state(stage: &Stage, expected: &str) -> Outcome {
    let look = || state(stage.sender(), "publisher");
    until(format!("the publisher to be {expected}"), look, |state| {
        state == expected
    })
    .await?;
    Ok(())
}
