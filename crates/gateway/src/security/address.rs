//! Whose request it is: the client's address behind trusted proxies, and what speaks against using it.
//! Called by `http` once per request. Invariant: a forwarding header is believed only as far as trusted proxies wrote it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::HOST;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDING_HEADERS: [&str; 5] =
    [X_FORWARDED_FOR, "x-real-ip", "x-forwarded-host", "x-forwarded-proto", "forwarded"];

/// The other end of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer; an IPv4 address a dual-stack socket reports as IPv6 counts as IPv4.
    Tcp(IpAddr),
    /// A peer on a socket file.
    Unix,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.ip().to_canonical())
    }
}

/// The proxies whose headers are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

impl Default for TrustedProxies {
    /// This machine.
    fn default() -> Self {
        let loopback = [IpAddr::from([127, 0, 0, 0]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
        let networks = [(loopback[0], 8), (loopback[1], 128)]
            .map(|(address, length)| IpNet::new_assert(address, length));
        Self { networks: networks.to_vec(), unix: true }
    }
}

impl TrustedProxies {
    /// Whether the peer itself is a trusted proxy.
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.contains(address),
            Peer::Unix => self.unix,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

impl TryFrom<Vec<String>> for TrustedProxies {
    type Error = String;

    fn try_from(items: Vec<String>) -> Result<Self, Self::Error> {
        let mut trusted = Self { networks: Vec::new(), unix: false };
        for item in items {
            if item == "unix" {
                trusted.unix = true;
                continue;
            }
            let network = item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            let advice = || format!("{item:?} is no network, as 10.0.0.0/8, no address, and not \"unix\"");
            trusted.networks.push(network.map_err(|_| advice())?.trunc());
        }
        Ok(trusted)
    }
}

impl From<TrustedProxies> for Vec<String> {
    fn from(trusted: TrustedProxies) -> Self {
        let networks = trusted.networks.iter().map(IpNet::to_string);
        networks.chain(trusted.unix.then(|| "unix".to_owned())).collect()
    }
}

/// Whom the rules by address apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// The client's own address.
    Known(IpAddr),
    /// This peer forwards for others but is not trusted, so everybody behind it would share one address.
    /// No rule by address applies; `Limits` logs the misconfiguration.
    UntrustedProxy(IpAddr),
    /// There is none: a socket file's peer that forwards for nobody. No rule by address applies.
    None,
}

impl ClientAddress {
    /// The address that rules by address count, if they apply.
    pub fn countable(self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(address),
            Self::UntrustedProxy(_) | Self::None => None,
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) | Self::UntrustedProxy(address) => address.fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

/// Finds the client: from the peer through `X-Forwarded-For`, right to left, as long as a trusted proxy vouches.
///
/// An entry that is no address ends the walk at the last proxy that is one: what stands left of it is hearsay.
pub fn client_address(peer: Peer, headers: &HeaderMap, trusted: &TrustedProxies) -> ClientAddress {
    let mut client = match peer {
        Peer::Tcp(address) if !trusted.contains(address) => {
            return if forwards_for_others(headers) {
                ClientAddress::UntrustedProxy(address)
            } else {
                ClientAddress::Known(address)
            };
        }
        Peer::Tcp(address) => ClientAddress::Known(address),
        Peer::Unix if trusted.unix => ClientAddress::None,
        Peer::Unix => return ClientAddress::None,
    };
    // Several header lines are one list, in their order.
    'walk: for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let Ok(line) = line.to_str() else { break };
        for entry in line.rsplit(',') {
            let Some(address) = parse_entry(entry) else { break 'walk };
            client = ClientAddress::Known(address);
            if !trusted.contains(address) {
                break 'walk;
            }
        }
    }
    client
}

/// `address`, `address:port` or `[address]:port`, as the proxies in use write it.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim().trim_matches('"');
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    entry.parse::<IpAddr>().ok().or_else(bracketed).or_else(with_port).map(|address| address.to_canonical())
}

/// Whether the request carries a header that proxies add. Clients can add one too; it never earns them trust.
pub fn forwards_for_others(headers: &HeaderMap) -> bool {
    FORWARDING_HEADERS.iter().any(|name| headers.contains_key(*name))
}

/// How many addresses the request says it has passed, whoever wrote them.
pub fn forwarded_addresses(headers: &HeaderMap) -> usize {
    let lines = headers.get_all(X_FORWARDED_FOR).iter();
    lines.filter_map(|line| line.to_str().ok()).map(|line| line.split(',').count()).sum()
}

/// Whether the request was made on this machine for this machine: loopback peer, loopback Host, no forwarding header.
///
/// All three, since a proxy here connects from loopback too, and a foreign page's name may resolve to 127.0.0.1.
pub fn is_from_this_machine(peer: Peer, headers: &HeaderMap) -> bool {
    let Peer::Tcp(address) = peer else { return false };
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return false;
    };
    address.is_loopback() && is_loopback_host(host) && !forwards_for_others(headers)
}

fn is_loopback_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || bracketed.unwrap_or(host).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn tcp(text: &str) -> Peer {
        Peer::from(SocketAddr::new(text.parse().unwrap(), 9))
    }

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let lines: Vec<_> = forwarded.iter().map(|line| (X_FORWARDED_FOR, *line)).collect();
        let items: Vec<String> = trusted.iter().map(|item| (*item).to_owned()).collect();
        let trusted = TrustedProxies::try_from(items).unwrap();
        match client_address(tcp(peer), &headers(&lines), &trusted) {
            ClientAddress::UntrustedProxy(address) => format!("untrusted {address}"),
            other => other.to_string(),
        }
    }

    #[test]
    fn the_chain_is_walked_from_the_right_through_trusted_networks() {
        let trusted = &["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"][..];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:127.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["6.6.6.6, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            ("127.0.0.1", &["6.6.6.6", "203.0.113.9", "10.1.1.1"], "203.0.113.9"),
            ("127.0.0.1", &["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
            ("127.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("2001:db8::1", &["\"[2a00::7]:4711\""], "2a00::7"),
            ("127.0.0.1", &["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1"),
            ("127.0.0.1", &["6.6.6.6,,"], "127.0.0.1"),
            ("127.0.0.1", &["<script>"], "127.0.0.1"),
        ] {
            assert_eq!(client(peer, forwarded, trusted), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_proxy_that_is_not_trusted_is_told_from_a_client() {
        assert_eq!(client("203.0.113.9", &["1.2.3.4"], &["127.0.0.1"]), "untrusted 203.0.113.9");
        let address = ClientAddress::UntrustedProxy([203, 0, 113, 9].into());
        assert_eq!(address.countable(), None);
    }

    #[test]
    fn a_socket_file_peer_has_the_address_its_proxy_names_or_none() {
        let trusted = TrustedProxies::default();
        let forwarded = headers(&[(X_FORWARDED_FOR, "203.0.113.9")]);
        assert_eq!(client_address(Peer::Unix, &forwarded, &trusted).to_string(), "203.0.113.9");
        assert_eq!(client_address(Peer::Unix, &headers(&[]), &trusted), ClientAddress::None);
        let strict = TrustedProxies::try_from(vec!["127.0.0.1".to_owned()]).unwrap();
        assert_eq!(client_address(Peer::Unix, &forwarded, &strict), ClientAddress::None);
    }

    #[test]
    fn trusted_proxies_are_networks_addresses_or_unix() {
        let text = ["10.1.2.3/8", "192.168.1.7", "fd00::/8", "unix"].map(str::to_owned).to_vec();
        let trusted = TrustedProxies::try_from(text).unwrap();
        assert_eq!(Vec::from(trusted), ["10.0.0.0/8", "192.168.1.7/32", "fd00::/8", "unix"]);
        assert!(TrustedProxies::try_from(vec!["nginx".to_owned()]).unwrap_err().contains("\"nginx\""));
    }

    #[test]
    fn only_a_direct_request_for_loopback_is_from_this_machine() {
        let from =
            |peer: &str, lines: &[(&'static str, &str)]| is_from_this_machine(tcp(peer), &headers(lines));
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.0.0.1", "[::1]", "[::1]:8080"] {
            assert!(from("127.0.0.1", &[("host", host)]), "{host}");
        }
        for host in ["example.com", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1", ""] {
            assert!(!from("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(!from("203.0.113.9", &[("host", "localhost")]));
        assert!(!from("127.0.0.1", &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")]));
        assert!(!from("127.0.0.1", &[]));
        assert!(!is_from_this_machine(Peer::Unix, &headers(&[("host", "localhost")])));
    }
}
