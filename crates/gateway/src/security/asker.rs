//! Tells an operator who asks how this gateway sees the one who asks: the far end of the socket, and the
//! address that counts. Put on the answer to an upgrade by `http`, read by `slotcast doctor`. Invariant:
//! nobody else hears it, since it would tell an attacker whether rules by address apply.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::address::{
    ClientAddress, Peer, TrustedProxies, client_address, forwarded_addresses, forwards_for_others,
};

const HEADER: HeaderName = HeaderName::from_static("x-slotcast-asker");

/// How a gateway sees a request's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The far end of the socket; `None` for a socket file.
    pub peer: Option<SocketAddr>,
    /// Whether the peer is a trusted proxy.
    pub is_trusted: bool,
    /// Whether it carries a header that proxies add.
    pub is_forwarded: bool,
    /// How many addresses its `X-Forwarded-For` names.
    pub hops: usize,
    /// The address that rules by address count, if they apply.
    pub counted: Option<IpAddr>,
}

impl Asker {
    /// Of a request from this peer.
    pub fn of(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let end = peer.map_or(Peer::Unix, Peer::from);
        let address: ClientAddress = client_address(end, headers, trusted);
        Self {
            peer,
            is_trusted: trusted.trusts(end),
            is_forwarded: forwards_for_others(headers),
            hops: forwarded_addresses(headers),
            counted: address.countable(),
        }
    }

    /// Writes it into an answer.
    pub fn tell(&self, answer: &mut HeaderMap) {
        let text = serde_json::to_string(self).unwrap_or_default();
        if let Ok(value) = HeaderValue::try_from(text) {
            answer.insert(HEADER, value);
        }
    }

    /// Reads it from an answer; `None` where nothing was told.
    pub fn told(answer: &HeaderMap) -> Option<Self> {
        serde_json::from_slice(answer.get(HEADER)?.as_bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_read() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.7, 198.51.100.4"));
        headers.append("x-forwarded-for", HeaderValue::from_static("127.0.0.9"));
        let peer = "127.0.0.1:4711".parse().ok();
        let asker = Asker::of(peer, &headers, &TrustedProxies::default());
        let counted = "198.51.100.4".parse().ok();
        let expected = Asker { peer, is_trusted: true, is_forwarded: true, hops: 3, counted };
        assert_eq!(asker, expected);
        let mut answer = HeaderMap::new();
        asker.tell(&mut answer);
        assert_eq!(Asker::told(&answer), Some(expected));
        assert_eq!(Asker::told(&HeaderMap::new()), None);
    }
}
