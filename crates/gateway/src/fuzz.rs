//! What the readers of foreign text promise of any bytes, as functions that panic where it does not hold.
//! Called by the tests with what stands in `tests/corpus`, and by `crates/fuzz`; not there in the program.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use slot_state::{AppointmentRef, ClientId, Customer, DateWindow, EmployeeId, IdempotencyKey, Room};

use crate::config;
use crate::protocol::booking::{self, BookingForm};
use crate::protocol::client_frame::{BadFrame, ClientFrame, HoldVerb, Request};
use crate::protocol::error::RequestError;
use crate::protocol::{client_frame, form, legacy};
use crate::security::address::{ClientAddress, Peer, TrustedProxies, client_address};
use crate::security::origin::{self, Origin, Page};
use crate::security::{PHP_CLIENTS, TOKEN_CLIENTS};

/// A name, which is that of its folder of inputs, and what must hold for each of them.
pub type Target = (&'static str, fn(&[u8]));

/// Every reader here.
pub const TARGETS: [Target; 5] = [
    ("frames", frames),
    ("forms", forms),
    ("tokens", crate::security::token::fuzz),
    ("headers", headers),
    ("config", config_file),
];

/// Every code that a refusal may have.
const CODES: [&str; 20] = [
    "bad_request",
    "unknown_type",
    "invalid_date",
    "invalid_employee",
    "invalid_time",
    "invalid_client",
    "slot_locked",
    "slot_booked",
    "slot_closed",
    "not_owner",
    "lock_lost",
    "not_subscribed",
    "too_many_rooms",
    "too_many_holds",
    "rate_limited",
    "unauthorized",
    "store_unavailable",
    "idempotency_mismatch",
    "booking_invalid",
    "internal",
];

/// Inputs are kept for years, and dates in them with them.
const WINDOW: DateWindow = DateWindow { horizon_days: u16::MAX };
/// Somebody without a token.
const NAMELESS: legacy::Sender = legacy::Sender { window: WINDOW, grant: None };

/// A text frame: refused by name, or a request within the rules that reads the same when it is written again.
fn frames(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match ClientFrame::parse(text, WINDOW) {
        Err(BadFrame { id, error }) => {
            check_id(id.as_ref());
            check_refusal(&error);
        }
        Ok(frame) => {
            check_id(frame.id.as_ref());
            check_request(&frame.request);
            let mut written = written(&frame.request);
            if let Some(id) = frame.id.clone() {
                written.insert("id".into(), id);
            }
            let again =
                ClientFrame::parse(&Value::Object(written).to_string(), WINDOW).expect("still a frame");
            assert_eq!(format!("{again:?}"), format!("{frame:?}"));
        }
    }
}

fn check_id(id: Option<&Value>) {
    match id {
        None | Some(Value::Number(_)) => {}
        Some(Value::String(text)) => assert!(text.chars().count() <= 64, "{text}"),
        Some(other) => panic!("the id {other}"),
    }
}

fn check_refusal(error: &RequestError) {
    assert!(CODES.contains(&error.code()), "{}", error.code());
    assert!((400..600).contains(&error.status()) && !error.to_string().is_empty());
}

fn check_room(room: Room) {
    assert!((1..=EmployeeId::MAX).contains(&room.employee_id.get()), "{room:?}");
    assert_eq!(WINDOW.parse(&room.date.to_string()), Ok(room.date));
}

fn check_client(client: &ClientId) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let name = client.as_str();
    assert!((1..=128).contains(&name.len()) && name.bytes().all(allowed), "{name}");
}

/// Nobody is called so without a token.
fn check_free(client: &ClientId) {
    check_client(client);
    assert!(
        !client.as_str().starts_with(TOKEN_CLIENTS) && !client.as_str().starts_with(PHP_CLIENTS),
        "{client}"
    );
}

fn check_request(request: &Request) {
    if let Some(room) = request.room() {
        check_room(room);
    }
    match request {
        Request::Hello(Some(client), None) => check_free(client),
        Request::Hello(Some(client), Some(_)) => check_client(client),
        Request::Confirm(_, fields) => check_booking(fields),
        Request::Legacy(fields) => check_heartbeat(fields),
        _ => {}
    }
}

