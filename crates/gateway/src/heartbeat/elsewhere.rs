//! What an old page says to others than us, and to AppointEase what only PHP can do, goes on to WordPress' admin-ajax.php,
//! and its answer comes back beside ours. Invariant: nobody waits for WordPress longer than a deadline, and what it sends
//! is bounded; without its answer ours is whole.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{
    ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, ORIGIN, REFERER,
    SET_COOKIE, USER_AGENT,
};
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{BOOKING, HANDLES, booking};
use crate::protocol::form;
use crate::protocol::legacy;
use crate::security::address::Peer;
use crate::wordpress::WordPress;

/// For the whole of WordPress' answer. The page waits for it with our part, which is that old then.
const DEADLINE: Duration = Duration::from_secs(3);
/// Beats under way at one time; each keeps a PHP process busy.
const AT_ONCE: usize = 64;
/// The longest answer taken, in bytes.
const LONGEST_ANSWER: usize = 256 * 1024;
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded; charset=UTF-8");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Marks what went on already: where admin-ajax.php leads back to a gateway, it would go round for ever.
const WENT_ON: HeaderName = HeaderName::from_static("x-slotcast-passed-on");
/// What WordPress and its plugins learn of the browser. All else was between the browser, its proxies and us.
const PASSED_ON: [HeaderName; 7] =
    [COOKIE, AUTHORIZATION, USER_AGENT, ACCEPT_LANGUAGE, REFERER, ORIGIN, X_REQUESTED_WITH];

/// WordPress, for what is not ours to answer.
pub(crate) struct Elsewhere {
    wordpress: Arc<WordPress>,
    free: Semaphore,
}

/// What of a heartbeat goes on: a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beat(String);

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The fields of its JSON object.
    pub(crate) fields: Map<String, Value>,
    /// Its cookies.
    pub(crate) cookies: Vec<HeaderValue>,
}

impl Elsewhere {
    /// With nothing under way.
    pub(crate) fn new(wordpress: Arc<WordPress>) -> Self {
        Elsewhere { wordpress, free: Semaphore::new(AT_ONCE) }
    }

    /// Asks WordPress. An error says in a word why there is no answer.
    pub(crate) async fn ask(&self, beat: &Beat, headers: HeaderMap) -> Result<Answer, &'static str> {
        let _one_of_many = self.free.try_acquire().map_err(|_| "busy")?;
        match timeout(DEADLINE, self.exchange(beat, headers)).await {
            Ok(answer) => answer,
            Err(_) => Err("late"),
        }
    }

    async fn exchange(&self, beat: &Beat, headers: HeaderMap) -> Result<Answer, &'static str> {
        let mut request = Request::new(Full::from(beat.0.clone()));
        *request.method_mut() = axum::http::Method::POST;
        *request.uri_mut() = self.wordpress.ajax();
        *request.headers_mut() = headers;
        request.headers_mut().insert(CONTENT_TYPE, FORM);
        request.headers_mut().insert(WENT_ON, HeaderValue::from_static("1"));
        let answer = self.wordpress.send(request).await.map_err(|error| {
            tracing::debug!(event = "wordpress_not_asked", error);
            "away"
        })?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            tracing::debug!(event = "wordpress_not_asked", status = head.status.as_u16());
            return Err("refused");
        }
        let cookies = head.headers.get_all(SET_COOKIE).iter().cloned().collect();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|_| "strange")?.to_bytes();
        Ok(Answer { fields: object(&body)?, cookies })
    }
}

/// PHP writes an empty array where it has no fields.
fn object(body: &Bytes) -> Result<Map<String, Value>, &'static str> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Array(empty)) if empty.is_empty() => Ok(Map::new()),
        _ => Err("strange"),
    }
}

impl Beat {
    /// What of this request others are to answer: their data, and all that is beside data. `None` where nobody is, and
    /// where it is more than PHP would read.
    pub(crate) fn of(headers: &HeaderMap, body: &[u8], fields: &Map<String, Value>) -> Option<Self> {
        if headers.contains_key(WENT_ON) {
            return None;
        }
        let Some(Value::Object(data)) = fields.get("data") else { return None };
        let is_foreign = |handle: &str| {
            !HANDLES.contains(&handle)
                || handle == BOOKING
                    && legacy::handle(data, BOOKING).is_some_and(|form| !booking::is_ours(&form))
        };
        if !data.keys().any(|handle| is_foreign(handle)) {
            return None;
        }
        let goes_on = |name: &str| match form::path_of(name).as_slice() {
            ["data", handle, ..] => is_foreign(handle),
            [legacy::TOKEN] => false,
            [_, ..] => true,
            [] => false,
        };
        let mut beat = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form::flat(form::content_type(headers), body, fields)? {
            if goes_on(&name) {
                beat.append_pair(&name, &value);
            }
        }
        // The last one counts, however PHP reads the names before it; there are not so many that it would not get there.
        beat.append_pair("action", "heartbeat");
        Some(Beat(beat.finish()))
    }
}

