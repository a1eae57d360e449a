//! What a server is told and what it says: slotcast's push protocol, or any other server's, given a frame to subscribe
//! with, a text to publish and a marker in front of each message's number.

use serde::Deserialize;
use serde_json::Value;

use crate::LoadError;
use crate::view::{SLOTS, View, ViewDiff, slot_name, slot_number};

/// The language of the server under load.
#[derive(Clone, Debug)]
pub(crate) enum Dialect {
    /// slotcast: rooms are employees of one date.
    Slotcast(Rooms),
    /// Any server whose messages carry a number per room.
    Generic(Rooms, Generic),
}

/// What is done to a slot of slotcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Select,
    Confirm,
    /// Past slotcast, by a program that inserts a row.
    Insert,
}

/// How a room's number becomes a date and an employee.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    pub(crate) date: String,
    pub(crate) first_employee: usize,
}

/// The texts of another server. In all of them `{room}`, `{seq}`, `{time}`, `{date}` and `{employee_id}` are filled in.
#[derive(Clone, Debug)]
pub(crate) struct Generic {
    /// First frame of a subscriber; none where connecting is subscribing.
    pub(crate) subscribe: Option<String>,
    /// A text whose arrival means subscribed; none where the upgrade does.
    pub(crate) ready: Option<String>,
    /// What stands right before `{seq}` in a message.
    pub(crate) marker: String,
    /// The message.
    pub(crate) publish: String,
}

/// One text frame of a server, as a value.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The subscription stands; messages from the room's first on will follow.
    Ready,
    Snapshot(Snapshot),
    Diff(Diff),
    /// An `error` with its code.
    Refused(String),
    Other,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Snapshot {
    #[serde(default)]
    pub(crate) employee_id: usize,
    pub(crate) epoch: Value,
    pub(crate) rev: u64,
    #[serde(flatten)]
    pub(crate) view: View,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Diff {
    #[serde(default)]
    pub(crate) employee_id: usize,
    pub(crate) epoch: Value,
    pub(crate) rev: u64,
    #[serde(flatten)]
    pub(crate) diff: ViewDiff,
}

impl Diff {
    /// The slots that this diff shows as selected or booked from now on.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> {
        self.diff.active.add.iter().chain(&self.diff.booked.add).filter_map(|name| slot_number(name))
    }
}

/// A reply to a publisher.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Reply {
    Welcome {},
    Ok {
        #[serde(default)]
        id: Option<u64>,
    },
    Error {
        #[serde(default)]
        id: Option<u64>,
        code: String,
    },
    Released {
        reason: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(default)]
    code: Option<&'a str>,
}

impl Rooms {
    pub(crate) fn employee(&self, room: usize) -> usize {
        self.first_employee + room
    }

