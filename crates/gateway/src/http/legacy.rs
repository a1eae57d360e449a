//! The paths AppointEase's pages know: WordPress' heartbeat and the plugin's REST routes, by the same commands as
//! the push protocol.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use slot_state::{ClientId, InvalidValue, Selected, Slot};

use crate::app::Services;
use crate::commands::{Origin, seconds_left};
use crate::heartbeat as service;
use crate::protocol::error::RequestError;
use crate::protocol::form::{parse_body, parse_form};
use crate::protocol::legacy::{self as parse, HoldForm, Poll};
use crate::security::address::{Peer, client_address};

/// Where a request comes from, by its socket and headers.
pub(super) struct From(Origin);

impl FromRequestParts<Arc<Services>> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Arc<Services>,
    ) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer::Unix);
        let address = client_address(peer, &parts.headers, &services.trusted_proxies);
        Ok(From(Origin { address, actor: None }))
    }
}

fn reply(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=UTF-8"),
        (header::CACHE_CONTROL, "no-cache, must-revalidate, max-age=0, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// A body's fields, whatever it was encoded as.
fn fields(headers: &HeaderMap, body: &[u8]) -> Option<Map<String, Value>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    parse_body(kind, body)
}

/// WordPress' heartbeat. Another action gets what WordPress says to one it does not know.
pub(super) async fn heartbeat(
    State(services): State<Arc<Services>>,
    From(origin): From,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields = fields(&headers, &body).unwrap_or_default();
    if fields.get("action").is_none_or(|action| action != "heartbeat") {
        return (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], "0")
            .into_response();
    }
    reply(StatusCode::OK, &Value::Object(service::answer(&services, &fields, origin).await))
}

/// WordPress' form of an error.
fn rest_error(error: &RequestError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let data = json!({ "status": status.as_u16() });
    reply(status, &json!({ "code": error.code(), "message": error.to_string(), "data": data }))
}

fn rest(outcome: Result<Value, RequestError>) -> Response {
    match outcome {
        Ok(body) => reply(StatusCode::OK, &body),
        Err(error) => rest_error(&error),
    }
}

/// Reads `{date, time, employee_id, client_id}`; empty strings mean absent.
fn hold_form(services: &Services, headers: &HeaderMap, body: &[u8]) -> Result<HoldForm, RequestError> {
    let fields =
        fields(headers, body).ok_or(RequestError::BadRequest("the body must be a JSON object or a form"))?;
    parse::hold(&parse::without_empty(&fields), services.window)
}

fn named(form: HoldForm) -> Result<(ClientId, Slot), RequestError> {
    Ok((form.client.ok_or(InvalidValue::Client)?, form.slot))
}

pub(super) async fn select(
    State(services): State<Arc<Services>>,
    From(origin): From,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let commands = &services.commands;
    let outcome = async {
        let (client, slot) = named(hold_form(&services, &headers, &body)?)?;
        let (status, left) = match commands.select(origin, &client, slot).await.outcome()? {
            Selected::Selection => ("selected", commands.selection_ttl),
            Selected::OwnLock => ("locked", commands.lock_left(slot).map_or(Duration::ZERO, |lock| lock.ttl)),
        };
        let ttl = seconds_left(left);
        let storage = commands.storage().mode;
        Ok(json!({ "success": true, "storage": storage, "status": status, "client_id": client, "ttl": ttl }))
    };
    rest(outcome.await)
}

pub(super) async fn deselect(
    State(services): State<Arc<Services>>,
    From(origin): From,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let outcome = async {
        let form = hold_form(&services, &headers, &body)?;
        services.commands.deselect(origin, form.client.as_ref(), form.slot).await.outcome()?;
        Ok(json!({ "success": true, "status": "deselected" }))
    };
    rest(outcome.await)
}

pub(super) async fn lock(
    State(services): State<Arc<Services>>,
    From(origin): From,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let commands = &services.commands;
    let outcome = async {
        let (client, slot) = named(hold_form(&services, &headers, &body)?)?;
        let locked = commands.lock(origin, &client, slot).await.outcome()?;
        Ok(json!({
            "success": true, "status": "locked", "storage": commands.storage().mode, "client_id": client,
            "fence": locked.fence, "ttl": seconds_left(locked.ttl),
        }))
    };
    rest(outcome.await)
}

pub(super) async fn unlock(
    State(services): State<Arc<Services>>,
    From(origin): From,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let outcome = async {
        let (client, slot) = named(hold_form(&services, &headers, &body)?)?;
        services.commands.unlock(origin, &client, slot).await.outcome()?;
        Ok(json!({ "success": true, "status": "unlocked" }))
    };
    rest(outcome.await)
}

fn poll_form(services: &Services, query: Option<String>) -> Result<Poll, RequestError> {
    let fields = parse_form(query.unwrap_or_default().as_bytes());
    let poll = parse::poll(&parse::without_empty(&fields), services.window)?;
    poll.ok_or(RequestError::BadRequest("date and employee_id are needed"))
}

/// A room's lists, the selections without the caller's own.
pub(super) async fn poll(
    State(services): State<Arc<Services>>,
    From(origin): From,
    RawQuery(query): RawQuery,
) -> Response {
    let commands = &services.commands;
    let outcome = async {
        let poll = poll_form(&services, query)?;
        if let Some(time) = poll.time {
            let slot = poll.room.slot(time);
            commands.keep_by_poll(origin, poll.client.as_ref(), slot, commands.selection_ttl).await;
        }
        commands.metrics.count_request("poll", "ok");
        let view = commands.picture.view(poll.room);
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
pub(super) async fn selections(State(services): State<Arc<Services>>, RawQuery(query): RawQuery) -> Response {
    let selections = |poll: Poll| json!({ "selections": services.commands.picture.view(poll.room).active });
    rest(poll_form(&services, query).map(selections))
}
