//! Encrypted streams.

use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::*;
use crate::capabilities::{TlsOptions, tcp::Encryption};

/// A certificate for `localhost`, and a server that has it.
struct Authority {
    folder: TempDir,
    acceptor: TlsAcceptor,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", &file("key.pem"), "-out", &file("cert.pem")])
            .output()
            .expect("openssl must be installed for this test");
        assert!(made.status.success(), "{made:?}");
        let certificate = CertificateDer::from_pem_file(file("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            folder,
        }
    }

    fn trusted(&self) -> TlsOptions {
        TlsOptions {
            ca_file: Some(self.folder.path().join("cert.pem")),
            ..TlsOptions::default()
        }
    }

    fn tcp(&self, peer: &Peer, encryption: Encryption, tls: TlsOptions) -> Tcp {
        let port = peer.addr.rsplit(':').next().unwrap();
        let options = TcpOptions {
            addresses: vec![format!("localhost:{port}").parse().unwrap()],
            encryption,
            tls,
            ..TcpOptions::default()
        };
        Tcp::new("main", options).unwrap()
    }
}

#[tokio::test]
async fn a_stream_is_encrypted_from_the_start_if_the_certificate_is_trusted() {
    let (authority, peer) = (Authority::new(), Peer::new().await);
    let tcp = authority.tcp(&peer, Encryption::On, authority.trusted());
    let acceptor = authority.acceptor.clone();
    let large = "x".repeat(1_000_000);
    let expected = large.clone();
    let echo = tokio::spawn(async move {
        let mut stream = acceptor.accept(peer.accept().await).await.unwrap();
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        bytes == expected.as_bytes()
    });
    let mut instance = Instance::of(&tcp);
    assert_eq!(instance.connect().await.flow.is_encrypted(), Some(true));
    instance.write(&large).await;
    assert_eq!(instance.read(large.len()).await, large);
    assert!(echo.await.unwrap());
    let end = instance.flow().read(1, PATIENCE).await;
    assert_eq!(end, Ok(Received::End));
}

#[tokio::test]
async fn a_stranger_is_not_spoken_to() {
    let authority = Authority::new();
    let elsewhere = TlsOptions {
        server_name: Some("other.example".to_owned()),
        ..authority.trusted()
    };
    for untrusted in [elsewhere, TlsOptions::default()] {
        let peer = Peer::new().await;
        let tcp = authority.tcp(&peer, Encryption::On, untrusted);
        let acceptor = authority.acceptor.clone();
        let server =
            tokio::spawn(async move { acceptor.accept(peer.accept().await).await.is_ok() });
        let refused = Instance::of(&tcp).try_connect(PATIENCE).await;
        assert!(
            matches!(&refused, Err(TcpError::Unavailable(why)) if why.contains("TLS failed")),
            "{refused:?}"
        );
        assert!(!server.await.unwrap());
    }
}

#[tokio::test]
async fn a_plain_stream_becomes_an_encrypted_one_when_the_plugin_says_so() {
    let (authority, peer) = (Authority::new(), Peer::new().await);
    let tcp = authority.tcp(&peer, Encryption::Start, authority.trusted());
    let mut instance = Instance::of(&tcp);
    assert_eq!(instance.connect().await.flow.is_encrypted(), Some(false));
    let mut plain = peer.accept().await;
    say(&mut plain, "INFO").await;
    assert_eq!(instance.read(4).await, "INFO");
    instance.write("plain").await;
    let acceptor = authority.acceptor.clone();
    let server = tokio::spawn(async move {
        assert_eq!(hear(&mut plain, 5).await, "plain");
        let mut stream = acceptor.accept(plain).await.unwrap();
        stream.write_all(b"secret").await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    instance.flow().start_tls(PATIENCE).await.unwrap();
    assert_eq!(instance.read(6).await, "secret");
    assert_eq!(instance.flow().is_encrypted(), Some(true));
    let again = instance.flow().start_tls(PATIENCE).await;
    assert!(matches!(again, Err(TcpError::Denied(_))), "{again:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn plain_text_in_front_of_tls_ends_the_stream() {
    let (authority, peer) = (Authority::new(), Peer::new().await);
    let tcp = authority.tcp(&peer, Encryption::Start, authority.trusted());
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut plain = peer.accept().await;
    say(&mut plain, "INFO injected").await;
    let is_there = async {
        while tcp.status().sockets[0].waiting_bytes < 13 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, is_there).await.unwrap();
    assert_eq!(instance.read(4).await, "INFO");
    let refused = instance.flow().start_tls(PATIENCE).await;
    assert!(
        matches!(&refused, Err(TcpError::Unavailable(why)) if why.contains("plain text")),
        "{refused:?}"
    );
    assert_ended(&mut plain).await;
}

#[tokio::test]
async fn without_the_setting_a_plugin_cannot_start_tls() {
    let peer = Peer::new().await;
    let mut instance = Instance::of(&peer.tcp());
    assert_eq!(instance.connect().await.flow.is_encrypted(), None);
    let denied = instance.flow().start_tls(PATIENCE).await;
    assert!(
        matches!(&denied, Err(TcpError::Denied(why)) if why.contains("`encryption`")),
        "{denied:?}"
    );
}
