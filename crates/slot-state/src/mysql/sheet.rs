//! What stands in the database about some rooms, read at one moment by the database's clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use mysql_async::Row;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::link::{Trouble, take};
use super::transients::{self, RoomSelections, Stored};
use crate::event::{Absence, SlotFact};
use crate::hold::{Lock, Selection, Writer};
use crate::slot::{ClientId, EmployeeId, Room, Slot, SlotTime, parse_date};

/// How long WordPress keeps the transient of a room after its last change.
pub(super) const TRANSIENT_TTL: Duration = Duration::from_secs(300);

/// A lock's row.
#[derive(Debug, Clone)]
pub(super) struct LockRow {
    pub(super) client: ClientId,
    /// In milliseconds since 1970.
    pub(super) deadline: i64,
    pub(super) fence: u64,
}

/// Some rooms as they are at [`Sheet::now`].
#[derive(Debug, Default)]
pub(super) struct Sheet {
    /// The database's clock, in milliseconds since 1970.
    pub(super) now: i64,
    /// This machine's clock at that moment, or a little later.
    pub(super) at: Option<Instant>,
    /// The live selections. A room without a row is missing.
    pub(super) rooms: BTreeMap<Room, RoomSelections>,
    /// The live locks.
    pub(super) locks: BTreeMap<Slot, LockRow>,
    /// When PHP's selections end, which carry no deadline themselves.
    php: HashMap<Slot, Instant>,
    /// Rooms to be written back.
    pub(super) touched: BTreeSet<Room>,
    /// Rows under our names that cannot be read.
    pub(super) unreadable: usize,
    /// Rooms' values that say nothing any more.
    pub(super) over: Vec<(Room, Vec<u8>)>,
    /// Locks that are over.
    pub(super) dead_locks: usize,
}

/// When each of PHP's selections was first seen as it is: their age counts from there.
#[derive(Default)]
pub(super) struct FirstSeen(Mutex<HashMap<Slot, Seen>>);

struct Seen {
    client: ClientId,
    timestamp: i64,
    first: Instant,
    last: Instant,
}

impl FirstSeen {
    fn deadline(&self, slot: Slot, stored: &Stored, now: Instant) -> Instant {
        let mut seen = self.0.lock();
        let same = |seen: &&Seen| seen.client == stored.client && seen.timestamp == stored.timestamp;
        let first = seen.get(&slot).filter(same).map_or(now, |seen| seen.first);
        let (client, timestamp) = (stored.client.clone(), stored.timestamp);
        seen.insert(slot, Seen { client, timestamp, first, last: now });
        first + TRANSIENT_TTL
    }

    /// Forgets what has not been seen for long.
    pub(super) fn forget_old(&self, now: Instant) {
        self.0.lock().retain(|_, seen| now.saturating_duration_since(seen.last) < TRANSIENT_TTL);
    }
}

impl Sheet {
    /// Reads rows of transients, their timeouts and locks; what is over is left out.
    pub(super) fn read(
        now: i64,
        options: Vec<Row>,
        locks: Vec<Row>,
        first_seen: &FirstSeen,
    ) -> Result<Self, Trouble> {
        let at = Instant::now();
        let mut sheet = Sheet { now, at: Some(at), ..Sheet::default() };
        sheet.read_locks(locks);
        let mut timeouts: HashMap<String, Vec<u8>> = HashMap::new();
        let mut values = Vec::new();
        for mut row in options {
            let (name, value): (Vec<u8>, Vec<u8>) = (take(&mut row, 0)?, take(&mut row, 1)?);
            let Ok(name) = String::from_utf8(name) else { continue };
            match transients::room_of(&name) {
                Some(room) => values.push((room, value)),
                None => _ = timeouts.insert(name, value),
            }
        }
        for (room, value) in values {
            let Ok(mut selections) = RoomSelections::parse(&value) else {
                sheet.unreadable += 1;
                sheet.rooms.insert(room, RoomSelections::default());
                continue;
            };
            let timeout = timeouts.get(&transients::timeout_name(room));
            if timeout.is_some_and(|timeout| is_over(timeout, now)) {
                selections = RoomSelections::default();
            }
            selections.entries.retain(|time, stored| match &stored.ours {
                Some(ours) => ours.expires_at > now,
                None => {
                    let slot = room.slot(*time);
                    let deadline = first_seen.deadline(slot, stored, at);
                    sheet.php.insert(slot, deadline);
                    deadline > at
                }
            });
            if selections.is_empty() {
                sheet.over.push((room, value));
            }
            sheet.rooms.insert(room, selections);
        }
        Ok(sheet)
    }

