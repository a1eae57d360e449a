//! Every Redis key and channel: the only code that builds or parses one.
//!
//! | key | value | TTL |
//! | --- | --- | --- |
//! | `appointease_active_{date}_{employee_id}_{HH:MM}` | JSON, a selection | 10 s |
//! | `appointease_user_{client_id}_{date}_{employee_id}` | `HH:MM`, the client's selection there | as above |
//! | `appointease_lock_{date}_{employee_id}_{HH:MM}` | JSON, a lock | 600 s |
//! | `appointease_locks_{client_id}` | set of `{date}_{employee_id}_{HH:MM}`, for counting a client's locks | 600 s |
//! | `appointease_storage` | hash: `mode`, `epoch`, and our `born`, `seq`, `fence`, `salt` | none |
//! | `appointease_probe_{gateway}` | proves that writes are taken and events come back | 10 s |

use crate::slot::{ClientId, EmployeeId, Room, Slot, parse_date};

/// The storage mode and epoch, and the counters of the scripts.
pub(super) const STORAGE: &str = "appointease_storage";
/// Where every script publishes what it changed, for the other gateways.
pub(super) const CHANGES: &str = "appointease:changes";
/// Begins the key of a selection.
pub(super) const ACTIVE: &str = "appointease_active_";
/// Begins the key of a lock.
pub(super) const LOCK: &str = "appointease_lock_";
/// Begins the key of a client's selection in a room.
pub(super) const USER: &str = "appointease_user_";
/// Begins the key of a client's set of locks.
pub(super) const LOCKS: &str = "appointease_locks_";
/// Begins the key of a room's availability.
const AVAILABILITY: &str = "appointease_avail_";
/// Begins the channels on which the plugin says that a room changed; `{date}:{employee_id}` follows.
const SLOTS: &str = "appointease:slots:";
/// Matches them.
pub(super) const SLOTS_PATTERN: &str = "appointease:slots:*";
/// Begins the key of a gateway's probe.
pub(super) const PROBE: &str = "appointease_probe_";

/// What the keys of a slot end with, spelled once for all of them.
pub(super) struct Spelled(String);

impl Spelled {
    const TIME: usize = "HH:MM".len();

    pub(super) fn new(slot: Slot) -> Self {
        Spelled(suffix(slot))
    }

    pub(super) fn active(&self) -> String {
        [ACTIVE, &self.0].concat()
    }

    pub(super) fn lock(&self) -> String {
        [LOCK, &self.0].concat()
    }

    pub(super) fn user(&self, client: &ClientId) -> String {
        let room = self.room();
        [USER, client.as_str(), "_", &room[..room.len() - 1]].concat()
    }

    pub(super) fn time(&self) -> &str {
        &self.0[self.0.len() - Self::TIME..]
    }

    /// See [`room_suffix`].
    pub(super) fn room(&self) -> &str {
        &self.0[..self.0.len() - Self::TIME]
    }
}

pub(super) fn active(slot: Slot) -> String {
    [ACTIVE, &suffix(slot)].concat()
}

pub(super) fn lock(slot: Slot) -> String {
    [LOCK, &suffix(slot)].concat()
}

pub(super) fn user(client: &ClientId, room: Room) -> String {
    format!("{USER}{client}{}", user_suffix(room))
}

pub(super) fn locks(client: &ClientId) -> String {
    format!("{LOCKS}{client}")
}

pub(super) fn availability(room: Room) -> String {
    format!("{AVAILABILITY}{}_{}", room.date, room.employee_id)
}

pub(super) fn probe(gateway: &str) -> String {
    format!("{PROBE}{gateway}")
}

/// What the keys of a slot end with; also its name in `appointease:changes`.
pub(super) fn suffix(slot: Slot) -> String {
    format!("{}_{}_{}", slot.room.date, slot.room.employee_id, slot.time)
}

