//! Rates over governor: its algorithm, tokio's clock, and forgetting who has been quiet.
//! Used by `limits`, `frames` and `holds`.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// A rate may be used up ahead for this long.
pub(crate) const BURST_SECS: u32 = 4;
/// How often rates that are full again are forgotten.
pub(super) const FORGET_EVERY: Duration = Duration::from_secs(10);

/// One rate with a state of a few dozen bytes.
pub(super) type Rate = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Moment>>;

/// A rate that has not been used yet.
pub(super) fn rate(quota: Quota) -> Rate {
    RateLimiter::direct_with_clock(quota, TokioClock)
}

/// `None` for 0: no limit.
pub(super) fn quota(per_second: u32) -> Option<Quota> {
    let rate = NonZeroU32::new(per_second)?;
    let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECS - 1));
    Some(Quota::per_second(rate).allow_burst(burst))
}

/// A rate for each of many keys. It cleans up after itself, so that no task has to be remembered for it.
pub(super) struct KeyedRate {
    rates: RateLimiter<u64, DashMapStateStore<u64>, TokioClock, NoOpMiddleware<Moment>>,
    forget: Every,
}

impl KeyedRate {
    pub(super) fn new(quota: Quota) -> Self {
        Self { rates: RateLimiter::dashmap_with_clock(quota, TokioClock), forget: Every::new(FORGET_EVERY) }
    }

    /// Counts one; false = over the rate.
    pub(super) fn check(&self, key: u64) -> bool {
        if self.forget.is_due() {
            self.rates.retain_recent();
            self.rates.shrink_to_fit();
        }
        self.rates.check_key(&key).is_ok()
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rates.len()
    }
}

/// True once in a while, for one of all callers.
pub(crate) struct Every {
    period: Duration,
    start: Instant,
    /// Milliseconds after `start`.
    due: AtomicU64,
}

impl Every {
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, start: Instant::now(), due: AtomicU64::new(0) }
    }

    pub(crate) fn is_due(&self) -> bool {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.start.elapsed());
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(millis(self.period));
        now >= due && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// tokio's clock for governor, so that tests can pause it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Instant);

impl Clock for TokioClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Instant::now())
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, nanos: Nanos) -> Self {
        Self(self.0.checked_sub(nanos.into()).unwrap_or(self.0))
    }
}
