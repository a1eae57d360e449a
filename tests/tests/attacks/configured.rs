//! Limits as an operator sets them, lower than they are by default: what is too much by the configuration alone is
//! refused and counted, and who keeps to it notices nothing.

use std::net::SocketAddr;
use std::time::Duration;

use support::{Gateway, LegacyPage, PATIENCE, Page, RawSocket, eventually, masked_frame, raw_http};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::http::Method;

use crate::frames::case::{FIN, TEXT, ask, ask_of, in_pieces};
use crate::frames::witness::Witness;

const LARGEST_FRAME: usize = 1024;
const BYTES_PER_SECOND: usize = 1000;
const SILENT: usize = 2;
/// Before the deadline of ten seconds that holds by default.
const SOON: Duration = Duration::from_secs(9);

/// Waits until so much has been counted: an answer may leave before.
async fn eventually_counted(gateway: &Gateway, sample: &str, times: f64) {
    eventually(&format!("{sample} is {times}"), PATIENCE, async || {
        (gateway.metric(&format!("slotcast_{sample}")).await == times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sizes_bytes_and_handshakes_are_limited_as_configured() {
    let gateway = Gateway::builder()
        .with("server.trusted_proxies", "192.0.2.1")
        .with("security.max_handshakes_per_address", SILENT)
        .with("security.max_head_bytes", 8192)
        .with("security.max_body_bytes", 1024)
        .with("security.max_frame_bytes", LARGEST_FRAME)
        .with("security.bytes_per_second", BYTES_PER_SECOND)
        .start()
        .await;
    let witness = Witness::of(&gateway).await;
    heads_and_bodies(&gateway).await;
    frames(&gateway).await;
    bytes(&gateway).await;
    handshakes(&gateway).await;
    witness.noticed_nothing().await;
}

async fn heads_and_bodies(gateway: &Gateway) {
    let status = async |length: usize| {
        let more = format!("Connection: close\r\nX-Long: {}", "x".repeat(length));
        let head = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n{more}\r\n\r\n", gateway.addr());
        raw_http(gateway.addr(), head.as_bytes(), PATIENCE).await.status
    };
    assert_eq!((status(6_000).await, status(12_000).await), (200, 431));
    let page = LegacyPage::of(gateway);
    let status = async |length: usize| {
        let body = format!("action=heartbeat&x={}", "x".repeat(length));
        let form = "application/x-www-form-urlencoded";
        page.send(Method::POST, "/slotcast/heartbeat", form, body).await.status
    };
    assert_eq!((status(1_000).await, status(1_010).await), (200, 413));
    eventually_counted(gateway, "connections_refused_total{kind=\"head_too_large\"}", 1.0).await;
    eventually_counted(gateway, "connections_refused_total{kind=\"body_too_large\"}", 1.0).await;
}

async fn frames(gateway: &Gateway) {
    let mut socket = RawSocket::open(gateway.addr()).await;
    socket.send(FIN | TEXT, &ask_of("fits", LARGEST_FRAME)).await;
    let answer = socket.next_frame(PATIENCE).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer.payload).contains("fits"), "{answer:?}");
    socket.send(FIN | TEXT, &ask_of("too large", LARGEST_FRAME + 1)).await;
    assert_eq!(socket.close_code(PATIENCE).await, Some(1009));
    eventually_counted(gateway, "connections_closed_total{code=\"1009\"}", 1.0).await;
}

/// Four seconds' worth are taken at once; who goes on is refused, and who goes on and on is cut off.
async fn bytes(gateway: &Gateway) {
    let mut socket = RawSocket::open(gateway.addr()).await;
    let whole = masked_frame(FIN | TEXT, &ask_of("whole", LARGEST_FRAME));
    let pieces = in_pieces(ask_of("pieces", LARGEST_FRAME).chunks(100)).concat();
    socket.send_bytes(&[whole.as_slice(), &pieces].concat().repeat(4)).await;
    let mut refused = 0;
    for _ in 0..8 {
        let answer = socket.next_frame(PATIENCE).await.expect("an answer");
        refused += u32::from(String::from_utf8_lossy(&answer.payload).contains("\"rate_limited\""));
    }
    // Three fit, and one more for each second that a busy machine took.
    assert!((1..=5).contains(&refused), "{refused} of 8 refused");
    eventually("the client may speak again", PATIENCE, async || {
        socket.send_bytes(&ask("again")).await;
        let answer = socket.next_frame(PATIENCE).await.expect("the connection stays");
        String::from_utf8_lossy(&answer.payload).contains("\"pong\"").then_some(())
    })
    .await;
    let counted = "slotcast_requests_total{request=\"frame\",outcome=\"rate_limited\"}";
    assert!(gateway.metric(counted).await >= f64::from(refused));

    let mut flood = RawSocket::open(gateway.addr()).await;
    let (again, began) = (whole.repeat(16), Instant::now());
    while flood.flood(&again).await {
        assert!(began.elapsed() < PATIENCE, "a flood is read on and on");
    }
    // Bytes that were under way may end the connection before the close frame is read.
    let code = flood.close_code(PATIENCE).await;
    assert!(matches!(code, Some(1008) | None), "{code:?}");
    eventually_counted(gateway, "connections_closed_total{code=\"1008\"}", 1.0).await;
}

async fn handshakes(gateway: &Gateway) {
    let mut silent = Vec::new();
    // So many at once that even the patience with a busy machine ends.
    for _ in 0..SILENT * 4 + 4 {
        silent.push(connect_from("127.0.0.2:0", gateway.addr()).await);
    }
    for oldest in &mut silent[..4] {
        let end = timeout(PATIENCE, oldest.read(&mut [0; 64])).await.expect("it goes for another");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    assert!(gateway.metric("slotcast_connections_refused_total{kind=\"handshakes\"}").await >= 4.0);
    Page::of(gateway, "another-address").await.settle().await;
}

async fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(address.parse().expect("an address")).expect("a port");
    socket.connect(to).await.expect("the kernel accepts")
}

#[tokio::test]
async fn a_head_that_never_ends_is_waited_for_as_long_as_configured() {
    let gateway = Gateway::builder().with("security.head_timeout_secs", 2).start().await;
    let witness = Witness::of(&gateway).await;
    let unfinished = format!("GET /ws HTTP/1.1\r\nHost: {}\r\n", gateway.addr());
    let ended = async |bytes: &[u8]| raw_http(gateway.addr(), bytes, SOON).await.status;
    let statuses = tokio::join!(ended(unfinished.as_bytes()), ended(b""));
    assert!([0, 408].contains(&statuses.0) && [0, 408].contains(&statuses.1), "{statuses:?}");
    eventually_counted(&gateway, "connections_refused_total{kind=\"head_too_late\"}", 2.0).await;
    witness.noticed_nothing().await;
}
