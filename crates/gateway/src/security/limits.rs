//! How much one client, one address and all together may ask for: connections, frames, changes.
//! Made once by `app`; `http` admits connections, `session` counts frames, `commands` counts changes.
//! Invariant: 0 means no limit, and what is remembered about an address or client goes when it has been quiet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::ClientAddress;
use crate::config::Security;

/// A rate may be used up ahead for this long.
const BURST_SECS: u32 = 4;
/// A connection whose refused frames outnumber its accepted ones by this many bursts has gone far beyond its rate.
const FAR_BURSTS: u32 = 2;
/// How often rates that are full again are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// How often the misconfigured proxy is named in the log.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// All limits of this gateway; clones share their counts.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    connections: Connections,
    frames: Option<Quota>,
    frames_far: u32,
    writes_of_client: Option<KeyedRate>,
    writes_from_address: Option<KeyedRate>,
    /// Rates are kept under a keyed hash: eight bytes instead of an id, and nobody can choose ids that collide.
    hasher: RandomState,
    warn: Every,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `security.max_connections` are open: 503.
    #[error("too many connections")]
    Full,
    /// `security.max_connections_per_address` of this address are open: 429.
    #[error("too many connections from this address")]
    AddressFull,
}

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out.
    Ok,
    /// Answer `rate_limited`.
    TooFast,
    /// Close the connection (1008).
    FarTooFast,
}

impl Limits {
    /// Limits as configured, with nothing counted yet.
    pub fn new(security: &Security) -> Self {
        let keyed = |per_second: u32| quota(per_second).map(KeyedRate::new);
        Self(Arc::new(Inner {
            connections: Connections {
                most: security.max_connections,
                most_per_address: security.max_connections_per_address,
                open: Mutex::default(),
            },
            frames: quota(security.frames_per_second),
            frames_far: security.frames_per_second.saturating_mul(BURST_SECS * FAR_BURSTS),
            writes_of_client: keyed(security.writes_per_second),
            writes_from_address: keyed(security.writes_per_second_per_address),
            hasher: RandomState::new(),
            warn: Every::new(WARN_EVERY),
        }))
    }

    /// Counts a connection in, until the permit is dropped.
    pub fn admit(&self, address: ClientAddress) -> Result<ConnectionPermit, Refused> {
        if let ClientAddress::UntrustedProxy(proxy) = address
            && self.0.warn.is_due()
        {
            tracing::warn!(
                event = "proxy_not_trusted",
                %proxy,
                "Requests come through a proxy that server.trusted_proxies does not name: no limit by address applies to them"
            );
        }
        let key = address.countable().map(AddressKey::from);
        self.0.connections.count_in(key)?;
        Ok(ConnectionPermit { limits: Arc::clone(&self.0), key })
    }

    /// Connections open now.
    pub fn connections(&self) -> u32 {
        self.0.connections.open.lock().all
    }

    /// A counter for one connection's frames; 48 bytes.
    pub fn frame_limiter(&self) -> FrameLimiter {
        let rate = self.0.frames.map(|quota| RateLimiter::direct_with_clock(quota, TokioClock));
        FrameLimiter { rate, excess: 0, far: self.0.frames_far }
    }

    /// Counts one change asked for by `client`; false = `rate_limited`.
    pub fn check_write(&self, client: &str, address: ClientAddress) -> bool {
        let within = |rate: &Option<KeyedRate>, key: Option<u64>| match (rate, key) {
            (Some(rate), Some(key)) => rate.check(key),
            _ => true,
        };
        let address = address.countable().map(|address| self.0.hasher.hash_one(AddressKey::from(address)));
        within(&self.0.writes_of_client, Some(self.0.hasher.hash_one(client)))
            && within(&self.0.writes_from_address, address)
    }
}

/// What one address counts as: an IPv6 client usually has a whole /64 network to pick addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AddressKey {
    V4(u32),
    V6Network(u64),
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6Network([a, b, c, d].iter().fold(0, |bits, part| bits << 16 | u64::from(*part)))
            }
        }
    }
}

