//! The plugin's REST routes, by the same commands as the push protocol; errors in WordPress' form.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use slot_state::{ClientId, InvalidValue, Selected, Slot};

use super::legacy::{From, fields, reply};
use crate::app::Services;
use crate::commands::{Commands, Origin, seconds_left};
use crate::heartbeat::BOOKED;
use crate::protocol::booking;
use crate::protocol::client_frame::room;
use crate::protocol::error::RequestError;
use crate::protocol::form::parse_form;
use crate::protocol::legacy::{self as parse, HoldForm, Poll, Sender};
use crate::protocol::server_frame::ALL;

/// Where a booking's key may be instead of among its fields.
const KEY_HEADER: &str = "x-idempotency-key";
/// Which site's page caused a request; browsers set it, scripts cannot.
const FETCH_SITE: &str = "sec-fetch-site";

/// A call: the fields of its body, or of its query, but for those that are empty, and where it comes from.
pub(super) struct Call {
    services: Arc<Services>,
    origin: Origin,
    key: Option<Value>,
    /// Only looks: an image or a link of a foreign page says no Origin, and is to hold nothing by its visitors' hands.
    only_looks: bool,
    sender: Sender,
    fields: Map<String, Value>,
}

impl FromRequest<Arc<Services>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, services: &Arc<Services>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let From(origin) =
            From::from_request_parts(&mut parts, services).await.unwrap_or_else(|never| match never {});
        // What is no text makes no key.
        let key = parts.headers.get(KEY_HEADER).map(|key| key.to_str().unwrap_or_default().into());
        let only_looks = parts.method == Method::GET && is_of_a_foreign_page(&parts.headers);
        let sent = if parts.method == Method::GET {
            Some(parse_form(parts.uri.query().unwrap_or_default().as_bytes()))
        } else {
            let headers = parts.headers.clone();
            let body = Bytes::from_request(Request::from_parts(parts, body), services).await;
            fields(&headers, &body.map_err(IntoResponse::into_response)?)
        };
        let sent = sent.ok_or(RequestError::BadRequest("the body must be a JSON object or a form"));
        let fields = parse::without_empty(sent.map_err(|error| rest_error(&error))?);
        let sender = services.sender(&fields).map_err(|error| rest_error(&error))?;
        Ok(Call { services: services.clone(), origin, key, only_looks, sender, fields })
    }
}

impl Call {
    fn commands(&self) -> &Commands {
        &self.services.commands
    }

    fn hold(&self) -> Result<HoldForm, RequestError> {
        parse::hold(&self.fields, &self.sender)
    }

    fn named_hold(&self) -> Result<(ClientId, Slot), RequestError> {
        let HoldForm { client, slot } = self.hold()?;
        Ok((client.ok_or(InvalidValue::Client)?, slot))
    }

    fn poll(&self) -> Result<Poll, RequestError> {
        let poll = parse::poll(&self.fields, &self.sender)?;
        let poll = poll.ok_or(RequestError::BadRequest("date and employee_id are needed"))?;
        Ok(Poll { time: poll.time.filter(|_| !self.only_looks), ..poll })
    }
}

/// An Origin that is said has been checked before.
fn is_of_a_foreign_page(headers: &HeaderMap) -> bool {
    let by_own = |site: &HeaderValue| site == "same-origin" || site == "none";
    !headers.contains_key(ORIGIN) && headers.get(FETCH_SITE).is_some_and(|site| !by_own(site))
}

fn rest(outcome: Result<Value, RequestError>) -> Response {
    match outcome {
        Ok(body) => reply(StatusCode::OK, &body),
        Err(error) => rest_error(&error),
    }
}

/// WordPress' form of an error.
fn rest_error(error: &RequestError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (mut code, mut data) = (error.code(), json!({ "status": status.as_u16() }));
    if let Some(suggested) = error.suggested() {
        code = "slot_taken";
        data["suggested_slots"] = json!(suggested);
    }
    if let Some(fields) = error.fields() {
        data["fields"] = json!(fields);
    }
    reply(status, &json!({ "code": code, "message": error.to_string(), "data": data }))
}

