//! What nobody sends by mistake: each attacker gets its close code or nothing, memory stays flat, and the
//! honest beside them notice nothing. With the limits that a site owner gets, but for those by address, which
//! all of a test share.

use std::time::Duration;

use support::{Gateway, PATIENCE, RawSocket, eventually, masked_frame};
use tokio::time::{sleep, timeout};

use super::case::{CONTINUATION, FIN, MAX_TEXT, PING, PONG, TEXT, ask, ask_of};
use super::witness::Witness;

const FLAT_KIB: u64 = 24 * 1024;
/// What an attacker sends while it is let; far more than any limit.
const LONG: usize = 4 << 20;
/// What the kernel may keep of the answers for a client that reads none.
const NARROW: u32 = 8 * 1024;
/// How long the server may take to end one that floods it.
const SOON: Duration = Duration::from_secs(60);

/// A server with its default limits, but for those per address.
async fn limited() -> Gateway {
    Gateway::builder()
        .with_limits()
        .with("security.max_connections_per_address", 0)
        .with("security.writes_per_second_per_address", 0)
        .start()
        .await
}

/// Sends these bytes again and again, and reads meanwhile; the close code, if one arrives before the end.
async fn flood(gateway: &Gateway, start: Vec<u8>, again: Vec<u8>) -> Option<u16> {
    let mut socket = RawSocket::open(gateway.addr()).await;
    socket.send_bytes(&start).await;
    let again = again.repeat((16 * 1024 / again.len()).max(1));
    let mut sent = 0;
    while sent < LONG && socket.flood(&again).await {
        sent += again.len();
    }
    socket.close_code(SOON).await
}

#[tokio::test]
async fn floods_end_with_a_policy_violation() {
    let gateway = limited().await;
    let witness = Witness::of(&gateway).await;
    let before = gateway.resident_kib();
    let none = Vec::new;
    let floods = [
        ("pings", none(), masked_frame(FIN | PING, b"flood")),
        ("pongs", none(), masked_frame(FIN | PONG, b"flood")),
        ("empty pieces", masked_frame(TEXT, b""), masked_frame(CONTINUATION, b"")),
        ("small pieces", masked_frame(TEXT, b""), masked_frame(CONTINUATION, b" ")),
        (
            "empty pieces and pings",
            masked_frame(TEXT, b""),
            [masked_frame(CONTINUATION, b""), masked_frame(FIN | PING, b"")].concat(),
        ),
        ("requests", none(), ask("a")),
    ];
    // One after the other: side by side they would load the machine that other tests run on.
    for (name, start, again) in floods {
        let code = flood(&gateway, start, again).await;
        // Bytes that were under way may end the connection before the close frame is read.
        assert!(matches!(code, Some(1008) | None), "{name}: {code:?}");
    }
    let closed = gateway.metric("slotcast_connections_closed_total{code=\"1008\"}").await;
    assert_eq!(closed, 6.0, "each was ended for that");
    assert!(gateway.resident_kib().saturating_sub(before) < FLAT_KIB);
    witness.noticed_nothing().await;
}

#[tokio::test]
async fn a_flooder_that_reads_nothing_is_not_read_either() {
    // Without limits: that memory is bounded hangs on none of them.
    let gateway = Gateway::start().await;
    let witness = Witness::of(&gateway).await;
    let before = gateway.resident_kib();
    let pings = masked_frame(FIN | PING, &[b'x'; 125]).repeat(500);
    let mut deaf = Vec::new();
    for _ in 0..16 {
        let mut socket = RawSocket::open_narrow(gateway.addr(), NARROW).await;
        let mut sent = 0;
        // Until the kernel's buffers on both sides are full and nothing moves.
        while timeout(Duration::from_millis(500), socket.send_bytes(&pings)).await.is_ok() {
            sent += pings.len();
            assert!(sent < 4 * LONG, "a flood that nobody reads the answers of is read on and on");
        }
        deaf.push(socket);
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < FLAT_KIB, "{grown} KiB");
    witness.noticed_nothing().await;
}

#[tokio::test]
async fn frames_that_come_byte_by_byte_or_never_end_hold_nobody_up() {
    let gateway = limited().await;
    let witness = Witness::of(&gateway).await;
    let before = gateway.resident_kib();
    let unfinished: [Vec<u8>; 7] = [
        vec![FIN | TEXT],
        vec![FIN | TEXT, 0xfe],
        vec![FIN | TEXT, 0xfe, 0x20],
        vec![FIN | TEXT, 0xff, 0, 0, 0, 0, 0, 0],
        vec![FIN | TEXT, 0xfe, 0x20, 0x00, 1, 2, 3, 4],
        masked_frame(FIN | TEXT, &[b' '; MAX_TEXT])[..8_000].to_vec(),
        masked_frame(TEXT, &[b' '; 8_000]),
    ];
    let mut waiting = Vec::new();
    for bytes in unfinished.iter().cycle().take(210) {
        let mut socket = RawSocket::open(gateway.addr()).await;
        socket.send_bytes(bytes).await;
        waiting.push(socket);
    }
    let mut slow = RawSocket::open(gateway.addr()).await;
    for byte in masked_frame(FIN | TEXT, &ask_of("slow", 200)).chunks(1) {
        slow.send_bytes(byte).await;
        sleep(Duration::from_millis(5)).await;
    }
    let answer = slow.next_frame(PATIENCE).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer.payload).contains("slow"), "{answer:?}");
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < FLAT_KIB, "{grown} KiB for {} connections", waiting.len());
    drop(waiting);
    eventually("they are forgotten", PATIENCE, async || {
        (gateway.metric("slotcast_connections").await <= 3.0).then_some(())
    })
    .await;
    witness.noticed_nothing().await;
}

#[tokio::test]
async fn a_frame_of_a_megabyte_is_not_read() {
    let gateway = limited().await;
    let witness = Witness::of(&gateway).await;
    let before = gateway.resident_kib();
    for _ in 0..20 {
        let mut socket = RawSocket::open(gateway.addr()).await;
        socket.send(FIN | TEXT, &vec![b'x'; 1 << 20]).await;
        // The close frame may be lost to the reset that follows unread data.
        let code = socket.close_code(PATIENCE).await;
        assert!(matches!(code, Some(1009) | None), "{code:?}");
    }
    assert!(gateway.resident_kib().saturating_sub(before) < FLAT_KIB);
    witness.noticed_nothing().await;
}