struct Connections {
    most: u32,
    most_per_address: u32,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: u32,
    by_address: HashMap<AddressKey, u32>,
}

impl Connections {
    fn count_in(&self, key: Option<AddressKey>) -> Result<(), Refused> {
        let mut open = self.open.lock();
        if self.most != 0 && open.all >= self.most {
            return Err(Refused::Full);
        }
        if let Some(key) = key {
            let already = open.by_address.get(&key).copied().unwrap_or(0);
            if self.most_per_address != 0 && already >= self.most_per_address {
                return Err(Refused::AddressFull);
            }
            open.by_address.insert(key, already + 1);
        }
        open.all += 1;
        Ok(())
    }

    fn count_out(&self, key: Option<AddressKey>) {
        let mut open = self.open.lock();
        open.all -= 1;
        let Some(key) = key else { return };
        match open.by_address.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.by_address.remove(&key);
            }
        }
    }
}

/// One connection's place; dropping it frees the place.
#[must_use]
pub struct ConnectionPermit {
    limits: Arc<Inner>,
    key: Option<AddressKey>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limits.connections.count_out(self.key);
    }
}

impl std::fmt::Debug for ConnectionPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionPermit")
    }
}

/// Counts one connection's frames.
pub struct FrameLimiter {
    rate: Option<RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Moment>>>,
    /// Refused frames less accepted ones, never below zero: it only stays up at more than twice the rate.
    excess: u32,
    far: u32,
}

impl FrameLimiter {
    /// Judges the frame that has just arrived.
    pub fn check(&mut self) -> Verdict {
        let Some(rate) = &self.rate else {
            return Verdict::Ok;
        };
        if rate.check().is_ok() {
            self.excess = self.excess.saturating_sub(1);
            return Verdict::Ok;
        }
        self.excess = self.excess.saturating_add(1);
        if self.excess > self.far { Verdict::FarTooFast } else { Verdict::TooFast }
    }
}

fn quota(per_second: u32) -> Option<Quota> {
    let rate = NonZeroU32::new(per_second)?;
    let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECS - 1));
    Some(Quota::per_second(rate).allow_burst(burst))
}

/// A rate for each of many keys. It cleans up after itself, so that no task has to be remembered for it.
struct KeyedRate {
    rates: RateLimiter<u64, DashMapStateStore<u64>, TokioClock, NoOpMiddleware<Moment>>,
    forget: Every,
}

impl KeyedRate {
    fn new(quota: Quota) -> Self {
        Self { rates: RateLimiter::dashmap_with_clock(quota, TokioClock), forget: Every::new(FORGET_EVERY) }
    }

    fn check(&self, key: u64) -> bool {
        if self.forget.is_due() {
            self.rates.retain_recent();
            self.rates.shrink_to_fit();
        }
        self.rates.check_key(&key).is_ok()
    }
}

/// True once in a while, for one of all callers.
struct Every {
    period: Duration,
    start: Instant,
    /// Milliseconds after `start`.
    due: AtomicU64,
}

impl Every {
    fn new(period: Duration) -> Self {
        Self { period, start: Instant::now(), due: AtomicU64::new(0) }
    }

