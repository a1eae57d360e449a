//! Many sockets that say nothing, or say it one byte at a time; and more sockets than there are files.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Gateway, LegacyPage, PATIENCE, Page, RawSocket, Room, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// A request's head is to be there within 10 s; a busy machine takes its time.
const HEAD_DEADLINE: Duration = Duration::from_secs(9);
const LATE: Duration = Duration::from_secs(40);

/// A crowd's sockets are this process' files too.
fn allow_many_files() {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).expect("files");
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the gateway runs").count()
}

/// What is counted as refused for this reason.
async fn refused(gateway: &Gateway, kind: &str) -> u64 {
    let metrics = LegacyPage::of(gateway).get("/metrics").await.body;
    let name = format!("slotcast_connections_refused_total{{kind=\"{kind}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    value.unwrap_or(0)
}

/// Whether the gateway ends this connection without a word.
async fn is_ended(stream: &mut TcpStream, within: Duration) -> bool {
    matches!(timeout(within, stream.read(&mut [0; 64])).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn sockets_that_never_speak_or_speak_slowly_get_nothing_and_take_nothing() {
    allow_many_files();
    let gateway = Gateway::builder().with_limits().start().await;
    let room = Room::tomorrow_of(1);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let before = open_files(gateway.pid());
    let dripping = tokio::spawn(drip(gateway.addr()));
    let mut silent = Vec::new();
    for turn in 0..2000 {
        silent.push(TcpStream::connect(gateway.addr()).await.expect("the kernel accepts"));
        if turn % 200 == 199 {
            // Whoever comes meanwhile and speaks is let in, and those who are in notice nothing.
            let page = Page::of(&gateway, &format!("client-{turn}")).await;
            page.select(&room, "10:00").await.assert_ok("selected");
            watcher.eventually_active(&room, &["10:00"]).await;
            page.deselect(&room, "10:00").await.assert_ok("deselected");
            watcher.eventually_active(&room, &[]).await;
        }
    }
    eventually("those who have said nothing for longest go", PATIENCE, async || {
        Page::open(&gateway).await.settle().await;
        (open_files(gateway.pid()) < before + 1100).then_some(())
    })
    .await;
    assert!(is_ended(&mut silent[0], PATIENCE).await);
    let lasted = dripping.await.expect("a measurement");
    assert!((HEAD_DEADLINE..LATE).contains(&lasted), "a head byte by byte lasted {lasted:?}");
    assert!(is_ended(&mut silent[1999], LATE).await, "and nobody stays for ever");
    eventually("nothing is left of them", LATE, async || {
        (open_files(gateway.pid()) < before + 20).then_some(())
    })
    .await;
    assert!(refused(&gateway, "head_too_late").await >= 1);
    watcher.settle().await;
}

/// Sends a handshake one byte at a time, beginning anew where it is not the oldest that is let go, and says how long it
/// was listened to.
async fn drip(addr: std::net::SocketAddr) -> Duration {
    let head = format!("GET /ws HTTP/1.1\r\nHost: {addr}\r\nX-Slow: {}", "x".repeat(10_000));
    loop {
        let (began, mut stream) = (Instant::now(), TcpStream::connect(addr).await.expect("accepts"));
        for byte in head.bytes() {
            let mut answer = [0; 64];
            let written = stream.write_all(&[byte]).await;
            match timeout(Duration::from_millis(50), stream.read(&mut answer)).await {
                Err(_) if written.is_ok() => {}
                Ok(Ok(count)) if count > 0 => {
                    assert!(answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
                    break;
                }
                _ => break,
            }
        }
        if began.elapsed() > HEAD_DEADLINE {
            return began.elapsed();
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn where_files_run_out_new_ones_are_refused_and_old_ones_stay() {
    let mut gateway = Gateway::builder().open_files(160).start().await;
    let room = Room::tomorrow_of(1);
    let first = Page::watching(&gateway, "first", &room).await;
    let mut pages = Vec::new();
    while pages.len() < 160 && RawSocket::upgrade_status(gateway.addr(), "").await == 101 {
        pages.push(Page::of(&gateway, &format!("client-{}", pages.len())).await);
        let free = 160 - open_files(gateway.pid());
        if free < 23 {
            break;
        }
    }
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(TcpStream::connect(gateway.addr()).await.expect("the kernel accepts"));
    }
    let last = crowd.last_mut().expect("a crowd");
    let mut answer = String::new();
    timeout(PATIENCE, last.read_to_string(&mut answer)).await.expect("an answer").expect("text");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After"), "{answer}");
    assert!(open_files(gateway.pid()) < 150, "some are left for the stores");
    gateway.logs().eventually_event("accept_failed").await;
    let warnings = gateway.log_events("accept_failed");
    assert_eq!(warnings.len(), 1, "said once, not for each: {warnings:?}");

    for page in pages.iter().chain([&first]) {
        page.settle().await;
    }
    pages[0].select(&room, "10:00").await.assert_ok("selected");
    first.eventually_active(&room, &["10:00"]).await;
    drop(crowd);
    eventually("there is room again", PATIENCE, async || {
        (RawSocket::upgrade_status_or_refusal(gateway.addr(), "").await == 101).then_some(())
    })
    .await;
    assert!(refused(&gateway, "open_files").await >= 10);
    gateway.assert_alive();
}
