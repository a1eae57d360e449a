//! A message to WordPress: signed, sent, and judged by its answer. Neither bodies nor secrets leave this file but to WordPress.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use serde_json::{Map, Value};
use sha2::Sha256;
use slot_state::Untold;
use tokio::time::timeout;

use crate::config::TokenKey;
use crate::wordpress::WordPress;

/// The must-use plugin's own.
const ROUTE: &str = "/slotcast/v1/bookings";
const EVENT: &str = "appointment_created";
const TIMESTAMP: HeaderName = HeaderName::from_static("x-slotcast-timestamp");
const KEY: HeaderName = HeaderName::from_static("x-slotcast-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-slotcast-signature");
/// For a message and its answer, the connection included.
const DEADLINE: Duration = Duration::from_secs(10);
/// What is left of an answer is waited for so long, and read so far, for the next message to go the same way.
const REST_OF_ANSWER: Duration = Duration::from_millis(500);
const LONGEST_ANSWER: usize = 8 * 1024;

/// WordPress.
pub(super) struct Site {
    wordpress: Arc<WordPress>,
    kid: String,
    mac: Hmac<Sha256>,
}

impl Site {
    /// An error says why nothing can be signed.
    pub(super) fn new(wordpress: Arc<WordPress>, key: &TokenKey) -> Result<Self, String> {
        let mac = Hmac::new_from_slice(key.secret.expose().as_bytes());
        let mac = mac.map_err(|error| format!("security.token_keys cannot sign: {error}"))?;
        Ok(Site { wordpress, kid: key.kid.clone(), mac })
    }

    /// Tells of one booking. An error: WordPress may or may not have heard of it; says why.
    pub(super) async fn tell(&self, untold: &Untold) -> Result<(), String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = self.message(body(untold), now)?;
        let answer = match timeout(DEADLINE, self.wordpress.send(request)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(format!("no answer from {} within 10 s", self.host())),
        };
        let acknowledged = self.judge(answer.status(), answer.headers());
        let rest = Limited::new(answer.into_body(), LONGEST_ANSWER);
        let _ = timeout(REST_OF_ANSWER, rest.collect()).await;
        acknowledged
    }

    fn message(&self, body: String, now: u64) -> Result<Request<Full<Bytes>>, String> {
        let signature = self.sign(now, &body);
        Request::post(self.wordpress.rest_route(ROUTE))
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("slotcast/", env!("CARGO_PKG_VERSION")))
            .header(TIMESTAMP, now)
            .header(KEY, &self.kid)
            .header(SIGNATURE, signature)
            .body(Full::from(body))
            .map_err(|error| format!("no message can be made: {error}"))
    }

    fn sign(&self, now: u64, body: &str) -> String {
        let mac = self.mac.clone().chain_update(format!("{now}.")).chain_update(body);
        mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Whether the route itself took the message.
    fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), String> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let advice = match status {
            // What a site shows when it does not know the route, or is being mended.
            status if status.is_success() && kind.starts_with("text/html") => {
                "with a page: is slotcast's must-use plugin there?".to_owned()
            }
            status if status.is_success() => return Ok(()),
            status if status.is_redirection() => {
                "and redirects are not followed: legacy.upstream must be where WordPress answers itself"
                    .to_owned()
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("does it know the key {:?}, and is its clock right?", self.kid)
            }
            StatusCode::NOT_FOUND => "is slotcast's must-use plugin there?".to_owned(),
            _ => return Err(format!("{} answered {}", self.host(), status.as_u16())),
        };
        Err(format!("{} answered {}; {advice}", self.host(), status.as_u16()))
    }

    fn host(&self) -> &str {
        self.wordpress.host()
    }
}

fn body(untold: &Untold) -> String {
    let mut body: Map<String, Value> = serde_json::from_str(&untold.payload).unwrap_or_default();
    body.insert("id".to_owned(), untold.id.into());
    body.insert("event".to_owned(), EVENT.into());
    body.insert("appointment_id".to_owned(), untold.appointment_id.into());
    body.insert("created_at".to_owned(), untold.booked_at.into());
    Value::Object(body).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;

    fn site() -> Site {
        let upstream = Upstream::try_from("http://127.0.0.1/wp-admin/admin-ajax.php".to_owned()).unwrap();
        let key = TokenKey::try_from("k1:hush-hush".to_owned()).unwrap();
        Site::new(WordPress::new(&upstream).unwrap(), &key).unwrap()
    }

    #[test]
    fn a_message_is_signed_as_php_would_check_it() {
        // php -r 'echo hash_hmac("sha256", "1800000000." . "{\"id\":7}", "hush-hush");'
        let signature = "3183a4e69f157ceca6f5299c4784a5daff8f987e1817f262415e3f9056d22d2e";
        let message = site().message(r#"{"id":7}"#.to_owned(), 1_800_000_000).unwrap();
        let header = |name: HeaderName| message.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header(TIMESTAMP).as_str(), header(KEY).as_str()), ("1800000000", "k1"));
        assert_eq!(header(SIGNATURE), signature);
        assert_eq!(message.uri(), "http://127.0.0.1/index.php?rest_route=/slotcast/v1/bookings");
    }

    #[test]
    fn a_body_says_which_booking_it_is_whatever_became_of_its_row() {
        let mut untold =
            Untold { id: 7, appointment_id: 12, booked_at: 5, payload: String::new(), attempts: 1 };
        let bare = r#"{"appointment_id":12,"created_at":5,"event":"appointment_created","id":7}"#;
        assert_eq!(body(&untold), bare);
        untold.payload = r#"{"time":"10:00","id":"x"}"#.to_owned();
        let whole =
            r#"{"appointment_id":12,"created_at":5,"event":"appointment_created","id":7,"time":"10:00"}"#;
        assert_eq!(body(&untold), whole);
    }

    #[test]
    fn only_the_route_itself_acknowledges() {
        let site = site();
        let judge = |status: u16, kind: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            site.judge(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(judge(200, "application/json; charset=UTF-8"), Ok(()));
        assert_eq!(site.judge(StatusCode::NO_CONTENT, &HeaderMap::new()), Ok(()));
        for (status, kind, word) in [
            (200, "text/html; charset=UTF-8", "plugin"),
            (301, "text/html", "redirects"),
            (403, "application/json", "\"k1\""),
            (404, "application/json", "plugin"),
            (503, "text/html", "503"),
        ] {
            let error = judge(status, kind).unwrap_err();
            assert!(error.starts_with("127.0.0.1 answered") && error.contains(word), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
