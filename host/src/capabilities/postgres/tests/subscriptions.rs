//! Subscriptions on one server: channels, the queue, what outlives a plugin's instance.

use super::*;
use crate::capabilities::handout::Rollback;

async fn send(postgres: &Postgres, channel: &str, payloads: &[&str]) {
    let notices = payloads.iter().map(|payload| inline(channel, payload));
    run(postgres, &[notify(notices)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_can_be_left_and_wanted_again_in_any_order() {
    let server = Server::start();
    let postgres = client(&server);
    let sub = subscription(&postgres);
    for round in 0..50 {
        listen(&sub, &["a", "b"]).await;
        sub.unlisten(&strings(&["a"]));
        if round % 2 == 0 {
            // Time for it to be sent, or not.
            tokio::task::yield_now().await;
        }
        listen(&sub, &["a"]).await;
        sub.unlisten(&strings(&["b", "never there"]));
        send(&postgres, "a", &[&round.to_string()]).await;
    }
    let expected: Vec<_> = (0..50).map(|round| format!("a: {round}")).collect();
    assert_eq!(events(&sub, 50).await, expected);
    assert_eq!(sub.channels(), ["a".into()]);
    eventually("b is left", async || {
        send(&postgres, "b", &["x"]).await;
        send(&postgres, "a", &["y"]).await;
        events(&sub, 1).await == ["a: y"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_as_they_are_up_to_what_postgres_holds() {
    let server = Server::start();
    let postgres = client(&server);
    let sub = subscription(&postgres);
    let longest = "ö".repeat(31) + "x";
    let names = [
        "socket.io#/a\"b",
        "Case",
        "case",
        "x'; --\\",
        longest.as_str(),
    ];
    listen(&sub, &names).await;
    for name in names {
        send(&postgres, name, &["\u{1f980} \"'\\"]).await;
    }
    let expected: Vec<_> = names.map(|name| format!("{name}: \u{1f980} \"'\\")).into();
    assert_eq!(events(&sub, names.len()).await, expected);
    let long = "x".repeat(64);
    for name in ["", long.as_str(), "a\0b"] {
        let error = sub.listen(&anything(), strings(&["good", name])).await;
        assert!(matches!(error, Err(PostgresError::Invalid(_))), "{error:?}");
    }
    assert_eq!(sub.channels().len(), names.len(), "none is added");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_channels_are_listened_on() {
    let server = Server::start();
    let mut options = options(&server.url());
    options.command_timeout = PATIENCE;
    let postgres = Postgres::new("main", options).unwrap();
    let sub = subscription(&postgres);
    let names: Vec<String> = (0..3000).map(|n| format!("room-{n}")).collect();
    sub.listen(&anything(), names).await.unwrap();
    send(&postgres, "room-2999", &["x"]).await;
    assert_eq!(events(&sub, 1).await, ["room-2999: x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_goes_on_where_the_last_instance_stopped() {
    let server = Server::start();
    let postgres = client(&server);
    let (first, first_opening) = postgres.subscription(&anything(), "sub").unwrap();
    listen(&first, &["c"]).await;
    send(&postgres, "c", &["1", "2", "3"]).await;
    assert_eq!(events(&first, 3).await.len(), 3);
    send(&postgres, "c", &["4"]).await;
    let taken = first.next(PATIENCE, 10, 1000).await.unwrap();
    assert_eq!(taken.len(), 1);
    first.rollback(Rollback::Fault);
    let (second, second_opening) = postgres.subscription(&anything(), "sub").unwrap();
    // The old instance says goodbye after the new one has begun.
    postgres.end(&first, first_opening);
    drop(first);
    assert_eq!(events(&second, 1).await, ["c: 4"]);
    send(&postgres, "c", &["5"]).await;
    assert_eq!(events(&second, 1).await, ["c: 5"]);
    postgres.end(&second, second_opening);
    eventually("nobody listens", async || {
        server.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'") == "0"
    })
    .await;
    assert_eq!(postgres.status().subscriptions, []);
    let (third, _) = postgres.subscription(&anything(), "sub").unwrap();
    assert!(third.channels().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_do_not_share_subscriptions_of_the_same_name() {
    let server = Server::start();
    let postgres = client(&server);
    let other = PostgresPermit::new("other", "main", vec![PostgresRights::default()], None);
    let (mine, _) = postgres.subscription(&anything(), "sub").unwrap();
    let (others, _) = postgres.subscription(&other, "sub").unwrap();
    assert!(!mine.is_same(&others));
    assert!(postgres.subscription(&other, "").is_err());
    assert!(postgres.subscription(&other, &"x".repeat(65)).is_err());
    for n in 1..16 {
        postgres.subscription(&other, &format!("sub{n}")).unwrap();
    }
    assert!(postgres.subscription(&other, "one-more").is_err());
    assert!(postgres.subscription(&other, "sub").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_over_the_limit_or_not_granted_are_refused_together() {
    let server = Server::start();
    let mut options = options(&server.url());
    options.max_channels = 3;
    let postgres = Postgres::new("main", options).unwrap();
    let sub = subscription(&postgres);
    listen(&sub, &["a", "b"]).await;
    for (granted, names) in [
        ("channels = ['*']", ["a", "c", "d"]),
        ("channels = ['a*']", ["a", "a2", "b2"]),
    ] {
        let error = sub.listen(&permit(granted), strings(&names)).await;
        assert!(matches!(error, Err(PostgresError::Denied(_))), "{error:?}");
    }
    assert_eq!(sub.channels().len(), 2);
    listen(&sub, &["a", "b", "c"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_makes_postgres_keep_what_comes_and_loses_nothing() {
    let server = Server::start();
    let mut options = options(&server.url());
    options.max_queued_bytes = 100_000;
    let postgres = Postgres::new("main", options).unwrap();
    let sub = subscription(&postgres);
    let other = postgres.subscription(&anything(), "other").unwrap().0;
    listen(&sub, &["c"]).await;
    listen(&other, &["d"]).await;
    // Far more than the queue and the sockets' buffers hold.
    let pad = "x".repeat(7900);
    for batch in 0..20 {
        let notices = (0..100).map(|n| inline("c", &format!("{}-{pad}", batch * 100 + n)));
        run(&postgres, &[notify(notices)]).await.unwrap();
    }
    // Longer than a connection that is read may be silent.
    sleep(Duration::from_millis(1500)).await;
    let status = postgres.status();
    let queued = status
        .subscriptions
        .iter()
        .map(|sub| sub.queued_bytes)
        .max();
    assert!(queued.unwrap() < 120_000, "{queued:?} bytes in the queue");
    send(&postgres, "d", &["x"]).await;
    assert_eq!(events(&other, 1).await, ["d: x"], "others are not held up");
    let mut expected = 0;
    while expected < 2000 {
        for event in events(&sub, 1).await {
            let start = format!("c: {expected}-");
            assert!(
                event.starts_with(&start),
                "{expected} expected, not {event:.40}"
            );
            expected += 1;
        }
    }
    assert!(
        postgres
            .status()
            .subscriptions
            .iter()
            .all(|sub| sub.gaps == 0)
    );
}
