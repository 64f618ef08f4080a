//! Credentials: used, refused, never shown.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::capabilities::{ports::free_port, tls::TlsOptions};

const PASSWORD: &str = "correct-horse-battery";

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A server that wants a password over TCP.
fn guarded(method: &str) -> Server {
    let mut server = Server::start();
    server.psql(&format!(
        "SET password_encryption = '{method}'; CREATE ROLE chat LOGIN PASSWORD '{PASSWORD}'"
    ));
    server.let_in(&format!("local all all trust\nhost all all all {method}\n"));
    server.kill();
    server.restart();
    server
}

const PING: &str = "x";

async fn ping(postgres: &Postgres) -> Result<Vec<Outcome>, PostgresError> {
    run(postgres, &[notify([inline("c", PING)])]).await
}

#[tokio::test]
async fn a_wrong_password_is_a_clear_refusal_that_is_logged_and_never_shows_it() {
    let server = guarded("scram-sha-256");
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    // This test has one thread, so what its tasks log comes here.
    let _guard = tracing::subscriber::set_default(subscriber);
    let wrong = "tr0ub4dor";
    let postgres = at(&format!(
        "postgres://chat:{wrong}@127.0.0.1:{}/postgres",
        server.port
    ));
    let error = ping(&postgres).await.unwrap_err();
    assert!(
        matches!(&error, PostgresError::Unavailable(why) if why.contains("28P01")),
        "{error:?}"
    );
    let port = server.port.to_string();
    let text = error.to_string();
    let shows = text.contains(&port) || text.contains("chat");
    assert!(!shows, "the plugin sees an address or a user: {error}");
    let sub = subscription(&postgres);
    eventually("the subscription is refused as well", async || {
        let result = sub.listen(&anything(), strings(&["c"])).await;
        matches!(result, Err(PostgresError::Unavailable(why)) if why.contains("28P01"))
    })
    .await;
    let status = postgres.status();
    assert_eq!(status.state, PostgresState::Refused);
    let detail = status.last_error.clone().unwrap();
    assert!(
        detail.contains(&port) && detail.contains("password authentication failed"),
        "{detail}"
    );
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("ERROR") && logged.contains("password authentication failed"),
        "{logged}"
    );
    for text in [logged, format!("{status:?}"), error.to_string()] {
        assert!(!text.contains(wrong), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_all_forms_are_used() {
    for method in ["scram-sha-256", "md5"] {
        let server = guarded(method);
        let port = server.port;
        let in_url = format!("postgres://chat:{PASSWORD}@127.0.0.1:{port}/postgres");
        ping(&at(&in_url)).await.unwrap();
        let separate = PostgresOptions {
            username: Some("chat".to_owned()),
            password: Some(PASSWORD.into()),
            ..options(&format!("postgres://other:wrong@127.0.0.1:{port}/postgres"))
        };
        let postgres = Postgres::new("main", separate).unwrap();
        ping(&postgres).await.unwrap();
        let sub = subscription(&postgres);
        listen(&sub, &["c"]).await;
        ping(&postgres).await.unwrap();
        assert_eq!(events(&sub, 1).await, ["c: x"]);
        let none = ping(&at(&server.url_of("chat"))).await.unwrap_err();
        assert!(matches!(none, PostgresError::Unavailable(_)), "{none:?}");
        let socket = server.socket().display();
        let local = format!("postgres:///postgres?host={socket}&port={port}&user=postgres");
        ping(&at(&local)).await.unwrap();
    }
    let server = Server::start();
    let error = ping(&at(&format!(
        "postgres://postgres@127.0.0.1:{}/nothing",
        server.port
    )))
    .await;
    assert!(
        matches!(&error, Err(PostgresError::Unavailable(why)) if why.contains("3D000")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_the_one_that_answers_is_used() {
    let server = Server::start();
    let dead = free_port();
    let url = format!(
        "postgres://postgres@127.0.0.1:{dead},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        server.port
    );
    ping(&at(&url)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_whom_the_options_name_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &file("key.pem"), "-out", &file("cert.pem")])
        .output()
        .expect("openssl must be installed for this test");
    assert!(made.status.success(), "{made:?}");
    let mut server = guarded("scram-sha-256");
    let plain = format!(
        "postgres://chat:{PASSWORD}@localhost:{}/postgres?sslmode=require",
        server.port
    );
    let error = ping(&at_with(
        &plain,
        TlsOptions {
            insecure: true,
            ..Default::default()
        },
    ))
    .await;
    assert!(
        matches!(&error, Err(PostgresError::Unavailable(why)) if why.contains("does not support TLS")),
        "{error:?}"
    );
    server.kill();
    server.hand_over(Path::new(&file("cert.pem")), "cert.pem");
    server.hand_over(Path::new(&file("key.pem")), "key.pem");
    server.set(&["ssl=on", "ssl_cert_file=cert.pem", "ssl_key_file=key.pem"]);
    server.let_in("local all all trust\nhostssl all all all scram-sha-256\n");
    server.restart();

    let url = |mode: &str| {
        format!(
            "postgres://chat:{PASSWORD}@localhost:{}/postgres?sslmode={mode}",
            server.port
        )
    };
    let trusting = TlsOptions {
        ca_file: Some(file("cert.pem").into()),
        ..Default::default()
    };
    for mode in ["require", "verify-full"] {
        let postgres = at_with(&url(mode), trusting.clone());
        let sub = subscription(&postgres);
        listen(&sub, &["c"]).await;
        ping(&postgres).await.unwrap();
        assert_eq!(events(&sub, 1).await, ["c: x"]);
    }
    let insecure = TlsOptions {
        insecure: true,
        ..Default::default()
    };
    ping(&at_with(&url("require"), insecure)).await.unwrap();
    // Opportunistic: whoever it is.
    ping(&at(&url("prefer"))).await.unwrap();
    let error = ping(&at(&url("disable"))).await.unwrap_err();
    assert!(matches!(error, PostgresError::Unavailable(_)), "{error:?}");
    let elsewhere = TlsOptions {
        server_name: Some("other.example".to_owned()),
        ..trusting
    };
    for refused in [elsewhere, Default::default()] {
        let error = ping(&at_with(&url("require"), refused)).await.unwrap_err();
        assert!(
            matches!(&error, PostgresError::Unavailable(why) if why.contains("TLS")),
            "{error:?}"
        );
    }
}

fn at_with(url: &str, tls: TlsOptions) -> Postgres {
    let options = PostgresOptions {
        tls,
        ..options(url)
    };
    Postgres::new("main", options).unwrap()
}
