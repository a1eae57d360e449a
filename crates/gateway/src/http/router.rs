//! Every path:
//!
//! | path | what |
//! | --- | --- |
//! | `GET /ws` | the push protocol, and legacy frames |
//! | `POST /wp-admin/admin-ajax.php`, `POST /slotcast/heartbeat` | WordPress' heartbeat |
//! | `POST /wp-json/appointease/v1/slots/{select,deselect,lock,unlock}` | holds |
//! | `GET /wp-json/appointease/v1/slots/poll`, `…/selections` | views |
//! | `GET /livez`, `/readyz`, `/health`, `/metrics` | operators |
//! | `GET /` | this list |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tower_http::timeout::TimeoutLayer;

use super::{legacy, operators, upgrade};
use crate::app::Services;

/// The largest request body.
const MAX_BODY: usize = 64 * 1024;
/// A request must be read and answered within this, its body included; 408 otherwise. Longer than any store's deadline.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

const PATHS: &str = "slotcast shows which booking slots are free, as they change.

/ws                                        WebSocket: push protocol, and old polls as frames
/slotcast/heartbeat                        POST: WordPress heartbeat form or JSON
/wp-admin/admin-ajax.php                   POST: the same
/wp-json/appointease/v1/slots/select       POST {date,time,employee_id,client_id}; likewise deselect, lock, unlock
/wp-json/appointease/v1/slots/poll         GET ?date&employee_id
/wp-json/appointease/v1/selections         GET ?date&employee_id
/livez /readyz /health /metrics            for operators

Watch a room:  slotcast watch --date YYYY-MM-DD --employee-id 1
";

pub(super) fn router(services: Arc<Services>) -> Router {
    let mut router = Router::new()
        .route("/", get(async || PATHS))
        .route("/ws", get(upgrade::upgrade))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(operators::ready))
        .route("/health", get(operators::health))
        .route("/metrics", get(operators::metrics));
    if services.legacy_enabled {
        let slots = "/wp-json/appointease/v1/slots";
        router = router
            .route("/wp-admin/admin-ajax.php", post(legacy::heartbeat))
            .route("/slotcast/heartbeat", post(legacy::heartbeat))
            .route(&format!("{slots}/select"), post(legacy::select))
            .route(&format!("{slots}/deselect"), post(legacy::deselect))
            .route(&format!("{slots}/lock"), post(legacy::lock))
            .route(&format!("{slots}/unlock"), post(legacy::unlock))
            .route(&format!("{slots}/poll"), get(legacy::poll))
            .route("/wp-json/appointease/v1/selections", get(legacy::selections));
    }
    let deadline = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_DEADLINE);
    router.layer(DefaultBodyLimit::max(MAX_BODY)).layer(deadline).with_state(services)
}
