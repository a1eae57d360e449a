//! How much one client, one address and all together may ask for: connections, frames, changes, holds.
//! Made once by `app`; `http` admits connections, `session` takes a counter of frames from here, `commands` counts
//! changes, looks at new rooms and holds.
//! Invariant: 0 means no limit, and what is remembered about an address or client goes when it has been quiet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, StatusCode};
use governor::Quota;
use parking_lot::Mutex;

use super::address::{ClientAddress, Peer, TrustedProxies, client_address};
use super::frames::FrameLimiter;
use super::handshakes::{Handshake, Handshakes};
use super::holds::Holds;
use super::rates::{Every, KeyedRate, quota};
use crate::config::Security;

/// How often the misconfigured proxy is named in the log.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// All limits of this gateway; clones share their counts.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    connections: Arc<Places>,
    /// Those of plain HTTP: apart, so that whom no WebSocket is left for can poll.
    http: Arc<Places>,
    handshakes: Arc<Handshakes>,
    holds: Holds,
    rates: ArcSwap<Rates>,
    /// Rates are kept under a keyed hash: eight bytes instead of an id, and nobody can choose ids that collide.
    hasher: RandomState,
    warn: Every,
}

/// Rates as configured, with what has been used of them.
struct Rates {
    /// As configured: frames and bytes of a connection, writes of a client, writes and new rooms from an address.
    per_second: [u32; 5],
    frames: Option<Quota>,
    bytes: Option<Quota>,
    writes_of_client: Option<KeyedRate>,
    writes_from_address: Option<KeyedRate>,
    new_rooms_from_address: Option<KeyedRate>,
}

impl Rates {
    fn new(per_second: [u32; 5]) -> Self {
        let keyed = |per_second: u32| quota(per_second).map(KeyedRate::new);
        let [frames, bytes, of_client, from_address, new_rooms] = per_second;
        Self {
            per_second,
            frames: quota(frames),
            bytes: quota(bytes),
            writes_of_client: keyed(of_client),
            writes_from_address: keyed(from_address),
            new_rooms_from_address: keyed(new_rooms),
        }
    }

