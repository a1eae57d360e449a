//! Connections that ask and ask, or ask and do not read, and never become a WebSocket.

use std::time::Duration;

use support::{Gateway, PATIENCE, Page, RawSocket, Room, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Connections of one address.
const MOST: usize = 10;
const ATTACKER: &str = "127.0.0.2:0";
const OTHER: &str = "127.0.0.3:0";
/// Ten seconds are promised; a busy machine takes its time.
const LATE: Duration = Duration::from_secs(60);

async fn limited() -> Gateway {
    Gateway::builder()
        .with("security.max_connections_per_address", MOST)
        .with("server.trusted_proxies", "192.0.2.1")
        .start()
        .await
}

/// Asks from this address, and says the answer's status too; the connection stays open if the gateway lets it.
async fn ask(gateway: &Gateway, address: &str, more: &str) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(address.parse().expect("an address")).expect("a port");
    let mut stream = socket.connect(gateway.addr()).await.expect("the kernel accepts");
    let request = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n{more}\r\n", gateway.addr());
    stream.write_all(request.as_bytes()).await.expect("a head is read");
    let mut answer = vec![0; 1024];
    let count = timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer in time").expect("bytes");
    answer.truncate(count);
    (stream, String::from_utf8(answer).expect("text"))
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

async fn refused(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metric(&format!("slotcast_connections_refused_total{{kind=\"{kind}\"}}")).await
}

#[tokio::test]
async fn who_asks_without_reading_keeps_nobody_out_and_not_for_long() {
    let gateway = limited().await;
    // Who comes and goes has a place each time.
    for _ in 0..MOST * 3 {
        let (mut stream, answer) = ask(&gateway, ATTACKER, "Connection: close\r\n").await;
        assert_eq!(status(&answer), 200, "{answer}");
        timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("in time").expect("an end");
    }
    let mut crowd = Vec::new();
    for _ in 0..MOST {
        let (stream, answer) = ask(&gateway, ATTACKER, "").await;
        assert_eq!(status(&answer), 200, "{answer}");
        crowd.push(stream);
    }
    for _ in 0..MOST {
        // A body that never comes keeps it no longer.
        let (mut stream, answer) = ask(&gateway, ATTACKER, "Content-Length: 1000\r\n").await;
        assert_eq!(status(&answer), 429, "{answer}");
        assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
        let rest = timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("it is closed in time");
        assert!(matches!(rest, Ok(0) | Err(_)), "{rest:?}");
    }
    assert_eq!(refused(&gateway, "address_full").await, MOST as f64);

    let flood = format!("GET /client/slotcast.js HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr()).repeat(5_000);
    let floods: Vec<_> = crowd
        .into_iter()
        .map(|mut stream| {
            let flood = flood.clone();
            // Nothing of the answers is read, so that neither side gets rid of what it has to say.
            tokio::spawn(async move { while stream.write_all(flood.as_bytes()).await.is_ok() {} })
        })
        .collect();
    let (_other, answer) = ask(&gateway, OTHER, "").await;
    assert_eq!(status(&answer), 200, "another address: {answer}");
    for flood in floods {
        timeout(LATE, flood).await.expect("who reads nothing is closed").expect("no panic");
    }
    assert_eq!(refused(&gateway, "response_not_taken").await, MOST as f64);
    let (_again, answer) = ask(&gateway, ATTACKER, "").await;
    assert_eq!(status(&answer), 200, "its places are free: {answer}");
}

#[tokio::test]
async fn a_websocket_leaves_its_place_to_plain_http() {
    let gateway = limited().await;
    let room = Room::tomorrow_of(1);
    let mut pages = Vec::new();
    for number in 0..MOST {
        pages.push(Page::watching(&gateway, &format!("client-{number}"), &room).await);
    }
    assert_eq!(RawSocket::upgrade_status(gateway.addr(), "").await, 429, "no more sockets");
    for _ in 0..3 {
        let (_stream, answer) = ask(&gateway, "127.0.0.1:0", "Connection: close\r\n").await;
        assert_eq!(status(&answer), 200, "{answer}");
    }
    drop(pages);
    eventually("a socket has its place again", PATIENCE, async || {
        (RawSocket::upgrade_status(gateway.addr(), "").await == 101).then_some(())
    })
    .await;
}
