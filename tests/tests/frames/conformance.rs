//! The whole table against one server, and a handful of it through TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::{StreamExt, stream};
use support::{Certificate, Gateway, PATIENCE, eventually};

use super::case::Case;
use super::witness::Witness;
use super::{framing, utf8_and_close};

const AT_ONCE: usize = 8;
/// Of a thousand connections; what each may leave behind is far below a whole message.
const FLAT_KIB: u64 = 24 * 1024;

fn all_cases() -> Vec<Case> {
    framing::cases().into_iter().chain(utf8_and_close::cases()).collect()
}

/// Plays them side by side and shows all that went otherwise.
async fn play(cases: Vec<Case>, addr: SocketAddr) {
    let count = cases.len();
    let played = stream::iter(cases).map(|case| case.play(addr)).buffer_unordered(AT_ONCE);
    let failed: Vec<String> = played.collect::<Vec<_>>().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{} of {count} cases:\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test]
async fn every_frame_is_taken_or_refused_as_the_rfc_says() {
    let mut gateway = Gateway::start().await;
    let witness = Witness::of(&gateway).await;
    // Once as it is, so that what stays is what a second time would add.
    play(all_cases(), gateway.addr()).await;
    let before = gateway.resident_kib();
    let cases = all_cases();
    let mut closed: BTreeMap<u16, u32> = BTreeMap::new();
    for code in cases.iter().filter_map(Case::closed_with) {
        *closed.entry(code).or_default() += 2;
    }
    assert!(cases.len() > 500, "{}", cases.len());
    play(cases, gateway.addr()).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < FLAT_KIB, "{grown} KiB");
    witness.noticed_nothing().await;
    gateway.assert_alive();
    eventually("every connection is forgotten", PATIENCE, async || {
        (gateway.metric("slotcast_connections").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("slotcast_subscriptions").await, 0.0);
    // Every refusal is counted under its code; of the echoes none.
    assert_eq!(closed.keys().copied().collect::<Vec<_>>(), [1002, 1003, 1007, 1009]);
    for (code, count) in closed {
        let counted = gateway.metric(&format!("slotcast_connections_closed_total{{code=\"{code}\"}}")).await;
        assert_eq!(counted, f64::from(count), "{code}");
    }
}

#[tokio::test]
async fn behind_tls_it_is_the_same() {
    let certificate = Certificate::new().await;
    let gateway = Gateway::builder().with_tls(&certificate).start().await;
    let witness = Witness::of(&gateway).await;
    // Each of them is a handshake, so a sample: every family is in it.
    play(all_cases().into_iter().step_by(12).collect(), gateway.addr()).await;
    witness.noticed_nothing().await;
}
