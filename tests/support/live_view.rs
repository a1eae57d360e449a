//! A browser's picture of one room, built from snapshots and diffs with no frame forgiven.
//! Every breach of the protocol is an error: a gap, a time added twice, a field that should not be there.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The three public lists of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Being selected by somebody.
    pub active: BTreeSet<String>,
    /// Locked during somebody's checkout.
    pub locked: BTreeSet<String>,
    /// Booked for good.
    pub booked: BTreeSet<String>,
}

/// A room as one page sees it: its lists, and the version they are of.
#[derive(Clone, Debug)]
pub struct LiveView {
    /// The lists.
    pub view: View,
    /// Names the run of revisions.
    pub epoch: Value,
    /// The version within the epoch.
    pub rev: u64,
    /// How many snapshots it was built from.
    pub snapshots: usize,
    /// How many diffs were applied.
    pub diffs: usize,
    own_booking: Option<Value>,
}

const SNAPSHOT_FIELDS: [&str; 13] = [
    "type",
    "id",
    "date",
    "employee_id",
    "epoch",
    "rev",
    "active",
    "locked",
    "booked",
    "storage_mode",
    "redis_status",
    "stale",
    "own_booking",
];
const DIFF_FIELDS: [&str; 8] = ["type", "date", "employee_id", "epoch", "rev", "active", "locked", "booked"];

impl LiveView {
    /// Takes a snapshot over what was known before; says what is wrong with it.
    pub fn from_snapshot(frame: &Value, before: Option<&Self>) -> Result<Self, String> {
        let object = frame.as_object().ok_or("a frame is an object")?;
        only_fields(object, &SNAPSHOT_FIELDS)?;
        for (name, allowed) in [
            ("storage_mode", &["redis", "mysql", "memory"][..]),
            ("redis_status", &["available", "unavailable"]),
        ] {
            let value = object.get(name).and_then(Value::as_str).unwrap_or_default();
            if !allowed.contains(&value) {
                return Err(format!("{name} is {value:?}"));
            }
        }
        let view = View {
            active: sorted_times(object, "active")?,
            locked: sorted_times(object, "locked")?,
            booked: sorted_times(object, "booked")?,
        };
        view.check_disjoint()?;
        let (epoch, rev) = version(object)?;
        let own_booking = object.get("own_booking").cloned();
        let (snapshots, diffs) = before.map_or((0, 0), |before| (before.snapshots, before.diffs));
        if let Some(before) = before.filter(|before| before.epoch == epoch) {
            if rev < before.rev {
                return Err(format!("a snapshot went back from rev {} to {rev} in one epoch", before.rev));
            }
            let comparable = own_booking == before.own_booking;
            if rev == before.rev && comparable && view != before.view {
                return Err(format!("rev {rev} names two views: {:?} and {view:?}", before.view));
            }
        }
        Ok(Self { view, epoch, rev, snapshots: snapshots + 1, diffs, own_booking })
    }

    /// Applies the next diff; says what is wrong with it.
    pub fn apply(&mut self, frame: &Value) -> Result<(), String> {
        let object = frame.as_object().ok_or("a frame is an object")?;
        only_fields(object, &DIFF_FIELDS)?;
        let (epoch, rev) = version(object)?;
        if epoch != self.epoch {
            return Err(format!("a diff of epoch {epoch} after a snapshot of epoch {}", self.epoch));
        }
        if rev != self.rev + 1 {
            return Err(format!("a diff of rev {rev} after rev {}", self.rev));
        }
        let mut changes = 0;
        for (name, list) in [
            ("active", &mut self.view.active),
            ("locked", &mut self.view.locked),
            ("booked", &mut self.view.booked),
        ] {
            let Some(change) = object.get(name) else { continue };
            let change = change.as_object().ok_or_else(|| format!("{name} is not an object"))?;
            only_fields(change, &["add", "remove"])?;
            let (add, remove) = (sorted_times(change, "add")?, sorted_times(change, "remove")?);
            if add.is_empty() && remove.is_empty() {
                return Err(format!("{name} is there but did not change"));
            }
            changes += 1;
            if let Some(time) = remove.iter().find(|time| !list.remove(*time)) {
                return Err(format!("{name} removes {time}, which is not there"));
            }
            if let Some(time) = add.into_iter().find(|time| !list.insert(time.clone())) {
                return Err(format!("{name} adds {time}, which is there or was just removed"));
            }
        }
        if changes == 0 {
            return Err("a diff without a change".into());
        }
        (self.rev, self.diffs) = (rev, self.diffs + 1);
        self.view.check_disjoint()
    }
}

