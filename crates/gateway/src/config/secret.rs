//! Values that must not be seen: passwords in URLs, signing keys, the dashboard's key.
//! Used by `sections` and whoever needs the bare value. Invariant: every way to print one masks it; `expose` is the one
//! way to the bare text, so a search for it finds every use.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands in for a secret.
pub(super) const MASK: &str = "***";

/// A text that prints as `***`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret(String);

impl Secret {
    /// The bare text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the secret, in a time that does not tell how much of it was right.
    pub fn matches(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let mut difference = u8::from(own.len() != given.len());
        for (at, byte) in given.iter().enumerate() {
            difference |= byte ^ own[at % own.len()];
        }
        std::hint::black_box(difference) == 0
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() { Err("is empty; leave it out instead") } else { Ok(Self(text)) }
    }
}

impl From<Secret> for String {
    fn from(_: Secret) -> Self {
        MASK.to_owned()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A key that tokens are signed with, written `kid:secret`; prints as `kid:***`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenKey {
    /// The key's name, carried by the tokens it signed.
    pub kid: String,
    /// What signs.
    pub secret: Secret,
}

impl TryFrom<String> for TokenKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once(':') {
            Some((kid, secret)) if is_kid(kid) && !secret.is_empty() => {
                Ok(Self { kid: kid.to_owned(), secret: Secret(secret.to_owned()) })
            }
            _ => Err("each key is written kid:secret; the kid may hold letters, digits, _ . and -"),
        }
    }
}

/// A kid travels in headers and tokens.
fn is_kid(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

impl From<TokenKey> for String {
    fn from(key: TokenKey) -> Self {
        format!("{}:{MASK}", key.kid)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{MASK}", self.kid)
    }
}

/// A URL that may carry a password; prints without it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The whole URL.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `redis`, `unix`, `mysql`, …, in small letters.
    pub fn scheme(&self) -> String {
        self.0.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default()
    }
}

impl TryFrom<String> for SecretUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() => Ok(Self(text)),
            _ => Err("is not a URL, as scheme://host:port/…"),
        }
    }
}

impl From<SecretUrl> for String {
    fn from(url: SecretUrl) -> Self {
        mask_url(&url.0)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_url(&self.0))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_url(&self.0))
    }
}

/// The URL without its password. Works on broken URLs too, and then rather hides too much: a password with an
/// unescaped `@`, `/` or `?` is the most common way to break one.
pub(super) fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return MASK.to_owned();
    };
    let (user, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (login.split_once(':').map_or(Some(login), |(user, _)| Some(user)), place),
        None => (None, rest),
    };
    // A Redis socket URL carries its password as a parameter.
    let (place, parameters) = match place.split_once('?') {
        Some((place, _)) => (place, "?***"),
        None => (place, ""),
    };
    match user {
        Some(user) => format!("{scheme}://{user}:{MASK}@{place}{parameters}"),
        None => format!("{scheme}://{place}{parameters}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_however_the_url_is_written() {
        for (url, masked) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:pw@host/0", "redis://:***@host/0"),
            ("redis://site:pw@host:6379", "redis://site:***@host:6379"),
            ("redis://site:p@w/@host:6379", "redis://site:***@host:6379"),
            ("mysql://wp@localhost/wp", "mysql://wp:***@localhost/wp"),
            ("unix:///run/redis.sock?db=1&pass=pw", "unix:///run/redis.sock?***"),
            ("127.0.0.1:6379 pw", "***"),
        ] {
            assert_eq!(mask_url(url), masked);
        }
    }

    #[test]
    fn no_way_of_printing_shows_a_secret() {
        let secret = Secret::try_from("hush-hush".to_owned()).unwrap();
        let key = TokenKey::try_from("k1:hush-hush".to_owned()).unwrap();
        let url = SecretUrl::try_from("redis://:hush-hush@host".to_owned()).unwrap();
        let printed = format!("{secret:?} {key:?} {url:?} {url} {:#?}", (&secret, &key, &url))
            + &serde_json::to_string(&(&secret, &key, &url)).unwrap();
        assert!(!printed.contains("hush"), "{printed}");
    }

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret::try_from("open sesame".to_owned()).unwrap();
        assert!(secret.matches("open sesame"));
        for wrong in ["", "open", "open sesamf", "open sesameopen sesame"] {
            assert!(!secret.matches(wrong), "{wrong}");
        }
    }
}
