//! How far a store's clock is from this machine's. Used by the examinations of Redis and MySQL.

use std::time::{SystemTime, UNIX_EPOCH};

/// How far another clock is ahead of this machine's, as far as one question and its answer can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// Milliseconds; negative where it is behind.
    pub ahead_ms: i64,
    /// It may be so much more or less.
    pub give_or_take_ms: i64,
}

/// This machine's clock: milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl ClockOffset {
    /// From what the other clock said between two looks at ours.
    pub(crate) fn between(asked_ms: i64, said_ms: i64, heard_ms: i64) -> Self {
        let under_way = heard_ms.saturating_sub(asked_ms).max(0);
        ClockOffset {
            ahead_ms: said_ms.saturating_sub(asked_ms).saturating_sub(under_way / 2),
            give_or_take_ms: under_way / 2 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_and_back_is_what_cannot_be_told() {
        let offset = |asked, said, heard| {
            let ClockOffset { ahead_ms, give_or_take_ms } = ClockOffset::between(asked, said, heard);
            (ahead_ms, give_or_take_ms)
        };
        assert_eq!(offset(1_000, 1_005, 1_010), (0, 6));
        assert_eq!(offset(1_000, 4_001, 1_002), (3_000, 2));
        assert_eq!(offset(1_000, 500, 1_000), (-500, 1));
    }
}
