//! A gateway that speaks TLS itself, with no proxy in front.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use support::{
    Certificate, ClientKeys, Gateway, LegacyPage, PATIENCE, Page, Room, eventually, masked_frame,
    run_slotcast,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// The gateway's own address: what it is asked through elsewhere only leads there.
fn own_addr(gateway: &Gateway) -> SocketAddr {
    let listening = &gateway.log_events("listening")[0];
    listening["listen"].as_str().expect("an address").parse().expect("an address")
}

/// Whether a client that trusts this certificate alone gets through to the gateway.
async fn serves(addr: SocketAddr, certificate: &Certificate) -> bool {
    let connector = TlsConnector::from(certificate.client());
    let stream = TcpStream::connect(addr).await.expect("the gateway accepts");
    connector.connect(ServerName::from(addr.ip()), stream).await.is_ok()
}

/// Whether the gateway ends this connection without a word, within that time.
async fn is_ended(stream: &mut TcpStream, within: Duration) -> bool {
    matches!(timeout(within, stream.read(&mut [0; 64])).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn pages_are_served_over_tls_and_are_told_goodbye() {
    let certificate = Certificate::new().await;
    let mut gateway = Gateway::builder().with_tls(&certificate).start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    let bob = Page::watching(&gateway, "bob", &room).await;
    for turn in 0..60 {
        alice.select(&room, &format!("10:{turn:02}")).await.assert_ok("selected");
    }
    bob.eventually_active(&room, &["10:59"]).await;
    assert_eq!(LegacyPage::of(&gateway).get("/readyz").await.status, 200);
    gateway.ask_to_stop();
    assert_eq!(bob.eventually_closed().await, Some(1001));
    assert_eq!(gateway.stopped().await.code, Some(0));
}

#[tokio::test]
async fn whoever_does_not_speak_tls_gets_nothing_and_not_for_long() {
    let certificate = Certificate::new().await;
    let gateway =
        Gateway::builder().with_tls(&certificate).with("security.head_timeout_secs", 3).start().await;
    let addr = own_addr(&gateway);
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("an end"));
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // Before the ten seconds that hold by default.
    assert!(is_ended(&mut silent, Duration::from_secs(9)).await);
    let late = "slotcast_connections_refused_total{kind=\"head_too_late\"}";
    eventually("it is counted", PATIENCE, async || (gateway.metric(late).await == 1.0).then_some(())).await;
}

#[tokio::test]
async fn handshakes_that_never_end_take_the_place_of_nobody_elses() {
    let certificate = Certificate::new().await;
    let builder = Gateway::builder().with_tls(&certificate).with("server.trusted_proxies", "203.0.113.1");
    let gateway = builder.start().await;
    let addr = own_addr(&gateway);
    let page = Page::of(&gateway, "alice").await;
    let mut silent = Vec::new();
    // More than one address may have under way; the oldest make place.
    for _ in 0..200 {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    page.settle().await;
    let from_elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    from_elsewhere.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let stream = from_elsewhere.connect(addr).await.unwrap();
    let connector = TlsConnector::from(certificate.client());
    let shaken = connector.connect(ServerName::from(addr.ip()), stream);
    timeout(PATIENCE, shaken).await.expect("in time").expect("another address gets through");
    eventually(
        "who speaks gets through from the same address, and the silent ones go",
        PATIENCE,
        async || {
            let metrics = LegacyPage::of(&gateway).get("/metrics").await.body;
            let name = "slotcast_connections_refused_total{kind=\"handshakes\"} ";
            let gone: u64 = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())?;
            (gone > 100).then_some(())
        },
    )
    .await;
    assert!(is_ended(&mut silent[0], PATIENCE).await);
}

#[tokio::test]
async fn who_only_changes_keys_is_closed_with_1008_and_nobody_waits_for_it() {
    let certificate = Certificate::new().await;
    let gateway = Gateway::builder().with_tls(&certificate).start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    let (addr, keys) = (own_addr(&gateway), Arc::new(ClientKeys::default()));
    let mut config = ClientConfig::clone(&certificate.client());
    config.key_log = keys.clone();
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::from(addr.ip());
    let mut flooder = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    flooder.write_all(upgrade.as_bytes()).await.unwrap();
    flooder.write_all(&masked_frame(0x81, room.frame("subscribe").to_string().as_bytes())).await.unwrap();
    let mut answers = Vec::new();
    while !String::from_utf8_lossy(&answers).contains("snapshot") {
        assert_ne!(timeout(PATIENCE, flooder.read_buf(&mut answers)).await.unwrap().unwrap(), 0);
    }
    let flood = keys.flood(2, 5000);
    let flooding = tokio::spawn(async move { flooder.get_mut().0.write_all(&flood).await });
    alice.select(&room, "10:00").await.assert_ok("selected");
    let closed = "slotcast_connections_closed_total{code=\"1008\"}";
    eventually("it is closed", PATIENCE, async || (gateway.metric(closed).await == 1.0).then_some(())).await;
    // The end may come before all of it was sent.
    drop(timeout(PATIENCE, flooding).await.expect("the connection ends"));
    alice.eventually_active(&room, &["10:00"]).await;
    alice.settle().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let (certificate, renewed) = (Certificate::new().await, Certificate::new().await);
    let gateway = Gateway::builder().with_tls(&certificate).start().await;
    let addr = own_addr(&gateway);
    let page = Page::of(&gateway, "alice").await;
    assert!(!serves(addr, &renewed).await);
    certificate.become_as(&renewed);
    eventually("the new certificate is served", PATIENCE * 2, async || {
        serves(addr, &renewed).await.then_some(())
    })
    .await;
    page.settle().await;
    gateway.logs().eventually_event("certificate_reloaded").await;

    std::fs::write(certificate.key(), "no key at all").unwrap();
    let refused = gateway.logs().eventually_event("certificate_refused").await;
    assert!(refused["error"].as_str().unwrap().contains("server.tls_key"), "{refused}");
    assert_eq!(refused["level"].as_str().unwrap().to_lowercase(), "error");
    assert!(serves(addr, &renewed).await, "the one in use stays");
    page.settle().await;
}

#[tokio::test]
async fn check_config_names_what_is_wrong_with_the_files() {
    let (certificate, other) = (Certificate::new().await, Certificate::new().await);
    let file = |path: std::path::PathBuf| path.display().to_string();
    let checked = async |pairs: &[(&str, &str)]| {
        let output = run_slotcast(&["check-config"], pairs).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (cert, key) = (file(certificate.file()), file(certificate.key()));
    let (code, text) =
        checked(&[("SLOTCAST_SERVER_TLS_CERT", &cert), ("SLOTCAST_SERVER_TLS_KEY", &key)]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("expires at"), "two days are not much: {text}");
    for (cert, key, named) in [
        ("/no/such/cert.pem", key.as_str(), "server.tls_cert"),
        (&cert, "/no/such/key.pem", "server.tls_key"),
        (&cert, &file(other.key()), "is not the key of"),
        (&cert, "", "is missing beside server.tls_cert"),
        (&key, &key, "holds no certificate"),
    ] {
        let (code, text) =
            checked(&[("SLOTCAST_SERVER_TLS_CERT", cert), ("SLOTCAST_SERVER_TLS_KEY", key)]).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(named), "{named}: {text}");
    }
}
