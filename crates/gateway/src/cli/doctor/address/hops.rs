//! Whether the proxies in between are trusted, and none but them: found by a planted `X-Forwarded-For`.
//! Pure but for `check`. Invariant: a planted address that the gateway counts is never called well, unless
//! it came from a place that is a proxy itself.

use std::net::{IpAddr, SocketAddr};

use super::line::{Headers, Line, NotOpened};
use super::place::Place;
use crate::cli::doctor::report::{Check, nginx, slotcast_toml};
use crate::config::Config;
use crate::security::asker::Asker;

const NAME: &str = "address.proxies";
/// Nobody's, for documentation.
const PLANTED: &str = "192.0.2.77";
/// What a proxy must say of the client; the last line hides what clients say themselves.
const FORWARD: &str =
    "proxy_set_header Host $http_host;\nproxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";

/// What the gateway said of one of our requests.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Our end of the connection.
    local: Option<SocketAddr>,
    by_gateway: Asker,
}

impl Seen {
    /// The socket that the gateway has is the one that we have.
    fn is_direct(&self) -> bool {
        self.local.is_some() && self.local == self.by_gateway.peer
    }
}

/// Asks as we are and with a planted header, and judges.
pub(super) async fn check(config: &Config, place: &Place) -> Check {
    let key = config.security.dashboard_key.as_ref().map(|key| key.expose());
    let shown = key.filter(|_| place.is_private());
    let (plain, planted) = futures::join!(ask(place, shown, None), ask(place, shown, Some(PLANTED)));
    let (plain, planted) = match (plain, planted) {
        (Ok(plain), Ok(planted)) => (plain, planted),
        (Err(error), _) | (_, Err(error)) => {
            return Check::failed(
                NAME,
                format!("a request with a forwarding header was not answered: {error}"),
            );
        }
    };
    match (plain, planted) {
        (None, _) if key.is_some() && shown.is_none() => {
            let says = "how the gateway counts clients is told only with security.dashboard_key, which is \
                not sent over an unencrypted line: name a wss:// address with --url";
            Check::warning(NAME, says)
        }
        (None, _) if key.is_some() => {
            let says = "the gateway does not tell how it counts clients: does it have another \
                security.dashboard_key, or does a proxy drop the Authorization header or the answer's \
                x-slotcast-asker?";
            Check::warning(NAME, says)
        }
        (None, _) => {
            let says = "how the gateway counts clients behind a proxy is told only with \
                security.dashboard_key, which is not set";
            Check::warning(NAME, says)
                .paste(slotcast_toml("[security]\ndashboard_key = \"16 characters or more, at random\""))
        }
        (Some(plain), planted) => Judge { config, has_key: shown.is_some() }.check(plain, planted),
    }
}

async fn ask(
    place: &Place,
    key: Option<&str>,
    forwarded_for: Option<&str>,
) -> Result<Option<Seen>, NotOpened> {
    let line = Line::open(place, Headers { key, forwarded_for, origin: None }).await?;
    let seen = line.asker.map(|by_gateway| Seen { local: line.local, by_gateway });
    line.leave().await;
    Ok(seen)
}

struct Judge<'a> {
    config: &'a Config,
    has_key: bool,
}

impl Judge<'_> {
    fn check(&self, plain: Seen, planted: Option<Seen>) -> Check {
        if plain.is_direct() {
            let says = "asked without a proxy in between; name the public address with --url to have proxies \
                looked at";
            return Check::ok(NAME, says);
        }
        let peer = plain.by_gateway.peer.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_string());
        let planted = match planted {
            Some(planted) if self.has_key => planted.by_gateway,
            _ => {
                let says = format!(
                    "a proxy ({peer}) stands in between, and the gateway takes what comes through it for \
                     this machine's own: /metrics and /health tell everybody everything"
                );
                return Check::failed(NAME, says).paste(nginx(FORWARD));
            }
        };
        let plain = plain.by_gateway;
        let is_planted = planted.counted.is_some_and(|counted| counted.to_string() == PLANTED);
        if !planted.is_forwarded {
            let says = format!("the proxy ({peer}) does not say for whom it asks: all clients count as one");
            return Check::failed(NAME, says).paste(nginx(FORWARD));
        }
        if !planted.is_trusted && !plain.is_forwarded {
            let says = format!(
                "clients count as {peer}, and nothing in between says for whom it asks: that is well where \
                 {peer} is this machine's address, and means one address for all clients where it is a \
                 proxy's"
            );
            return Check::warning(NAME, says).paste(nginx(FORWARD));
        }
        if !planted.is_trusted {
            let says =
                format!("the proxy {peer} is not trusted: no limit by address applies to anybody behind it");
            return Check::failed(NAME, says).paste(slotcast_toml(self.trusting(&peer)));
        }
        match (is_planted, plain.hops) {
            (true, 0) => {
                let says = format!(
                    "the proxy ({peer}) passes on the X-Forwarded-For that clients send: anybody chooses the \
                     address that counts"
                );
                Check::failed(NAME, says).paste(nginx(FORWARD))
            }
            (true, _) if !plain.counted.is_some_and(is_inside) => {
                let outside = plain.counted.map(|address| address.to_string()).unwrap_or_default();
                let says = format!(
                    "server.trusted_proxies trusts {outside}, which is a client's address: anybody chooses \
                     the address that counts"
                );
                Check::failed(NAME, says)
                    .paste(slotcast_toml(format!("[server]\ntrusted_proxies = [\"{peer}\"]")))
            }
            (true, _) => Check::ok(
                NAME,
                format!(
                    "the proxy {peer} is trusted and names its client; asked from an address that is trusted \
                     too"
                ),
            ),
            (false, 0) => {
                let says = format!(
                    "the proxy ({peer}) names no client in X-Forwarded-For: all clients count as one"
                );
                Check::failed(NAME, says).paste(nginx(FORWARD))
            }
            (false, _) => Check::ok(
                NAME,
                format!("the proxy {peer} is trusted, and a forwarding header of a client's own is not"),
            ),
        }
    }

    /// What is trusted, and this.
    fn trusting(&self, peer: &str) -> String {
        let mut trusted: Vec<String> = self.config.server.trusted_proxies.clone().into();
        trusted.push(peer.to_owned());
        let quoted: Vec<String> = trusted.iter().map(|entry| format!("\"{entry}\"")).collect();
        format!("[server]\ntrusted_proxies = [{}]", quoted.join(", "))
    }
}

