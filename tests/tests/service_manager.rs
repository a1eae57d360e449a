//! What systemd hears of a gateway: ready, signs of life, reading anew, stopping; and the unit it is run by.

use std::path::Path;
use std::time::Duration;

use support::{Gateway, PATIENCE, Page, slotcast_binary};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// Stands where systemd would.
struct ServiceManager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl ServiceManager {
    fn new() -> Self {
        let folder = TempDir::with_prefix("slotcast-notify-").expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { folder, socket }
    }

    async fn starts_gateway(&self, watchdog: Duration) -> Gateway {
        Gateway::builder()
            .environment("NOTIFY_SOCKET", self.folder.path().join("notify").display())
            .environment("WATCHDOG_USEC", watchdog.as_micros())
            .start()
            .await
    }

    /// The next message; `None` where none comes in time.
    async fn heard_within(&self, time: Duration) -> Option<String> {
        let mut bytes = [0; 512];
        let count = timeout(time, self.socket.recv(&mut bytes)).await.ok()?.expect("a message");
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    /// Waits for a message that holds this line, signs of life aside.
    async fn hears(&self, line: &str) -> String {
        loop {
            let heard = self.heard_within(PATIENCE).await.unwrap_or_else(|| panic!("{line} is not heard"));
            if heard.lines().any(|known| known == line) {
                return heard;
            }
            assert_eq!(heard.trim(), "WATCHDOG=1", "waiting for {line}");
        }
    }
}

#[tokio::test]
async fn systemd_hears_of_the_start_of_a_reload_and_of_the_end() {
    let systemd = ServiceManager::new();
    let mut gateway = systemd.starts_gateway(Duration::from_secs(3600)).await;
    systemd.hears("READY=1").await;
    let page = Page::of(&gateway, "alice").await;
    gateway.hang_up();
    let reloading = systemd.hears("RELOADING=1").await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    systemd.hears("READY=1").await;
    gateway.ask_to_stop();
    systemd.hears("STOPPING=1").await;
    assert_eq!(page.eventually_closed().await, Some(1001));
    assert_eq!(gateway.stopped().await.code, Some(0));
}

#[tokio::test]
async fn signs_of_life_come_as_long_as_there_is_life() {
    let systemd = ServiceManager::new();
    let gateway = systemd.starts_gateway(Duration::from_millis(600)).await;
    systemd.hears("READY=1").await;
    for _ in 0..3 {
        systemd.hears("WATCHDOG=1").await;
    }
    gateway.pause();
    // What was on its way, then silence.
    let end = Instant::now() + PATIENCE;
    while systemd.heard_within(Duration::from_secs(2)).await.is_some() {
        assert!(Instant::now() < end, "a frozen gateway gives signs of life");
    }
    gateway.resume();
    systemd.hears("WATCHDOG=1").await;
}

#[tokio::test]
async fn the_unit_is_one_that_systemd_understands_and_finds_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/systemd/slotcast.service");
    let text = std::fs::read_to_string(unit).unwrap();
    let program = slotcast_binary().await.display().to_string();
    let folder = TempDir::with_prefix("slotcast-unit-").expect("a temporary folder");
    let copy = folder.path().join("slotcast.service");
    // A unit names programs that are there.
    assert_eq!(text.matches("=/usr/local/bin/slotcast ").count(), 2, "before the start, and the start");
    std::fs::write(&copy, text.replace("/usr/local/bin/slotcast", &program)).unwrap();
    for arguments in
        [&["verify", "--man=no"][..], &["security", "--offline=yes", "--threshold=20", "--no-pager"]]
    {
        let output = Command::new("systemd-analyze").args(arguments).arg(&copy).output().await;
        let output = output.expect("systemd-analyze is installed");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{arguments:?}: {told}");
    }
}