pub(super) async fn select(call: Call) -> Response {
    let commands = call.commands();
    let outcome = async {
        let (client, slot) = call.named_hold()?;
        let (status, left) = match commands.select(call.origin, &client, slot).await.outcome()? {
            Selected::Selection => ("selected", commands.selection_ttl),
            Selected::OwnLock => ("locked", commands.lock_left(slot).map_or(Duration::ZERO, |lock| lock.ttl)),
        };
        let ttl = seconds_left(left);
        let storage = commands.storage().mode;
        Ok(json!({ "success": true, "storage": storage, "status": status, "client_id": client, "ttl": ttl }))
    };
    rest(outcome.await)
}

pub(super) async fn deselect(call: Call) -> Response {
    let outcome = async {
        let HoldForm { client, slot } = call.hold()?;
        call.commands().deselect(call.origin, client.as_ref(), slot).await.outcome()?;
        Ok(json!({ "success": true, "status": "deselected" }))
    };
    rest(outcome.await)
}

pub(super) async fn lock(call: Call) -> Response {
    let commands = call.commands();
    let outcome = async {
        let (client, slot) = call.named_hold()?;
        let locked = commands.lock(call.origin, &client, slot).await.outcome()?;
        Ok(json!({
            "success": true, "status": "locked", "storage": commands.storage().mode, "client_id": client,
            "fence": locked.fence, "ttl": seconds_left(locked.ttl),
        }))
    };
    rest(outcome.await)
}

pub(super) async fn unlock(call: Call) -> Response {
    let outcome = async {
        let (client, slot) = call.named_hold()?;
        call.commands().unlock(call.origin, &client, slot).await.outcome()?;
        Ok(json!({ "success": true, "status": "unlocked" }))
    };
    rest(outcome.await)
}

/// A room's lists, the selections without the caller's own.
pub(super) async fn poll(call: Call) -> Response {
    let commands = call.commands();
    let outcome = async {
        let poll = call.poll()?;
        let view = commands.poll(call.origin, &poll, commands.selection_ttl).await?;
        let (selected, locked) = match &poll.client {
            Some(client) => {
                (commands.own_selections(client, poll.room), commands.own_locks(client, poll.room))
            }
            None => (Vec::new(), Vec::new()),
        };
        let others = |times: Vec<_>, own: &[_]| -> Vec<_> {
            times.into_iter().filter(|time| !own.contains(time)).collect()
        };
        Ok(json!({
            "active_selections": others(view.active, &selected),
            "booked_slots": view.booked,
            "locked_slots": others(view.locked, &locked),
            "timestamp": jiff::Timestamp::now().as_second(),
        }))
    };
    rest(outcome.await)
}

/// A room's selections.
pub(super) async fn selections(call: Call) -> Response {
    let outcome = async {
        let view = call.commands().view(call.origin, call.poll()?.room, None).await?;
        Ok(json!({ "selections": view.active }))
    };
    rest(outcome.await)
}

/// What can be booked in a room. Of who booked what, nothing is said.
pub(super) async fn availability(call: Call) -> Response {
    let commands = call.commands();
    let outcome = async {
        let room = room(&call.fields, call.sender.window)?;
        let availability = commands.availability(call.origin, room).await?;
        if let Some(closed) = availability.closed {
            return Ok(json!({ "unavailable": ALL, "reason": closed.as_str() }));
        }
        let detail =
            |status: &'static str| move |time: &_| (ToString::to_string(time), json!({ "status": status }));
        let booked = availability.booked.iter().map(detail("booked"));
        let details: Map<String, Value> =
            availability.locked.iter().map(detail("locked")).chain(booked).collect();
        Ok(json!({
            "unavailable": availability.unavailable, "booking_details": details,
            "storage": commands.storage().mode, "cached": availability.cached,
        }))
    };
    rest(outcome.await)
}

/// Books a slot for good.
pub(super) async fn book(mut call: Call) -> Response {
    call.fields = booking::as_ours(std::mem::take(&mut call.fields));
    if let Some(key) = call.key.take() {
        call.fields.entry("idempotency_key").or_insert(key);
    }
    let outcome = async {
        let HoldForm { client, slot } = call.hold()?;
        let client = client.unwrap_or_else(|| booking::client_of_email(&call.fields));
        let form = booking::read(&call.fields);
        let booked = call.commands().confirm(call.origin, &client, slot, form).await.outcome()?;
        Ok(json!({
            "success": true, "appointment_id": booked.appointment_id, "strong_id": booked.strong_id,
            "message": BOOKED,
        }))
    };
    rest(outcome.await)
}
