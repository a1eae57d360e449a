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
use crate::config::Security;

/// Nobody goes sooner than this, though a crowd come at once to a busy machine, as after a restart …
const PATIENCE: Duration = Duration::from_secs(1);
/// … as long as there are not so many times too many.
const AT_ONCE: usize = 4;

/// Those under way.
pub(super) struct Handshakes(Mutex<UnderWay>);

/// How many may be under way at a time; 0 = no limit.
#[derive(Clone, Copy)]
struct Most {
    in_all: usize,
    of_address: usize,
}

impl Most {
    fn configured(security: &Security) -> Self {
        let in_all = security.max_handshakes as usize;
        Self { in_all, of_address: security.max_handshakes_per_address as usize }
    }
}

struct UnderWay {
    most: Most,
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
            let too_many = most > 0 && waiting >= most;
            too_many && (waiting >= most.saturating_mul(AT_ONCE) || has_waited())
        };
        let most = self.most;
        let turns = address.and_then(|address| self.by_address.get(&address));
        let of_address = turns.and_then(|turns| Some((*turns.first()?, turns.len(), most.of_address)));
        let of_all = self.all.first_key_value().map(|(turn, _)| (*turn, self.all.len(), most.in_all));
        let goes = |(turn, waiting, most)| must_go(turn, waiting, most).then_some(turn);
        of_address.and_then(goes).or_else(|| of_all.and_then(goes))
    }
}

impl Handshakes {
    /// Nobody is under way.
    pub(super) fn new(security: &Security) -> Arc<Self> {
        let (all, by_address) = (BTreeMap::new(), HashMap::new());
        let under_way = UnderWay { most: Most::configured(security), next: 0, all, by_address };
        Arc::new(Self(Mutex::new(under_way)))
    }

    /// Goes on under other limits; who is too many now goes when others come.
    pub(super) fn change(&self, security: &Security) {
        self.0.lock().most = Most::configured(security);
    }

    pub(super) fn begin(this: &Arc<Self>, address: Option<AddressKey>) -> Handshake {
        let (end, ended) = oneshot::channel();
        let mut under_way = this.0.lock();
        while let Some(end) = under_way.surplus(address).and_then(|turn| under_way.remove(turn)) {
            // One that is gone by itself needs no word.
            let _ = end.send(());
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.all.insert(number, Waiting { since: Instant::now(), address, end });
        if let Some(address) = address {
            under_way.by_address.entry(address).or_default().insert(number);
        }
        Handshake { turn: Turn { handshakes: Arc::clone(this), number }, ended: Ended(ended) }
    }
}

/// One under way.
pub struct Handshake {
    /// To be dropped when it is over.
    pub turn: Turn,
    /// To be listened to until then.
    pub ended: Ended,
}

/// Its turn among those under way: the lower the number, the longer it has waited.
pub struct Turn {
    handshakes: Arc<Handshakes>,
    number: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.handshakes.0.lock().remove(self.number);
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
    use tokio::task::unconstrained;

    use super::*;

    fn key(address: &str) -> Option<AddressKey> {
        Some(AddressKey::from(address.parse::<std::net::IpAddr>().unwrap()))
    }

    fn must_go(handshake: &mut Handshake) -> bool {
        // Without tokio's budget, which has a task that asks often wait for the next turn.
        unconstrained(handshake.ended.wait()).now_or_never().is_some()
    }

    /// So many may be under way, in all and of one address.
    fn allowing(max_handshakes: u32, max_handshakes_per_address: u32) -> Security {
        Security { max_handshakes, max_handshakes_per_address, ..Security::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_an_address_go_for_its_next_and_no_others() {
        const MOST: usize = 64;
        let handshakes = Handshakes::new(&Security::default());
        let begin = |address| Handshakes::begin(&handshakes, key(address));
        let mut neighbour = begin("192.0.2.2");
        let mut crowd: Vec<_> = (0..=MOST).map(|_| begin("192.0.2.1")).collect();
        assert!(!crowd.iter_mut().any(must_go), "who come together are let in together");
        tokio::time::advance(PATIENCE).await;
        let mut late = begin("192.0.2.1");
        assert!(must_go(&mut crowd[0]) && must_go(&mut crowd[1]) && !must_go(&mut crowd[2]));
        assert!(!must_go(&mut late) && !must_go(&mut neighbour));
        let mut flood: Vec<_> = (0..MOST * AT_ONCE).map(|_| begin("192.0.2.1")).collect();
        assert!(crowd.drain(2..).all(|mut old| must_go(&mut old)));
        assert!(must_go(&mut late) && !flood.iter_mut().any(must_go) && !must_go(&mut neighbour));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_all_goes_where_all_places_are_taken() {
        let handshakes = Handshakes::new(&allowing(100, 0));
        let mut crowd: Vec<_> = (0..100).map(|_| Handshakes::begin(&handshakes, None)).collect();
        tokio::time::advance(PATIENCE).await;
        assert!(!crowd.iter_mut().any(must_go));
        let _late = Handshakes::begin(&handshakes, key("192.0.2.1"));
        assert!(must_go(&mut crowd[0]) && !must_go(&mut crowd[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nobody_goes_and_new_limits_count_from_the_next_one_on() {
        let handshakes = Handshakes::new(&allowing(0, 0));
        let begin = || Handshakes::begin(&handshakes, key("192.0.2.1"));
        let mut crowd: Vec<_> = (0..5_000).map(|_| begin()).collect();
        tokio::time::advance(PATIENCE).await;
        let mut last = begin();
        assert!(!crowd.iter_mut().any(must_go));
        handshakes.change(&allowing(0, 10));
        assert!(!crowd.iter_mut().any(must_go), "until somebody comes");
        let _next = begin();
        assert!(crowd[..4_992].iter_mut().all(must_go), "all but nine");
        assert!(!crowd[4_992..].iter_mut().any(must_go) && !must_go(&mut last));
    }

    #[test]
    fn what_is_over_leaves_nothing_and_is_not_told_to_go() {
        let handshakes = Handshakes::new(&Security::default());
        let Handshake { turn, mut ended } = Handshakes::begin(&handshakes, key("192.0.2.1"));
        drop(turn);
        assert!(ended.wait().now_or_never().is_none());
        let under_way = handshakes.0.lock();
        assert!(under_way.all.is_empty() && under_way.by_address.is_empty());
    }
}
