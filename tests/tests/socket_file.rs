//! A gateway on a socket file, as behind a proxy on the same machine.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use support::{Gateway, LegacyPage, Page, Room, run_slotcast};
use tempfile::TempDir;

fn socket_file() -> (TempDir, PathBuf, String) {
    let folder = TempDir::with_prefix("slotcast-socket-").expect("a temporary folder");
    let path = folder.path().join("slotcast.sock");
    let listen = format!("unix:{}", path.display());
    (folder, path, listen)
}

#[tokio::test]
async fn pages_are_served_over_a_socket_file_which_goes_with_the_gateway() {
    let (_folder, path, listen) = socket_file();
    let mut gateway = Gateway::builder().with("server.listen", &listen).start().await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    let bob = Page::watching(&gateway, "bob", &room).await;
    alice.select(&room, "10:00").await.assert_ok("selected");
    bob.eventually_active(&room, &["10:00"]).await;
    bob.select(&room, "10:00").await.assert_error("slot_locked");
    assert_eq!(LegacyPage::of(&gateway).get("/readyz").await.status, 200);

    gateway.ask_to_stop();
    assert_eq!(alice.eventually_closed().await, Some(1001));
    assert_eq!(gateway.stopped().await.code, Some(0));
    assert!(!path.exists(), "the file stayed");
}

#[tokio::test]
async fn the_file_of_a_killed_gateway_is_replaced_and_that_of_a_living_one_is_not() {
    let (_folder, path, listen) = socket_file();
    let mut gateway = Gateway::builder().with("server.listen", &listen).start().await;
    let output = run_slotcast(&["serve", "--listen", &listen], &[]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&listen) && told.contains("another process listens there"), "{told}");
    Page::of(&gateway, "alice").await;

    gateway.kill().await;
    assert!(path.exists(), "a killed gateway leaves its file");
    let next = Gateway::builder().with("server.listen", &listen).start().await;
    Page::of(&next, "alice").await;
}

#[tokio::test]
async fn a_peer_on_the_file_is_a_trusted_proxy_unless_the_configuration_says_otherwise() {
    let (_folder, _path, listen) = socket_file();
    let limited = || Gateway::builder().with("security.max_connections_per_address", 1);
    let gateway = limited().with("server.listen", &listen).start().await;
    let from = |address: &'static str| Page::builder(&gateway).from_address(address);
    let _first = from("203.0.113.1").open().await;
    assert_eq!(from("203.0.113.1").try_open().await.err(), Some(429), "the address it names is counted");
    let _other = from("203.0.113.2").open().await;
    drop(gateway);

    let (_folder, _path, listen) = socket_file();
    let strict = limited().with("server.trusted_proxies", "127.0.0.1").with("server.listen", &listen);
    let gateway = strict.start().await;
    let from = |address: &'static str| Page::builder(&gateway).from_address(address);
    let (_first, _second) = (from("203.0.113.1").open().await, from("203.0.113.1").open().await);
}

#[tokio::test]
async fn what_is_no_socket_is_not_overwritten() {
    let (_folder, path, listen) = socket_file();
    std::fs::write(&path, "mine").unwrap();
    let output = run_slotcast(&["serve", "--listen", &listen], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no socket"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    std::fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let output = run_slotcast(&["check-config", "--listen", &listen], &[]).await;
    assert_eq!(output.status.code(), Some(0), "the configuration is fine");
}
