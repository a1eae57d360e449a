//! WordPress' heartbeat, at the path its pages know and at one of our own.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::app::Services;
use crate::commands::Origin;
use crate::heartbeat as service;
use crate::protocol::form::parse_body;
use crate::security::address::{Peer, client_address};

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
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    parse_body(kind, body)
}

/// Another action than the heartbeat's gets what WordPress says to one it does not know.
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
