//! Tokens: who a client is, said by somebody who has one of `security.token_keys`. JWTs, HS256 and nothing else.
//! Used by `session` at each hello and by `slotcast token`. Invariant: what is not understood in a token makes it none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use jiff::civil::Date;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use slot_state::{ClientId, EmployeeId, Room, parse_date};

use super::PHP_CLIENTS;
use crate::config::TokenKey;

/// Clocks of two machines may be this far apart: a token counts so much earlier and longer.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The keys, ready for use.
pub struct Tokens {
    keys: Vec<Key>,
    rules: Validation,
}

struct Key {
    kid: String,
    signs: EncodingKey,
    verifies: DecodingKey,
}

/// What a token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who shows it.
    pub client: ClientId,
    /// How long it counts from now on.
    pub left: Duration,
    /// Where.
    pub scope: Scope,
}

/// The rooms a token is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(Option<Box<[Rooms]>>);

/// Rooms of a date, of an employee, or of both; without either, all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rooms {
    date: Option<Date>,
    employee_id: Option<EmployeeId>,
}

impl Scope {
    /// Whether the room is among them.
    pub fn has(&self, room: Room) -> bool {
        let fits = |rooms: &Rooms| {
            rooms.date.is_none_or(|date| date == room.date)
                && rooms.employee_id.is_none_or(|employee_id| employee_id == room.employee_id)
        };
        self.0.as_ref().is_none_or(|rooms| rooms.iter().any(fits))
    }

    /// Whether it is all rooms.
    pub fn is_everything(&self) -> bool {
        self.0.is_none()
    }
}

/// Claims as they travel.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    /// Unix seconds; PHP may write a fraction.
    exp: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<RoomsClaim>>,
}

/// A field that is not known might narrow the scope further, so it is an error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomsClaim {
    date: Option<String>,
    employee_id: Option<u64>,
}

impl Tokens {
    /// Checks and makes tokens with these keys; the first signs.
    pub fn new(keys: &[TokenKey]) -> Self {
        // It can be installed once in a process, and always is the same.
        let _ = HS256.install_default();
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = LEEWAY.as_secs();
        rules.validate_nbf = true;
        rules.set_required_spec_claims(&["exp", "sub"]);
        let ready = |key: &TokenKey| {
            let secret = key.secret.expose().as_bytes();
            let (signs, verifies) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
            Key { kid: key.kid.clone(), signs, verifies }
        };
        Tokens { keys: keys.iter().map(ready).collect(), rules }
    }

    /// Whether there is any key.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What the token grants now; `None` if it grants nothing, for whatever reason.
    pub fn check(&self, token: &str) -> Option<Grant> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let kid = header.kid.filter(|_| header.crit.is_none())?;
        let key = self.keys.iter().find(|key| key.kid == kid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifies, &self.rules).ok()?.claims;
        let client: ClientId = claims.sub.parse().ok()?;
        if client.as_str().starts_with(PHP_CLIENTS) {
            return None;
        }
        let ends = Duration::try_from_secs_f64(claims.exp).unwrap_or(Duration::MAX).saturating_add(LEEWAY);
        Some(Grant { client, left: ends.saturating_sub(unix_time()), scope: scope(claims.rooms)? })
    }

    /// A token for a client; `None` without a key.
    pub fn mint(&self, client: &ClientId, ttl: Duration) -> Option<String> {
        let key = self.keys.first()?;
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
        let exp = unix_time().saturating_add(ttl).as_secs() as f64;
        let claims = Claims { sub: client.as_str().to_owned(), exp, rooms: None };
        jsonwebtoken::encode(&header, &claims, &key.signs).ok()
    }
}

fn scope(claimed: Option<Vec<RoomsClaim>>) -> Option<Scope> {
    let Some(claimed) = claimed else { return Some(Scope::default()) };
    let rooms = |claim: RoomsClaim| {
        let date = claim.date.map(|date| parse_date(&date)).transpose().ok()?;
        let employee_id = claim.employee_id.map(EmployeeId::new).transpose().ok()?;
        Some(Rooms { date, employee_id })
    };
    claimed.into_iter().map(rooms).collect::<Option<_>>().map(|rooms| Scope(Some(rooms)))
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// HS256 by the crates that sign messages to WordPress too; there is no other algorithm a token could ask for.
static HS256: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hs256::new(algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Hs256::new(algorithm, key.try_get_as_bytes()?)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(algorithm: &Algorithm, key: &[u8]) -> Result<Self, Error> {
        if *algorithm != Algorithm::HS256 {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Hmac::new_from_slice(key).map(Hs256).map_err(|_| ErrorKind::InvalidKeyFormat.into())
    }
}

impl signature::Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl signature::Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// What must hold for any text that is shown as a token, and for any header and claims, each on a line, that one of our keys
/// has signed: nobody is let in but by our signature, as who the claims say, and no longer than they say.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(input: &[u8]) {
    use std::sync::LazyLock;

    static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
        let keys = ["k1:a-secret-of-many-letters-1", "k2:a-secret-of-many-letters-2"];
        Tokens::new(&keys.map(|key| key.to_owned().try_into().expect("a key")))
    });
    let Ok(text) = std::str::from_utf8(input) else { return };
    let signed_by = |key: &Key, message: &str| {
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.signs, Algorithm::HS256);
        format!("{message}.{}", signature.expect("a signature"))
    };
    if TOKENS.check(text).is_some() {
        let message = text.rsplit_once('.').map_or("", |(message, _)| message);
        assert!(TOKENS.keys.iter().any(|key| signed_by(key, message) == text), "forged: {text}");
    }
    let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
    let (Ok(header), Ok(claims)) =
        (serde_json::from_str::<Header>(header), serde_json::from_str::<serde_json::Value>(claims))
    else {
        return;
    };
    let key = &TOKENS.keys[0];
    // Another algorithm is refused while signing already, or the claims are none that can be.
    let Ok(token) = jsonwebtoken::encode(&header, &claims, &key.signs) else { return };
    if let Some(grant) = TOKENS.check(&token) {
        assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::HS256, Some("k1")));
        assert_eq!(claims["sub"], grant.client.as_str());
        assert!(
            !grant.client.as_str().starts_with(PHP_CLIENTS)
                && grant.client.as_str().len() <= ClientId::MAX_LEN
        );
        let ends = claims["exp"].as_f64().expect("an end") + LEEWAY.as_secs_f64();
        // A second, for the clock between the check and here, and what numbers of that size are rounded by.
        let slack = 1.0 + ends * 2.0 * f64::EPSILON;
        assert!(ends + slack >= unix_time().as_secs_f64() + grant.left.as_secs_f64(), "{grant:?}");
        assert_eq!(grant.scope.is_everything(), claims["rooms"].is_null());
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
