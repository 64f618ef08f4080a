//! Plugins that return nonsense, refuse, or talk too much: the host believes nothing that it can
//! check, and goes on.

use std::time::Instant;

use switchboard_tests::{Parser, until};

use crate::{
    Outcome,
    stage::{Stage, counter, deaths, wait_until_heard, wait_until_sent},
};

/// How many messages, and which of them brings the fault.
const COUNT: u64 = 40;
const ODD: u64 = 15;
/// Offsets get as far as the host.
const WITH_OFFSETS: &str = "cluster.connection_state_recovery = true";

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_lies_about_what_it_accepted_loses_and_repeats_nothing() -> Outcome {
    let stage = Stage::set(WITH_OFFSETS).await?;
    stage.say(0..COUNT, &[(ODD, "fault:lie-publish")]).await?;
    stage.assert_heard_there(0..COUNT).await?;
    let sender = stage.sender();
    assert_eq!(counter(sender, "rejected").await?, 0);
    let is_report = |line: &str| line.contains("said that it accepted 4294967295 of");
    sender.log().wait_for("the lie", is_report).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn giant_results_lose_and_repeat_nothing() -> Outcome {
    let stage = Stage::set(WITH_OFFSETS).await?;
    let (out, back) = ("fault:giant-publish", "fault:giant-poll");
    stage.say(0..COUNT, &[(ODD, out), (ODD + 9, back)]).await?;
    stage.assert_heard_there(0..COUNT).await?;
    assert_eq!(counter(stage.sender(), "rejected").await?, 0);
    assert_eq!(counter(stage.receiver(), "lagged").await?, 0);
    assert!(stage.there.is_connected().await?);
    let is_report = |line: &str| line.contains("gave 200000 offsets for");
    stage
        .sender()
        .log()
        .wait_for("the giant result", is_report)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_plugin_refuses_is_given_up_alone_and_loudly() -> Outcome {
    let stage = Stage::set("").await?;
    stage
        .say(0..COUNT, &[(ODD, "fault:reject-publish")])
        .await?;
    stage
        .assert_heard_there((0..COUNT).filter(|&number| number != ODD))
        .await?;
    let sender = stage.sender();
    assert_eq!(counter(sender, "rejected").await?, 1);
    assert_eq!(deaths(sender, "publisher").await?, 0);
    let is_loss = |line: &str| line.contains("ERROR") && line.contains("asked to reject");
    assert_eq!(sender.log().count(is_loss), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_make_no_sense_do_no_harm() -> Outcome {
    events_that_make_no_sense_are_dropped(Parser::Common).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_make_no_sense_do_no_harm_to_a_server_that_transcodes_them() -> Outcome {
    events_that_make_no_sense_are_dropped(Parser::Msgpack).await
}

async fn events_that_make_no_sense_are_dropped(parser: Parser) -> Outcome {
    let stage = Stage::set_with(parser, "").await?;
    let garbage = "fault:garbage-poll";
    stage
        .say(0..COUNT, &[(ODD, garbage), (COUNT - 1, garbage)])
        .await?;
    stage.assert_heard_there(0..COUNT).await?;
    let receiver = stage.receiver();
    assert_eq!(deaths(receiver, "subscriber").await?, 0);
    assert!(stage.there.is_connected().await?);
    assert_eq!(stage.there.received("x").await?.len(), 0);
    let is_report = |line: &str| line.contains("its payload is unreadable");
    receiver
        .log()
        .wait_for("what was dropped", is_report)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_lines_is_cut_and_the_cut_is_reported() -> Outcome {
    const PER_SECOND: u64 = 10;
    let stage = Stage::set(&format!("limits.log_lines_per_second = {PER_SECOND}")).await?;
    let sender = stage.sender();
    let start = Instant::now();
    stage.say(0..1, &[(0, "fault:flood-log")]).await?;
    wait_until_sent(sender).await?;

    // What was held back is reported with the next line that passes.
    let mut number = 0;
    let is_report = |line: &str| {
        line.contains("log lines were dropped") && line.contains("log_lines_per_second")
    };
    while sender.log().find(is_report).is_none() {
        number += 1;
        stage
            .say(number..=number, &[(number, "fault:flood-log")])
            .await?;
        wait_until_heard(&stage.there, number as usize + 1).await?;
    }
    // Lines that were written are in the log, or will be soon; more than this must never be.
    let seconds = start.elapsed().as_secs() + 2;
    let lines = sender.log().count(|line| line.contains("flood "));
    assert!(
        lines as u64 <= PER_SECOND * seconds,
        "{lines} lines in {seconds} s"
    );
    until(
        "the other server to have heard all of it",
        || stage.there.received("said"),
        |said| said.len() as u64 == number + 1,
    )
    .await?;
    Ok(())
}
