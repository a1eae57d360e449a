//! Telling WordPress of bookings made here, on which its e-mails, webhooks and `appointease_appointment_created` hang.
//! Each is told at least once, by whichever gateway of the site takes its row first; WordPress acts once for each.

mod site;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use slot_state::{Backlog, Outbox, Untold};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::Security;
use crate::observe::metrics::Metrics;
use crate::wordpress::WordPress;
use site::Site;

/// Bookings told at one time: each keeps a PHP process busy.
const AT_ONCE: usize = 4;
/// How long a booking is this gateway's to tell. Longer than a message and the statement after it take.
const LEASE: Duration = Duration::from_secs(20);
/// How often others' bookings are looked for, and what was not told.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often they are counted where they cannot be told.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// And how long they are kept there: a site that is to be told after all is told of these. The plugin remembers as long
/// what it was told.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// From one try to the next, at first.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// And in the end; the pause before a try is between half of this and all of it.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Tells WordPress of bookings, and knows how many it has not been told of.
pub struct Courier {
    outbox: Outbox,
    wordpress: Option<Result<Arc<WordPress>, String>>,
    /// Where to and signed by whom, as last configured; or what must be set for it.
    site: ArcSwap<Result<Site, String>>,
    changed: Notify,
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

/// What was seen of the outbox.
#[derive(Default)]
struct Seen {
    /// And when; `None` before the first time.
    backlog: Option<(Backlog, Instant)>,
    /// Why a booking could not be told, since the outbox was last empty.
    error: Option<String>,
}

impl Courier {
    /// Over the site's outbox.
    pub fn new(
        outbox: Outbox,
        wordpress: Option<&Result<Arc<WordPress>, String>>,
        security: &Security,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let wordpress = wordpress.cloned();
        let site = ArcSwap::from_pointee(site(wordpress.as_ref(), security));
        let (changed, seen) = (Notify::new(), Mutex::default());
        Arc::new(Courier { outbox, wordpress, site, changed, metrics, seen })
    }

    /// Signs by another key from now on.
    pub fn change(&self, security: &Security) {
        self.site.store(Arc::new(site(self.wordpress.as_ref(), security)));
        self.changed.notify_one();
    }

    /// Tells for ever; as long as nothing can be told, counts.
    pub async fn run(self: Arc<Self>) {
        loop {
            let (site, courier) = (self.site.load_full(), self.clone());
            let other = async {
                while self.site.load().is_ok() == site.is_ok() {
                    self.changed.notified().await;
                }
            };
            let work = async {
                match &*site {
                    Ok(_) => courier.deliver().await,
                    Err(lack) => courier.only_count(lack).await,
                }
            };
            tokio::select! {
                () = other => {}
                () = work => {}
            }
        }
    }

    async fn deliver(self: &Arc<Self>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = JoinSet::new();
        loop {
            let by_the_clock = tokio::select! {
                _ = ticks.tick() => true,
                () = self.outbox.grown() => false,
                Some(_) = under_way.join_next() => false,
            };
            if by_the_clock && self.count().await == 0 {
                continue;
            }
            let free = AT_ONCE - under_way.len();
            if free > 0 {
                match self.outbox.claim(free, LEASE).await {
                    Ok(claimed) => claimed.into_iter().for_each(|untold| {
                        under_way.spawn(self.clone().tell(untold));
                    }),
                    Err(error) => tracing::debug!(event = "outbox_unread", storage = "mysql", error = %error),
                }
            }
            if !by_the_clock && under_way.is_empty() {
                self.count().await;
            }
        }
    }

    async fn tell(self: Arc<Self>, untold: Untold) {
        let site = self.site.load_full();
        let Ok(site) = &*site else { return };
        let told = site.tell(&untold).await;
        let kept = match &told {
            Ok(()) => self.outbox.done(&untold).await,
            Err(_) => self.outbox.later(&untold, pause_after(untold.attempts)).await,
        };
        if let Err(error) = kept {
            // It is told again when the lease is over.
            tracing::debug!(event = "outbox_unwritten", storage = "mysql", error = %error);
        }
        let (outbox_id, attempts) = (untold.id, untold.attempts);
        match told {
            Ok(()) => tracing::debug!(event = "wordpress_told", outbox_id, attempts),
            Err(error) => {
                tracing::debug!(event = "wordpress_not_reached", outbox_id, attempts, error);
                if self.seen.lock().error.replace(error.clone()).is_none() {
                    tracing::warn!(event = "wordpress_not_told", outbox_id, error);
                }
            }
        }
    }

