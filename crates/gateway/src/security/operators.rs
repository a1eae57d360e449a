//! Who may see inside: the dashboard, the metrics, the details of `/health`. Asked by `http` for each such
//! request. Invariant: without the key only this machine itself, and what is refused says what to do about
//! it.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::address::{Peer, is_from_this_machine};
use crate::config::Secret;

/// Why somebody may not see inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no key that could be given.
    #[error(
        "This is shown to requests from this machine alone (a loopback address on both ends, a loopback \
         Host, no forwarding header). To see it from elsewhere or through a proxy, set \
         security.dashboard_key (SLOTCAST_SECURITY_DASHBOARD_KEY) to a long random text, restart, and \
         give it as `Authorization: Bearer …` or ?key=…"
    )]
    NoKeySet,
    /// None was given.
    #[error(
        "This wants the key that is set as security.dashboard_key: as `Authorization: Bearer …` or ?key=…"
    )]
    NoKeyGiven,
    /// Another was given.
    #[error("This is not the key that is set as security.dashboard_key.")]
    WrongKey,
}

impl Refused {
    /// 401 where a key would help, else 403.
    pub fn status(self) -> StatusCode {
        match self {
            Refused::NoKeySet => StatusCode::FORBIDDEN,
            Refused::NoKeyGiven | Refused::WrongKey => StatusCode::UNAUTHORIZED,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Whether the request may see inside.
pub fn check(key: Option<&Secret>, request: &Request) -> Result<(), Refused> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unix);
    may_see_inside(key, peer, request.headers(), request.uri())
}

fn may_see_inside(key: Option<&Secret>, peer: Peer, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
    if is_from_this_machine(peer, headers) {
        return Ok(());
    }
    let key = key.ok_or(Refused::NoKeySet)?;
    let given = bearer(headers).map(str::to_owned).or_else(|| query_key(uri)).ok_or(Refused::NoKeyGiven)?;
    if key.matches(&given) { Ok(()) } else { Err(Refused::WrongKey) }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn query_key(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key").map(|(_, key)| key.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a long & random text";

    fn ask(key: Option<&str>, peer: &str, lines: &[(&'static str, &str)], uri: &str) -> Result<(), Refused> {
        let key = key.map(|key| Secret::try_from(key.to_owned()).unwrap());
        let peer = Peer::from(std::net::SocketAddr::new(peer.parse().unwrap(), 9));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        may_see_inside(key.as_ref(), peer, &headers, &uri.parse().unwrap())
    }

    #[test]
    fn this_machine_needs_no_key_and_may_not_be_locked_out_by_a_wrong_one() {
        let here = [("host", "localhost:8080")];
        for key in [None, Some(KEY)] {
            assert_eq!(ask(key, "127.0.0.1", &here, "/metrics"), Ok(()));
            assert_eq!(ask(key, "127.0.0.1", &here, "/metrics?key=wrong"), Ok(()));
        }
    }

    #[test]
    fn without_a_key_set_nobody_else_gets_in_whatever_is_given() {
        for (peer, headers) in [
            ("203.0.113.9", &[("host", "localhost"), ("authorization", "Bearer x")][..]),
            ("127.0.0.1", &[("host", "booking.example")]),
            ("127.0.0.1", &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")]),
            ("127.0.0.1", &[]),
        ] {
            assert_eq!(
                ask(None, peer, headers, "/metrics?key="),
                Err(Refused::NoKeySet),
                "{peer} {headers:?}"
            );
        }
        assert!(Refused::NoKeySet.to_string().contains("security.dashboard_key"));
    }

    #[test]
    fn the_key_opens_as_bearer_and_in_the_address() {
        let host = ("host", "booking.example");
        let from = |headers: &[(&'static str, &str)], uri| ask(Some(KEY), "203.0.113.9", headers, uri);
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(from(&[host, ("authorization", &format!("{scheme} {KEY}"))], "/metrics"), Ok(()));
        }
        assert_eq!(from(&[host], "/metrics?x=1&key=a+long+%26%20random+text"), Ok(()));
        assert_eq!(from(&[host], "/metrics"), Err(Refused::NoKeyGiven));
        assert_eq!(from(&[host, ("authorization", "Basic eDp5")], "/metrics"), Err(Refused::NoKeyGiven));
        assert_eq!(from(&[host], "/metrics?key="), Err(Refused::WrongKey));
        assert_eq!(from(&[host, ("authorization", "Bearer a long")], "/metrics"), Err(Refused::WrongKey));
        let both = [host, ("authorization", "Bearer wrong")];
        assert_eq!(from(&both, "/metrics?key=a+long+%26+random+text"), Err(Refused::WrongKey));
    }
}
