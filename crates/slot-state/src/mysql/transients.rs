//! The selections of one room as they stand in a WordPress transient: the only code that knows the names of
//! its rows and the shape of its array. Pure; what others put there is written back as it was read.

use std::collections::BTreeMap;

use super::php::{self, Key, ParseError, Problem, Value};
use crate::hold::{AddressTag, Chosen};
use crate::slot::{ClientId, EmployeeId, Room, SlotTime, parse_date};

/// Finds the rows of all rooms with `LIKE`. Every `_` is escaped by a backslash: it does not work under the
/// `sql_mode` `NO_BACKSLASH_ESCAPES`, which takes that meaning from it.
pub(super) const ACTIVE_PATTERN: &str = r"\_transient\_appointease\_active\_%";

const ACTIVE: &str = "_transient_appointease_active_";
const TIMEOUT: &str = "_transient_timeout_appointease_active_";

/// The `option_name` of the row with a room's selections.
pub(super) fn option_name(room: Room) -> String {
    format!("{ACTIVE}{}_{}", room.date, room.employee_id)
}

/// The `option_name` of the row that says when they end, in Unix seconds.
pub(super) fn timeout_name(room: Room) -> String {
    format!("{TIMEOUT}{}_{}", room.date, room.employee_id)
}

/// The room whose selections stand under this `option_name`; `None` if it is not spelled as we spell it.
pub(super) fn room_of(option_name: &str) -> Option<Room> {
    let (date, employee) = option_name.strip_prefix(ACTIVE)?.split_once('_')?;
    Some(Room { date: parse_date(date).ok()?, employee_id: employee.parse::<EmployeeId>().ok()? })
}

/// All that stands in a room's transient.
#[derive(Debug, Clone, Default)]
pub(super) struct RoomSelections {
    /// The selections. One that is put here takes the place of whatever else stood under its time.
    pub(super) entries: BTreeMap<SlotTime, Stored>,
    /// What is not a selection, kept as it was read.
    pub(super) others: Vec<(Key, Value)>,
}

/// One selection.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Whose it is; under PHP's hand perhaps a name that no request may use.
    pub(super) client: ClientId,
    /// When it was last renewed, in Unix seconds, as its writer says; 0 if that cannot be read.
    pub(super) timestamp: i64,
    /// The WordPress user, 0 for none.
    pub(super) user_id: i64,
    /// When it was taken, in Unix seconds; if its writer does not say, its `timestamp`.
    pub(super) since: i64,
    /// What only a gateway writes; `None` in PHP's selections.
    pub(super) ours: Option<Ours>,
    /// The array it was read from, with what others added to it; empty in a new one.
    raw: Vec<(Key, Value)>,
}

/// What a gateway adds to a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ours {
    /// When it ends, in Unix milliseconds by the database's clock; above 0, or it would be read as PHP's.
    pub(super) expires_at: i64,
    /// How it was chosen.
    pub(super) chosen: Chosen,
    /// From where, if known.
    pub(super) address: Option<AddressTag>,
    /// The gateway that was the last to renew it.
    pub(super) gateway: String,
    /// The storage epoch it was written in; 0, older than all, if that cannot be read.
    pub(super) epoch: u64,
}

impl RoomSelections {
    /// Reads the `option_value` of a room. An error if it is no array that [`php::parse`] reads.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let Value::Array(array) = php::parse(text)? else {
            return Err(ParseError { problem: Problem::Expected("an array"), at: 0 });
        };
        let mut selections = RoomSelections::default();
        for (key, value) in array {
            match (slot_time(&key), value) {
                (Some(time), Value::Array(raw)) => match Stored::read(raw) {
                    Ok(stored) => drop(selections.entries.insert(time, stored)),
                    Err(raw) => selections.others.push((key, Value::Array(raw))),
                },
                (_, value) => selections.others.push((key, value)),
            }
        }
        Ok(selections)
    }

    /// The `option_value`: selections in the order of their times, then what else there is.
    /// An unchanged selection is written as it was read.
    pub(super) fn encode(&self) -> Vec<u8> {
        let selections =
            self.entries.iter().map(|(time, stored)| (Key::new(time.to_string()), stored.array()));
        let replaced = |key: &Key| slot_time(key).is_some_and(|time| self.entries.contains_key(&time));
        let others = self.others.iter().filter(|(key, _)| !replaced(key)).cloned();
        php::encode(&Value::Array(selections.chain(others).collect()))
    }

    /// Whether a gateway wrote something here before this epoch.
    pub(super) fn is_older(&self, epoch: u64) -> bool {
        let older = |stored: &Stored| stored.ours.as_ref().is_some_and(|ours| ours.epoch < epoch);
        self.entries.values().any(older)
    }

    /// Nothing would be lost with the row.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.others.is_empty()
    }
}

impl Stored {
    /// A new selection as a gateway makes it.
    pub(super) fn new(client: ClientId, timestamp: i64, since: i64, ours: Ours) -> Self {
        Self { client, timestamp, user_id: 0, since, ours: Some(ours), raw: Vec::new() }
    }