/// Whether an address is of this machine or a network that is not the internet.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::*;

    struct As {
        peer: &'static str,
        trusted: bool,
        hops: usize,
        counted: Option<&'static str>,
    }

    fn seen(seen: &As) -> Seen {
        let by_gateway = Asker {
            peer: seen.peer.parse().ok(),
            is_trusted: seen.trusted,
            is_forwarded: seen.hops > 0,
            hops: seen.hops,
            counted: seen.counted.map(|counted| counted.parse().unwrap()),
        };
        Seen { local: "198.51.100.4:999".parse().ok(), by_gateway }
    }

    fn judged(has_key: bool, plain: As, planted: As) -> (Verdict, String) {
        let config = Config::default();
        let check = Judge { config: &config, has_key }.check(seen(&plain), Some(seen(&planted)));
        (check.verdict, format!("{} {:?}", check.says, check.paste))
    }

    #[test]
    fn each_kind_of_proxy_is_told_from_the_others() {
        const NGINX: &str = "127.0.0.1:5000";
        const OURS: Option<&str> = Some("198.51.100.4");
        const PROXY: Option<&str> = Some("127.0.0.1");
        let see = |peer, trusted, hops, counted| As { peer, trusted, hops, counted };
        for (what, plain, planted, verdict, named) in [
            ("appends", see(NGINX, true, 1, OURS), see(NGINX, true, 2, OURS), Verdict::Ok, "is trusted"),
            ("overwrites", see(NGINX, true, 1, OURS), see(NGINX, true, 1, OURS), Verdict::Ok, "is trusted"),
            (
                "passes on",
                see(NGINX, true, 0, PROXY),
                see(NGINX, true, 1, Some(PLANTED)),
                Verdict::Failed,
                "anybody chooses",
            ),
            (
                "says nothing",
                see(NGINX, true, 0, PROXY),
                see(NGINX, true, 0, PROXY),
                Verdict::Failed,
                "count as one",
            ),
            (
                "is not trusted",
                see("10.1.2.3:5", false, 1, None),
                see("10.1.2.3:5", false, 2, None),
                Verdict::Failed,
                "\\\"unix\\\", \\\"10.1.2.3\\\"",
            ),
            (
                "everybody is trusted",
                see(NGINX, true, 1, OURS),
                see(NGINX, true, 2, Some(PLANTED)),
                Verdict::Failed,
                "a client's address",
            ),
            (
                "asked from inside",
                see(NGINX, true, 1, PROXY),
                see(NGINX, true, 2, Some(PLANTED)),
                Verdict::Ok,
                "trusted too",
            ),
            (
                "perhaps none",
                see("203.0.113.9:5", false, 0, Some("203.0.113.9")),
                see("203.0.113.9:5", false, 1, None),
                Verdict::Warning,
                "203.0.113.9",
            ),
            (
                "none at all",
                see("198.51.100.4:999", false, 0, OURS),
                see("198.51.100.4:1000", false, 1, None),
                Verdict::Ok,
                "without a proxy",
            ),
        ] {
            let (judged, text) = judged(true, plain, planted);
            assert_eq!(judged, verdict, "{what}: {text}");
            assert!(text.contains(named), "{what}: {text}");
        }
    }

    #[test]
    fn a_proxy_that_passes_for_this_machine_opens_the_operators_pages() {
        let seen = || As { peer: "127.0.0.1:5000", trusted: true, hops: 0, counted: Some("127.0.0.1") };
        let (verdict, text) = judged(false, seen(), seen());
        assert_eq!(verdict, Verdict::Failed);
        assert!(text.contains("/metrics"), "{text}");
    }
}
