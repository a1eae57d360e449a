//! Where browsers connect: an address as an operator writes it.

use axum::http::Uri;

use crate::config::Listen;

/// The path of the push protocol.
const PATH: &str = "/ws";
/// What an address may begin with, and what that means.
const SCHEMES: [(&str, &str); 4] = [("ws", "ws"), ("wss", "wss"), ("http", "ws"), ("https", "wss")];

/// A WebSocket's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Place {
    uri: Uri,
}

impl Place {
    /// `wss://host[:port][/path]`; `https://` means the same, and no path means `/ws`.
    pub(in super::super) fn parse(text: &str) -> Result<Self, String> {
        const WHAT: &str = "write it as wss://www.example.com/ws";
        let given: Uri = text.parse().map_err(|error| format!("{error}; {WHAT}"))?;
        let scheme =
            SCHEMES.iter().find(|(scheme, _)| given.scheme_str() == Some(scheme)).map(|(_, means)| means);
        let (Some(scheme), Some(authority), None) = (scheme, given.authority(), given.query()) else {
            return Err(WHAT.to_owned());
        };
        if authority.as_str().contains('@') {
            return Err(format!("{WHAT}, without a user"));
        }
        let path = if given.path() == "/" { PATH } else { given.path() };
        let uri =
            format!("{scheme}://{authority}{path}").parse().map_err(|error| format!("{error}; {WHAT}"))?;
        Ok(Place { uri })
    }

    /// Where this machine reaches a gateway that listens there.
    pub(super) fn of(listen: &Listen) -> Option<Self> {
        Self::parse(&format!("ws://{}", listen.reached_at()?)).ok()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("wss")
    }

    /// As a resolver takes it.
    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// The origin of the pages of the same host.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.is_tls() { "https" } else { "http" };
        format!("{scheme}://{}", self.uri.authority().map(|authority| authority.as_str()).unwrap_or_default())
    }

    /// Whether a secret can be sent there without others reading it.
    pub(super) fn is_private(&self) -> bool {
        let is_loopback = self.host().parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.is_tls() || is_loopback || self.host().eq_ignore_ascii_case("localhost")
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_a_page_or_as_a_socket() {
        for (text, means, origin) in [
            ("wss://a.example/ws", "wss://a.example/ws", "https://a.example"),
            ("https://a.example", "wss://a.example/ws", "https://a.example"),
            ("http://a.example:8080/", "ws://a.example:8080/ws", "http://a.example:8080"),
            ("ws://[::1]:8080/live/ws", "ws://[::1]:8080/live/ws", "http://[::1]:8080"),
        ] {
            let place = Place::parse(text).unwrap();
            assert_eq!((place.to_string().as_str(), place.origin().as_str()), (means, origin));
        }
        for wrong in ["a.example", "ftp://a", "wss://u:p@a/ws", "wss://a/ws?key=x", ""] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_goes_over_tls_or_stays_on_this_machine() {
        for (text, is_private) in [
            ("wss://a.example", true),
            ("ws://127.0.0.9:1", true),
            ("ws://[::1]:1", true),
            ("ws://localhost", true),
            ("ws://a.example", false),
            ("ws://127.0.0.1.evil.example", false),
        ] {
            assert_eq!(Place::parse(text).unwrap().is_private(), is_private, "{text}");
        }
    }
}