/// What the keys of a room's slots have between prefix and time.
pub(super) fn room_suffix(room: Room) -> String {
    format!("{}_{}_", room.date, room.employee_id)
}

/// What follows the client in a user key.
pub(super) fn user_suffix(room: Room) -> String {
    format!("_{}_{}", room.date, room.employee_id)
}

/// The slot that a selection's or lock's key names; `None` if it is neither, or not spelled as we spell it.
pub(super) fn parse_slot(key: &str) -> Option<Slot> {
    parse_suffix(key.strip_prefix(ACTIVE).or_else(|| key.strip_prefix(LOCK))?)
}

/// The slot that a suffix names.
pub(super) fn parse_suffix(suffix: &str) -> Option<Slot> {
    let (date, rest) = suffix.split_once('_')?;
    let (employee, time) = rest.split_once('_')?;
    let room = Room { date: parse_date(date).ok()?, employee_id: employee.parse::<EmployeeId>().ok()? };
    // `10:00:00` would be a second key for the slot of `10:00`.
    (time.len() == 5).then(|| time.parse().ok())?.map(|time| room.slot(time))
}

/// The keyspace channels of the keys that others may change.
pub(super) fn notified(db: i64) -> [String; 3] {
    [ACTIVE, LOCK, PROBE].map(|prefix| keyspace_channel(db, &format!("{prefix}*")))
}

/// The keyspace channel of a key or key pattern in database `db`.
pub(super) fn keyspace_channel(db: i64, pattern: &str) -> String {
    format!("__keyspace@{db}__:{pattern}")
}

/// The key a keyspace channel is about.
pub(super) fn key_of_channel(channel: &str) -> Option<&str> {
    channel.strip_prefix("__keyspace@")?.split_once("__:").map(|(_, key)| key)
}

/// The room that the plugin says something about on this channel.
pub(super) fn room_of_channel(channel: &str) -> Option<Room> {
    let (date, employee) = channel.strip_prefix(SLOTS)?.split_once(':')?;
    Some(Room { date: parse_date(date).ok()?, employee_id: employee.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_read_from_the_plugins_channel() {
        let room = parse_suffix("2026-12-01_7_09:30").expect("a slot").room;
        assert_eq!(room_of_channel("appointease:slots:2026-12-01:7"), Some(room));
        for other in ["appointease:slots:2026-12-01:07", "appointease:slots:x", "appointease:changes"] {
            assert_eq!(room_of_channel(other), None, "{other}");
        }
    }

    #[test]
    fn a_slot_is_parsed_from_the_keys_it_is_built_into() {
        let slot = parse_suffix("2026-12-01_7_09:30").expect("a slot");
        assert_eq!(parse_slot(&active(slot)), Some(slot));
        assert_eq!(parse_slot(&lock(slot)), Some(slot));
        assert_eq!(active(slot), "appointease_active_2026-12-01_7_09:30");
        assert_eq!(
            key_of_channel(&keyspace_channel(3, &lock(slot))),
            Some("appointease_lock_2026-12-01_7_09:30")
        );
        let (spelled, client) = (Spelled::new(slot), "ann".parse().expect("a client"));
        assert_eq!([spelled.active(), spelled.lock()], [active(slot), lock(slot)]);
        assert_eq!(spelled.user(&client), user(&client, slot.room));
        assert_eq!((spelled.room(), spelled.time()), ("2026-12-01_7_", "09:30"));
    }

    #[test]
    fn a_key_that_is_not_spelled_as_ours_is_nobodys_slot() {
        for key in [
            "appointease_active_2026-12-01_7_09:30:00",
            "appointease_active_2026-12-01_07_09:30",
            "appointease_active_2026-12-32_7_09:30",
            "appointease_active_2026-12-01_7_",
            "appointease_active_",
            "appointease_user_a_2026-12-01_7",
            "wp_cache:appointease_active_2026-12-01_7_09:30",
        ] {
            assert_eq!(parse_slot(key), None, "{key}");
        }
    }
}
