//! The meter: what each subscriber received and how long after it was sent. The reader thread feeds it frame by frame;
//! the scenario reads it. A revision that skips one is a missed delivery, whatever came later.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::dialect::{Dialect, Diff, Incoming, Snapshot};
use crate::room_log::{Entry, RoomLog};
use crate::timing::{Stamps, Timings};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Coming,
    Ready,
    Gone,
}

/// One subscriber's place: its room and how far it has followed it.
#[derive(Debug)]
struct Seat {
    room: usize,
    rev: u64,
    presence: Presence,
}

/// What happened since the phase began.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Diffs received, over all subscribers.
    pub(crate) deliveries: u64,
    /// From the change's frame to each receipt.
    pub(crate) latency: Timings,
    /// Snapshots that subscribers got in place of diffs.
    pub(crate) conflated: u64,
    /// Revisions skipped.
    pub(crate) gaps: u64,
    /// Revisions received again, or older ones.
    pub(crate) repeated: u64,
    /// Diffs that differ between two subscribers of a room.
    pub(crate) disagreeing: u64,
    /// New epochs.
    pub(crate) resyncs: u64,
    /// `error` frames to subscribers, by code.
    pub(crate) refused: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            deliveries: 0,
            latency: Timings::new(),
            conflated: 0,
            gaps: 0,
            repeated: 0,
            disagreeing: 0,
            resyncs: 0,
            refused: BTreeMap::new(),
        }
    }
}

/// All subscribers' receipts.
#[derive(Debug)]
pub(crate) struct Meter {
    dialect: Dialect,
    stamps: Arc<Stamps>,
    rooms: Vec<RoomLog>,
    seats: Vec<Seat>,
    ready: usize,
    gone: usize,
    /// Why the first subscriber was lost.
    first_loss: Option<String>,
    phase: u32,
    pub(crate) tally: Tally,
}

/// The meter as the reader thread and the scenario share it.
pub(crate) type SharedMeter = Arc<Mutex<Meter>>;

impl Meter {
    /// Seats for `subscribers`, spread evenly over `rooms`.
    pub(crate) fn new(
        dialect: Dialect,
        stamps: Arc<Stamps>,
        subscribers: usize,
        rooms: usize,
    ) -> SharedMeter {
        let seat = |index: usize| Seat { room: index % rooms, rev: 0, presence: Presence::Coming };
        Arc::new(Mutex::new(Meter {
            dialect,
            stamps,
            rooms: (0..rooms).map(|_| RoomLog::default()).collect(),
            seats: (0..subscribers).map(seat).collect(),
            ready: 0,
            gone: 0,
            first_loss: None,
            phase: 0,
            tally: Tally::new(),
        }))
    }

    pub(crate) fn room_of(&self, seat: usize) -> usize {
        self.seats[seat].room
    }

    pub(crate) fn is_ready(&self, seat: usize) -> bool {
        self.seats[seat].presence == Presence::Ready
    }

    /// Subscribed, and lost ones.
    pub(crate) fn presence(&self) -> (usize, usize) {
        (self.ready, self.gone)
    }

    pub(crate) fn first_loss(&self) -> Option<&str> {
        self.first_loss.as_deref()
    }

    pub(crate) fn log(&self, room: usize) -> &RoomLog {
        &self.rooms[room]
    }

    pub(crate) fn set_ready(&mut self, seat: usize) {
        let seat = &mut self.seats[seat];
        if seat.presence == Presence::Coming {
            seat.presence = Presence::Ready;
            self.ready += 1;
        }
    }

    pub(crate) fn set_gone(&mut self, seat: usize, why: String) {
        let seat = &mut self.seats[seat];
        if seat.presence == Presence::Ready {
            self.ready -= 1;
        }
        seat.presence = Presence::Gone;
        self.gone += 1;
        self.first_loss.get_or_insert(why);
    }

    /// A text frame arrived. Most are the next diff of the room, known from its first receiver: no parsing then.
    pub(crate) fn on_text(&mut self, seat: usize, frame: &[u8], now_us: u64) {
        let place = &mut self.seats[seat];
        match self.rooms[place.room].entry(place.rev + 1) {
            Some(entry) if *entry.frame == *frame => {
                place.rev += 1;
                self.tally.deliveries += 1;
                receive(&mut self.tally.latency, entry, now_us);
            }
            _ => self.on_unknown(seat, frame, now_us),
        }
    }

