//! How fast one connection may talk, in frames and in bytes. Made by `limits` for each connection, asked by its
//! session for each frame. Invariant: who keeps to both rates is never refused, and only who is far beyond one of
//! them is cut off.

use std::num::NonZeroU32;

use governor::Quota;

use super::rates::{Rate, rate};

/// A connection of which more is refused than accepted, by this many bursts, has gone far beyond its rate.
const FAR_BURSTS: u32 = 2;

/// What to do with a frame; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Carry it out.
    Ok,
    /// Answer `rate_limited`.
    TooFast,
    /// Close the connection (1008).
    FarTooFast,
}

/// Counts one connection's frames and their bytes.
pub struct FrameLimiter {
    frames: Option<Meter>,
    bytes: Option<Meter>,
}

impl FrameLimiter {
    /// With nothing counted yet. `None`: no limit.
    pub(super) fn new(frames: Option<Quota>, bytes: Option<Quota>) -> Self {
        Self { frames: frames.map(Meter::new), bytes: bytes.map(Meter::new) }
    }

    /// Judges the frame that has just arrived with so many bytes.
    pub fn check(&mut self, bytes: usize) -> Verdict {
        let of_frames = check(&mut self.frames, 1);
        of_frames.max(check(&mut self.bytes, u32::try_from(bytes).unwrap_or(u32::MAX)))
    }
}

fn check(meter: &mut Option<Meter>, amount: u32) -> Verdict {
    match (meter, NonZeroU32::new(amount)) {
        (Some(meter), Some(amount)) => meter.check(amount),
        _ => Verdict::Ok,
    }
}

/// One rate, and how far it has been left behind.
struct Meter {
    rate: Rate,
    /// What was refused less what was accepted, never below zero: it only stays up at more than twice the rate.
    excess: u32,
    far: u32,
}

impl Meter {
    fn new(quota: Quota) -> Self {
        let far = quota.burst_size().get().saturating_mul(FAR_BURSTS);
        Self { rate: rate(quota), excess: 0, far }
    }

    fn check(&mut self, amount: NonZeroU32) -> Verdict {
        // An error of its own: more than ever fits.
        if matches!(self.rate.check_n(amount), Ok(Ok(()))) {
            self.excess = self.excess.saturating_sub(amount.get());
            return Verdict::Ok;
        }
        self.excess = self.excess.saturating_add(amount.get());
        if self.excess > self.far { Verdict::FarTooFast } else { Verdict::TooFast }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rates::quota;
    use super::*;

    /// A limiter of so many frames and bytes a second.
    fn limiter(frames: u32, bytes: u32) -> FrameLimiter {
        FrameLimiter::new(quota(frames), quota(bytes))
    }

    #[tokio::test(start_paused = true)]
    async fn frames_may_burst_for_four_seconds_then_come_at_their_rate() {
        let mut frames = limiter(5, 0);
        let mut accepted = |tries: u32| (0..tries).filter(|_| frames.check(0) == Verdict::Ok).count();
        assert_eq!(accepted(25), 20);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(accepted(8), 5);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(accepted(25), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_flood_is_far_too_fast() {
        let mut hasty = limiter(10, 0);
        for _ in 0..1_000 {
            tokio::time::advance(Duration::from_millis(70)).await;
            assert_ne!(hasty.check(0), Verdict::FarTooFast);
        }
        let mut flood = limiter(10, 0);
        let verdicts: Vec<_> = (0..200).map(|_| flood.check(0)).collect();
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::TooFast), Some(40));
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::FarTooFast), Some(120));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_count_however_few_frames_they_come_in() {
        let mut few = limiter(0, 1_000);
        assert_eq!([few.check(4_000), few.check(0), few.check(1)], {
            [Verdict::Ok, Verdict::Ok, Verdict::TooFast]
        });
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([few.check(600), few.check(400), few.check(100)], {
            [Verdict::Ok, Verdict::Ok, Verdict::TooFast]
        });
        let mut flood = limiter(0, 1_000);
        let verdicts: Vec<_> = (0..20).map(|_| flood.check(1_000)).collect();
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::TooFast), Some(4));
        assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::FarTooFast), Some(12));
        assert_eq!(limiter(0, 1_000).check(4_001), Verdict::TooFast, "it never fits");
        assert_eq!(limiter(0, 1_000).check(usize::MAX), Verdict::FarTooFast);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_keeps_to_both_rates_or_is_refused() {
        let mut many = limiter(1, 1_000);
        assert!((0..4).all(|_| many.check(10) == Verdict::Ok));
        assert_eq!(many.check(10), Verdict::TooFast, "too many");
        let mut large = limiter(1, 1_000);
        assert_eq!([large.check(3_000), large.check(3_000)], [Verdict::Ok, Verdict::TooFast], "too large");
    }

    #[test]
    fn a_connections_limiter_is_small() {
        assert!(size_of::<FrameLimiter>() <= 96, "{}", size_of::<FrameLimiter>());
    }
}