/// The frame that asks for this.
fn written(request: &Request) -> Map<String, Value> {
    let in_room = |kind: &str, room: Room| {
        let date = room.date.to_string();
        json!({ "type": kind, "date": date, "employee_id": room.employee_id })
    };
    let frame = match request {
        Request::Hello(client, token) => json!({ "type": "hello", "client_id": client, "token": token }),
        Request::Subscribe(room, exclude) => {
            let mut frame = in_room("subscribe", *room);
            match exclude {
                Some(AppointmentRef::Number(number)) => frame["exclude_appointment_id"] = json!(number),
                Some(AppointmentRef::StrongId(id)) => frame["exclude_appointment_id"] = json!(id),
                None => {}
            }
            frame
        }
        Request::Unsubscribe(room) => in_room("unsubscribe", *room),
        Request::Sync(room) => in_room("sync", *room),
        Request::Availability(room) => in_room("availability", *room),
        Request::Hold(verb, slot) => {
            let kind = match verb {
                HoldVerb::Select => "select",
                HoldVerb::Deselect => "deselect",
                HoldVerb::Lock => "lock",
                HoldVerb::Unlock => "unlock",
            };
            let mut frame = in_room(kind, slot.room);
            frame["time"] = json!(slot.time);
            frame
        }
        Request::Ping => json!({ "type": "ping" }),
        Request::Confirm(_, fields) | Request::Legacy(fields) => return fields.clone(),
    };
    frame.as_object().cloned().unwrap_or_default()
}