    fn is_due(&self) -> bool {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.start.elapsed());
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(millis(self.period));
        now >= due && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// tokio's clock for governor, so that tests can pause it.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(Instant);

impl Clock for TokioClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Instant::now())
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, nanos: Nanos) -> Self {
        Self(self.0.checked_sub(nanos.into()).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut Security)) -> Limits {
        let mut security = Security::default();
        change(&mut security);
        Limits::new(&security)
    }

    fn from(address: &str) -> ClientAddress {
        ClientAddress::Known(address.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn frames_may_burst_for_four_seconds_then_come_at_their_rate() {
        let mut frames = limits(|security| security.frames_per_second = 5).frame_limiter();
        let mut accepted = |tries: u32| (0..tries).filter(|_| frames.check() == Verdict::Ok).count();
        assert_eq!(accepted(25), 20);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(accepted(8), 5);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(accepted(25), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_flood_is_far_too_fast() {
        let limits = limits(|security| security.frames_per_second = 10);
        let mut hasty = limits.frame_limiter();
        for _ in 0..1_000 {
            tokio::time::advance(Duration::from_millis(70)).await;
            assert_ne!(hasty.check(), Verdict::FarTooFast);
        }
        let mut flood = limits.frame_limiter();
        let verdicts: Vec<_> = (0..200).map(|_| flood.check()).collect();
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::TooFast), Some(40));
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::FarTooFast), Some(120));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_are_limited_by_client_and_by_address() {
        let limits = limits(|security| {
            security.writes_per_second = 1;
            security.writes_per_second_per_address = 2;
        });
        let accepted =
            |client: &str, address| (0..20).filter(|_| limits.check_write(client, address)).count();
        assert_eq!(accepted("a", from("192.0.2.1")), 4);
        assert_eq!(accepted("b", from("192.0.2.1")), 4);
        assert_eq!(accepted("c", from("192.0.2.1")), 0, "the address has used its eight");
        assert_eq!(accepted("d", from("192.0.2.2")), 4);
        let proxy = ClientAddress::UntrustedProxy("198.51.100.1".parse().unwrap());
        for client in ["e", "f", "g", "h"] {
            assert_eq!(accepted(client, proxy), 4, "no address rule behind a proxy that is not trusted");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_clients_are_forgotten() {
        let limits = limits(|_| ());
        for number in 0..1_000 {
            assert!(limits.check_write(&format!("client-{number}"), ClientAddress::None));
        }
        tokio::time::advance(FORGET_EVERY * 2).await;
        assert!(limits.check_write("another", ClientAddress::None));
        assert_eq!(limits.0.writes_of_client.as_ref().unwrap().rates.len(), 1);
    }

    #[test]
    fn connections_are_counted_by_address_and_in_all_until_their_permit_goes() {
        let limits = limits(|security| {
            security.max_connections = 3;
            security.max_connections_per_address = 2;
        });
        let first = limits.admit(from("192.0.2.1")).unwrap();
        let second = limits.admit(from("::ffff:192.0.2.1")).unwrap();
        assert_eq!(limits.admit(from("192.0.2.1")).unwrap_err(), Refused::AddressFull);
        let third = limits.admit(from("192.0.2.2")).unwrap();
        assert_eq!(limits.admit(from("192.0.2.3")).unwrap_err(), Refused::Full);
        drop(first);
        let again = limits.admit(from("192.0.2.1")).unwrap();
        drop((second, third, again));
        assert_eq!(limits.connections(), 0);
        assert!(limits.0.connections.open.lock().by_address.is_empty());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let limits = limits(|security| security.max_connections_per_address = 1);
        let _permit = limits.admit(from("2001:db8:0:1::1")).unwrap();
        assert!(limits.admit(from("2001:db8:0:1:ffff::2")).is_err());
        assert!(limits.admit(from("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn zero_means_no_limit_and_an_untrusted_proxy_has_none_by_address() {
        let limits = limits(|security| {
            security.max_connections_per_address = 1;
            security.frames_per_second = 0;
            security.writes_per_second = 0;
            security.writes_per_second_per_address = 0;
        });
        let proxy = ClientAddress::UntrustedProxy("198.51.100.1".parse().unwrap());
        let permits: Vec<_> = (0..100).map(|_| limits.admit(proxy).unwrap()).collect();
        assert_eq!(limits.connections(), 100);
        drop(permits);
        let mut frames = limits.frame_limiter();
        assert!((0..10_000).all(|_| frames.check() == Verdict::Ok));
        assert!((0..10_000).all(|_| limits.check_write("a", from("192.0.2.1"))));
    }

    #[test]
    fn a_connections_own_state_is_small() {
        assert!(size_of::<FrameLimiter>() <= 56, "{}", size_of::<FrameLimiter>());
        assert!(size_of::<ConnectionPermit>() <= 32, "{}", size_of::<ConnectionPermit>());
    }
}
