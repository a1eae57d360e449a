//! The end: signals, the goodbye, and waiting for everybody to have left.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal as on_signal};
use tokio::time::{Instant, sleep, timeout};

use crate::app::Services;
use crate::http::Server;
use crate::protocol::server_frame::ServerFrame;

/// How often it is checked whether the last connection is gone.
const CHECK: Duration = Duration::from_millis(20);

/// Ends when the process is asked to stop.
pub(crate) fn signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = on_signal(SignalKind::terminate())?;
    let mut interrupt = on_signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Takes no new requests, tells every browser to come back, and waits `patience` for them to go.
pub(crate) async fn drain(services: &Arc<Services>, server: Server, patience: Duration) {
    let deadline = Instant::now() + patience;
    let served = tokio::spawn(server.stop());
    loop {
        // Again each time: a handshake may have been under way.
        services.connections.say_goodbye(|reconnect_in_ms| ServerFrame::Goodbye { reconnect_in_ms }.encode());
        if services.connections.count() == 0 || Instant::now() >= deadline {
            break;
        }
        sleep(CHECK).await;
    }
    let left = deadline.saturating_duration_since(Instant::now());
    if timeout(left, served).await.is_err() || services.connections.count() > 0 {
        tracing::warn!(event = "drain_incomplete", connections = services.connections.count());
    }
}
