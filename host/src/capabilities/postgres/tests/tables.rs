//! Creating tables: at once, without the right to, with strange names.

use super::*;
use crate::capabilities::postgres::statement::{ColumnType, NewColumn, NewTable};

fn table(name: &str) -> NewTable {
    let column = |name: &str, kind| NewColumn {
        name: name.to_owned(),
        kind,
        key: false,
    };
    NewTable {
        table: name.to_owned(),
        columns: vec![
            column("id", ColumnType::Id),
            column("created_at", ColumnType::Created),
            column("payload", ColumnType::Bytes),
            column("Note", ColumnType::Text),
            column("n", ColumnType::Integer),
            column("f", ColumnType::Float),
            column("b", ColumnType::Boolean),
        ],
        unlogged: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_create_a_table_at_once_and_one_of_them_did() {
    let server = Server::start();
    let nodes: Vec<Postgres> = (0..8).map(|_| client(&server)).collect();
    for round in 0..5 {
        let name = format!("t{round}");
        let mut tasks = tokio::task::JoinSet::new();
        for node in &nodes {
            let (node, name) = (node.clone(), name.clone());
            tasks.spawn(async move { node.create_table(&anything(), &table(&name)).await });
        }
        let created: Vec<bool> = tasks
            .join_all()
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(created.iter().filter(|is| **is).count(), 1, "{created:?}");
    }
    // Somebody who does not take turns.
    let postgres = client(&server);
    for round in 0..20 {
        let name = format!("r{round}");
        let by_hand = format!(
            "DO $$ BEGIN CREATE TABLE {name} (id int); EXCEPTION WHEN \
                               duplicate_table OR unique_violation THEN NULL; END $$"
        );
        let server = &server;
        let created = table(&name);
        let permit = anything();
        let (created, ()) = tokio::join!(postgres.create_table(&permit, &created), async {
            tokio::task::block_in_place(|| server.psql(&by_hand));
        });
        created.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_table_holds_what_the_columns_say() {
    let server = Server::start();
    let postgres = client(&server);
    let create = async |name: &str| postgres.create_table(&anything(), &table(name)).await;
    assert_eq!(create("public.My \"t\"").await, Ok(true));
    assert_eq!(create("My \"t\"").await, Ok(false));
    let outcome = run(
        &postgres,
        &[Statement::Notify(Notify {
            store: Some(Store {
                table: "My \"t\"".to_owned(),
                body: "payload".to_owned(),
                id: "id".to_owned(),
                ordered: true,
            }),
            notices: vec![stored("c", "", "", b"x"), stored("c", "", "", b"y")],
        })],
    )
    .await
    .unwrap();
    assert_eq!(outcome[0].rows, [[Value::Integer(1)], [Value::Integer(2)]]);
    assert_eq!(
        server.psql(
            "SELECT relpersistence::text || attstorage::text || (SELECT count(*) FROM \"My \"\"t\"\"\" WHERE \
             created_at > now() - interval '1 minute') FROM pg_class JOIN pg_attribute ON attrelid \
             = pg_class.oid WHERE relname = 'My \"t\"' AND attname = 'payload'"
        ),
        "ue2"
    );
    assert!(create("a.b.c").await.is_err());
    let error = create("nowhere.t").await.unwrap_err();
    assert!(
        matches!(&error, PostgresError::Failed(failure) if failure.code == "3F000"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_create_a_table_can_use_one_that_is_there() {
    let server = Server::start();
    server.psql("CREATE ROLE poor LOGIN; CREATE TABLE there (id int); REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let poor = at(&server.url_of("poor"));
    assert_eq!(
        poor.create_table(&anything(), &table("there")).await,
        Ok(false)
    );
    let error = poor
        .create_table(&anything(), &table("new"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PostgresError::Denied(why) if why.contains("42501")),
        "{error:?}"
    );
    let postgres = client(&server);
    let granted = permit("tables = ['there', 'new']");
    assert_eq!(
        postgres.create_table(&granted, &table("there")).await,
        Ok(false)
    );
    let error = postgres
        .create_table(&granted, &table("new"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PostgresError::Denied(why) if why.contains("`create`")),
        "{error:?}"
    );
    let error = postgres
        .create_table(&granted, &table("other"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PostgresError::Denied(why) if why.contains("`tables`")),
        "{error:?}"
    );
}