    fn configured(security: &Security) -> [u32; 5] {
        [
            security.frames_per_second,
            security.bytes_per_second,
            security.writes_per_second,
            security.writes_per_second_per_address,
            security.new_rooms_per_second_per_address,
        ]
    }
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

impl Refused {
    /// What it counts as among the refusals.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
        }
    }

    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::AddressFull => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl Limits {
    /// Limits as configured, with nothing counted yet.
    pub fn new(security: &Security) -> Self {
        Self(Arc::new(Inner {
            connections: Places::new(security),
            http: Places::new(security),
            handshakes: Handshakes::new(security),
            holds: Holds::new(security.max_holds_per_address),
            rates: ArcSwap::from_pointee(Rates::new(Rates::configured(security))),
            hasher: RandomState::new(),
            warn: Every::new(WARN_EVERY),
        }))
    }

    /// Counts on under other limits. Who is in stays in; a connection keeps the rates that it began with.
    pub fn change(&self, security: &Security) {
        self.0.connections.change(security);
        self.0.http.change(security);
        self.0.handshakes.change(security);
        self.0.holds.change(security.max_holds_per_address);
        let per_second = Rates::configured(security);
        if self.0.rates.load().per_second != per_second {
            self.0.rates.store(Arc::new(Rates::new(per_second)));
        }
    }

    /// Whom the rules by address apply to in a request that came from this peer with these headers.
    pub fn client_of(&self, peer: Peer, headers: &HeaderMap, trusted: &TrustedProxies) -> ClientAddress {
        let client = client_address(peer, headers, trusted);
        if matches!(client, ClientAddress::UntrustedProxy(_)) && self.0.warn.is_due() {
            tracing::warn!(
                event = "proxy_not_trusted",
                "Requests come through a proxy that server.trusted_proxies does not name: no limit by address applies to them"
            );
        }
        client
    }

    /// Counts a WebSocket connection in, until the permit is dropped.
    pub fn admit(&self, address: ClientAddress) -> Result<ConnectionPermit, Refused> {
        self.0.connections.take(address)
    }

    /// Counts in a connection of plain HTTP, by its peer alone: what its headers say of others is anybody's to write.
    /// `None` where the peer is not counted, since it forwards for many.
    pub fn admit_http(&self, peer: ClientAddress) -> Result<Option<ConnectionPermit>, Refused> {
        peer.countable().map(|_| self.0.http.take(peer)).transpose()
    }

    /// Counts in a connection that has not said yet what it wants.
    pub fn begin_handshake(&self, address: ClientAddress) -> Handshake {
        Handshakes::begin(&self.0.handshakes, address.countable().map(AddressKey::from))
    }

    /// Who holds how much.
    pub fn holds(&self) -> &Holds {
        &self.0.holds
    }

    /// WebSocket connections open now.
    pub fn connections(&self) -> u32 {
        self.0.connections.open.lock().all
    }

    /// A counter for one connection's frames and their bytes; it takes 96.
    pub fn frame_limiter(&self) -> FrameLimiter {
        let rates = self.0.rates.load();
        FrameLimiter::new(rates.frames, rates.bytes)
    }

    /// Counts one change asked for by `client`, or by somebody nameless; false = `rate_limited`.
    pub fn check_write(&self, client: Option<&str>, address: ClientAddress) -> bool {
        let rates = self.0.rates.load();
        within(&rates.writes_of_client, client.map(|client| self.0.hasher.hash_one(client)))
            && within(&rates.writes_from_address, self.tag(address))
    }

    /// Counts a look at a room that nobody watches; false = `rate_limited`.
    pub fn check_new_room(&self, address: ClientAddress) -> bool {
        within(&self.0.rates.load().new_rooms_from_address, self.tag(address))
    }

    fn tag(&self, address: ClientAddress) -> Option<u64> {
        address.countable().map(|address| self.0.hasher.hash_one(AddressKey::from(address)))
    }
}

fn within(rate: &Option<KeyedRate>, key: Option<u64>) -> bool {
    match (rate, key) {
        (Some(rate), Some(key)) => rate.check(key),
        _ => true,
    }
}

/// What one address counts as: an IPv6 client usually has a whole /64 network to pick addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum AddressKey {
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

/// Places that connections take, as long as there are some.
struct Places {
    most: AtomicU32,
    most_per_address: AtomicU32,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: u32,
    by_address: HashMap<AddressKey, u32>,
}

impl Places {
    fn new(security: &Security) -> Arc<Self> {
        let most = AtomicU32::new(security.max_connections);
        let most_per_address = AtomicU32::new(security.max_connections_per_address);
        Arc::new(Self { most, most_per_address, open: Mutex::default() })
    }

    fn change(&self, security: &Security) {
        self.most.store(security.max_connections, Ordering::Relaxed);
        self.most_per_address.store(security.max_connections_per_address, Ordering::Relaxed);
    }

    fn take(self: &Arc<Self>, address: ClientAddress) -> Result<ConnectionPermit, Refused> {
        let key = address.countable().map(AddressKey::from);
        self.count_in(key)?;
        Ok(ConnectionPermit { places: Arc::clone(self), key })
    }

    fn count_in(&self, key: Option<AddressKey>) -> Result<(), Refused> {
        let most = self.most.load(Ordering::Relaxed);
        let most_per_address = self.most_per_address.load(Ordering::Relaxed);
        let mut open = self.open.lock();
        if most != 0 && open.all >= most {
            return Err(Refused::Full);
        }
        if let Some(key) = key {
            let already = open.by_address.get(&key).copied().unwrap_or(0);
            if most_per_address != 0 && already >= most_per_address {
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
    places: Arc<Places>,
    key: Option<AddressKey>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.places.count_out(self.key);
    }
}

impl std::fmt::Debug for ConnectionPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionPermit")
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