    /// The selection that an array is, or the array back: it is one if it says whose.
    fn read(raw: Vec<(Key, Value)>) -> Result<Self, Vec<(Key, Value)>> {
        let Some(client) = text(&raw, CLIENT_ID) else { return Err(raw) };
        let client = ClientId::foreign(&client);
        let timestamp = number(&raw, TIMESTAMP).unwrap_or(0);
        Ok(Self {
            client,
            timestamp,
            user_id: number(&raw, USER_ID).unwrap_or(0),
            since: number(&raw, SINCE).unwrap_or(timestamp),
            ours: Ours::read(&raw),
            raw,
        })
    }

    fn unchanged(&self) -> bool {
        Self::read(self.raw.clone()).is_ok_and(|read| {
            (&read.client, read.timestamp, read.user_id, read.since, &read.ours)
                == (&self.client, self.timestamp, self.user_id, self.since, &self.ours)
        })
    }

    fn array(&self) -> Value {
        let mut array = self.raw.clone();
        if self.unchanged() {
            return Value::Array(array);
        }
        put(&mut array, TIMESTAMP, Value::Int(self.timestamp));
        put(&mut array, CLIENT_ID, bytes(self.client.as_str()));
        put(&mut array, USER_ID, Value::Int(self.user_id));
        put(&mut array, SINCE, Value::Int(self.since));
        match &self.ours {
            Some(ours) => ours.write(&mut array),
            None => array.retain(|(key, _)| !OURS.iter().any(|name| is(key, name))),
        }
        Value::Array(array)
    }
}

impl Ours {
    /// `None` unless there is an `expires_at`: without one it is PHP's.
    fn read(raw: &[(Key, Value)]) -> Option<Self> {
        let Some(&Value::Int(expires_at @ 1..)) = get(raw, EXPIRES_AT) else { return None };
        Some(Self {
            expires_at,
            chosen: match get(raw, CHOSEN) {
                Some(Value::Bytes(word)) if word == POLL.as_bytes() => Chosen::ByPoll,
                _ => Chosen::Explicitly,
            },
            address: text(raw, ADDRESS).and_then(|tag| u64::from_str_radix(&tag, 16).ok()).map(AddressTag),
            gateway: text(raw, GATEWAY).unwrap_or_default(),
            epoch: number(raw, EPOCH).and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0),
        })
    }

    fn write(&self, array: &mut Vec<(Key, Value)>) {
        let chosen = match self.chosen {
            Chosen::Explicitly => SELECT,
            Chosen::ByPoll => POLL,
        };
        put(array, EXPIRES_AT, Value::Int(self.expires_at));
        put(array, CHOSEN, bytes(chosen));
        put(array, ADDRESS, bytes(&self.address.map(|tag| tag.to_string()).unwrap_or_default()));
        put(array, GATEWAY, bytes(&self.gateway));
        put(array, EPOCH, Value::Int(i64::try_from(self.epoch).unwrap_or(i64::MAX)));
    }
}

const TIMESTAMP: &str = "timestamp";
const CLIENT_ID: &str = "client_id";
const USER_ID: &str = "user_id";
const SINCE: &str = "since";
const EXPIRES_AT: &str = "expires_at";
const CHOSEN: &str = "chosen";
const ADDRESS: &str = "address";
const GATEWAY: &str = "gateway";
const EPOCH: &str = "epoch";
const OURS: [&str; 5] = [EXPIRES_AT, CHOSEN, ADDRESS, GATEWAY, EPOCH];

const SELECT: &str = "select";
const POLL: &str = "poll";

/// The time that a key is: exactly `HH:MM`, since `10:00:00` would be a second key for 10:00.
fn slot_time(key: &Key) -> Option<SlotTime> {
    match key {
        Key::Bytes(text) if text.len() == 5 => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn is(key: &Key, name: &str) -> bool {
    matches!(key, Key::Bytes(text) if text == name.as_bytes())
}

fn get<'a>(array: &'a [(Key, Value)], name: &str) -> Option<&'a Value> {
    array.iter().find(|(key, _)| is(key, name)).map(|(_, value)| value)
}

/// Replaces a value where it stands, or adds it.
fn put(array: &mut Vec<(Key, Value)>, name: &str, value: Value) {
    match array.iter_mut().find(|(key, _)| is(key, name)) {
        Some((_, place)) => *place = value,
        None => array.push((Key::new(name), value)),
    }
}

/// A string, which in PHP's hands need not be UTF-8.
fn text(array: &[(Key, Value)], name: &str) -> Option<String> {
    match get(array, name)? {
        Value::Bytes(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    }
}

/// An integer, which PHP may have as a string or, out of `microtime(true)`, as a float.
fn number(array: &[(Key, Value)], name: &str) -> Option<i64> {
    match get(array, name)? {
        Value::Int(number) => Some(*number),
        Value::Bytes(text) => match Key::new(text) {
            Key::Int(number) => Some(number),
            Key::Bytes(_) => None,
        },
        Value::Float(number) if number.is_finite() => Some(*number as i64),
        _ => None,
    }
}

fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests;
