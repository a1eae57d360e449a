//! Everything that happened in a run, as its clients saw it, with when: what the checks judge, and what
//! they print of it.

use std::time::Duration;

use support::Room;
use tokio::time::Instant;

use crate::member::client_name;
use crate::tenure::Tenure;

/// Lines printed with a violation.
const CONTEXT: usize = 24;

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) client: usize,
    pub(crate) gateway: usize,
    pub(crate) command: &'static str,
    pub(crate) room: Room,
    pub(crate) time: String,
    pub(crate) sent: Instant,
    pub(crate) answered: Option<(Instant, Answer)>,
    /// Its connection ended before an answer came.
    pub(crate) cut: bool,
}

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok(String),
    Error(String),
}

impl Request {
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.answered, Some((_, Answer::Ok(_))))
    }

    /// The code of the error it was answered with, where that is not a refusal the rules ask for.
    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.answered {
            Some((_, Answer::Error(code)))
                if !["slot_locked", "slot_booked", "not_owner", "lock_lost"].contains(&code.as_str()) =>
            {
                Some(code)
            }
            _ => None,
        }
    }

    pub(crate) fn took(&self) -> Option<Duration> {
        self.answered.as_ref().map(|(at, _)| at.duration_since(self.sent))
    }
}

/// A selection that ended, or was refused to its holder, by no act of the holder's.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) client: usize,
    pub(crate) gateway: usize,
    pub(crate) room: Room,
    pub(crate) time: String,
    /// When its holder was first told that it is selected.
    pub(crate) since: Instant,
    pub(crate) at: Instant,
    pub(crate) how: String,
}

/// A connection that ended though nobody closed it.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) client: usize,
    pub(crate) gateway: usize,
    pub(crate) code: Option<u16>,
    pub(crate) at: Instant,
}

/// Something worth a line, about one slot or about everything.
#[derive(Clone, Debug)]
struct Note {
    at: Instant,
    slot: Option<String>,
    text: String,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) start: Instant,
    pub(crate) requests: Vec<Request>,
    pub(crate) tenures: Vec<Tenure>,
    pub(crate) losses: Vec<Loss>,
    /// Locks that were told to be over, or were found to be, by no act of their owner's.
    pub(crate) lost_locks: Vec<Loss>,
    pub(crate) closings: Vec<Closing>,
    /// When a `storage` frame told a client of another mode than before.
    pub(crate) switches: Vec<Instant>,
    /// Frames that broke the protocol.
    pub(crate) breaches: Vec<String>,
    notes: Vec<Note>,
    /// The mode noted last, of each gateway.
    modes: [String; 2],
}

/// Something that must not be, with what led to it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) text: String,
    pub(crate) context: Vec<String>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            requests: Vec::new(),
            tenures: Vec::new(),
            losses: Vec::new(),
            lost_locks: Vec::new(),
            closings: Vec::new(),
            switches: Vec::new(),
            breaches: Vec::new(),
            notes: Vec::new(),
            modes: Default::default(),
        }
    }

    /// Something about everything.
    pub(crate) fn note(&mut self, at: Instant, text: impl Into<String>) {
        self.notes.push(Note { at, slot: None, text: text.into() });
    }

    /// A client of this gateway was told of another storage mode; the first of them is worth a line.
    pub(crate) fn on_switch(&mut self, at: Instant, gateway: usize, mode: &str) {
        self.switches.push(at);
        if self.modes[gateway] != mode {
            mode.clone_into(&mut self.modes[gateway]);
            self.note(at, format!("-- clients of {} hear of {mode}", letter(gateway)));
        }
    }

    /// Something about one slot.
    pub(crate) fn note_of(&mut self, at: Instant, room: &Room, time: &str, text: impl Into<String>) {
        self.notes.push(Note { at, slot: Some(slot_name(room, time)), text: text.into() });
    }

    /// A violation that concerns no slot, with what concerned everything.
    pub(crate) fn violation(&self, text: impl Into<String>) -> Violation {
        self.violation_at("", None, self.last_moment(), text)
    }

    /// A violation that concerns a slot, with the slot's and the client's history up to a little after `at`.
    pub(crate) fn violation_at(
        &self,
        slot: &str,
        client: Option<usize>,
        at: Instant,
        text: impl Into<String>,
    ) -> Violation {
        let mut lines: Vec<(Instant, String)> = Vec::new();
        let concerned = |request: &&Request| {
            slot_name(&request.room, &request.time) == slot || Some(request.client) == client
        };
        for request in self.requests.iter().filter(concerned) {
            let what = format!("{} of {}", request.command, slot_name(&request.room, &request.time));
            let asks = format!("c{:03} on {} sends {what}", request.client, letter(request.gateway));
            lines.push((request.sent, asks));
            if let Some((answered, answer)) = &request.answered {
                let took = answered.duration_since(request.sent).as_millis();
                let text = format!("c{:03}'s {what} is answered {answer:?}, {took} ms", request.client);
                lines.push((*answered, text));
            }
        }
        let name = client.map(client_name);
        let noted = |note: &&Note| {
            let of_client = || name.as_ref().is_some_and(|name| note.text.starts_with(name));
            note.slot.as_ref().is_none_or(|of| of == slot || of_client())
        };
        lines.extend(self.notes.iter().filter(noted).map(|note| (note.at, note.text.clone())));
        lines.sort();
        let upto = lines.partition_point(|(when, _)| *when <= at + Duration::from_secs(3));
        let lines = &lines[upto.saturating_sub(CONTEXT)..upto];
        let context =
            lines.iter().map(|(when, line)| format!("{:>9.3} {line}", self.seconds(*when))).collect();
        Violation { text: format!("at {:.3}: {}", self.seconds(at), text.into()), context }
    }

    /// Seconds since the run began.
    pub(crate) fn seconds(&self, at: Instant) -> f64 {
        at.duration_since(self.start).as_secs_f64()
    }

    fn last_moment(&self) -> Instant {
        self.notes.last().map_or(self.start, |note| note.at)
    }
}

/// `employee 3 10:00`: all rooms of a run are of one date.
pub(crate) fn slot_name(room: &Room, time: &str) -> String {
    format!("room {} {time}", room.employee_id)
}

/// What a gateway is called.
pub(crate) fn letter(gateway: usize) -> char {
    if gateway == 0 { 'A' } else { 'B' }
}
