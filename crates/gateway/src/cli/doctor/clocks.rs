//! The clocks of this machine, Redis and MySQL: deadlines of holds travel between them.

use slot_state::ClockOffset;

use super::report::{Check, shell};

/// Above this a hold carried from one store to another lives visibly longer or shorter; logs cannot be
/// compared.
const MUCH_MS: i64 = 2_000;
/// Above this a whole selection is over before it began.
const TOO_MUCH_MS: i64 = 10_000;
const SYNCHRONIZE: &str = "timedatectl set-ntp true";

/// A check for each store that told its time.
pub(super) fn checks(redis: Option<ClockOffset>, mysql: Option<ClockOffset>) -> Vec<Check> {
    let redis = redis.map(|offset| check("clocks.redis", "Redis'", offset));
    let mysql = mysql.map(|offset| check("clocks.mysql", "MySQL's", offset));
    redis.into_iter().chain(mysql).collect()
}

fn check(name: &'static str, whose: &str, offset: ClockOffset) -> Check {
    let ClockOffset { ahead_ms, give_or_take_ms } = offset;
    let direction = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let ahead = ahead_ms.abs();
    let says =
        format!("{whose} clock is {ahead} ms {direction} this machine's, give or take {give_or_take_ms} ms");
    // What may be all journey is no skew.
    let at_least = ahead - give_or_take_ms;
    let consequence =
        "holds live too long or too short when they change stores, and times in logs do not compare";
    if at_least > TOO_MUCH_MS {
        Check::failed(name, format!("{says}: {consequence}")).paste(shell(SYNCHRONIZE))
    } else if at_least > MUCH_MS {
        Check::warning(name, format!("{says}: {consequence}")).paste(shell(SYNCHRONIZE))
    } else {
        Check::ok(name, says)
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn a_clock_is_off_where_no_journey_explains_it() {
        for (ahead_ms, give_or_take_ms, verdict) in [
            (0, 1, Verdict::Ok),
            (1_900, 5, Verdict::Ok),
            (3_000, 1_500, Verdict::Ok),
            (-3_000, 5, Verdict::Warning),
            (60_000, 20, Verdict::Failed),
            (-3_600_000, 5, Verdict::Failed),
        ] {
            let checks = checks(Some(ClockOffset { ahead_ms, give_or_take_ms }), None);
            assert_eq!(checks.len(), 1);
            assert_eq!((checks[0].check, checks[0].verdict), ("clocks.redis", verdict), "{ahead_ms}");
        }
    }
}
