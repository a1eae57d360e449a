//! Decides whether a page may talk to this gateway: its Origin must be the host it connects to, or be allowed by name.
//! Called by `http` for every WebSocket handshake, legacy request and preflight. Invariant: anything not understood is foreign.

use std::fmt;
use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use serde::{Deserialize, Serialize};

use super::address::Peer;
use crate::config::{Security, Server};

/// Set by proxies to the Host the browser asked for.
const X_FORWARDED_HOST: &str = "x-forwarded-host";

/// An origin as browsers write it, in small letters and without the scheme's own port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn default_port(&self) -> Option<u16> {
        match self.scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        }
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WHAT: &str =
            "write scheme, host and perhaps port, as https://www.example.com, without path or wildcard";
        let (scheme, authority) = text.split_once("://").ok_or(WHAT)?;
        let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !scheme_fits {
            return Err(WHAT);
        }
        let (host, port) = split_authority(authority).ok_or(WHAT)?;
        let mut origin = Self { scheme: scheme.to_ascii_lowercase(), host, port };
        if origin.port == origin.default_port() {
            origin.port = None;
        }
        Ok(origin)
    }
}

impl TryFrom<String> for Origin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Host in small letters, and port. Refuses user names, paths, and hosts with anything but letters, digits, `-`, `.`, `_`:
/// `https://good.example@evil.example` must never read as good.example.
fn split_authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            // Parsed, since one address has many spellings.
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?)
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            let host_fits = !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            if !host_fits || (port.is_empty() && text.ends_with(':')) {
                return None;
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    match port {
        "" => Some((host, None)),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

/// Whose page a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// No browser's: it names no origin.
    None,
    /// One of the host it asks.
    SameHost,
    /// One of another host, which is allowed by name.
    Allowed,
    /// Another's: not let in.
    Foreign,
}

/// Judges a request from this peer by its headers.
pub fn page(headers: &HeaderMap, peer: Peer, security: &Security, server: &Server) -> Page {
    judge(headers, &security.allowed_origins, server.trusted_proxies.trusts(peer))
}

/// No Origin: not a browser's page. `null` (sandboxed frames, local files) is foreign. Otherwise the origin must be in
/// `allowed`, or name the host the request was sent to: the `Host` header, or, when `proxy_trusted`, the last
/// `X-Forwarded-Host` if there is one.
pub(crate) fn judge(headers: &HeaderMap, allowed: &[Origin], proxy_trusted: bool) -> Page {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(first) = origins.next() else {
        return Page::None;
    };
    let parsed = first.to_str().ok().and_then(|text| Origin::from_str(text).ok());
    // A second Origin is no browser's work: which one would a proxy have checked?
    let (Some(origin), None) = (parsed, origins.next()) else {
        return Page::Foreign;
    };
    if allowed.contains(&origin) {
        Page::Allowed
    } else if asked_host(headers, proxy_trusted).is_some_and(|host| same_host(&origin, &host)) {
        Page::SameHost
    } else {
        Page::Foreign
    }
}

fn asked_host(headers: &HeaderMap, proxy_trusted: bool) -> Option<String> {
    if proxy_trusted && let Some(forwarded) = headers.get_all(X_FORWARDED_HOST).iter().next_back() {
        // Each proxy appends the Host it saw; the last one is the word of the proxy we trust.
        return forwarded.to_str().ok()?.rsplit(',').next().map(|host| host.trim().to_owned());
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// A Host without port means the port of the scheme the browser used, which only the Origin tells us behind a proxy.
fn same_host(origin: &Origin, host: &str) -> bool {
    let Some((host, port)) = split_authority(host) else {
        return false;
    };
    let default = origin.default_port();
    default.is_some() && host == origin.host && port.or(default) == origin.port.or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed_with(headers: &[(&'static str, &str)], list: &[&str], proxy_trusted: bool) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let list: Vec<Origin> = list.iter().map(|origin| origin.parse().unwrap()).collect();
        judge(&map, &list, proxy_trusted) != Page::Foreign
    }

    fn same(origin: &str, host: &str) -> bool {
        allowed_with(&[("origin", origin), ("host", host)], &[], false)
    }

    #[test]
    fn a_request_without_origin_is_no_browsers_and_is_let_in() {
        assert!(allowed_with(&[("host", "example.com")], &[], false));
    }

    #[test]
    fn the_same_host_is_let_in_whatever_its_letters_and_default_ports() {
        for (origin, host) in [
            ("https://example.com", "example.com"),
            ("https://example.com", "EXAMPLE.com:443"),
            ("http://Example.com", "example.com:80"),
            ("http://example.com:80", "example.com"),
            ("https://example.com:8443", "example.com:8443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[0:0::1]:8080"),
            ("http://localhost:8080", "localhost:8080"),
        ] {
            assert!(same(origin, host), "{origin} to {host}");
        }
    }

    #[test]
    fn look_alikes_and_odd_forms_are_foreign() {
        for origin in [
            "null",
            "",
            "https://example.com.evil.test",
            "https://evil-example.com",
            "https://example.comevil",
            "https://sub.example.com",
            "https://example.com@evil.test",
            "https://evil.test#example.com",
            "https://evil.test/example.com",
            "https://example.com/",
            "https://example.com:",
            "https://example.com:443:443",
            "https://example.com:+443",
            "https://example.com:8443",
            "https://example.com:65979",
            "https://example.com.",
            "https://exаmple.com",
            "http://example.com example.com",
            "file://example.com",
            "chrome-extension://example.com",
            "//example.com",
            "example.com",
        ] {
            let mut map = HeaderMap::new();
            map.insert(HOST, "example.com".parse().unwrap());
            map.insert(ORIGIN, axum::http::HeaderValue::from_bytes(origin.as_bytes()).unwrap());
            assert_eq!(judge(&map, &[], false), Page::Foreign, "{origin}");
        }
        assert!(!same("https://example.com", "example.com:80"));
        assert!(!same("http://localhost:3000", "localhost:8080"));
        assert!(!same("http://127.0.0.1:8080", "localhost:8080"));
    }

    #[test]
    fn a_missing_or_doubled_host_or_a_second_origin_is_foreign() {
        assert!(!allowed_with(&[("origin", "http://a.test")], &[], false));
        assert!(!allowed_with(
            &[("origin", "http://a.test"), ("host", "a.test"), ("host", "b.test")],
            &[],
            false
        ));
        let twice = [("origin", "http://a.test"), ("origin", "http://b.test"), ("host", "a.test")];
        assert!(!allowed_with(&twice, &[], false));
    }

    #[test]
    fn the_list_is_exact_in_scheme_host_and_port() {
        let list = ["https://shop.test", "http://dev.test:3000"];
        for (origin, expected) in [
            ("https://shop.test", true),
            ("https://SHOP.test:443", true),
            ("http://shop.test", false),
            ("https://www.shop.test", false),
            ("http://dev.test:3000", true),
            ("http://dev.test", false),
        ] {
            assert_eq!(
                allowed_with(&[("origin", origin), ("host", "x.test")], &list, false),
                expected,
                "{origin}"
            );
        }
        assert!("*".parse::<Origin>().is_err());
        assert!("https://*.shop.test".parse::<Origin>().is_err());
    }

    #[test]
    fn a_forwarded_host_counts_only_from_a_trusted_proxy_and_then_its_last_word() {
        let headers = [
            ("origin", "https://shop.test"),
            ("host", "127.0.0.1:8080"),
            ("x-forwarded-host", "evil.test, shop.test"),
        ];
        assert!(allowed_with(&headers, &[], true));
        assert!(!allowed_with(&headers, &[], false));
        let evil = [("origin", "https://evil.test"), headers[1], headers[2]];
        assert!(!allowed_with(&evil, &[], true));
    }
}
