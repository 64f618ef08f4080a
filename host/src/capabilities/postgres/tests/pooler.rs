//! PgBouncer between us and the database.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{
    server::{command, folder},
    *,
};
use crate::capabilities::ports::free_port;

/// Killed when it is dropped.
struct Bouncer {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Bouncer {
    async fn start(server: &Server, mode: &str) -> Self {
        let folder = folder();
        let port = free_port();
        let file = folder.path().join("pgbouncer.ini");
        let users = folder.path().join("users");
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        fs::write(
            &file,
            format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
                 pool_mode = {mode}\nmax_client_conn = 50\ndefault_pool_size = 3\n",
                server.port,
                users.display()
            ),
        )
        .unwrap();
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
            .expect("pgbouncer must be installed for these tests");
        let process = command(program)
            .arg("-q")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bouncer = Self {
            port,
            process,
            _folder: folder,
        };
        eventually("PgBouncer starts", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
        bouncer
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It runs as another user where this is root.
        let pid = self.process.id().to_string();
        let _gone = Command::new("kill").args(["-KILL", &pid]).output();
        let _gone = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_go_through_a_pooler_in_transaction_mode() {
    let server = Server::start();
    server.psql(ATTACHMENTS);
    let bouncer = Bouncer::start(&server, "transaction").await;
    let mut options = options(&bouncer.url());
    options.listen_url = Some(server.url().parse().unwrap());
    options.pool_size = 8;
    options.command_timeout = PATIENCE;
    let postgres = Postgres::new("main", options).unwrap();
    let sub = subscription(&postgres);
    listen(&sub, &["c"]).await;
    // More at once than the pooler has connections.
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let postgres = postgres.clone();
        tasks.spawn(async move {
            for round in 0..50 {
                let text = format!("{task} {round}");
                let batch = [
                    notify_stored([stored("c", &text, "", text.as_bytes())], true),
                    notify([inline("c", &text)]),
                    sql("SELECT 1"),
                ];
                let length = if round % 5 == 0 { 3 } else { 2 };
                run(&postgres, &batch[..length]).await.unwrap();
                run(&postgres, &batch[..1]).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(events(&sub, 1200).await.len(), 1200);
    assert_eq!(server.psql("SELECT count(*) FROM t"), "800");
    let table = crate::capabilities::postgres::statement::NewTable {
        table: "u".to_owned(),
        columns: vec![crate::capabilities::postgres::statement::NewColumn {
            name: "id".to_owned(),
            kind: crate::capabilities::postgres::statement::ColumnType::Id,
            key: false,
        }],
        unlogged: false,
    };
    assert_eq!(postgres.create_table(&anything(), &table).await, Ok(true));
    assert_eq!(postgres.status().lost_connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_works_through_a_pooler_in_session_mode() {
    let mut server = Server::start();
    let bouncer = Bouncer::start(&server, "session").await;
    let mut options = options(&server.url());
    options.listen_url = Some(bouncer.url().parse().unwrap());
    let postgres = Postgres::new("main", options).unwrap();
    let sub = subscription(&postgres);
    listen(&sub, &["c"]).await;
    run(&postgres, &[notify([inline("c", "x")])]).await.unwrap();
    assert_eq!(events(&sub, 1).await, ["c: x"]);
    server.kill();
    server.restart();
    assert_eq!(events(&sub, 1).await, ["lagged"]);
    until_ok(|| run(&postgres, std::slice::from_ref(notify_y()))).await;
    assert!(events(&sub, 1).await.contains(&"c: y".to_owned()));
}

fn notify_y() -> &'static Statement {
    static Y: std::sync::OnceLock<Statement> = std::sync::OnceLock::new();
    Y.get_or_init(|| notify([inline("c", "y")]))
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_through_a_pooler_in_transaction_mode_is_found_out_and_explained() {
    let server = Server::start();
    let bouncer = Bouncer::start(&server, "transaction").await;
    let postgres = at(&bouncer.url());
    let sub = subscription(&postgres);
    eventually("the operator is told what to set", async || {
        let _in_vain = sub.listen(&anything(), strings(&["c"])).await;
        let trouble = postgres.status().subscriptions[0].trouble.clone();
        trouble.is_some_and(|why| why.contains("listen_url"))
    })
    .await;
    let error = sub.listen(&anything(), strings(&["c"])).await.unwrap_err();
    assert!(
        matches!(&error, PostgresError::Unavailable(why) if why.contains("listen_url")),
        "{error:?}"
    );
    assert_eq!(postgres.status().state, PostgresState::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_connection_that_is_silent_is_not_taken_for_a_pooler() {
    let server = Server::start();
    let postgres = client(&server);
    let sub = subscription(&postgres);
    listen(&sub, &["c"]).await;
    // Longer than the probe waits.
    sleep(Duration::from_millis(3500)).await;
    let status = postgres.status();
    assert_eq!(status.lost_connections, 0, "{status:?}");
    assert_eq!(
        status.subscriptions[0].received, 0,
        "the probe is not handed out"
    );
    assert_eq!(sub.channels().len(), 1);
}