impl View {
    fn check_disjoint(&self) -> Result<(), String> {
        let all = self.active.len() + self.locked.len() + self.booked.len();
        let distinct: BTreeSet<_> = self.active.iter().chain(&self.locked).chain(&self.booked).collect();
        if distinct.len() == all { Ok(()) } else { Err(format!("a time is in two lists: {self:?}")) }
    }
}

fn version(object: &Map<String, Value>) -> Result<(Value, u64), String> {
    let epoch = object.get("epoch").filter(|epoch| epoch.is_string() || epoch.is_number());
    let rev = object.get("rev").and_then(Value::as_u64);
    Ok((epoch.ok_or("no epoch")?.clone(), rev.ok_or("no rev")?))
}

/// Nothing may be in a public frame but what the protocol names: who holds a slot is nobody's business.
fn only_fields(object: &Map<String, Value>, allowed: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !allowed.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown field {name}")),
        None => Ok(()),
    }
}

fn sorted_times(object: &Map<String, Value>, name: &str) -> Result<BTreeSet<String>, String> {
    let list = object.get(name).and_then(Value::as_array).ok_or_else(|| format!("{name} is not a list"))?;
    let times: Vec<&str> = list.iter().filter_map(Value::as_str).filter(|time| is_time(time)).collect();
    if times.len() != list.len() {
        return Err(format!("{name} holds something that is not HH:MM: {list:?}"));
    }
    if !times.is_sorted_by(|a, b| a < b) {
        return Err(format!("{name} is not sorted, or holds a time twice: {list:?}"));
    }
    Ok(times.into_iter().map(str::to_owned).collect())
}

/// Whether it is a slot's `HH:MM`.
pub(crate) fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 5 && bytes[2] == b':' && text < "24:00" && &text[3..] < "60"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(epoch: u64, rev: u64, active: &[&str]) -> Value {
        json!({"type": "snapshot", "date": "2030-01-01", "employee_id": 1, "epoch": epoch, "rev": rev,
            "active": active, "locked": [], "booked": [], "storage_mode": "redis", "redis_status": "available"})
    }

    fn diff(epoch: u64, rev: u64, add: &[&str], remove: &[&str]) -> Value {
        json!({"type": "diff", "date": "2030-01-01", "employee_id": 1, "epoch": epoch, "rev": rev,
            "active": {"add": add, "remove": remove}})
    }

    #[test]
    fn diffs_in_order_are_applied() {
        let mut live = LiveView::from_snapshot(&snapshot(1, 4, &["10:00"]), None).unwrap();
        live.apply(&diff(1, 5, &["11:00"], &["10:00"])).unwrap();
        assert_eq!(live.view.active, BTreeSet::from(["11:00".to_owned()]));
        assert_eq!((live.rev, live.snapshots, live.diffs), (5, 1, 1));
    }

    #[test]
    fn a_gap_a_repetition_a_foreign_epoch_and_an_empty_diff_are_breaches() {
        let live = LiveView::from_snapshot(&snapshot(1, 4, &["10:00"]), None).unwrap();
        for wrong in [
            diff(1, 6, &["11:00"], &[]),
            diff(1, 4, &["11:00"], &[]),
            diff(2, 5, &["11:00"], &[]),
            diff(1, 5, &["10:00"], &[]),
            diff(1, 5, &[], &["11:00"]),
            diff(1, 5, &["12:00", "11:00"], &[]),
            diff(1, 5, &["25:00"], &[]),
            diff(1, 5, &[], &[]),
            json!({"type": "diff", "date": "2030-01-01", "employee_id": 1, "epoch": 1, "rev": 5}),
        ] {
            assert!(live.clone().apply(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_frame_that_says_more_than_the_protocol_is_a_breach() {
        let mut telling = snapshot(1, 4, &[]);
        telling["client_id"] = json!("alice");
        assert!(LiveView::from_snapshot(&telling, None).is_err());
    }

    #[test]
    fn a_snapshot_may_not_go_back_or_contradict_its_own_rev() {
        let live = LiveView::from_snapshot(&snapshot(1, 4, &["10:00"]), None).unwrap();
        assert!(LiveView::from_snapshot(&snapshot(1, 3, &["10:00"]), Some(&live)).is_err());
        assert!(LiveView::from_snapshot(&snapshot(1, 4, &["11:00"]), Some(&live)).is_err());
        assert!(LiveView::from_snapshot(&snapshot(2, 0, &["11:00"]), Some(&live)).is_ok());
    }
}