    fn change(&self, change: Change, room: usize, time: &str, id: u64) -> String {
        let (date, employee) = (&self.date, self.employee(room));
        let slot = format!(r#""id":{id},"date":"{date}","employee_id":{employee},"time":"{time}""#);
        let customer = r#""name":"Load Generator","email":"load@example.com""#;
        match change {
            Change::Select => format!(r#"{{"type":"select",{slot}}}"#),
            Change::Confirm => {
                let key = format!(r#""idempotency_key":"{date} {time} {employee}""#);
                format!(r#"{{"type":"confirm",{slot},{key},{customer}}}"#)
            }
            Change::Insert => {
                let begins = format!(r#""appointment_date":"{date} {time}:00""#);
                format!(r#"{{{customer},{begins},"status":"confirmed","employee_id":{employee}}}"#)
            }
        }
    }

    pub(crate) fn room(&self, employee: usize) -> Option<usize> {
        employee.checked_sub(self.first_employee)
    }
}

impl Dialect {
    pub(crate) fn rooms(&self) -> &Rooms {
        match self {
            Dialect::Slotcast(rooms) | Dialect::Generic(rooms, _) => rooms,
        }
    }

    pub(crate) fn is_slotcast(&self) -> bool {
        matches!(self, Dialect::Slotcast(_))
    }

    /// The frame that subscribes to a room.
    pub(crate) fn subscribe(&self, room: usize) -> Option<String> {
        match self {
            Dialect::Slotcast(rooms) => Some(format!(
                r#"{{"type":"subscribe","date":"{}","employee_id":{}}}"#,
                rooms.date,
                rooms.employee(room)
            )),
            Dialect::Generic(rooms, generic) => {
                generic.subscribe.as_ref().map(|text| fill(text, rooms, room, 0, 0))
            }
        }
    }

    /// Whether a subscriber counts as subscribed as soon as its first frame is sent.
    pub(crate) fn is_ready_at_once(&self) -> bool {
        matches!(self, Dialect::Generic(_, Generic { ready: None, .. }))
    }

    /// The text that makes a change: slotcast's request with `id`, a row's columns, or the generic message with number `seq`.
    pub(crate) fn change(&self, change: Change, room: usize, slot: usize, id: u64, seq: u64) -> String {
        match self {
            Dialect::Slotcast(rooms) => rooms.change(change, room, &slot_name(slot), id),
            Dialect::Generic(rooms, generic) => fill(&generic.publish, rooms, room, slot, seq),
        }
    }

    /// Where in a room's 1,440 stamps a change is found again by those who receive it.
    pub(crate) fn stamp(&self, slot: usize, seq: u64) -> usize {
        match self {
            Dialect::Slotcast(_) => slot,
            Dialect::Generic(..) => (seq % SLOTS as u64) as usize,
        }
    }

    /// Reads a frame. In the generic language a message's number is its revision, counted from 1.
    pub(crate) fn read(&self, frame: &[u8]) -> Incoming {
        match self {
            Dialect::Slotcast(_) => read_slotcast(frame).unwrap_or(Incoming::Other),
            Dialect::Generic(_, generic) => generic.read(frame),
        }
    }
}

fn read_slotcast(frame: &[u8]) -> Result<Incoming, serde_json::Error> {
    let tag: Tag<'_> = serde_json::from_slice(frame)?;
    Ok(match tag.kind {
        "snapshot" => Incoming::Snapshot(serde_json::from_slice(frame)?),
        "diff" => Incoming::Diff(serde_json::from_slice(frame)?),
        "error" => Incoming::Refused(tag.code.unwrap_or("unknown").to_owned()),
        _ => Incoming::Other,
    })
}

impl Generic {
    fn read(&self, frame: &[u8]) -> Incoming {
        if let Some(seq) = self.seq(frame) {
            let add = vec![slot_name((seq % SLOTS as u64) as usize)];
            let diff = ViewDiff { active: crate::view::Moved { add, remove: vec![] }, ..ViewDiff::default() };
            return Incoming::Diff(Diff { employee_id: 0, epoch: Value::Null, rev: seq + 1, diff });
        }
        match &self.ready {
            Some(ready) if find(frame, ready.as_bytes()).is_some() => Incoming::Ready,
            _ => Incoming::Other,
        }
    }

    fn seq(&self, frame: &[u8]) -> Option<u64> {
        let digits = &frame[find(frame, self.marker.as_bytes())? + self.marker.len()..];
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    }

    /// Whether a message can be told from any other.
    pub(crate) fn validate(&self) -> Result<(), LoadError> {
        if self.marker.is_empty() || !self.publish.contains(&format!("{}{{seq}}", self.marker)) {
            return Err(LoadError::Usage(
                "--publish must hold the --marker with {seq} right behind it".to_owned(),
            ));
        }
        Ok(())
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn fill(template: &str, rooms: &Rooms, room: usize, slot: usize, seq: u64) -> String {
    template
        .replace("{room}", &room.to_string())
        .replace("{seq}", &seq.to_string())
        .replace("{time}", &slot_name(slot))
        .replace("{date}", &rooms.date)
        .replace("{employee_id}", &rooms.employee(room).to_string())
}

#[cfg(test)]
mod tests {
    use super::{Change, Dialect, Generic, Incoming, Rooms};

    fn rooms() -> Rooms {
        Rooms { date: "2026-12-01".to_owned(), first_employee: 5 }
    }

    #[test]
    fn slotcast_frames_become_values() {
        let slotcast = Dialect::Slotcast(rooms());
        let diff = br#"{"type":"diff","date":"2026-12-01","employee_id":7,"epoch":"e","rev":4,"active":{"add":["10:00"],"remove":[]}}"#;
        let Incoming::Diff(diff) = slotcast.read(diff) else { panic!("a diff") };
        assert_eq!((diff.rev, diff.slots().collect::<Vec<_>>()), (4, vec![600]));
        assert_eq!(rooms().room(diff.employee_id), Some(2));
        let snapshot = br#"{"type":"snapshot","date":"d","employee_id":7,"epoch":9,"rev":3,"active":["10:00"],"locked":[],"booked":[],"storage_mode":"redis","redis_status":"available"}"#;
        let Incoming::Snapshot(snapshot) = slotcast.read(snapshot) else { panic!("a snapshot") };
        assert_eq!((snapshot.rev, snapshot.view.active.len()), (3, 1));
        let error = br#"{"type":"error","code":"rate_limited","message":"Too many."}"#;
        assert!(matches!(slotcast.read(error), Incoming::Refused(code) if code == "rate_limited"));
    }

    #[test]
    fn a_generic_message_is_numbered_behind_its_marker() {
        let generic = Generic {
            subscribe: None,
            ready: Some("welcome".to_owned()),
            marker: r#""rev":"#.to_owned(),
            publish: r#"{"room":{room},"rev":{seq},"at":"{time}"}"#.to_owned(),
        };
        generic.validate().expect("valid");
        let dialect = Dialect::Generic(rooms(), generic);
        let message = dialect.change(Change::Select, 2, 61, 0, 41);
        assert_eq!(message, r#"{"room":2,"rev":41,"at":"01:01"}"#);
        assert!(matches!(dialect.read(message.as_bytes()), Incoming::Diff(diff) if diff.rev == 42));
        assert!(matches!(dialect.read(b"welcome!"), Incoming::Ready));
        assert!(matches!(dialect.read(b"hello"), Incoming::Other));
    }
}
