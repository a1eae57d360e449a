//! Once a second: says what the log left out, and notes for how long the process did nothing. Run by `app`.
//! Invariant: a busy machine that comes late by less than a beat is not called stalled.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::metrics::Metrics;
use super::sampling;

const BEAT: Duration = Duration::from_secs(1);

/// Beats for as long as the gateway runs.
pub(crate) async fn run(metrics: Arc<Metrics>) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        beats.tick().await;
        let late = last.elapsed().saturating_sub(BEAT);
        if late >= BEAT {
            metrics.stalled.inc_by(late.as_secs_f64());
        }
        last = Instant::now();
        sampling::tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_a_little_late_is_not_stalled_and_what_comes_much_too_late_is() {
        let metrics = Arc::new(Metrics::default());
        let pulse = tokio::spawn(run(metrics.clone()));
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        assert_eq!(metrics.stalled.get(), 0.0);
        // Time passes, and nobody is woken.
        tokio::time::advance(Duration::from_secs(9)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stalled = metrics.stalled.get();
        assert!((7.0..=9.0).contains(&stalled), "{stalled}");
        pulse.abort();
    }
}
