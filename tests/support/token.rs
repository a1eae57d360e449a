//! Tokens as a site makes them, signed by hand, so that they can be wrong in any way.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// The name of the key that tests share with their gateways.
pub const KEY: &str = "k1";
/// And its secret: `security.token_keys` is `KEY:SECRET`.
pub const SECRET: &str = "s3cret-of-the-tests-and-of-nobody-else";
/// For so long after its end a token still counts, since clocks differ.
pub const LEEWAY_SECS: i64 = 30;

/// A token of [`KEY`] for this client that counts for so many seconds, the leeway included.
pub fn token_for(client_id: &str, seconds: i64) -> String {
    let exp = jiff::Timestamp::now().as_second() + seconds - LEEWAY_SECS;
    sign_token(&json!({"alg": "HS256", "kid": KEY}), &json!({"sub": client_id, "exp": exp}), SECRET)
}

/// Any token.
pub fn sign_token(header: &Value, claims: &Value, secret: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}
