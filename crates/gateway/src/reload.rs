//! SIGHUP: the configuration is read anew. What can change while the gateway runs does, the rest is named in the log.
//! Started by `app`. Invariant: a configuration that is not usable changes nothing.

use std::sync::Arc;

use tokio::signal::unix::Signal;

use crate::app::Services;
use crate::config::{Changes, Config, Loaded, Sources, load};
use crate::observe::logging::LevelSwitch;
use crate::security::token::Tokens;
use crate::service_manager;

/// Where the configuration came from, and what of it is out of the services' reach.
pub struct Reload {
    /// Read again at each signal.
    pub sources: Sources,
    /// The log's levels.
    pub levels: LevelSwitch,
}

impl Reload {
    /// Waits for signals for ever. `running` is what the gateway was started with.
    pub(crate) async fn run(self, mut hangups: Signal, services: Arc<Services>, mut running: Config) {
        while hangups.recv().await.is_some() {
            service_manager::reloading();
            match load(&self.sources) {
                Ok(loaded) => {
                    let changes = running.take_over(&loaded.config);
                    self.apply(&services, &running);
                    report(&loaded, &changes);
                }
                Err(error) => tracing::error!(
                    event = "config_refused", error = %error,
                    "nothing has changed; put it right and send SIGHUP again"
                ),
            }
            service_manager::ready();
        }
    }

    fn apply(&self, services: &Services, running: &Config) {
        self.levels.set(&running.log.level);
        services.commands.limits.change(&running.security);
        services.tokens.store(Arc::new(Tokens::new(&running.security.token_keys)));
        if let Some(courier) = &services.courier {
            courier.change(&running.security);
        }
        services.security.store(Arc::new(running.security.clone()));
        services.server.store(Arc::new(running.server.clone()));
        if let Some(tls) = &services.tls {
            tls.change(&running.server);
        }
    }
}

fn report(loaded: &Loaded, changes: &Changes) {
    if changes.taken.is_empty() {
        tracing::info!(event = "config_reloaded", changed = "", "nothing changed");
    } else {
        tracing::info!(event = "config_reloaded", changed = changes.taken.join(","));
    }
    if !changes.waiting.is_empty() {
        let keys = changes.waiting.join(",");
        tracing::warn!(event = "config_reload_needs_restart", keys, "these keys hold after a restart");
    }
    for warning in loaded.warnings() {
        tracing::warn!(event = "config_warning", "{warning}");
    }
}