    /// A row that names no slot is nobody's lock; whoever else a row names, has the slot.
    fn read_locks(&mut self, rows: Vec<Row>) {
        for mut row in rows {
            match read_lock(&mut row) {
                Some((slot, lock)) if lock.deadline > self.now => _ = self.locks.insert(slot, lock),
                Some(_) => self.dead_locks += 1,
                None => self.unreadable += 1,
            }
        }
    }

    /// Whether nothing stands there that is over.
    pub(super) fn is_clean(&self) -> bool {
        self.over.is_empty() && self.dead_locks == 0
    }

    /// The selection on a slot.
    pub(super) fn selection(&self, slot: Slot) -> Option<&Stored> {
        self.rooms.get(&slot.room)?.entries.get(&slot.time)
    }

    /// Selects a slot, whatever is there.
    pub(super) fn put(&mut self, slot: Slot, stored: Stored) {
        self.rooms.entry(slot.room).or_default().entries.insert(slot.time, stored);
        self.touched.insert(slot.room);
    }

    /// Ends what gateways wrote in a room before this epoch.
    pub(super) fn drop_older(&mut self, room: Room, epoch: u64) {
        if let Some(selections) = self.rooms.get_mut(&room)
            && selections.is_older(epoch)
        {
            selections
                .entries
                .retain(|_, stored| stored.ours.as_ref().is_none_or(|ours| ours.epoch >= epoch));
            self.touched.insert(room);
        }
    }

    /// Ends the selection on a slot.
    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(room) = self.rooms.get_mut(&slot.room)
            && room.entries.remove(&slot.time).is_some()
        {
            self.touched.insert(slot.room);
        }
    }

    /// A client's selections in a room but for one time.
    pub(super) fn others(&self, slot: Slot, client: &ClientId) -> SmallVec<[Slot; 2]> {
        let entries = self.rooms.get(&slot.room).into_iter().flat_map(|room| &room.entries);
        entries
            .filter(|(time, stored)| **time != slot.time && stored.client == *client)
            .map(|(time, _)| slot.room.slot(*time))
            .collect()
    }

    /// Every time in a room with a hold.
    pub(super) fn held_in(&self, room: Room) -> BTreeSet<SlotTime> {
        let selected = self.rooms.get(&room).into_iter().flat_map(|room| room.entries.keys().copied());
        let from = room.slot(SlotTime::FIRST);
        let locked =
            self.locks.range(from..).take_while(|(slot, _)| slot.room == room).map(|(slot, _)| slot.time);
        selected.chain(locked).collect()
    }

    /// The truth about one slot.
    pub(super) fn fact(&self, slot: Slot, absence: Absence) -> SlotFact {
        let lock = self.locks.get(&slot).map(|row| Lock {
            client: row.client.clone(),
            deadline: self.instant(row.deadline),
            fence: row.fence,
        });
        let selection = self.selection(slot).map(|stored| match &stored.ours {
            Some(ours) => Selection {
                client: stored.client.clone(),
                deadline: self.instant(ours.expires_at),
                writer: Writer::Gateway { chosen: ours.chosen, address: ours.address },
            },
            None => Selection {
                client: stored.client.clone(),
                deadline: self.php.get(&slot).copied().unwrap_or_else(Instant::now),
                writer: Writer::Php,
            },
        });
        SlotFact { time: slot.time, selection, lock, absence }
    }

    /// A time of the database's clock by this machine's.
    fn instant(&self, at: i64) -> Instant {
        let left = u64::try_from(at - self.now).unwrap_or(0);
        self.at.unwrap_or_else(Instant::now) + Duration::from_millis(left)
    }
}

fn read_lock(row: &mut Row) -> Option<(Slot, LockRow)> {
    let (date, time): (String, String) = (take(row, 0).ok()?, take(row, 1).ok()?);
    let employee: i64 = take(row, 2).ok()?;
    let client: Vec<u8> = take(row, 3).ok()?;
    let (fence, deadline): (u64, i64) = (take(row, 4).ok()?, take(row, 5).ok()?);
    let employee_id = EmployeeId::new(u64::try_from(employee).ok()?).ok()?;
    let slot = Room { date: parse_date(&date).ok()?, employee_id }.slot(time.parse().ok()?);
    let client = ClientId::foreign(&String::from_utf8_lossy(&client));
    Some((slot, LockRow { client, deadline, fence }))
}

/// WordPress' own rule: over once the second after the timeout has begun.
fn is_over(timeout: &[u8], now: i64) -> bool {
    let timeout = std::str::from_utf8(timeout).ok().and_then(|text| text.parse::<i64>().ok());
    timeout.is_some_and(|timeout| timeout < now / 1000)
}
