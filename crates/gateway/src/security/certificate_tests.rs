//! Tests of certificates, which openssl makes; and a pair of sockets with TLS between them for the tests of others.

use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, KeyLog, NoKeyLog, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;

/// A folder with `cert.pem` and `key.pem` for 127.0.0.1, good for 30 days.
fn made() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

fn loaded(folder: &TempDir) -> Result<CertifiedKey, CertificateProblem> {
    load(&folder.path().join("cert.pem"), &folder.path().join("key.pem"))
}

/// Both ends of a connection whose handshake is over.
pub(crate) async fn tls_pair() -> (server::TlsStream<TcpStream>, client::TlsStream<TcpStream>) {
    tls_pair_telling(Arc::new(NoKeyLog)).await
}

/// The same; the client tells its keys.
pub(crate) async fn tls_pair_telling(
    keys: Arc<dyn KeyLog>,
) -> (server::TlsStream<TcpStream>, client::TlsStream<TcpStream>) {
    let served = loaded(&made()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(served.cert[0].clone()).unwrap();
    let provider = || Arc::new(ring::default_provider());
    let client =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.key_log = keys;
    let server =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let server = server
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(tokio_rustls::rustls::sign::SingleCertAndKey::from(served)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = async {
        let stream = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(client)).connect(ServerName::from(address.ip()), stream).await.unwrap()
    };
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(server)).accept(stream).await.unwrap()
    };
    tokio::join!(accepting, connecting)
}

#[test]
fn a_certificate_is_warned_of_before_it_begins_shortly_before_it_ends_and_after() {
    let served = loaded(&made()).unwrap();
    let now = Timestamp::now();
    let in_days = |days: i64| now.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
    let ends = not_after(&served).unwrap();
    assert!(ends > in_days(29) && ends < in_days(31), "{ends}");
    assert_eq!(warning(&served, in_days(1)), None);
    for (days, part) in [(-2, "is not valid before"), (20, "expires at"), (40, "has expired at")] {
        let text = warning(&served, in_days(days)).unwrap();
        assert!(text.contains(part), "{days}: {text}");
    }
}

#[test]
fn what_is_no_certificate_or_not_its_key_is_named_with_what_to_do() {
    let (good, other) = (made(), made());
    let complaint = |of: &TempDir, file: &str, content: Option<&[u8]>| {
        let path = of.path().join(file);
        let before = std::fs::read(&path).unwrap();
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let problem = loaded(of).unwrap_err();
        std::fs::write(&path, before).unwrap();
        (problem.key, problem.advice)
    };
    let others_key = std::fs::read(other.path().join("key.pem")).unwrap();
    let garbled = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (file, content, key, part) in [
        ("cert.pem", None, "server.tls_cert", "cannot be read"),
        ("key.pem", None, "server.tls_key", "cannot be read"),
        ("cert.pem", Some(&b"hello"[..]), "server.tls_cert", "holds no certificate"),
        ("cert.pem", Some(&garbled[..]), "server.tls_cert", "cannot be used"),
        ("key.pem", Some(&b"hello"[..]), "server.tls_key", "holds no private key"),
        ("key.pem", Some(&others_key[..]), "server.tls_key", "is not the key of"),
    ] {
        let (named, advice) = complaint(&good, file, content);
        assert_eq!(named, key, "{advice}");
        assert!(advice.contains(part), "{file}: {advice}");
    }
    assert!(loaded(&good).is_ok());
}
