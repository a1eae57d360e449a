//! What operators and their monitoring ask: alive, ready, healthy, how much.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use slot_state::{Feed, StorageMode};

use crate::app::Services;
use crate::dashboard::Lacking;
use crate::observe::metrics::{KindLabel, StoreLabel};
use crate::security::address::Peer;
use crate::security::operators;

/// Who is at the other end of the socket, as the server noted it.
pub(super) fn peer<B>(request: &axum::http::Request<B>) -> Peer {
    request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unix)
}

/// Ready: the deciding store takes writes, changes arrive, and the process is not on its way out.
pub(super) async fn ready(State(services): State<Arc<Services>>) -> Response {
    match services.not_ready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

/// Whether it is well, and to operators each part's state.
pub(super) async fn health(State(services): State<Arc<Services>>, request: Request) -> Response {
    let storage = services.commands.storage();
    let status = if storage.writable && storage.flowing { "ok" } else { "degraded" };
    let mut health = json!({ "status": status });
    if operators::check(services.security.load().dashboard_key.as_ref(), &request).is_ok() {
        let (selections, locks) = services.commands.picture.count();
        health = json!({
            "status": status,
            "version": env!("CARGO_PKG_VERSION"),
            "storage_mode": storage.mode,
            "redis_status": storage.redis_status(),
            "stale": storage.stale(),
            "draining": services.draining.load(Ordering::Relaxed),
            "stores": services.commands.store.health(),
            "outbox": services.courier.as_ref().map(|courier| courier.health()),
            "connections": services.connections.count(),
            "clients": services.commands.presence.count(),
            "rooms": services.metrics.rooms.get(),
            "selections": selections,
            "locks": locks,
        });
    }
    ([(header::CONTENT_TYPE, "application/json")], format!("{health}\n")).into_response()
}

/// OpenMetrics.
pub(super) async fn metrics(State(services): State<Arc<Services>>, request: Request) -> Response {
    if let Err(refused) = operators::check(services.security.load().dashboard_key.as_ref(), &request) {
        return refused.into_response();
    }
    // On a thread of its own: counting the open files of many browsers takes a while.
    let text = tokio::task::spawn_blocking(move || {
        look(&services);
        services.metrics.encode()
    });
    match text.await {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What is not counted where it happens is looked at for each scrape.
fn look(services: &Services) {
    let metrics = &services.metrics;
    let (selections, locks) = services.commands.picture.count();
    metrics.selections.set(selections as i64);
    metrics.locks.set(locks as i64);
    metrics.connections.set(services.connections.count() as i64);
    metrics.clients.set(services.commands.presence.count() as i64);
    metrics.ready.set(i64::from(services.not_ready().is_none()));
    let storage = services.commands.storage();
    metrics.events_flowing.set(i64::from(storage.flowing));
    for mode in StorageMode::ALL {
        let decides = metrics.storage_mode.get_or_create(&StoreLabel { store: mode.as_str() });
        decides.set(i64::from(mode == storage.mode));
    }
    let health = services.commands.store.health();
    for store in
        StorageMode::ALL.map(StorageMode::as_str).into_iter().filter(|store| health.get(store).is_some())
    {
        let is_up = ["ok", "standby"].contains(&health[store]["status"].as_str().unwrap_or_default());
        metrics.note_store(store, is_up);
    }
    let lacking = Lacking::of(&health["mysql"]);
    metrics.note_tables("own", lacking.tables.is_some());
    metrics.note_tables("appointments", lacking.appointments);
    if let Some(feed) = health["redis"]["feed"].as_str() {
        for kind in Feed::ALL.map(Feed::as_str) {
            metrics.events_feed.get_or_create(&KindLabel { kind }).set(i64::from(kind == feed));
        }
    }
    let is_failing = services.courier.as_ref().is_some_and(|courier| courier.health()["status"] == "failing");
    metrics.outbox_failing.set(i64::from(is_failing));
}
