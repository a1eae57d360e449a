//! WordPress' heartbeat, at the path its pages know and at one of our own.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::operators::peer;
use crate::app::Services;
use crate::commands::Origin;
use crate::heartbeat::{self as service, Answer, Beat, passed_on};
use crate::protocol::form::{content_type, parse_body};
use crate::security::address::{Peer, client_address};
use crate::security::origin;

/// Where a request comes from, by its socket and headers.
pub(super) struct From(pub(super) Origin);

impl FromRequestParts<Arc<Services>> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Arc<Services>,
    ) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer::Unix);
        let address = client_address(peer, &parts.headers, &services.server.load().trusted_proxies);
        Ok(From(Origin { address, actor: None }))
    }
}

/// JSON with the headers WordPress gives it.
pub(super) fn reply(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=UTF-8"),
        (header::CACHE_CONTROL, "no-cache, must-revalidate, max-age=0, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body.to_string()).into_response()
}

/// A body's fields, whatever it was encoded as.
pub(super) fn fields(headers: &HeaderMap, body: &[u8]) -> Option<Map<String, Value>> {
    parse_body(content_type(headers), body)
}

/// A form needs nobody's leave to be sent across sites: a foreign page would hold and book by its visitors' hands.
pub(super) async fn refuse_foreign_pages(
    State(services): State<Arc<Services>>,
    request: Request,
    next: Next,
) -> Response {
    let trusted = services.server.load().trusted_proxies.trusts(peer(&request));
    if origin::is_allowed(request.headers(), &services.security.load().allowed_origins, trusted) {
        return next.run(request).await;
    }
    let message = "This origin may not ask; name it in security.allowed_origins";
    let (status, data) = (StatusCode::FORBIDDEN, json!({ "status": 403 }));
    reply(status, &json!({ "code": "unauthorized", "message": message, "data": data }))
}

/// Another action than the heartbeat's gets what WordPress says to one it does not know. What the page says to others is
/// asked of WordPress at the same time; of a field that both know ours counts.
pub(super) async fn heartbeat(
    State(services): State<Arc<Services>>,
    From(origin): From,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields = fields(&headers, &body).unwrap_or_default();
    if fields.get("action").is_none_or(|action| action != "heartbeat") {
        return (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], "0")
            .into_response();
    }
    let beat = services.elsewhere.as_ref().and_then(|_| Beat::of(&headers, &body, &fields));
    let (ours, theirs) = tokio::join!(
        service::answer(&services, &fields, origin, beat.as_ref()),
        ask_elsewhere(&services, beat.as_ref(), &headers, peer),
    );
    let mut merged = theirs.fields;
    merged.extend(ours);
    let mut response = reply(StatusCode::OK, &Value::Object(merged));
    for cookie in theirs.cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

async fn ask_elsewhere(services: &Services, beat: Option<&Beat>, headers: &HeaderMap, peer: Peer) -> Answer {
    let (Some(elsewhere), Some(beat)) = (&services.elsewhere, beat) else { return Answer::default() };
    let headers = passed_on(headers, peer, services.server.load().trusted_proxies.trusts(peer));
    let answer = elsewhere.ask(beat, headers).await;
    let outcome = answer.as_ref().map_or_else(|why| *why, |_| "ok");
    services.commands.metrics.count_request("pass_on", outcome);
    answer.unwrap_or_default()
}
