//! What systemd is told where it wants to know (`Type=notify`): ready, reading anew, stopping, and signs of life.
//! Called by `app` and `reload`. Invariant: without `NOTIFY_SOCKET` nothing happens, and a deaf service manager stops nothing.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::Services;

/// Signs of life within the time after which systemd ends a process that gives none.
const SIGNS: u32 = 3;

/// Browsers can connect.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read anew; `ready` follows.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Connections are being ended.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Gives signs of life for ever, where they are wanted. Each is given from the runtime that serves browsers, after the
/// locks that every request needs were to be had: a process that only looks alive gives none.
pub(crate) async fn give_signs_of_life(services: Arc<Services>) {
    let every = sd_notify::watchdog_enabled().map(|patience| patience / SIGNS);
    let Some(every) = every.filter(|every| !every.is_zero()) else { return };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        services.commands.picture.count();
        services.connections.count();
        services.commands.presence.count();
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(event = "service_manager_deaf", error = %error);
    }
}
