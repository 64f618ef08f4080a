//! A message that kills the plugin of the servers that receive it: it is skipped, reported as
//! missed, and nothing else is lost, repeated or held up.
//!
//! A bus event is what the plugin is given to read, so the poisoned message travels alone here.

use switchboard_tests::{Clients, Connect};

use crate::{
    Outcome,
    stage::{
        counter, deaths, faulty, heard, say, settle, state, wait_until_heard, wait_until_sent,
    },
};

/// Only two of the three servers serve it; the third does not even decode what is sent in it.
const NSP: &str = "/dyn-poisoned";
/// Messages before the poisoned one, and after it.
const BEFORE: u64 = 20;
const AFTER: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_subscriber_traps_is_skipped_alone() -> Outcome {
    the_poisoned_message_is_skipped_alone("fault:trap-poll", "`poll` trapped").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_subscriber_never_returns_is_skipped_alone() -> Outcome {
    the_poisoned_message_is_skipped_alone("fault:spin-poll", "limits.cpu_ms").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_which_the_subscriber_eats_all_memory_is_skipped_alone() -> Outcome {
    the_poisoned_message_is_skipped_alone("fault:memory-poll", "limits.memory_bytes").await
}

/// `cause` is what the log must say about it.
async fn the_poisoned_message_is_skipped_alone(word: &str, cause: &str) -> Outcome {
    let cluster = faulty()?.nodes(3).start().await?;
    let clients = Clients::start().await?;
    let (sender, victim, bystander) = (cluster.node(0), cluster.node(1), cluster.node(2));
    let inside = || Connect::default().nsp(NSP);
    let here = clients.connect(sender.url(), inside()).await?;
    let there = clients.connect(victim.url(), inside()).await?;
    let outside = clients.connect(bystander.url(), Connect::default()).await?;

    for number in 0..BEFORE {
        say(sender, NSP, number, "").await?;
    }
    wait_until_heard(&there, BEFORE as usize).await?;
    say(sender, NSP, BEFORE, word).await?;
    wait_until_sent(sender).await?;
    for number in BEFORE + 1..=BEFORE + AFTER {
        say(sender, NSP, number, "").await?;
        say(sender, "/", number, "").await?;
    }

    settle(sender, NSP, &there).await?;
    let healthy = (0..=BEFORE + AFTER).filter(|&number| number != BEFORE);
    assert_eq!(heard(&there).await?, healthy.collect::<Vec<_>>());
    wait_until_heard(&here, (BEFORE + 1 + AFTER) as usize).await?;

    assert_eq!(counter(victim, "lagged").await?, 1);
    let is_report = |line: &str| line.contains("messages of other nodes were missed");
    assert_eq!(victim.log().count(is_report), 1);
    let is_death = |line: &str| line.contains("the plugin failed") && line.contains(cause);
    assert!(
        victim.log().find(is_death).is_some(),
        "no log line says `{cause}`"
    );
    assert!(deaths(victim, "subscriber").await? >= 2);
    assert_eq!(state(victim, "subscriber").await?, "running");
    assert_eq!(deaths(victim, "publisher").await?, 0, "they are separate");

    // Who has nothing to do with it notices nothing.
    settle(sender, "/", &outside).await?;
    let undisturbed: Vec<u64> = (BEFORE + 1..=BEFORE + AFTER).collect();
    assert_eq!(heard(&outside).await?, undisturbed);
    for server in [sender, bystander] {
        assert_eq!(deaths(server, "subscriber").await?, 0, "{}", server.name());
        assert_eq!(counter(server, "lagged").await?, 0, "{}", server.name());
    }
    Ok(())
}
