//! A room as a subscriber sees it: the three lists, and what a diff does to them.

use std::collections::BTreeSet;

use serde::Deserialize;

/// Minutes of a day: slots a room can have.
pub(crate) const SLOTS: usize = 24 * 60;

/// The lists of a snapshot, or of a snapshot and the diffs after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct View {
    pub(crate) active: BTreeSet<String>,
    pub(crate) locked: BTreeSet<String>,
    pub(crate) booked: BTreeSet<String>,
}

/// What came to a list and what left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Moved {
    #[serde(default)]
    pub(crate) add: Vec<String>,
    #[serde(default)]
    pub(crate) remove: Vec<String>,
}

/// A diff's lists; those that did not change are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct ViewDiff {
    #[serde(default)]
    pub(crate) active: Moved,
    #[serde(default)]
    pub(crate) locked: Moved,
    #[serde(default)]
    pub(crate) booked: Moved,
}

impl View {
    pub(crate) fn apply(&mut self, diff: &ViewDiff) {
        let View { active, locked, booked } = self;
        for (list, moved) in [(active, &diff.active), (locked, &diff.locked), (booked, &diff.booked)] {
            for slot in &moved.remove {
                list.remove(slot);
            }
            list.extend(moved.add.iter().cloned());
        }
    }
}

/// `HH:MM` of the slot with this number.
pub(crate) fn slot_name(slot: usize) -> String {
    format!("{:02}:{:02}", slot / 60 % 24, slot % 60)
}

/// The slot's number, where the name is one.
pub(crate) fn slot_number(name: &str) -> Option<usize> {
    let (hours, minutes) = name.split_once(':')?;
    let (hours, minutes): (usize, usize) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::{Moved, View, ViewDiff, slot_name, slot_number};

    #[test]
    fn a_diff_moves_slots_between_lists() {
        let mut view = View { active: ["10:00".to_owned()].into(), ..View::default() };
        let to_locked = ViewDiff {
            active: Moved { add: vec!["11:00".to_owned()], remove: vec!["10:00".to_owned()] },
            locked: Moved { add: vec!["10:00".to_owned()], remove: vec![] },
            ..ViewDiff::default()
        };
        view.apply(&to_locked);
        assert_eq!(view.active, ["11:00".to_owned()].into());
        assert_eq!(view.locked, ["10:00".to_owned()].into());
    }

    #[test]
    fn slots_have_numbers() {
        assert_eq!((slot_name(0), slot_name(1439)), ("00:00".to_owned(), "23:59".to_owned()));
        assert_eq!((slot_number("23:59"), slot_number("24:00"), slot_number("x")), (Some(1439), None, None));
    }
}
