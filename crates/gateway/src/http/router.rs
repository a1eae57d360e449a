//! Every path:
//!
//! | path | what |
//! | --- | --- |
//! | `GET /ws` | the push protocol, and legacy frames |
//! | `POST /wp-admin/admin-ajax.php`, `POST /slotcast/heartbeat` | WordPress' heartbeat |
//! | `POST /wp-json/appointease/v1/slots/{select,deselect,lock,unlock}` | holds |
//! | `GET /wp-json/appointease/v1/slots/poll`, `…/selections`, `POST …/availability` | views |
//! | `POST /wp-json/appointease/v1/appointments` | bookings |
//! | `/slotcast/…` | the same calls, where the site's own path of that name stays PHP's: what the client's polls use |
//! | `GET /client/*`, `/demo` | the browser's files |
//! | `GET /livez`, `/readyz`, `/health`, `/metrics` | operators |
//! | `GET /dashboard`, `/dashboard/status`, `/dashboard/events` | operators, live |
//! | `GET /` | this list |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::FutureExt;
use hyper::body::Incoming;
use tokio::time::timeout;
use tower::Service;

use super::{dashboard, legacy, operators, pages, rest, upgrade};
use crate::app::Services;

/// A request must be read and answered within this, its body included; 408 otherwise. Longer than any store's deadline.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

const PATHS: &str = "slotcast shows which booking slots are free, as they change.

/ws                                        WebSocket: push protocol, and old polls as frames
/slotcast/heartbeat                        POST: WordPress heartbeat form or JSON
/wp-admin/admin-ajax.php                   POST: the same
/wp-json/appointease/v1/slots/select       POST {date,time,employee_id,client_id}; likewise deselect, lock, unlock
/wp-json/appointease/v1/slots/poll         GET ?date&employee_id
/wp-json/appointease/v1/selections         GET ?date&employee_id
/wp-json/appointease/v1/availability       POST {date,employee_id}
/wp-json/appointease/v1/appointments       POST {date,time,employee_id,name,email,idempotency_key}
/client/slotcast.js /client/react.js       the browser client, React hooks; /demo: try them
/livez /readyz /health /metrics            for operators
/dashboard                                 for operators, live; /dashboard/status: the same as JSON

Watch a room:  slotcast watch --date YYYY-MM-DD --employee-id 1
";

pub(super) fn router(services: Arc<Services>) -> Router {
    let mut router = Router::new()
        .route("/", get(async || PATHS))
        .route("/ws", get(upgrade::upgrade))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(operators::ready))
        .route("/health", get(operators::health))
        .route("/metrics", get(operators::metrics))
        .merge(dashboard::routes())
        .merge(pages::routes(services.demo));
    if services.legacy_enabled {
        let calls = Router::new()
            .route("/slots/select", post(rest::select))
            .route("/slots/deselect", post(rest::deselect))
            .route("/slots/lock", post(rest::lock))
            .route("/slots/unlock", post(rest::unlock))
            .route("/slots/poll", get(rest::poll))
            .route("/selections", get(rest::selections))
            .route("/availability", post(rest::availability))
            .route("/appointments", post(rest::book));
        let legacy = Router::new()
            .route("/wp-admin/admin-ajax.php", post(legacy::heartbeat))
            .route("/slotcast/heartbeat", post(legacy::heartbeat))
            .route("/wp-json/booking/v1/availability", post(rest::availability))
            .nest("/wp-json/appointease/v1", calls.clone())
            .nest("/slotcast", calls)
            .route_layer(from_fn_with_state(services.clone(), legacy::judge_page));
        router = router.merge(legacy);
    }
    router.with_state(services)
}

/// Has `router` answer. What was begun is finished and counted, also for a client that hangs up: a hold it was granted
/// keeps its place. What waits for nobody, as most polls, needs no task of its own for that.
pub(super) async fn answer(
    mut router: Router,
    services: &Services,
    mut request: Request<Incoming>,
) -> Response {
    DefaultBodyLimit::max(services.security.load().max_body_bytes as usize).apply(&mut request);
    let mut answering = Box::pin(timeout(REQUEST_DEADLINE, router.call(request)));
    let answered = match answering.as_mut().now_or_never() {
        Some(answered) => answered,
        None => match tokio::spawn(answering).await {
            Ok(answered) => answered,
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
    };
    let response = match answered {
        Ok(Ok(response)) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let refused = match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Some("body_too_large"),
        StatusCode::REQUEST_TIMEOUT => Some("request_too_late"),
        _ => None,
    };
    if let Some(kind) = refused {
        services.metrics.count_refused(kind);
    }
    response
}
