//! Servers that die, freeze and come back; connections that are cut.

use super::*;

/// From the return of the server to the first delivery.
const HEALING: Duration = Duration::from_secs(2);

async fn send(postgres: &Postgres, channel: &str, payload: &str) -> Result<(), PostgresError> {
    let sent = run(postgres, &[notify([inline(channel, payload)])]).await;
    sent.map(|_| ())
}

/// Sends until one of the notifications arrives: what came, and how long it took.
async fn delivery(postgres: &Postgres, sub: &Subscription) -> (Vec<String>, Duration) {
    let since = Instant::now();
    let mut seen = Vec::new();
    for round in 0.. {
        let _in_doubt = send(postgres, "a", &format!("after {round}")).await;
        if let Ok(events) = sub.next(Duration::from_millis(20), 1000, 1 << 20).await {
            seen.extend(events.iter().map(event));
        }
        sub.commit();
        if seen.iter().any(|event| event.starts_with("a: after")) {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{seen:?}");
    }
    (seen, since.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_everything_is_listened_on_again_and_one_gap_is_told() {
    let mut server = Server::start();
    let postgres = client(&server);
    let sub = subscription(&postgres);
    listen(&sub, &["a", "b"]).await;
    send(&postgres, "a", "before").await.unwrap();
    eventually("it has arrived", async || {
        postgres.status().subscriptions[0].received == 1
    })
    .await;
    for round in 0..3 {
        if round == 1 {
            server.stop();
        } else {
            server.kill();
        }
        eventually("the loss is noticed", async || {
            send(&postgres, "a", "x").await.is_err()
        })
        .await;
        // Several attempts fail meanwhile.
        sleep(Duration::from_millis(1500)).await;
        let error = send(&postgres, "a", "x").await.unwrap_err();
        assert!(matches!(error, PostgresError::Unavailable(_)), "{error}");
        assert_eq!(postgres.status().state, PostgresState::Away);
        server.restart();
        let (seen, took) = delivery(&postgres, &sub).await;
        assert!(took < HEALING, "back only after {took:?}");
        let gaps = seen.iter().filter(|event| *event == "lagged").count();
        assert_eq!(gaps, 1, "round {round}: {seen:?}");
        let first = seen.iter().find(|event| *event != "a: before").unwrap();
        assert_eq!(first, "lagged", "the gap stands before what came after it");
        assert_eq!(seen[0] == "a: before", round == 0, "{seen:?}");
        // So do those of the other channel.
        send(&postgres, "b", &round.to_string()).await.unwrap();
        let last = format!("b: {round}");
        eventually("b arrives", async || events(&sub, 1).await.contains(&last)).await;
    }
    let status = postgres.status();
    assert_eq!(status.subscriptions[0].gaps, 3);
    assert!(status.lost_connections >= 3, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_absence_notifications_wait_for_listeners_and_kept_rows_do_not() {
    let mut server = Server::start();
    server.psql(ATTACHMENTS);
    let postgres = client(&server);
    send(&postgres, "a", "before").await.unwrap();
    server.kill();
    for _ in 0..2 {
        let away = async || send(&postgres, "a", "x").await.is_err();
        eventually("an attempt fails", away).await;
    }
    server.restart();
    let back = Instant::now();
    let kept = [notify_stored([stored("a", "", "", b"x")], true)];
    until_ok(|| run(&postgres, &kept)).await;
    let kept = back.elapsed();
    send(&postgres, "a", "after").await.unwrap();
    let fleeting = back.elapsed();
    // No sooner than those who try as rarely as possible have connected again.
    assert!(fleeting >= Duration::from_millis(700), "{fleeting:?}");
    assert!(kept < fleeting, "{kept:?}, {fleeting:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_end_does_not_come_gives_its_locks_back() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let postgres = client(&server);
    let kept = [
        notify_stored([stored("c", "", "", b"x")], true),
        notify_stored([stored("c", "", "", b"y")], true),
    ];
    run(&postgres, &kept).await.unwrap();
    let setting = "SELECT current_setting('idle_in_transaction_session_timeout')";
    let seen = rows(&postgres, sql(setting)).await;
    assert_eq!(seen, [[Value::Text("5s".to_owned())]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_noticed_and_healed_after() {
    let server = Server::start();
    let postgres = client(&server);
    let sub = subscription(&postgres);
    listen(&sub, &["a"]).await;
    server.freeze();
    let since = Instant::now();
    let error = send(&postgres, "a", "x").await.unwrap_err();
    let late = matches!(
        error,
        PostgresError::Unknown(_) | PostgresError::Unavailable(_)
    );
    assert!(late, "{error}");
    let took = since.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    eventually("the subscription notices", async || {
        postgres.status().subscriptions[0].trouble.is_some()
    })
    .await;
    let waited = sub.next(Duration::from_millis(1500), 10, 1000).await;
    assert!(
        matches!(waited, Err(PostgresError::Unavailable(_))),
        "{waited:?}"
    );
    server.thaw();
    let (seen, took) = delivery(&postgres, &sub).await;
    assert!(took < HEALING, "back only after {took:?}");
    assert_eq!(
        seen.iter().filter(|event| *event == "lagged").count(),
        1,
        "{seen:?}"
    );
    assert_eq!(seen[0], "lagged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_passes_nothing_is_noticed_and_healed_after() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let postgres = at(&proxy.url());
    let sub = subscription(&postgres);
    listen(&sub, &["a"]).await;
    send(&postgres, "a", "before").await.unwrap();
    assert_eq!(events(&sub, 1).await, ["a: before"]);
    for _ in 0..3 {
        proxy.stall();
        eventually("the subscription notices", async || {
            postgres.status().subscriptions[0].trouble.is_some()
        })
        .await;
        sleep(Duration::from_millis(700)).await;
        proxy.mend();
        let (seen, took) = delivery(&postgres, &sub).await;
        assert!(took < HEALING, "back only after {took:?}");
        assert_eq!(
            seen.iter().filter(|event| *event == "lagged").count(),
            1,
            "{seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_cut_off_is_known_to_be_in_doubt_and_is_whole_or_not_at_all() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let proxy = Proxy::start(server.port).await;
    let postgres = at(&proxy.url());
    let mut unknown = 0;
    let batch = |n: usize| {
        let notices = (0..20).map(|k| stored("c", "", "", format!("{n} {k}").as_bytes()));
        [
            notify_stored(notices, true),
            notify([inline("c", "x")]),
            notify_stored([stored("c", "", "", format!("{n} last").as_bytes())], false),
        ]
    };
    let (mut done, mut unsent) = (Vec::new(), Vec::new());
    for n in 0..40 {
        proxy.mend();
        until_ok(|| send(&postgres, "c", "warm")).await;
        // Within the greeting of COMMIT, or before anything comes back.
        proxy.cut_after(n * 12);
        match run(&postgres, &batch(n)).await {
            Ok(_) => done.push(n),
            Err(PostgresError::Unknown(_)) => unknown += 1,
            // The loss was noticed before anything was sent.
            Err(PostgresError::Unavailable(_)) => unsent.push(n),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(unknown > 10, "{unknown}");
    assert_eq!(postgres.status().unknown_batches, unknown);
    let found = server.psql(
        "SELECT split_part(convert_from(payload, 'UTF8'), ' ', 1), count(*) FROM t GROUP BY 1",
    );
    for line in found.lines() {
        assert!(line.ends_with("|21"), "a batch is not whole: {line}");
    }
    for n in done {
        assert!(
            found.contains(&format!("{n}|21")),
            "{n} was said to be done"
        );
    }
    for n in unsent {
        let is_there = found.lines().any(|line| line == format!("{n}|21"));
        assert!(!is_there, "{n} was said not to be");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_cancelled_and_did_not_happen() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let postgres = client(&server);
    let since = Instant::now();
    let slow = [
        notify_stored([stored("c", "", "", b"x")], false),
        sql("SELECT pg_sleep(30)"),
    ];
    let error = run(&postgres, &slow).await.unwrap_err();
    assert!(
        matches!(&error, PostgresError::Unavailable(why) if why.contains("57014")),
        "{error:?}"
    );
    assert!(since.elapsed() < Duration::from_secs(10));
    let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND \
                  state = 'active'";
    assert_eq!(server.psql(active), "0");
    // Waiting for a lock that somebody holds is the same.
    let mut patient = options(&server.url());
    patient.command_timeout = PATIENCE;
    let blocker = Postgres::new("main", patient).unwrap();
    let lock = "SELECT pg_advisory_xact_lock(1400332916, 't'::regclass::oid::int), pg_sleep(4)";
    let held = sql(lock);
    let hold = async {
        run(&blocker, std::slice::from_ref(&held)).await.unwrap();
    };
    let wait = async {
        sleep(Duration::from_millis(200)).await;
        let ordered = notify_stored([stored("c", "", "", b"x")], true);
        run(&postgres, &[ordered]).await
    };
    let (waited, ()) = tokio::join!(wait, hold);
    assert!(
        matches!(&waited, Err(PostgresError::Unavailable(why)) if why.contains("57014")),
        "{waited:?}"
    );
    assert_eq!(server.psql("SELECT count(*) FROM t"), "0");
    let free = notify_stored([stored("c", "", "", b"x")], true);
    until_ok(|| run(&postgres, std::slice::from_ref(&free))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_the_server_closed_is_replaced_without_a_word() {
    let server = Server::start();
    let postgres = client(&server);
    for round in 0..5 {
        send(&postgres, "c", &round.to_string()).await.unwrap();
        server.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = \
             'switchboard'",
        );
        sleep(Duration::from_millis(100)).await;
    }
    send(&postgres, "c", "x").await.unwrap();
    let status = postgres.status();
    assert_eq!((status.busy, status.idle), (0, 1));
    assert_eq!(status.lost_connections, 5);
    assert_eq!(status.unknown_batches, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_too_small_says_so() {
    let server = Server::start();
    let mut options = options(&server.url());
    options.pool_size = 2;
    options.command_timeout = Duration::from_millis(700);
    let postgres = Postgres::new("main", options).unwrap();
    let slow = [sql("SELECT pg_sleep(0.5)")];
    let permit = anything();
    let batch = || postgres.batch(&permit, &slow);
    let server_side =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'switchboard'";
    let look = async {
        sleep(Duration::from_millis(300)).await;
        (server.psql(server_side), postgres.status().busy)
    };
    let (a, b, c, d, e, seen) = tokio::join!(batch(), batch(), batch(), batch(), batch(), look);
    assert_eq!(seen, ("2".to_owned(), 2));
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    // Those get a connection too late, or none at all.
    for late in [c, d, e] {
        assert!(
            matches!(&late, Err(PostgresError::Unavailable(_))),
            "{late:?}"
        );
    }
    postgres.close();
    let error = postgres.batch(&permit, &slow).await.unwrap_err();
    assert!(matches!(error, PostgresError::Unavailable(_)), "{error}");
    eventually("the connections are closed", async || {
        server.psql(server_side) == "0"
    })
    .await;
}