    async fn only_count(&self, lack: &str) {
        let mut ticks = interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = false;
        loop {
            ticks.tick().await;
            let waiting = self.count().await;
            if waiting > 0 && !said {
                said = true;
                tracing::warn!(event = "wordpress_not_told", waiting, "bookings wait in vain: {lack}");
            }
            if waiting > 0 {
                self.forget_old().await;
            }
        }
    }

    async fn forget_old(&self) {
        match self.outbox.forget(KEPT).await {
            Ok(0) => {}
            Ok(forgotten) => {
                let days = KEPT.as_secs() / (24 * 3600);
                tracing::warn!(
                    event = "outbox_forgotten",
                    forgotten,
                    "WordPress was not told of them for {days} days"
                );
            }
            Err(error) => tracing::debug!(event = "outbox_unwritten", storage = "mysql", error = %error),
        }
    }

    /// How many bookings there are to tell; as before where nobody can say.
    async fn count(&self) -> u64 {
        let counted = self.outbox.backlog().await;
        let mut seen = self.seen.lock();
        match counted {
            Ok(backlog) => seen.backlog = Some((backlog, Instant::now())),
            Err(error) => tracing::debug!(event = "outbox_unread", storage = "mysql", error = %error),
        }
        let waiting = seen.backlog.map_or(0, |(backlog, _)| backlog.waiting);
        self.metrics.outbox_waiting.set(waiting.try_into().unwrap_or(i64::MAX));
        if waiting == 0 && seen.error.take().is_some() {
            tracing::info!(event = "wordpress_told_all");
        }
        waiting
    }

    /// For `/health`.
    pub fn health(&self) -> Value {
        let (seen, site) = (self.seen.lock(), self.site.load());
        let oldest = |(backlog, at): (Backlog, Instant)| Some((backlog.oldest? + at.elapsed()).as_secs());
        let (status, error) = match (&**site, &seen.error) {
            (Err(lack), _) => ("off", Some(lack)),
            (Ok(_), Some(error)) => ("failing", Some(error)),
            (Ok(_), None) => ("ok", None),
        };
        json!({
            "status": status,
            "waiting": seen.backlog.map(|(backlog, _)| backlog.waiting),
            "oldest_secs": seen.backlog.and_then(oldest),
            "error": error,
        })
    }
}

/// Where bookings are told and who signs for them; or what must be set for it.
fn site(wordpress: Option<&Result<Arc<WordPress>, String>>, security: &Security) -> Result<Site, String> {
    match (wordpress, security.token_keys.first()) {
        (Some(Ok(wordpress)), Some(key)) => Site::new(wordpress.clone(), key),
        (Some(Err(lack)), Some(_)) => Err(lack.clone()),
        (Some(_), None) => Err("security.token_keys is not set".to_owned()),
        (None, Some(_)) => Err("legacy.upstream is not set".to_owned()),
        (None, None) => Err("legacy.upstream and security.token_keys are not set".to_owned()),
    }
}

/// How long to wait after so many tries in vain: twice as long each time, and nobody in step with others.
fn pause_after(attempts: u32) -> Duration {
    let doubled = 2u32.saturating_pow(attempts.saturating_sub(1));
    let longest = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_second_to_ten_minutes() {
        for (attempts, from, to) in
            [(0, 1, 2), (1, 1, 2), (2, 2, 4), (4, 8, 16), (9, 256, 512), (10, 300, 600), (u32::MAX, 300, 600)]
        {
            for _ in 0..50 {
                let pause = pause_after(attempts);
                let fits = pause >= Duration::from_secs(from) && pause <= Duration::from_secs(to);
                assert!(fits, "{pause:?} after {attempts}");
            }
        }
    }
}
