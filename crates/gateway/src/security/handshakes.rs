//! Connections that have not said yet what they want: from `accept` until a request's head is whole, TLS included.
//! Counted by `http::server`. Invariant: they are bounded, and who comes anew is let in: where there are too many, those that
//! have waited longest go, of the same address first. An honest handshake takes milliseconds, so they are no honest ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::limits::AddressKey;

/// Under way at a time.
const MOST: usize = 1024;
/// The same from one address.
const MOST_PER_ADDRESS: usize = 64;
/// Nobody goes sooner than this, though a crowd come at once to a busy machine, as after a restart …
const PATIENCE: Duration = Duration::from_secs(1);
/// … as long as there are not so many times too many.
const AT_ONCE: usize = 4;

/// Those under way.
#[derive(Default)]
pub(super) struct Handshakes(Mutex<UnderWay>);

#[derive(Default)]
struct UnderWay {
    next: u64,
    /// By their turn, so that the first has waited longest.
    all: BTreeMap<u64, Waiting>,
    by_address: HashMap<AddressKey, BTreeSet<u64>>,
}

struct Waiting {
    since: Instant,
    address: Option<AddressKey>,
    end: oneshot::Sender<()>,
}

impl UnderWay {
    fn remove(&mut self, turn: u64) -> Option<oneshot::Sender<()>> {
        let Waiting { address, end, .. } = self.all.remove(&turn)?;
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

    /// One that must go before another of this address comes.
    fn surplus(&self, address: Option<AddressKey>) -> Option<u64> {
        let must_go = |turn: u64, waiting: usize, most: usize| {
            let has_waited =
                || self.all.get(&turn).is_some_and(|waiting| waiting.since.elapsed() >= PATIENCE);
            waiting >= most * AT_ONCE || (waiting >= most && has_waited())
        };
        let turns = address.and_then(|address| self.by_address.get(&address));
        let of_address = turns.and_then(|turns| Some((*turns.first()?, turns.len(), MOST_PER_ADDRESS)));
        let of_all = self.all.first_key_value().map(|(turn, _)| (*turn, self.all.len(), MOST));
        let goes = |(turn, waiting, most)| must_go(turn, waiting, most).then_some(turn);
        of_address.and_then(goes).or_else(|| of_all.and_then(goes))
    }
}

impl Handshakes {
    pub(super) fn begin(this: &Arc<Self>, address: Option<AddressKey>) -> Handshake {
        let (end, ended) = oneshot::channel();
        let mut under_way = this.0.lock();
        while let Some(end) = under_way.surplus(address).and_then(|turn| under_way.remove(turn)) {
            // One that is gone by itself needs no word.
            let _ = end.send(());
        }
        let turn = under_way.next;
        under_way.next += 1;
        under_way.all.insert(turn, Waiting { since: Instant::now(), address, end });
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

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_an_address_go_for_its_next_and_no_others() {
        let handshakes = Arc::<Handshakes>::default();
        let begin = |address| Handshakes::begin(&handshakes, key(address));
        let mut neighbour = begin("192.0.2.2");
        let mut crowd: Vec<_> = (0..=MOST_PER_ADDRESS).map(|_| begin("192.0.2.1")).collect();
        assert!(!crowd.iter_mut().any(must_go), "who come together are let in together");
        tokio::time::advance(PATIENCE).await;
        let mut late = begin("192.0.2.1");
        assert!(must_go(&mut crowd[0]) && must_go(&mut crowd[1]) && !must_go(&mut crowd[2]));
        assert!(!must_go(&mut late) && !must_go(&mut neighbour));
        let mut flood: Vec<_> = (0..MOST_PER_ADDRESS * AT_ONCE).map(|_| begin("192.0.2.1")).collect();
        assert!(crowd.drain(2..).all(|mut old| must_go(&mut old)));
        assert!(must_go(&mut late) && !flood.iter_mut().any(must_go) && !must_go(&mut neighbour));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_all_goes_where_all_places_are_taken() {
        let handshakes = Arc::<Handshakes>::default();
        let mut crowd: Vec<_> = (0..MOST).map(|_| Handshakes::begin(&handshakes, None)).collect();
        tokio::time::advance(PATIENCE).await;
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
