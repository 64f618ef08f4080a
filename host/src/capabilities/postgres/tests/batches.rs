//! Batches: one transaction, one round trip, values of all types.

use super::*;

fn insert(bodies: &[&[u8]]) -> Statement {
    let rows = bodies.iter().map(|body| vec![Value::Bytes(body.to_vec())]);
    Statement::Insert(Insert {
        table: "t".to_owned(),
        columns: vec![column("payload", Kind::Bytes)],
        rows: rows.collect(),
        returning: Some(column("id", Kind::Integer)),
    })
}

fn select(filter: Filter, limit: u32) -> Statement {
    Statement::Select(Select {
        table: "t".to_owned(),
        columns: vec![column("id", Kind::Integer), column("payload", Kind::Bytes)],
        filter,
        order: Some(Order {
            column: "id".to_owned(),
            descending: false,
        }),
        limit,
    })
}

fn row(id: i64, body: &[u8]) -> Vec<Value> {
    vec![Value::Integer(id), Value::Bytes(body.to_vec())]
}

fn keys(keys: &[i64]) -> Filter {
    Filter::Keys {
        column: "id".to_owned(),
        keys: keys.iter().map(|id| Value::Integer(*id)).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_executed_in_order_as_one_transaction() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let postgres = client(&server);
    let outcomes = run(
        &postgres,
        &[
            insert(&[b"a", b"b", b"c"]),
            select(keys(&[3, 1, 77]), 10),
            Statement::Delete(Delete {
                table: "t".to_owned(),
                filter: keys(&[1, 2]),
                limit: None,
            }),
            select(Filter::All, 10),
            select(
                Filter::After {
                    column: "id".to_owned(),
                    value: 3,
                },
                10,
            ),
        ],
    )
    .await
    .unwrap();
    let counts: Vec<_> = outcomes.iter().map(|outcome| outcome.count).collect();
    assert_eq!(counts, [3, 2, 2, 1, 0]);
    let ids: Vec<_> = (1..4).map(|id| vec![Value::Integer(id)]).collect();
    assert_eq!(outcomes[0].rows, ids);
    assert_eq!(outcomes[1].rows, [row(1, b"a"), row(3, b"c")]);
    assert_eq!(outcomes[3].rows, [row(3, b"c")]);

    let sub = subscription(&postgres);
    listen(&sub, &["c"]).await;
    let missing = Statement::Select(Select {
        table: "nowhere".to_owned(),
        columns: vec![column("id", Kind::Integer)],
        filter: Filter::All,
        order: None,
        limit: 1,
    });
    let doomed = [
        insert(&[b"d"]),
        notify([inline("c", "x")]),
        missing,
        insert(&[b"e"]),
    ];
    let error = run(&postgres, &doomed).await.unwrap_err();
    let PostgresError::Failed(failure) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (failure.statement, failure.code.as_str()),
        (Some(2), "42P01")
    );
    assert!(failure.message.contains("nowhere"), "{failure}");
    assert_eq!(
        server.psql("SELECT count(*) FROM t"),
        "1",
        "nothing of it happened"
    );
    run(&postgres, &[notify([inline("c", "y")])]).await.unwrap();
    assert_eq!(events(&sub, 1).await, ["c: y"]);
    assert_eq!(run(&postgres, &[]).await, Ok(vec![]));
    let status = postgres.status();
    assert_eq!((status.batches, status.failed_batches), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_types_come_back_as_they_went() {
    let server = Server::start();
    server.psql(
        "CREATE TABLE v (k text, b bytea, i bigint, f float8, o boolean, n int, \"Odd \"\"x\" text)",
    );
    let postgres = client(&server);
    let columns = vec![
        column("k", Kind::Text),
        column("b", Kind::Bytes),
        column("i", Kind::Integer),
        column("f", Kind::Float),
        column("o", Kind::Boolean),
        column("Odd \"x", Kind::Text),
    ];
    let large: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let full = vec![
        Value::Text("ключ '\"\\ 🦀".to_owned()),
        Value::Bytes(large),
        Value::Integer(i64::MIN),
        Value::Float(-0.1),
        Value::Boolean(true),
        Value::Text(String::new()),
    ];
    let empty = vec![Value::Null; 6];
    let outcomes = run(
        &postgres,
        &[
            Statement::Insert(Insert {
                table: "public.v".to_owned(),
                columns: columns.clone(),
                rows: vec![full.clone(), empty.clone()],
                returning: None,
            }),
            Statement::Select(Select {
                table: "v".to_owned(),
                columns,
                filter: Filter::All,
                order: Some(Order {
                    column: "k".to_owned(),
                    descending: false,
                }),
                limit: 10,
            }),
            Statement::Select(Select {
                table: "v".to_owned(),
                columns: vec![column("i", Kind::Text), column("n", Kind::Integer)],
                filter: Filter::Keys {
                    column: "k".to_owned(),
                    keys: vec![full[0].clone()],
                },
                order: None,
                limit: 10,
            }),
        ],
    )
    .await
    .unwrap();
    assert_eq!((outcomes[0].count, outcomes[0].rows.len()), (2, 0));
    assert_eq!(outcomes[1].rows, [full, empty]);
    assert_eq!(
        outcomes[2].rows,
        [[Value::Text(i64::MIN.to_string()), Value::Null]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_deleted_by_their_age_and_no_more_than_asked_for() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    server.psql(
        "INSERT INTO t (created_at) SELECT now() - n * interval '1 minute' FROM \
         generate_series(1, 10) n",
    );
    let postgres = client(&server);
    let delete = |older_than_ms, limit| {
        Statement::Delete(Delete {
            table: "t".to_owned(),
            filter: Filter::Age {
                column: "created_at".to_owned(),
                older_than_ms,
            },
            limit,
        })
    };
    let batch = [
        delete(330_000, Some(2)),
        delete(330_000, None),
        delete(330_000, None),
    ];
    let outcomes = run(&postgres, &batch).await.unwrap();
    let counts: Vec<_> = outcomes.iter().map(|outcome| outcome.count).collect();
    assert_eq!(counts, [2, 3, 0]);
    assert_eq!(server.psql("SELECT count(*) FROM t"), "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_any_make_takes_one_round_trip() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let proxy = Proxy::start(server.port).await;
    let postgres = at(&proxy.url());
    let body = vec![7; 16 << 10];
    let mixed = (0..50).flat_map(|n| {
        [
            inline("c", &format!("{{\"n\":{n}}}")),
            stored("c", "{\"a\":\"", "\"}", &body),
        ]
    });
    let mixed = notify_stored(mixed, true);
    let batches = [
        vec![notify([inline("c", "x")])],
        vec![mixed.clone()],
        vec![insert(&[b"x"]), mixed, select(keys(&[1, 2]), 10)],
    ];
    // The second time a connection meets a statement it is prepared.
    for statements in batches.iter().chain(&batches) {
        run(&postgres, statements).await.unwrap();
    }
    // A long way: what takes one round trip takes little more, what takes two takes twice as long.
    let way = Duration::from_millis(600);
    proxy.delay(way);
    for statements in &batches {
        let since = Instant::now();
        run(&postgres, statements).await.unwrap();
        let took = since.elapsed();
        assert!(
            took >= way && took < way * 2,
            "{} statements: {took:?}",
            statements.len()
        );
    }
    // Free SQL waits for its results before it commits.
    let since = Instant::now();
    let mut options = options(&proxy.url());
    options.connect_timeout = PATIENCE;
    options.command_timeout = PATIENCE;
    let patient = Postgres::new("main", options).unwrap();
    run(&patient, &[sql("SELECT 1")]).await.unwrap();
    assert!(since.elapsed() > way * 3, "begin, the statement, commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_prepared_and_what_comes_once_is_not() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    for (prepare, expected) in [(None, 1), (Some(false), 0)] {
        let mut options = options(&server.url());
        options.pool_size = 1;
        options.prepare = prepare;
        let postgres = Postgres::new("main", options).unwrap();
        // Asking cleans the session, so it begins anew each time.
        let count = sql("SELECT count(*) FROM pg_prepared_statements");
        for (times, expected) in [(1, 0), (2, expected), (5, expected)] {
            for _ in 0..times {
                run(&postgres, &[notify([inline("c", "x")])]).await.unwrap();
            }
            let counted = rows(&postgres, count.clone()).await;
            assert_eq!(
                counted,
                [[Value::Integer(expected)]],
                "{prepare:?}, {times} times"
            );
        }
    }
    // Behind a pooler nothing is, unless the operator says so.
    let mut options = options(&server.url());
    options.listen_url = options.url.clone();
    assert!(!options.prepares());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_survives_a_table_that_is_made_anew() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let mut options = options(&server.url());
    options.pool_size = 1;
    let postgres = Postgres::new("main", options).unwrap();
    let batch = [insert(&[b"a"]), select(Filter::All, 10)];
    for _ in 0..3 {
        run(&postgres, &batch).await.unwrap();
    }
    server.psql("DROP TABLE t");
    let error = run(&postgres, &batch).await.unwrap_err();
    assert!(matches!(error, PostgresError::Failed(_)), "{error:?}");
    server.psql(ATTACHMENTS);
    let outcomes = run(&postgres, &batch).await.unwrap();
    assert_eq!(outcomes[1].rows, [row(1, b"a")]);
    // Another type than before: what was prepared is of no use, and the next connection is.
    server.psql("DROP TABLE t");
    server.psql("CREATE TABLE t (id serial, payload bytea)");
    let until = Instant::now() + PATIENCE;
    while let Err(error) = run(&postgres, &batch).await {
        assert!(matches!(error, PostgresError::Unavailable(_)), "{error:?}");
        assert!(Instant::now() < until, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_arrive_in_order_with_the_ids_of_their_rows() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    // A role that may do as little as possible.
    server.psql(
        "CREATE ROLE poor LOGIN; GRANT INSERT, SELECT ON t TO poor; \
         GRANT USAGE ON SEQUENCE t_id_seq TO poor",
    );
    let postgres = at(&server.url_of("poor"));
    let sub = subscription(&postgres);
    listen(&sub, &["c", "d"]).await;
    for ordered in [false, true] {
        let mut expected = Vec::new();
        let mut ids = Vec::new();
        let first: i64 = server.psql("SELECT count(*) + 1 FROM t").parse().unwrap();
        let notices: Vec<_> = (0..300)
            .map(|n| {
                let channel = if n % 7 == 0 { "d" } else { "c" };
                if n % 3 != 0 {
                    expected.push(format!("{channel}: {n}"));
                    return inline(channel, &n.to_string());
                }
                let id = first + n / 3;
                ids.push(vec![Value::Integer(id)]);
                expected.push(format!("{channel}: {n}<{id}>"));
                stored(channel, &format!("{n}<"), ">", n.to_string().as_bytes())
            })
            .collect();
        let outcomes = run(&postgres, &[notify_stored(notices, ordered)]).await;
        let outcomes = outcomes.unwrap();
        assert_eq!((outcomes[0].count, &outcomes[0].rows), (300, &ids));
        assert_eq!(events(&sub, 300).await, expected);
        let bodies = server.psql(&format!(
            "SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY id) FROM t \
             WHERE id >= {first}"
        ));
        let numbers: Vec<_> = (0..300).step_by(3).map(|n| n.to_string()).collect();
        assert_eq!(bodies, numbers.join(" "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_notifications_of_one_batch_are_folded_by_postgres() {
    let server = Server::start();
    let postgres = client(&server);
    let sub = subscription(&postgres);
    listen(&sub, &["c"]).await;
    let batch = [notify(["x", "x ", "x", "y"].map(|text| inline("c", text)))];
    run(&postgres, &batch).await.unwrap();
    run(&postgres, &[notify([inline("c", "x")])]).await.unwrap();
    assert_eq!(events(&sub, 4).await, ["c: x", "c: x ", "c: y", "c: x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_work_is_refused_before_anything_is_sent() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let mut options = options(&server.url());
    options.max_batch_bytes = 100_000;
    options.max_reply_bytes = 100_000;
    let postgres = Postgres::new("main", options).unwrap();
    let long = "x".repeat(64);
    let limit = 7999;
    for (statement, expected) in [
        (notify([inline(&long, "x")]), None),
        (notify([inline("", "x")]), None),
        (notify([inline("c", &"x".repeat(8000))]), Some(limit)),
        (insert(&[&[0; 100_001]]), Some(100_000)),
        (select(Filter::All, 0), None),
        (select(Filter::All, 65_537), None),
        (notify([stored("c", "", "", b"x")]), None),
    ] {
        let error = run(&postgres, &[notify([inline("c", "x")]), statement]).await;
        match (error.unwrap_err(), expected) {
            (PostgresError::Invalid(_), None) => {}
            (PostgresError::TooLarge { limit }, Some(expected)) => assert_eq!(limit, expected),
            (error, _) => panic!("{error:?}"),
        }
    }
    assert_eq!(
        postgres.status().state,
        PostgresState::Idle,
        "no connection was made"
    );
    let most = [notify([inline(&"x".repeat(63), &"x".repeat(7999))])];
    run(&postgres, &most).await.unwrap();

    // A result over the limit: a batch that only reads has done nothing.
    server.psql(
        "INSERT INTO t (payload) SELECT repeat('x', 30000)::bytea FROM generate_series(1, 9)",
    );
    let error = run(&postgres, &[select(Filter::All, 100)])
        .await
        .unwrap_err();
    assert_eq!(error, PostgresError::TooLarge { limit: 100_000 });
    let mixed = [insert(&[b"x"]), select(Filter::All, 100)];
    let error = run(&postgres, &mixed).await.unwrap_err();
    assert!(matches!(error, PostgresError::Unknown(_)), "{error:?}");
    assert_eq!(
        run(&postgres, &[select(Filter::All, 3)]).await.unwrap()[0].count,
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_granted_is_executed() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let postgres = client(&server);
    let granted = permit("tables = ['t']\nchannels = ['c*']");
    let good = [insert(&[b"x"]), notify([inline("c1", "x")])];
    assert!(postgres.batch(&granted, &good).await.is_ok());
    for (rights, statement) in [
        (
            "tables = ['u']\nchannels = ['c*']",
            notify_stored([inline("c", "x")], false),
        ),
        (
            "tables = ['t']\nchannels = ['c*']",
            notify([inline("c", "x"), inline("d", "x")]),
        ),
        ("tables = ['u']", insert(&[b"x"])),
        ("tables = ['u']", select(Filter::All, 1)),
        (
            "tables = ['u']",
            Statement::Delete(Delete {
                table: "t".to_owned(),
                filter: Filter::All,
                limit: None,
            }),
        ),
        ("tables = ['*']\nchannels = ['*']", sql("SELECT 1")),
    ] {
        let batch = [good[0].clone(), statement];
        let error = postgres.batch(&permit(rights), &batch).await.unwrap_err();
        assert!(matches!(error, PostgresError::Denied(_)), "{error:?}");
    }
    assert_eq!(server.psql("SELECT count(*) FROM t"), "1");

    server.psql("CREATE ROLE nobody LOGIN");
    let error = run(&at(&server.url_of("nobody")), &[select(Filter::All, 1)]).await;
    assert!(
        matches!(&error, Err(PostgresError::Denied(why)) if why.contains("42501")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn free_sql_takes_parameters_of_the_types_that_it_needs() {
    let server = Server::start();
    let postgres = client(&server);
    let statement = Statement::Sql(Sql {
        text: "SELECT $1 = date '2000-01-01', $2::jsonb ->> 'a', $3, $4 + 1, $5, \
               NOT $6, $7::int, pg_notify('c', 'x')"
            .to_owned(),
        params: vec![
            Value::Text("2000-01-01".to_owned()),
            Value::Text("{\"a\": \"b\"}".to_owned()),
            Value::Bytes(vec![0, 255]),
            Value::Integer(41),
            Value::Float(0.5),
            Value::Boolean(false),
            Value::Null,
        ],
    });
    let expected = [
        Value::Boolean(true),
        Value::Text("b".to_owned()),
        Value::Bytes(vec![0, 255]),
        Value::Integer(42),
        Value::Float(0.5),
        Value::Boolean(true),
        Value::Null,
        Value::Null,
    ];
    assert_eq!(rows(&postgres, statement).await, [expected]);

    // What cannot be read is found before the commit.
    server.psql("CREATE TYPE mood AS ENUM ('good'); CREATE TABLE m (a mood, n int)");
    for text in [
        "INSERT INTO m VALUES ('good', 1) RETURNING a",
        "INSERT INTO m VALUES ('good', 1) RETURNING now()",
    ] {
        let error = run(&postgres, &[sql(text)]).await.unwrap_err();
        assert!(
            matches!(&error, PostgresError::Invalid(why) if why.contains("cast it to text")),
            "{error:?}"
        );
    }
    let broken = [sql("INSERT INTO m VALUES ('good', 1)"), sql("SELECT 1/0")];
    let error = run(&postgres, &broken).await.unwrap_err();
    assert!(
        matches!(&error, PostgresError::Failed(failure) if failure.statement == Some(1)),
        "{error:?}"
    );
    assert_eq!(server.psql("SELECT count(*) FROM m"), "0");
    let good = [
        sql("INSERT INTO m VALUES ('good', 1)"),
        sql("SELECT a::text FROM m"),
    ];
    let outcomes = run(&postgres, &good).await.unwrap();
    assert_eq!((outcomes[0].count, outcomes[1].count), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn free_sql_leaves_nothing_behind_in_its_session() {
    let server = Server::start();
    server.psql("CREATE SCHEMA other; CREATE TABLE other.secret (id bigint)");
    let mut options = options(&server.url());
    options.pool_size = 1;
    let postgres = Postgres::new("main", options).unwrap();
    let pid = rows(&postgres, sql("SELECT pg_backend_pid()")).await;
    run(
        &postgres,
        &[sql("SET search_path = other"), sql("LISTEN x")],
    )
    .await
    .unwrap();
    let looks = Statement::Select(Select {
        table: "secret".to_owned(),
        columns: vec![column("id", Kind::Integer)],
        filter: Filter::All,
        order: None,
        limit: 1,
    });
    let error = run(&postgres, &[looks]).await.unwrap_err();
    assert!(matches!(error, PostgresError::Failed(_)), "{error:?}");
    let again = rows(&postgres, sql("SELECT pg_backend_pid()")).await;
    assert_eq!(pid, again, "the connection is kept");
}