    fn on_unknown(&mut self, seat: usize, frame: &[u8], now_us: u64) {
        let room = self.seats[seat].room;
        if let Some(rev) = self.rooms[room].same_snapshot(frame) {
            return self.place(seat, rev);
        }
        match self.dialect.read(frame) {
            Incoming::Diff(diff) => self.on_diff(seat, frame, diff, now_us),
            Incoming::Snapshot(Snapshot { epoch, rev, view, .. }) => {
                let renewed = self.rooms[room].on_snapshot(frame, epoch, rev, view);
                self.tally.resyncs += u64::from(renewed);
                self.place(seat, rev);
            }
            Incoming::Ready => self.set_ready(seat),
            Incoming::Refused(code) => *self.tally.refused.entry(code).or_default() += 1,
            Incoming::Other => (),
        }
    }

    /// A snapshot put the subscriber at a revision: its first, or one in place of diffs it did not get.
    fn place(&mut self, seat: usize, rev: u64) {
        self.tally.conflated += u64::from(self.is_ready(seat));
        self.seats[seat].rev = rev;
        self.set_ready(seat);
    }

    fn on_diff(&mut self, seat: usize, frame: &[u8], diff: Diff, now_us: u64) {
        let place = &mut self.seats[seat];
        let log = &mut self.rooms[place.room];
        if self.dialect.is_slotcast() && !log.is_of(&diff.epoch) {
            self.tally.repeated += 1;
            return;
        }
        match diff.rev.checked_sub(place.rev + 1) {
            None => {
                self.tally.repeated += 1;
                return;
            }
            Some(skipped) => self.tally.gaps += skipped,
        }
        place.rev = diff.rev;
        self.tally.deliveries += 1;
        match log.entry(diff.rev) {
            Some(entry) => {
                self.tally.disagreeing += u64::from(entry.diff != diff.diff);
                receive(&mut self.tally.latency, entry, now_us);
            }
            None => {
                let sent =
                    diff.slots().map(|slot| self.stamps.get(place.room, slot)).filter(|sent| *sent > 0);
                let mut entry = Entry {
                    frame: frame.into(),
                    sent_us: sent.collect(),
                    diff: diff.diff,
                    last_us: now_us,
                    phase: self.phase,
                };
                receive(&mut self.tally.latency, &mut entry, now_us);
                log.insert(diff.rev, entry);
            }
        }
    }

    /// Begins a new phase and returns what the last one saw.
    pub(crate) fn next_phase(&mut self) -> Tally {
        self.phase += 1;
        std::mem::replace(&mut self.tally, Tally::new())
    }

    /// For each diff of this phase, the time until its last subscriber had it.
    pub(crate) fn last_receipts(&self) -> Timings {
        let mut timings = Timings::new();
        for entry in self.rooms.iter().flat_map(RoomLog::entries).filter(|entry| entry.phase == self.phase) {
            if let Some(first) = entry.sent_us.iter().min() {
                timings.record(entry.last_us.saturating_sub(*first));
            }
        }
        timings
    }

    /// Changes of this phase that were seen in some diff.
    pub(crate) fn changes_seen(&self) -> u64 {
        let entries = self.rooms.iter().flat_map(RoomLog::entries).filter(|entry| entry.phase == self.phase);
        entries.map(|entry| entry.sent_us.len() as u64).sum()
    }

    /// Deliveries that did not come, over subscribers still connected: revisions skipped, and those after the last
    /// one received up to the room's `ends`.
    pub(crate) fn missed(&self, ends: &[u64]) -> u64 {
        let ready = self.seats.iter().filter(|seat| seat.presence == Presence::Ready);
        let behind =
            ready.map(|seat| ends[seat.room].max(self.rooms[seat.room].last_rev()).saturating_sub(seat.rev));
        self.tally.gaps + behind.sum::<u64>()
    }

    /// Snapshots that do not follow from the diffs.
    pub(crate) fn wrong_snapshots(&self) -> usize {
        self.rooms.iter().map(RoomLog::wrong_snapshots).sum()
    }
}

fn receive(latency: &mut Timings, entry: &mut Entry, now_us: u64) {
    entry.last_us = now_us;
    for sent in &entry.sent_us {
        latency.record(now_us.saturating_sub(*sent));
    }
}
