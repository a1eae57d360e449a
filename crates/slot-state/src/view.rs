//! What everybody may see of a room: three sorted, disjoint lists, and the difference between two of them.
//! A view never says whose a hold is.

use serde::Serialize;

use crate::slot::SlotTime;

/// The public lists of a room. A slot is in the first that applies: booked, locked, active.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RoomView {
    /// Being selected by somebody.
    pub active: Vec<SlotTime>,
    /// Locked during somebody's checkout.
    pub locked: Vec<SlotTime>,
    /// Booked for good.
    pub booked: Vec<SlotTime>,
}

/// What must be added to and removed from one list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ListDiff {
    /// Times that came.
    pub add: Vec<SlotTime>,
    /// Times that went.
    pub remove: Vec<SlotTime>,
}

/// What leads from one view to the next; `None` where a list did not change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ViewDiff {
    /// Changes of [`RoomView::active`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<ListDiff>,
    /// Changes of [`RoomView::locked`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<ListDiff>,
    /// Changes of [`RoomView::booked`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booked: Option<ListDiff>,
}

impl RoomView {
    /// What a subscriber that has `self` needs in order to have `next`; `None` if that is nothing.
    pub fn diff(&self, next: &RoomView) -> Option<ViewDiff> {
        let diff = ViewDiff {
            active: list_diff(&self.active, &next.active),
            locked: list_diff(&self.locked, &next.locked),
            booked: list_diff(&self.booked, &next.booked),
        };
        (diff != ViewDiff::default()).then_some(diff)
    }
}

fn list_diff(old: &[SlotTime], new: &[SlotTime]) -> Option<ListDiff> {
    let missing = |from: &[SlotTime], other: &[SlotTime]| -> Vec<SlotTime> {
        from.iter().filter(|time| other.binary_search(time).is_err()).copied().collect()
    };
    let diff = ListDiff { add: missing(new, old), remove: missing(old, new) };
    (diff != ListDiff::default()).then_some(diff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn times() -> impl Strategy<Value = Vec<SlotTime>> {
        prop::collection::btree_set(0u16..48, 0..12).prop_map(|set| {
            set.into_iter()
                .map(|half| format!("{:02}:{:02}", half / 2, half % 2 * 30).parse().expect("a time"))
                .collect()
        })
    }

    fn apply(list: &[SlotTime], diff: Option<ListDiff>) -> Vec<SlotTime> {
        let diff = diff.unwrap_or_default();
        let mut set: BTreeSet<SlotTime> = list.iter().copied().collect();
        for time in diff.remove {
            assert!(set.remove(&time), "removes what is there");
        }
        for time in diff.add {
            assert!(set.insert(time), "adds what is not there");
        }
        set.into_iter().collect()
    }

    proptest! {
        #[test]
        fn a_diff_leads_from_the_old_list_to_the_new_one(old in times(), new in times()) {
            prop_assert_eq!(apply(&old, list_diff(&old, &new)), new);
        }
    }
}
