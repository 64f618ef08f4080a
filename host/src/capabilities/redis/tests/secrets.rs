//! Credentials: used, refused, never shown.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::capabilities::redis::RedisState;

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

#[tokio::test]
async fn a_wrong_password_is_a_clear_refusal_that_is_logged_and_never_shows_it() {
    let server = Server::start(&["--requirepass", PASSWORD]);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    // This test has one thread, so what its tasks log comes here.
    let _guard = tracing::subscriber::set_default(subscriber);
    let wrong = "tr0ub4dor";
    let url = format!("redis://:{wrong}@127.0.0.1:{}", server.port);
    let redis = at(&url);
    let error = run(&redis, &["PING"]).await.unwrap_err();
    assert!(
        matches!(&error, RedisError::Unavailable(why) if why.contains("WRONGPASS")),
        "{error:?}"
    );
    let port = server.port.to_string();
    assert!(
        !error.to_string().contains(&port),
        "the plugin sees an address: {error}"
    );
    let sub = subscription(&redis);
    let names = vec!["c".to_owned()];
    eventually("the subscription is refused as well", async || {
        let result = sub.subscribe_again(Kind::Channel, &names).await;
        matches!(result, Err(RedisError::Unavailable(why)) if why.contains("WRONGPASS"))
    })
    .await;
    let status = redis.status();
    assert_eq!(status.state, RedisState::Refused);
    assert!(
        status
            .last_error
            .as_ref()
            .is_some_and(|why| why.contains(&port)),
        "{status:?}"
    );
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        logged.contains("ERROR") && logged.contains("WRONGPASS"),
        "{logged}"
    );
    for text in [logged, format!("{status:?}"), error.to_string()] {
        assert!(!text.contains(wrong), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_all_forms_are_used() {
    let server = Server::start(&["--requirepass", PASSWORD]);
    let auth = [
        "-a", PASSWORD, "ACL", "SETUSER", "alice", "on", ">p@:/", "~*", "&*", "+@all",
    ];
    assert!(server.cli(&auth).contains("OK"));
    let port = server.port;
    for url in [
        format!("redis://:{PASSWORD}@127.0.0.1:{port}"),
        format!("redis://default:{PASSWORD}@127.0.0.1:{port}"),
        format!("redis://alice:p%40%3A%2F@127.0.0.1:{port}"),
    ] {
        assert_eq!(run(&at(&url), &["PING"]).await.unwrap(), ["+PONG"], "{url}");
    }
    let options = RedisOptions {
        username: Some("alice".to_owned()),
        password: Some("p@:/".into()),
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    assert_eq!(run(&redis, &["PUBLISH c x"]).await.unwrap(), [":1"]);
    let nothing = run(&client(&server), &["PING"]).await.unwrap_err();
    assert!(
        matches!(&nothing, RedisError::Unavailable(why) if why.contains("NOAUTH")),
        "{nothing}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_whom_the_options_name_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &file("key.pem"), "-out", &file("cert.pem")])
        .output()
        .expect("openssl must be installed for this test");
    assert!(made.status.success(), "{made:?}");
    let port = server::free_port();
    let tls = port.to_string();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let _server = Server::start(&[
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &cert,
    ]);
    let with = |tls: crate::capabilities::tls::TlsOptions| {
        let url = format!("rediss://localhost:{port}").parse().unwrap();
        let options = RedisOptions {
            tls,
            ..quick(RedisOptions::new(url))
        };
        Redis::new("main", options).unwrap()
    };
    let trusting = crate::capabilities::tls::TlsOptions {
        ca_file: Some(cert.into()),
        ..Default::default()
    };
    let redis = with(trusting.clone());
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    let large = format!("PUBLISH c {}", "x".repeat(3_000_000));
    assert_eq!(run(&redis, &[&large]).await.unwrap(), [":1"]);
    assert_eq!(
        events(&sub, 1).await[0].len(),
        "channel c: ".len() + 3_000_000
    );
    let insecure = crate::capabilities::tls::TlsOptions {
        insecure: true,
        ..Default::default()
    };
    assert_eq!(run(&with(insecure), &["PING"]).await.unwrap(), ["+PONG"]);
    let elsewhere = crate::capabilities::tls::TlsOptions {
        server_name: Some("other.example".to_owned()),
        ..trusting
    };
    for refused in [elsewhere, Default::default()] {
        let error = run(&with(refused), &["PING"]).await.unwrap_err();
        assert!(
            matches!(&error, RedisError::Denied(why) if why.contains("TLS")),
            "{error}"
        );
    }
}
