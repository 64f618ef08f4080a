//! A log without gaps: ids become visible in order, and who was cut off misses nothing.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::*;

/// Ids above one.
fn after(id: i64) -> Statement {
    Statement::Select(Select {
        table: "t".to_owned(),
        columns: vec![column("id", Kind::Integer)],
        filter: Filter::After {
            column: "id".to_owned(),
            value: id,
        },
        order: Some(Order {
            column: "id".to_owned(),
            descending: false,
        }),
        limit: 100,
    })
}

fn ids(rows: &[Vec<Value>]) -> Vec<i64> {
    rows.iter()
        .map(|row| match row.as_slice() {
            [Value::Integer(id)] => *id,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Six writers, and readers that go on with "greater than the last": how many ids were passed by.
async fn missed(ordered: bool) -> usize {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let postgres = client(&server);
        writers.spawn(async move {
            for round in 0..60 {
                // Some transactions take longer than others after they have their ids.
                let size = if (writer + round) % 3 == 0 {
                    200_000
                } else {
                    10
                };
                let body = vec![0; size];
                let first = notify_stored([stored("c", "", "", &body)], ordered);
                let rest = (0..10).map(|n| inline("c", &format!("{writer} {round} {n}")));
                let batch = [first, notify(rest)];
                until_ok(|| run(&postgres, &batch)).await;
            }
        });
    }
    let reader = {
        let postgres = client(&server);
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            let mut last = 0;
            loop {
                let is_last = stop.load(Ordering::SeqCst);
                let found = ids(&rows(&postgres, after(last)).await);
                last = found.last().copied().unwrap_or(last);
                seen.extend(found.iter().copied());
                if is_last && found.is_empty() {
                    return seen;
                }
            }
        })
    };
    writers.join_all().await;
    stop.store(true, Ordering::SeqCst);
    let seen = reader.await.unwrap();
    let all = server.psql("SELECT id FROM t");
    let all: BTreeSet<i64> = all.lines().map(|id| id.parse().unwrap()).collect();
    assert_eq!(all.len(), 360);
    all.difference(&seen).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_on_after_the_last_id_misses_nothing_of_ordered_writers() {
    assert_eq!(missed(true).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_cut_off_catches_up_by_the_last_id_without_a_gap_or_a_repetition() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let proxy = Proxy::start(server.port).await;
    let reader = at(&proxy.url());
    let sub = subscription(&reader);
    listen(&sub, &["c"]).await;
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let postgres = client(&server);
            tokio::spawn(async move {
                for _ in 0..100 {
                    let three = (0..3).map(|_| stored("c", "", "", b"x"));
                    let batch = [notify_stored(three, true)];
                    run(&postgres, &batch).await.unwrap();
                    sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();
    let mut handled: Vec<i64> = Vec::new();
    let mut gaps = 0;
    let until = Instant::now() + PATIENCE;
    let mut cut = Instant::now();
    while handled.len() < 900 {
        assert!(
            Instant::now() < until,
            "{} of 900, {gaps} gaps",
            handled.len()
        );
        if cut.elapsed() > Duration::from_millis(250) && handled.len() < 600 {
            cut = Instant::now();
            proxy.cut_after(100);
            sleep(Duration::from_millis(30)).await;
            proxy.mend();
        }
        let taken = sub.next(Duration::from_millis(50), 100, 1 << 20).await;
        sub.commit();
        for event in taken.unwrap_or_default() {
            let last = handled.last().copied().unwrap_or(0);
            match event {
                PostgresEvent::Notification { payload, .. } => {
                    let id = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                    if id > last {
                        handled.push(id);
                    }
                }
                PostgresEvent::Lagged { .. } => {
                    gaps += 1;
                    loop {
                        let last = handled.last().copied().unwrap_or(0);
                        let batch = [after(last)];
                        let found = until_ok(|| run(&reader, &batch)).await;
                        let found = ids(&found[0].rows);
                        handled.extend(&found);
                        if found.len() < 100 {
                            break;
                        }
                    }
                }
            }
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(gaps > 0, "nothing was cut");
    assert_eq!(handled, (1..=900).collect::<Vec<i64>>());
}