/// A request's body or query: the first line is its content type, the rest it itself.
fn forms(input: &[u8]) {
    let (kind, body) = input.split_at(input.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    let kind = std::str::from_utf8(kind).unwrap_or_default().trim();
    let Some(fields) = form::parse_body(kind, body) else { return };
    check_heartbeat(&fields);
    check_rest(&legacy::without_empty(fields.clone()));
    if let Some(flat) = form::flat(kind, body, &fields) {
        let names: usize = flat.iter().map(|(name, _)| name.len()).sum();
        assert!(
            flat.len() < 1000 && names <= body.len().max(512 * 1024),
            "{} fields, {names} bytes",
            flat.len()
        );
    }
    let form = form::parse_form(body);
    assert!(leaves(&Value::Object(form.clone()), 0) <= 1000);
    // What a form became is written as a form that becomes the same.
    if let Some(flat) = form::flat("application/json", b"", &form) {
        let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(flat).finish();
        assert_eq!(form::parse_form(written.as_bytes()), form, "{written}");
    }
}

/// How many strings there are; nothing but strings, not deeper than a form's names may be.
fn leaves(value: &Value, depth: usize) -> usize {
    match value {
        Value::String(_) => 1,
        Value::Object(fields) => {
            assert!(depth < 8, "too deep");
            fields.values().map(|value| leaves(value, depth + 1)).sum()
        }
        other => panic!("{other} in a form"),
    }
}

/// What a REST call reads out of its fields.
fn check_rest(fields: &Map<String, Value>) {
    match client_frame::room(fields, WINDOW) {
        Ok(room) => check_room(room),
        Err(error) => check_refusal(&error),
    }
    check_handles(fields);
    check_booking(fields);
}

fn check_handles(form: &Map<String, Value>) {
    match legacy::hold(form, &NAMELESS) {
        Ok(hold) => {
            check_room(hold.slot.room);
            hold.client.iter().for_each(check_free);
        }
        Err(error) => check_refusal(&error),
    }
    match legacy::poll(form, &NAMELESS) {
        Ok(Some(poll)) => {
            check_room(poll.room);
            poll.client.iter().for_each(check_free);
        }
        Ok(None) => {}
        Err(error) => check_refusal(&error),
    }
}

fn check_heartbeat(fields: &Map<String, Value>) {
    let data = legacy::data(fields);
    for name in ["appointease_poll", "appointease_select", "appointease_deselect", "appointease_booking"] {
        if let Some(form) = legacy::handle(data, name) {
            check_handles(&form);
            check_booking(&form);
        }
    }
}

/// A booking under either set of names, with the key and client that it has where it names none.
fn check_booking(fields: &Map<String, Value>) {
    let ours = booking::as_ours(fields.clone());
    check_client(&booking::client_of_email(&ours));
    if let Ok(legacy::HoldForm { client, slot }) = legacy::hold(&ours, &NAMELESS) {
        for client in [client, None] {
            let (client, key) = booking::sender_of_form(client, slot, &ours);
            check_client(&client);
            assert!(key.parse::<IdempotencyKey>().is_ok());
        }
    }
    match booking::read(&ours) {
        Err(wrong) => assert!(!wrong.is_empty() && wrong.values().all(|sentence| !sentence.is_empty())),
        Ok(form) => check_form(&form),
    }
}

/// Panics unless a booking keeps the rules.
pub(crate) fn check_form(form: &BookingForm) {
    let Customer { name, email, phone, notes } = &form.customer;
    assert!((1..=100).contains(&name.chars().count()) && !name.contains(char::is_control), "{name:?}");
    assert!((3..=100).contains(&email.chars().count()) && email.matches('@').count() == 1, "{email:?}");
    assert!(!email.contains(char::is_whitespace) && !email.contains(['<', '>', '"', ',']), "{email:?}");
    assert!(phone.as_ref().is_none_or(|phone| (1..=20).contains(&phone.chars().count())), "{phone:?}");
    assert!(notes.as_ref().is_none_or(|notes| (1..=2000).contains(&notes.len())), "{notes:?}");
    assert!(form.service_id != Some(0));
}

/// A request's head, line by line: who is let in and whose it is.
fn headers(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let name = HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line.get(at + 1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let allowed: Vec<Origin> = "https://shop.example".parse().into_iter().collect();
    for trusted in [false, true] {
        let lets_in = origin::judge(&headers, &allowed, trusted) != Page::Foreign;
        let named = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        match named {
            None if !headers.contains_key(ORIGIN) => assert!(lets_in),
            None => assert!(!lets_in, "an origin that is no text"),
            Some(text) if lets_in => {
                let origin: Origin = text.parse().expect("an origin");
                let again: Origin = origin.to_string().parse().expect("the same");
                assert_eq!(again, origin);
                // Its host stands in the request elsewhere, or it is the one that is allowed.
                let host =
                    origin.to_string().split_once("://").map(|(_, host)| host.to_owned()).unwrap_or_default();
                let host = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name).to_owned();
                let is_asked = |name: &str| {
                    headers.get_all(name).iter().any(|value| {
                        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
                        host.starts_with('[') || value.contains(&host)
                    })
                };
                let asked = is_asked(HOST.as_str()) || (trusted && is_asked("x-forwarded-host"));
                assert!(allowed.contains(&origin) || asked, "{headers:?}");
            }
            Some(_) => {}
        }
    }
    let stranger = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    let found = client_address(Peer::Tcp(stranger), &headers, &TrustedProxies::default());
    let itself = [ClientAddress::Known(stranger), ClientAddress::UntrustedProxy(stranger)];
    assert!(itself.contains(&found), "{found:?} from a peer that nobody trusts");
    for peer in [Peer::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST)), Peer::Unix] {
        assert!(!client_address(peer, &headers, &TrustedProxies::default()).to_string().is_empty());
    }
}

/// A configuration file: every problem with a key and a sentence, and what is taken is within the ranges.
fn config_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::load_text(text) {
        Ok(loaded) => {
            let entries = loaded.entries();
            assert!(!entries.is_empty());
            loaded.warnings().iter().for_each(|warning| assert!(!warning.is_empty()));
            let security = &loaded.config.security;
            for key in &security.token_keys {
                let secret = key.secret.expose();
                let shown = |entry: &config::Entry| {
                    entry.key == "security.token_keys"
                        && entry
                            .value
                            .as_ref()
                            .is_some_and(|value| secret.len() > 8 && value.contains(secret))
                };
                assert!(!entries.iter().any(shown), "a secret is shown");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_once_stays_mended() {
        for (name, target) in TARGETS {
            support::replay(name, target);
        }
    }

    #[test]
    fn every_code_is_documented() {
        let protocol = include_str!("../PROTOCOL.md");
        for code in CODES {
            assert!(protocol.contains(&format!("`{code}`")), "{code}");
        }
    }
}
