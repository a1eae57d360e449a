//! One client: what it asks, and what it must believe it holds from the frames it received, in their order.

use std::time::Duration;

use serde_json::Value;
use support::{Page, Room};
use tokio::time::Instant;

use crate::history::{Answer, Closing, History, Loss, Request, letter, slot_name};
use crate::tenure::Tenure;

/// What a client believes it has selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Nothing,
    /// Told so by an answer; since when without a break.
    At {
        time: String,
        since: Instant,
    },
    /// A request about it failed, and may or may not have been carried out.
    InDoubt,
}

/// What a client believes it has locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Nothing,
    /// Granted; to be released at `due`. `tenure` is its number in the history.
    At {
        time: String,
        tenure: usize,
        due: Instant,
    },
    InDoubt {
        time: String,
    },
}

/// A client with its present connection.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) number: usize,
    pub(crate) gateway: usize,
    pub(crate) room: Room,
    /// `None` between two connections.
    pub(crate) page: Option<Page>,
    pub(crate) selection: Selection,
    pub(crate) lock: Lock,
    /// The storage mode it was last told.
    pub(crate) mode: String,
    /// The request under way: its id on the connection and its number in the history.
    pub(crate) pending: Option<(String, usize)>,
    read: usize,
}

impl Member {
    pub(crate) fn new(number: usize, gateway: usize, room: Room, page: Page) -> Self {
        let (selection, lock) = (Selection::Nothing, Lock::Nothing);
        Self {
            number,
            gateway,
            room,
            page: Some(page),
            selection,
            lock,
            mode: String::new(),
            pending: None,
            read: 0,
        }
    }

    pub(crate) fn name(&self) -> String {
        client_name(self.number)
    }

    /// A new connection takes the place of one that ended.
    pub(crate) fn on_connected(&mut self, gateway: usize, page: Page) {
        (self.gateway, self.page, self.read) = (gateway, Some(page), 0);
    }

    pub(crate) fn is_free(&self) -> bool {
        self.page.is_some() && self.pending.is_none()
    }

    /// Sends a request about a slot of its room.
    pub(crate) fn send(&mut self, history: &mut History, command: &'static str, time: &str) {
        let Some(page) = &self.page else { return };
        let sent = Instant::now();
        if let (Lock::At { tenure, .. }, "unlock") = (&self.lock, command) {
            history.tenures[*tenure].ended.get_or_insert(sent);
        }
        let id = page.send(self.room.slot_frame(command, time));
        self.pending = Some((id, history.requests.len()));
        history.requests.push(Request {
            client: self.number,
            gateway: self.gateway,
            command,
            room: self.room.clone(),
            time: time.to_owned(),
            sent,
            answered: None,
            cut: false,
        });
    }

    /// Takes in what came since the last time.
    pub(crate) fn catch_up(&mut self, history: &mut History) {
        let Some(page) = &self.page else { return };
        let (frames, closed) = (page.frames_from(self.read), page.closed());
        for breach in page.take_breaches() {
            history.breaches.push(format!("{} on {}: {breach}", self.name(), letter(self.gateway)));
        }
        self.read += frames.len();
        for (at, text) in frames {
            if !text.contains("\"type\":\"diff\"") {
                let frame: Value = serde_json::from_str(&text).expect("the page has parsed it");
                self.on_frame(history, at, &frame);
            }
        }
        if let Some(code) = closed {
            self.on_closed(history, code);
        }
    }

    fn on_closed(&mut self, history: &mut History, code: Option<u16>) {
        self.page = None;
        let at = Instant::now();
        history.closings.push(Closing { client: self.number, gateway: self.gateway, code, at });
        if let Some((_, number)) = self.pending.take() {
            history.requests[number].cut = true;
            self.doubt(&history.requests[number].clone());
        }
    }

    fn on_frame(&mut self, history: &mut History, at: Instant, frame: &Value) {
        if let Some(mode) = frame["storage_mode"].as_str().filter(|mode| *mode != self.mode) {
            if frame["type"] == "storage" {
                history.on_switch(at, self.gateway, mode);
            }
            self.mode = mode.to_owned();
        }
        let answers = self.pending.as_ref().is_some_and(|(id, _)| frame["id"] == id.as_str());
        match frame["type"].as_str() {
            Some("released") => self.on_released(history, at, frame),
            Some("ok") if answers => {
                let status = frame["status"].as_str().unwrap_or_default().to_owned();
                let request = self.on_answer(history, at, Answer::Ok(status));
                self.on_ok(history, at, &request, frame["fence"].as_u64());
            }
            Some("error") if answers => {
                let code = frame["code"].as_str().unwrap_or_default().to_owned();
                let request = self.on_answer(history, at, Answer::Error(code.clone()));
                self.on_error(history, at, &request, &code);
            }
            _ => {}
        }
    }

    fn on_answer(&mut self, history: &mut History, at: Instant, answer: Answer) -> Request {
        let (_, number) = self.pending.take().expect("it answers the request under way");
        history.requests[number].answered = Some((at, answer));
        history.requests[number].clone()
    }

