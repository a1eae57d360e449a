//! Connections that have not said yet what they want: from `accept` until a request's head is whole, TLS included.
//! Counted by `http::server`. Invariant: they are never more than a bound. Where there is no place the one that has waited
//! longest goes, of the same address first: an honest handshake takes milliseconds, so that is never an honest one's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::limits::AddressKey;

/// Under way at a time.
pub const MOST: usize = 1024;
/// The same from one address.
pub const MOST_PER_ADDRESS: usize = 64;

/// Those under way.
#[derive(Default)]
pub(super) struct Handshakes(Mutex<UnderWay>);

#[derive(Default)]
struct UnderWay {
    next: u64,
    /// By their turn, so that the first has waited longest.
    all: BTreeMap<u64, (Option<AddressKey>, oneshot::Sender<()>)>,
    by_address: HashMap<AddressKey, BTreeSet<u64>>,
}

impl UnderWay {
    fn remove(&mut self, turn: u64) -> Option<oneshot::Sender<()>> {
        let (address, end) = self.all.remove(&turn)?;
        if let Some(address) = address
            && let Some(turns) = self.by_address.get_mut(&address)
        {
            turns.remove(&turn);
            if turns.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(end)
    }

    /// The one that must go for another of this address, if one must.
    fn surplus(&self, address: Option<AddressKey>) -> Option<u64> {
        let of_address = address.and_then(|address| self.by_address.get(&address));
        let full = of_address.filter(|turns| turns.len() >= MOST_PER_ADDRESS);
        let all_full = || (self.all.len() >= MOST).then(|| self.all.keys().next()).flatten();
        full.and_then(BTreeSet::first).or_else(all_full).copied()
    }
}

impl Handshakes {
    pub(super) fn begin(this: &Arc<Self>, address: Option<AddressKey>) -> Handshake {
        let (end, ended) = oneshot::channel();
        let mut under_way = this.0.lock();
        if let Some(end) = under_way.surplus(address).and_then(|turn| under_way.remove(turn)) {
            // One that is gone by itself needs no word.
            let _ = end.send(());
        }
        let turn = under_way.next;
        under_way.next += 1;
        under_way.all.insert(turn, (address, end));
        if let Some(address) = address {
            under_way.by_address.entry(address).or_default().insert(turn);
        }
        Handshake { place: Place { handshakes: Arc::clone(this), turn }, ended: Ended(ended) }
    }
}

/// One under way.
pub struct Handshake {
    /// To be dropped when it is over.
    pub place: Place,
    /// To be listened to until then.
    pub ended: Ended,
}

/// Its place.
pub struct Place {
    handshakes: Arc<Handshakes>,
    turn: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.0.lock().remove(self.turn);
    }
}

/// Says when it must go for another.
pub struct Ended(oneshot::Receiver<()>);

impl Ended {
    /// Returns when it must go; never, where it is over before.
    pub async fn wait(&mut self) {
        if (&mut self.0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn key(address: &str) -> Option<AddressKey> {
        Some(AddressKey::from(address.parse::<std::net::IpAddr>().unwrap()))
    }

    fn must_go(handshake: &mut Handshake) -> bool {
        handshake.ended.wait().now_or_never().is_some()
    }

    #[test]
    fn the_oldest_of_an_address_goes_for_its_next_and_no_other() {
        let handshakes = Arc::<Handshakes>::default();
        let mut neighbour = Handshakes::begin(&handshakes, key("192.0.2.2"));
        let mut crowd: Vec<_> =
            (0..MOST_PER_ADDRESS).map(|_| Handshakes::begin(&handshakes, key("192.0.2.1"))).collect();
        assert!(!crowd.iter_mut().any(must_go));
        let mut late = Handshakes::begin(&handshakes, key("192.0.2.1"));
        assert!(must_go(&mut crowd[0]) && !must_go(&mut crowd[1]) && !must_go(&mut late));
        assert!(!must_go(&mut neighbour));
    }

    #[test]
    fn the_oldest_of_all_goes_where_all_places_are_taken() {
        let handshakes = Arc::<Handshakes>::default();
        let mut crowd: Vec<_> = (0..MOST).map(|_| Handshakes::begin(&handshakes, None)).collect();
        assert!(!crowd.iter_mut().any(must_go));
        let _late = Handshakes::begin(&handshakes, key("192.0.2.1"));
        assert!(must_go(&mut crowd[0]) && !must_go(&mut crowd[1]));
    }

    #[test]
    fn what_is_over_leaves_nothing_and_is_not_told_to_go() {
        let handshakes = Arc::<Handshakes>::default();
        let Handshake { place, mut ended } = Handshakes::begin(&handshakes, key("192.0.2.1"));
        drop(place);
        assert!(ended.wait().now_or_never().is_none());
        let under_way = handshakes.0.lock();
        assert!(under_way.all.is_empty() && under_way.by_address.is_empty());
    }
}