/// The headers WordPress gets of a request: the browser's own, and the way it came as far as that can be believed.
pub(crate) fn passed_on(headers: &HeaderMap, peer: Peer, trusted: bool) -> HeaderMap {
    let mut passed_on = HeaderMap::new();
    for name in PASSED_ON {
        for value in headers.get_all(&name) {
            passed_on.append(name.clone(), value.clone());
        }
    }
    let believed = |name: &HeaderName| {
        let values = headers.get_all(name).iter().filter(|_| trusted);
        values.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut way = believed(&X_FORWARDED_FOR);
    if let Peer::Tcp(address) = peer {
        way.push(address.to_string());
    }
    if let Ok(way) = HeaderValue::try_from(way.join(", "))
        && !way.is_empty()
    {
        passed_on.insert(X_FORWARDED_FOR, way);
    }
    if let Some(Ok(scheme)) = believed(&X_FORWARDED_PROTO).last().map(HeaderValue::try_from) {
        passed_on.insert(X_FORWARDED_PROTO, scheme);
    }
    passed_on
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::form::parse_body;

    const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";

    fn beat(kind: &str, body: &str) -> Option<String> {
        let fields = parse_body(kind, body.as_bytes()).expect("fields");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().expect("a type"))]);
        Beat::of(&headers, body.as_bytes(), &fields).map(|Beat(form)| {
            form_urlencoded::parse(form.as_bytes()).map(|(name, value)| format!("{name}={value};")).collect()
        })
    }

    #[test]
    fn others_data_goes_on_with_what_is_beside_it_and_ours_stays() {
        let ours =
            "data[appointease_poll][date]=2026-12-01&data[appointease_booking][action]=confirm_booking";
        let beside = "interval=15&_nonce=n&action=heartbeat&screen_id=front&has_focus=true";
        assert_eq!(beat(FORM, &format!("{ours}&{beside}")), None);
        assert_eq!(beat(FORM, beside), None);
        assert_eq!(beat(FORM, &format!("data=x&{beside}")), None);
        let theirs = "data[other][a][]=1&data[other][a][]=2&data[b]=%26";
        assert_eq!(
            beat(FORM, &format!("{theirs}&{ours}&slotcast_token=ours&{beside}")).expect("a beat"),
            "data[other][a][]=1;data[other][a][]=2;data[b]=&;interval=15;_nonce=n;action=heartbeat;screen_id=front;\
             has_focus=true;action=heartbeat;"
        );
        let json = r#"{"action":"heartbeat","_nonce":"n","data":{"other":{"a":[1]},"appointease_poll":{"date":"x"}}}"#;
        let goes_on = beat("application/json", json).expect("a beat");
        let mut parts: Vec<_> = goes_on.split(';').collect();
        parts.sort_unstable();
        assert_eq!(parts, ["", "_nonce=n", "action=heartbeat", "action=heartbeat", "data[other][a][0]=1"]);
    }

    #[test]
    fn a_booking_action_of_phps_goes_on_whole() {
        let form = "data[appointease_booking][action]=reschedule_appointment&data[appointease_booking][id]=AE7\
                    &data[appointease_poll][date]=2026-12-01&action=heartbeat";
        let goes_on = beat(FORM, form).expect("a beat");
        assert!(
            goes_on.contains("[action]=reschedule_appointment;data[appointease_booking][id]=AE7;"),
            "{goes_on}"
        );
        assert!(!goes_on.contains("poll"), "{goes_on}");
    }

    #[test]
    fn no_field_turns_a_heartbeat_into_another_action() {
        let goes_on = beat(FORM, "data[x]=1&action=heartbeat&%20action=evil&action=evil2").expect("a beat");
        assert!(goes_on.ends_with(";action=heartbeat;"), "{goes_on}");
        let beyond_phps_limit = format!("data[x]=1&action=heartbeat&%20action=evil{}", "&y=".repeat(997));
        assert_eq!(beat(FORM, &beyond_phps_limit), None);
    }

    #[test]
    fn the_way_is_told_as_far_as_it_can_be_believed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("connection", "close, x-secret"),
            ("x-secret", "s"),
            ("transfer-encoding", "chunked"),
            ("host", "www.example.com"),
            ("cookie", "a=1"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let peer = Peer::Tcp([127, 0, 0, 1].into());
        let trusted = passed_on(&headers, peer, true);
        assert_eq!(trusted[X_FORWARDED_FOR], "203.0.113.7, 10.0.0.2, 127.0.0.1");
        assert_eq!(
            (&trusted[X_FORWARDED_PROTO], &trusted[COOKIE]),
            (&"https".parse().unwrap(), &"a=1".parse().unwrap())
        );
        assert_eq!(trusted.len(), 3, "{trusted:?}");
        let stranger = passed_on(&headers, peer, false);
        assert_eq!(stranger[X_FORWARDED_FOR], "127.0.0.1");
        assert_eq!(stranger.len(), 2, "{stranger:?}");
        assert_eq!(passed_on(&HeaderMap::new(), Peer::Unix, true).len(), 0);
    }

    #[test]
    fn only_an_object_is_an_answer_and_an_empty_array_is_phps_empty_object() {
        let fields =
            |text: &'static str| object(&Bytes::from_static(text.as_bytes())).map(|fields| fields.len());
        assert_eq!((fields("{\"a\":1}"), fields("{}"), fields("[]")), (Ok(1), Ok(0), Ok(0)));
        for text in ["", "0", "-1", "[1]", "<html>", "{\"a\":1}<br>Warning"] {
            assert_eq!(fields(text), Err("strange"), "{text}");
        }
    }
}
