//! WordPress' heartbeat, at the path its pages know and at one of our own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::operators::peer;
use crate::app::Services;
use crate::commands::Origin;
use crate::heartbeat::{self as service, Answer, Beat, passed_on};
use crate::protocol::form::{content_type, parse_body};
use crate::security::address::Peer;
use crate::security::origin::{self, Page};

/// What a page of another origin may send: what bodies and bookings need, and what WordPress' scripts add.
const ALLOWED_HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("x-idempotency-key"),
    HeaderName::from_static("x-requested-with"),
    HeaderName::from_static("x-wp-nonce"),
];
/// How long a browser may remember that it may ask.
const PREFLIGHT_COUNTS: Duration = Duration::from_secs(600);

/// Where a request comes from, by its socket and headers.
pub(super) struct From(pub(super) Origin);

impl FromRequestParts<Arc<Services>> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Arc<Services>,
    ) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer::Unix);
        let trusted = &services.server.load().trusted_proxies;
        let address = services.commands.limits.client_of(peer, &parts.headers, trusted);
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
    // Its `to_string` takes the detour by formatting.
    (status, headers, serde_json::to_vec(body).unwrap_or_default()).into_response()
}

/// A body's fields, whatever it was encoded as.
pub(super) fn fields(headers: &HeaderMap, body: &[u8]) -> Option<Map<String, Value>> {
    parse_body(content_type(headers), body)
}

/// A form needs nobody's leave to be sent across sites: a foreign page would hold and book by its visitors' hands.
/// Pages of the allowed origins may, and may read the answers: their browsers are told so.
pub(super) async fn judge_page(
    State(services): State<Arc<Services>>,
    request: Request,
    next: Next,
) -> Response {
    let page =
        origin::page(request.headers(), peer(&request), &services.security.load(), &services.server.load());
    let mut response = match page {
        Page::None | Page::SameHost => next.run(request).await,
        // In a box, as few come across.
        Page::Allowed => Box::pin(across_origins(request, next)).await,
        Page::Foreign => {
            services.metrics.count_refused("origin");
            let message = "This origin may not ask; name it in security.allowed_origins";
            let (status, data) = (StatusCode::FORBIDDEN, json!({ "status": 403 }));
            reply(status, &json!({ "code": "unauthorized", "message": message, "data": data }))
        }
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// The page's cookies may come along: they are WordPress', which is asked in the page's name.
async fn across_origins(request: Request, next: Next) -> Response {
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(ALLOWED_HEADERS)
        .max_age(PREFLIGHT_COUNTS)
        .vary([]);
    let answering = service_fn(async |request| Ok::<_, Infallible>(next.clone().run(request).await));
    layer.layer(answering).oneshot(request).await.unwrap_or_else(|never| match never {})
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
    let (mut ours, theirs) = tokio::join!(
        service::answer(&services, &fields, origin, beat.as_ref()),
        ask_elsewhere(&services, beat.as_ref(), &headers, peer),
    );
    for (name, value) in theirs.fields {
        ours.entry(name).or_insert(value);
    }
    let mut response = reply(StatusCode::OK, &Value::Object(ours));
    for cookie in theirs.cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

async fn ask_elsewhere(services: &Services, beat: Option<&Beat>, headers: &HeaderMap, peer: Peer) -> Answer {
    let (Some(elsewhere), Some(beat)) = (&services.elsewhere, beat) else { return Answer::default() };
    let headers = passed_on(headers, peer, services.server.load().trusted_proxies.trusts(peer));
    let answer = Box::pin(elsewhere.ask(beat, headers)).await;
    let outcome = answer.as_ref().map_or_else(|why| *why, |_| "ok");
    services.commands.metrics.count_request("pass_on", outcome);
    answer.unwrap_or_default()
}
