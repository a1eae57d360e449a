//! Where WordPress is: the address of its admin-ajax.php, which pages of the site know too.
//! Used by `sections`; the addresses of its other doors are made here.

use axum::http::Uri;
use serde::{Deserialize, Serialize};

/// What WordPress' addresses end with here, whatever they begin with.
const AJAX: &str = "/wp-admin/admin-ajax.php";

/// `https://www.example.com/blog/wp-admin/admin-ajax.php`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream(Uri);

impl Upstream {
    /// Whether the way there is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The address itself.
    pub fn ajax(&self) -> Uri {
        self.0.clone()
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        self.0.authority().map(|authority| authority.as_str()).unwrap_or_default()
    }

    /// The address of a REST route, as `/plugin/v1/things`, in the form that WordPress serves however it is set up: one
    /// below `/wp-json/` needs pretty permalinks, a server that rewrites addresses, and a WordPress at the root of its site.
    pub fn rest_route(&self, route: &str) -> Uri {
        let folder = self.0.path().strip_suffix(AJAX).unwrap_or_default();
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = format!("{folder}/index.php?rest_route={route}").parse().ok();
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl TryFrom<String> for Upstream {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WHAT: &str = "write the address of WordPress' admin-ajax.php, as https://www.example.com/wp-admin/admin-ajax.php";
        let uri: Uri = text.parse().map_err(|_| WHAT)?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(WHAT);
        };
        if authority.as_str().contains('@') {
            return Err("may hold no user and password: messages to it are signed");
        }
        let host = authority.host();
        let is_place = !host.is_empty() && (authority.port_u16().is_some() || authority.as_str() == host);
        if is_place && uri.path().ends_with(AJAX) && uri.query().is_none() {
            Ok(Self(uri))
        } else {
            Err(WHAT)
        }
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> Self {
        upstream.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route_at(url: &str) -> Result<String, &'static str> {
        Upstream::try_from(url.to_owned()).map(|upstream| upstream.rest_route("/a/v1/b").to_string())
    }

    #[test]
    fn a_route_is_found_beside_admin_ajax() {
        for (url, route) in [
            (
                "https://www.example.com/wp-admin/admin-ajax.php",
                "https://www.example.com/index.php?rest_route=/a/v1/b",
            ),
            (
                "http://127.0.0.1:8081/blog/wp/wp-admin/admin-ajax.php",
                "http://127.0.0.1:8081/blog/wp/index.php?rest_route=/a/v1/b",
            ),
            ("HTTP://[::1]:80/wp-admin/admin-ajax.php", "http://[::1]:80/index.php?rest_route=/a/v1/b"),
        ] {
            assert_eq!(route_at(url).as_deref(), Ok(route));
        }
    }

    #[test]
    fn what_is_not_the_address_of_admin_ajax_is_refused() {
        for url in [
            "",
            "www.example.com",
            "/wp-admin/admin-ajax.php",
            "ftp://www.example.com/wp-admin/admin-ajax.php",
            "https:///wp-admin/admin-ajax.php",
            "https://:80/wp-admin/admin-ajax.php",
            "https://www.example.com/",
            "https://www.example.com/wp-admin/",
            "https://www.example.com/wp-admin/admin-ajax.php?action=heartbeat",
            "https://www.example.com:port/wp-admin/admin-ajax.php",
            "https://site:hush@www.example.com/wp-admin/admin-ajax.php",
        ] {
            assert!(route_at(url).is_err_and(|advice| !advice.contains("hush")), "{url}");
        }
    }
}