    fn on_ok(&mut self, history: &mut History, at: Instant, request: &Request, fence: Option<u64>) {
        let time = &request.time;
        let Some((_, Answer::Ok(status))) = &request.answered else { return };
        match (request.command, status.as_str()) {
            ("select", "selected") => {
                let since = match &self.selection {
                    Selection::At { time: before, since } if before == time => *since,
                    _ => at,
                };
                self.selection = Selection::At { time: time.clone(), since };
            }
            ("deselect", _) => self.forget(time),
            ("lock", "locked") => {
                self.forget(time);
                let fence = fence.unwrap_or_default();
                let tenure = self.tenure(history, request, fence, at);
                let due = at + Duration::from_millis(1000 + 100 * (fence % 21));
                self.lock = Lock::At { time: time.clone(), tenure, due };
            }
            ("unlock", _) => self.lock = Lock::Nothing,
            _ => {}
        }
    }

    /// The history's number of this grant: a lock asked for again, as its answer was lost, is the same one.
    fn tenure(&self, history: &mut History, request: &Request, fence: u64, granted: Instant) -> usize {
        let (slot, client) = (slot_name(&self.room, &request.time), self.name());
        let same = |tenure: &Tenure| tenure.fence == fence && tenure.slot == slot && tenure.client == client;
        history.tenures.iter().position(same).unwrap_or_else(|| {
            history.tenures.push(Tenure { slot, client, fence, asked: request.sent, granted, ended: None });
            history.tenures.len() - 1
        })
    }

    fn on_error(&mut self, history: &mut History, at: Instant, request: &Request, code: &str) {
        let time = &request.time;
        match (request.command, code) {
            ("select" | "lock", "slot_locked" | "slot_booked") | ("deselect", "not_owner") => {
                self.lose_selection(history, at, time, format!("{} refused with {code}", request.command));
            }
            ("unlock", "lock_lost" | "not_owner") => {
                self.lose_lock(history, at, time, format!("unlock refused with {code}"));
                self.lock = Lock::Nothing;
            }
            _ => self.doubt(request),
        }
    }

    fn on_released(&mut self, history: &mut History, at: Instant, frame: &Value) {
        let (hold, reason) =
            (frame["hold"].as_str().unwrap_or_default(), frame["reason"].as_str().unwrap_or_default());
        let Some(time) =
            frame["time"].as_str().filter(|_| Room::of_frame(frame).as_ref() == Some(&self.room))
        else {
            return;
        };
        history.note_of(
            at,
            &self.room,
            time,
            format!("{} hears: {hold} of {} released, {reason}", self.name(), slot_name(&self.room, time)),
        );
        // An end that the client brought about itself is told by the answer alone.
        let asked = self.pending.as_ref().map(|(_, number)| history.requests[*number].command);
        if hold == "selection" && reason == "superseded" && asked == Some("select") {
            // By that very select, if it is granted; else the views will not agree with it.
            return;
        }
        let when = asked.map(|command| format!(", with its {command} under way")).unwrap_or_default();
        if hold == "lock" {
            self.lose_lock(history, at, time, format!("released {reason}{when}"));
        } else {
            self.lose_selection(history, at, time, format!("released {reason}{when}"));
        }
    }

    fn lose_selection(&mut self, history: &mut History, at: Instant, time: &str, how: String) {
        if let Selection::At { time: held, since } = &self.selection
            && held == time
        {
            let loss = Loss { since: *since, ..self.loss(at, time, how) };
            history.losses.push(loss);
            self.selection = Selection::Nothing;
        }
    }

    fn lose_lock(&mut self, history: &mut History, at: Instant, time: &str, how: String) {
        if let Lock::At { time: held, tenure, .. } = &self.lock
            && held == time
        {
            let granted = history.tenures[*tenure].granted;
            history.tenures[*tenure].ended.get_or_insert(at);
            history.lost_locks.push(Loss { since: granted, ..self.loss(at, time, how) });
            self.lock = Lock::Nothing;
        }
    }

    fn loss(&self, at: Instant, time: &str, how: String) -> Loss {
        let (client, gateway, room) = (self.number, self.gateway, self.room.clone());
        Loss { client, gateway, room, time: time.to_owned(), since: at, at, how }
    }

    /// Nobody knows what became of this request.
    fn doubt(&mut self, request: &Request) {
        match request.command {
            "select" => self.selection = Selection::InDoubt,
            "deselect" => self.doubt_selection(&request.time),
            "lock" => {
                self.doubt_selection(&request.time);
                self.lock = Lock::InDoubt { time: request.time.clone() };
            }
            _ => {
                let time = request.time.clone();
                self.lock = Lock::InDoubt { time };
            }
        }
    }

    fn doubt_selection(&mut self, time: &str) {
        if matches!(&self.selection, Selection::At { time: held, .. } if held == time) {
            self.selection = Selection::InDoubt;
        }
    }

    fn forget(&mut self, time: &str) {
        if matches!(&self.selection, Selection::At { time: held, .. } if held == time) {
            self.selection = Selection::Nothing;
        }
    }
}

/// What the client with this number calls itself.
pub(crate) fn client_name(number: usize) -> String {
    format!("c{number:03}")
}
