//! What a room's subscribers were told, kept once for all of them: each frame is parsed when the first subscriber
//! receives it, and compared byte for byte when the others do. Revisions and views are checked against it.

use std::collections::HashMap;

use serde_json::Value;

use crate::view::{View, ViewDiff};

/// One room's diffs by revision, from the earliest snapshot on.
#[derive(Debug, Default)]
pub(crate) struct RoomLog {
    epoch: Value,
    base: Option<(u64, View)>,
    snapshot: Box<[u8]>,
    snapshot_rev: u64,
    entries: HashMap<u64, Entry>,
    last_rev: u64,
    /// Snapshots to compare with the diffs once all of them are here.
    unchecked: Vec<(u64, View)>,
}

/// One diff and who has it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) frame: Box<[u8]>,
    pub(crate) diff: ViewDiff,
    /// When each change in it was sent, for the changes this process made.
    pub(crate) sent_us: Vec<u64>,
    /// When its latest receiver had it.
    pub(crate) last_us: u64,
    pub(crate) phase: u32,
}

impl RoomLog {
    pub(crate) fn entry(&mut self, rev: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&rev)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(crate) fn last_rev(&self) -> u64 {
        self.last_rev
    }

    pub(crate) fn is_of(&self, epoch: &Value) -> bool {
        self.epoch == *epoch
    }

    pub(crate) fn insert(&mut self, rev: u64, entry: Entry) {
        self.last_rev = self.last_rev.max(rev);
        self.entries.insert(rev, entry);
    }

    /// The revision of the last snapshot read, if this is the same frame.
    pub(crate) fn same_snapshot(&self, frame: &[u8]) -> Option<u64> {
        (!frame.is_empty() && *self.snapshot == *frame).then_some(self.snapshot_rev)
    }

    /// Takes a snapshot. True if it began a new epoch, which makes everything before it void.
    pub(crate) fn on_snapshot(&mut self, frame: &[u8], epoch: Value, rev: u64, view: View) -> bool {
        let renewed = self.base.is_some() && self.epoch != epoch;
        if renewed {
            *self = RoomLog::default();
        }
        self.epoch = epoch;
        self.snapshot = frame.into();
        self.snapshot_rev = rev;
        self.last_rev = self.last_rev.max(rev);
        match self.base.take() {
            Some(base) if base.0 <= rev => {
                self.base = Some(base);
                self.unchecked.push((rev, view));
            }
            later => {
                self.unchecked.extend(later);
                self.base = Some((rev, view));
            }
        }
        renewed
    }

    /// The view at a revision: the earliest snapshot and the diffs after it; `None` if a diff is missing.
    pub(crate) fn view_at(&self, rev: u64) -> Option<View> {
        let (base, view) = self.base.as_ref()?;
        let mut view = view.clone();
        for step in base + 1..=rev {
            view.apply(&self.entries.get(&step)?.diff);
        }
        (rev >= *base).then_some(view)
    }

    /// Snapshots that differ from the snapshot before them plus the diffs between.
    pub(crate) fn wrong_snapshots(&self) -> usize {
        self.unchecked.iter().filter(|(rev, view)| self.view_at(*rev).is_some_and(|at| at != *view)).count()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Entry, RoomLog};
    use crate::view::{Moved, View, ViewDiff};

    fn view(slots: &[&str]) -> View {
        View { active: slots.iter().map(|slot| (*slot).to_owned()).collect(), ..View::default() }
    }

    fn adding(slot: &str) -> Entry {
        let active = Moved { add: vec![slot.to_owned()], remove: vec![] };
        let diff = ViewDiff { active, ..ViewDiff::default() };
        Entry { frame: Box::default(), diff, sent_us: vec![], last_us: 0, phase: 0 }
    }

    #[test]
    fn a_snapshot_that_lacks_a_diff_is_found_wrong() {
        let mut log = RoomLog::default();
        log.on_snapshot(b"a", json!(1), 4, view(&[]));
        log.insert(5, adding("10:00"));
        log.insert(6, adding("11:00"));
        log.on_snapshot(b"b", json!(1), 6, view(&["10:00", "11:00"]));
        log.on_snapshot(b"c", json!(1), 5, view(&["10:00"]));
        assert_eq!(log.wrong_snapshots(), 0);
        log.on_snapshot(b"d", json!(1), 6, view(&["11:00"]));
        assert_eq!(log.wrong_snapshots(), 1);
        assert_eq!(log.same_snapshot(b"d"), Some(6));
        assert_eq!((log.view_at(3), log.view_at(7)), (None, None));
    }

    #[test]
    fn an_earlier_snapshot_becomes_the_base_and_the_later_one_is_checked() {
        let mut log = RoomLog::default();
        log.on_snapshot(b"later", json!(1), 5, view(&[]));
        log.on_snapshot(b"earlier", json!(1), 4, view(&[]));
        log.insert(5, adding("10:00"));
        assert_eq!(log.wrong_snapshots(), 1);
    }

    #[test]
    fn a_new_epoch_voids_what_was_before() {
        let mut log = RoomLog::default();
        assert!(!log.on_snapshot(b"a", json!("x"), 9, view(&["10:00"])));
        assert!(log.on_snapshot(b"b", json!("y"), 1, view(&[])));
        assert_eq!((log.last_rev(), log.wrong_snapshots()), (1, 0));
    }
}
