//! Waiting for a condition instead of sleeping, and watching that a condition lasts.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for something that should happen soon, on a machine that others use too.
pub const PATIENCE: Duration = Duration::from_secs(15);

const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// Repeats `attempt` until it gives a value, and returns that; panics with `what` after `deadline`.
pub async fn eventually<T>(what: &str, deadline: Duration, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// Repeats `check` for all of `period`; panics with `what` as soon as it says no.
pub async fn holds_for(what: &str, period: Duration, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < period {
        assert!(check().await, "no longer true after {:?}: {what}", start.elapsed());
        sleep(BETWEEN_ATTEMPTS).await;
    }
}
