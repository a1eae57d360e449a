//! `/dashboard` for operators: the page, its events, and one look as JSON for programs.
//! Invariant: what says anything about the site wants the key; the page's own files say nothing and are
//! everybody's.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::Services;
use crate::dashboard::MOST_VIEWERS;
use crate::security::operators;

const PAGE: &str = include_str!("../../web/dashboard.html");
const STYLE: &str = include_str!("../../web/dashboard.css");
/// The page's modules by path.
const SCRIPTS: [(&str, &str); 3] = [
    ("/dashboard/dashboard.js", include_str!("../../web/dashboard.js")),
    ("/dashboard/dashboard-graphs.js", include_str!("../../web/dashboard-graphs.js")),
    ("/dashboard/dashboard-text.js", include_str!("../../web/dashboard-text.js")),
];

/// Nothing from elsewhere, nothing inline, in nobody's frame; `data:` is for the icon that shows the state.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Arc<Services>> {
    let scripts = SCRIPTS.into_iter().fold(Router::new(), |router, (path, script)| {
        router.route(path, get(async move || file("text/javascript; charset=utf-8", script)))
    });
    scripts
        .route("/dashboard", get(page))
        .route("/dashboard/dashboard.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route("/dashboard/events", get(events))
        .route("/dashboard/status", get(status))
}

/// What every answer here says, so that neither the page nor its address, which may hold the key, goes
/// anywhere.
fn guarded(kind: &'static str, cache: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, body).into_response()
}

fn file(kind: &'static str, text: &'static str) -> Response {
    guarded(kind, "no-cache", text)
}

/// The page itself says nothing about the site. A browser without the key gets it with the refusal's status:
/// it shows why, and asks for the key, or still knows it from before it was reloaded.
async fn page(State(services): State<Arc<Services>>, request: Request) -> Response {
    let page = guarded("text/html; charset=utf-8", "no-store", PAGE);
    match operators::check(services.security.load().dashboard_key.as_ref(), &request) {
        Ok(()) => page,
        Err(refused) if wants_html(&request) => (refused.status(), page).into_response(),
        Err(refused) => refused.into_response(),
    }
}

fn wants_html(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

async fn events(State(services): State<Arc<Services>>, request: Request) -> Response {
    if let Err(refused) = operators::check(services.security.load().dashboard_key.as_ref(), &request) {
        return refused.into_response();
    }
    match services.dashboard.watch(&services) {
        Some(events) => {
            let mut response = guarded("text/event-stream", "no-store", Body::from_stream(events));
            // nginx would hold events back until its buffer is full.
            let buffering = HeaderName::from_static("x-accel-buffering");
            response.headers_mut().insert(buffering, header::HeaderValue::from_static("no"));
            response
        }
        None => {
            let message =
                format!("{MOST_VIEWERS} dashboards watch already; close one, or run slotcast status\n");
            (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
    }
}

async fn status(State(services): State<Arc<Services>>, request: Request) -> Response {
    if let Err(refused) = operators::check(services.security.load().dashboard_key.as_ref(), &request) {
        return refused.into_response();
    }
    // Texts and numbers alone, which are always JSON.
    let status = serde_json::to_string(&services.dashboard.status(&services)).unwrap_or_default();
    guarded("application/json", "no-store", status + "\n")
}
