//! The recorded grants and releases of locks, read as a mutex' history: nobody may be granted what another
//! certainly held. Conservative: a client holds from the answer that told it so to the moment it asked to
//! release, or was told otherwise.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// One client's time with one lock.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    /// Of which slot, in words that tell slots apart.
    pub(crate) slot: String,
    pub(crate) client: String,
    pub(crate) fence: u64,
    /// The request was sent.
    pub(crate) asked: Instant,
    /// The answer was read.
    pub(crate) granted: Instant,
    /// Release was asked for, or the lock was told to be over; `None` while it is held.
    pub(crate) ended: Option<Instant>,
}

impl Tenure {
    fn certainly_at_once(&self, other: &Self) -> bool {
        let begins = self.granted.max(other.granted);
        let lasts_beyond = |tenure: &Self| tenure.ended.is_none_or(|ended| ended > begins);
        lasts_beyond(self) && lasts_beyond(other)
    }
}

/// Every breach of mutual exclusion, with the slot it is about.
pub(crate) fn breaches(tenures: &[Tenure]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut slots: BTreeMap<&str, Vec<&Tenure>> = BTreeMap::new();
    let mut fences: BTreeMap<u64, &Tenure> = BTreeMap::new();
    for tenure in tenures {
        slots.entry(&tenure.slot).or_default().push(tenure);
        if let Some(other) = fences.insert(tenure.fence, tenure) {
            let (one, two) = (&other.client, &tenure.client);
            let text = format!("fence {} went to {one} for {} and to {two}", tenure.fence, other.slot);
            found.push((tenure.slot.clone(), text));
        }
    }
    for (slot, mut tenures) in slots {
        tenures.sort_by_key(|tenure| tenure.granted);
        for (at, later) in tenures.iter().enumerate() {
            for earlier in &tenures[..at] {
                let names = format!(
                    "{} with fence {}, then {} with fence {}",
                    earlier.client, earlier.fence, later.client, later.fence
                );
                if earlier.client != later.client && earlier.certainly_at_once(later) {
                    found.push((slot.to_owned(), format!("two clients held the lock at once: {names}")));
                }
                if earlier.granted < later.asked && earlier.fence > later.fence {
                    found.push((slot.to_owned(), format!("the fence fell: {names}")));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Slot, client, fence; asked, granted and ended, in milliseconds from one start.
    type Row = (&'static str, &'static str, u64, u64, u64, Option<u64>);

    fn tenures(rows: &[Row]) -> Vec<Tenure> {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let one = |&(slot, client, fence, asked, granted, ended): &Row| Tenure {
            slot: slot.into(),
            client: client.into(),
            fence,
            asked: at(asked),
            granted: at(granted),
            ended: ended.map(at),
        };
        rows.iter().map(one).collect()
    }

    #[test]
    fn one_after_the_other_is_fine_however_long_answers_take() {
        let history = [
            ("10:00", "alice", 1, 0, 10, Some(50)),
            // Granted while alice's release was on its way.
            ("10:00", "bob", 2, 20, 60, Some(70)),
            ("10:00", "alice", 4, 65, 80, None),
            ("11:00", "bob", 3, 65, 90, None),
        ];
        assert_eq!(breaches(&tenures(&history)), []);
    }

    #[test]
    fn an_overlap_is_found_also_with_one_that_never_ended() {
        for ended in [Some(100), None] {
            let history = [("10:00", "alice", 1, 0, 10, ended), ("10:00", "bob", 2, 20, 60, Some(70))];
            let found = breaches(&tenures(&history));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].1.contains("at once"), "{found:?}");
        }
    }

    #[test]
    fn a_fence_that_falls_or_is_given_twice_is_found() {
        let fallen = [("10:00", "alice", 2, 0, 10, Some(20)), ("10:00", "bob", 1, 30, 40, Some(50))];
        let found = breaches(&tenures(&fallen));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains("fell"), "{found:?}");
        let twice = [("10:00", "alice", 2, 0, 10, Some(20)), ("11:00", "bob", 2, 30, 40, Some(50))];
        let found = breaches(&tenures(&twice));
        assert!(found.len() == 1 && found[0].1.contains("fence 2"), "{found:?}");
    }

    #[test]
    fn requests_that_crossed_each_other_may_have_been_granted_in_either_order() {
        let history = [("10:00", "alice", 5, 0, 10, Some(20)), ("10:00", "bob", 4, 5, 40, Some(50))];
        assert_eq!(breaches(&tenures(&history)), []);
    }
}
