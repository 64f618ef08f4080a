//! A message that kills the plugin of the server that sends it: it is given up, loudly, and nothing
//! else is lost, repeated or held up.

use crate::{
    Outcome,
    stage::{Stage, counter, deaths, say, state, wait_until_heard},
};

/// How many messages, and which of them is poisoned.
const COUNT: u64 = 60;
const POISONED: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_publisher_traps_is_given_up_alone() -> Outcome {
    the_poisoned_message_is_given_up_alone("fault:trap-publish", "`publish` trapped").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_publisher_never_returns_is_given_up_alone() -> Outcome {
    the_poisoned_message_is_given_up_alone("fault:spin-publish", "limits.cpu_ms").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_publisher_eats_all_memory_is_given_up_alone() -> Outcome {
    the_poisoned_message_is_given_up_alone("fault:memory-publish", "limits.memory_bytes").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_publisher_overflows_its_stack_is_given_up_alone() -> Outcome {
    the_poisoned_message_is_given_up_alone("fault:recurse-publish", "stack").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_publisher_calls_the_host_without_end_is_given_up_alone() -> Outcome
{
    the_poisoned_message_is_given_up_alone("fault:calls-publish", "limits.cpu_ms").await
}

#[tokio::test(flavor = "multi_thread")]
async fn several_poisoned_messages_are_given_up_and_the_rest_stays_in_order() -> Outcome {
    const POISONED: [u64; 4] = [0, 1, 30, 59];
    let stage = Stage::set("").await?;
    stage
        .say(0..COUNT, &POISONED.map(|at| (at, "fault:trap-publish")))
        .await?;
    let healthy = (0..COUNT).filter(|number| !POISONED.contains(number));
    stage.assert_heard_there(healthy).await?;
    assert_eq!(counter(stage.sender(), "rejected").await?, 4);
    Ok(())
}

/// `cause` is what the log must say about it.
async fn the_poisoned_message_is_given_up_alone(word: &str, cause: &str) -> Outcome {
    let stage = Stage::set("").await?;
    let (sender, receiver) = (stage.sender(), stage.receiver());
    stage.say(0..COUNT, &[(POISONED, word)]).await?;

    stage.assert_heard_here(0..COUNT).await?;
    let healthy = (0..COUNT).filter(|&number| number != POISONED);
    stage.assert_heard_there(healthy).await?;

    assert_eq!(counter(sender, "rejected").await?, 1);
    let is_loss = |line: &str| line.contains("ERROR") && line.contains("was given up");
    assert_eq!(sender.log().count(is_loss), 1);
    let line = sender.log().find(is_loss).unwrap_or_default();
    assert!(line.contains(cause), "`{cause}` is not in: {line}");

    assert!(deaths(sender, "publisher").await? >= 2);
    assert_eq!(state(sender, "publisher").await?, "running");
    assert_eq!(deaths(sender, "subscriber").await?, 0, "they are separate");
    assert_eq!(deaths(receiver, "publisher").await?, 0);
    assert_eq!(deaths(receiver, "subscriber").await?, 0);

    // The other way has never stopped.
    say(receiver, "/", COUNT, "").await?;
    wait_until_heard(&stage.here, COUNT as usize + 1).await
}
