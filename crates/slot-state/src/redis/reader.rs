//! Looks at keys and tells the picture. Every read of holds goes through here, one look at a time, so that two looks
//! at one key are applied in the order Redis answered them. A hint that comes while a look is under way is looked
//! at again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::LockKeeper;
use super::hints::{Hint, Hints, PATIENCE};
use super::scripts::Scripts;
use super::value::{KeyState, NotAHold};
use crate::event::{Absence, Change, Observation, SlotFact, Source};
use crate::hold::ActorId;
use crate::pen::Pen;
use crate::slot::{Room, Slot};
use crate::store::StoreError;

/// Slots looked at in one script call: keeps the call under a millisecond.
const BATCH: usize = 256;
/// A command's notifications and its own message arrive together; waiting this long makes them one look.
const GATHER: Duration = Duration::from_millis(1);
/// After a failed look.
const RETRY: Duration = Duration::from_millis(100);

/// Slots that must be looked at, and the one who looks.
pub(super) struct Reader {
    scripts: Arc<Scripts>,
    picture: Pen,
    hints: Mutex<Hints>,
    wake: Notify,
    looking: tokio::sync::Mutex<()>,
    pub(super) lock_keeper: OnceLock<Weak<dyn LockKeeper>>,
}

/// What becomes of a look in a room where a command of this gateway is under way, as the command's answer says more.
enum Look {
    /// It waits for the command's end.
    Patient,
    /// It is that command's, of this actor.
    OfCommand(Option<ActorId>),
}

impl Look {
    fn actor(&self) -> Option<ActorId> {
        match self {
            Look::Patient => None,
            Look::OfCommand(actor) => *actor,
        }
    }
}

/// A command of this gateway is under way in this room. Until it is dropped, hints there wait: the command's answer says
/// more than a look, as who did it, and all that it changed at once.
pub(super) struct CommandUnderWay<'a> {
    reader: &'a Reader,
    room: Room,
}

impl Drop for CommandUnderWay<'_> {
    fn drop(&mut self) {
        if self.reader.hints.lock().command_ended(self.room) {
            self.reader.wake.notify_one();
        }
    }
}

impl Reader {
    pub(super) fn new(scripts: Arc<Scripts>, picture: Pen) -> Arc<Self> {
        Arc::new(Reader {
            scripts,
            picture,
            hints: Mutex::default(),
            wake: Notify::new(),
            looking: tokio::sync::Mutex::new(()),
            lock_keeper: OnceLock::new(),
        })
    }

    /// Has a slot looked at soon; [`Self::follow`] sees to it. The first hint's time counts; what a later one knows of the
    /// reason is added.
    pub(super) fn hint(&self, slot: Slot, hint: Hint) {
        self.hints.lock().add(slot, hint);
    }

    /// Follows the hints there are. Most are about this gateway's own commands, and are known by then.
    pub(super) fn follow(&self) {
        if self.hints.lock().is_pressing() {
            self.wake.notify_one();
        }
    }

    /// Takes back a hint of a renewal: what it hinted at is known to be as the picture has it.
    pub(super) fn settle(&self, slot: Slot) {
        self.hints.lock().settle(slot);
    }

    /// The picture has from its answer what this gateway's command of that number made of a slot.
    pub(super) fn answered(&self, slot: Slot, seq: u64) {
        self.hints.lock().on_answer(slot, seq);
    }

    /// Call before a command of this gateway is sent, and drop when the picture has its outcome.
    pub(super) fn command(&self, room: Room) -> CommandUnderWay<'_> {
        self.hints.lock().command_began(room);
        CommandUnderWay { reader: self, room }
    }

    /// Follows hints, for ever. What a failed look was about comes last at the next, and in halves: a slot that
    /// cannot be read does not hold the others.
    pub(super) async fn run(self: Arc<Self>) {
        let mut suspects: HashSet<Slot> = HashSet::new();
        loop {
            if self.hints.lock().is_done() {
                self.wake.notified().await;
            } else {
                // Who waits for a command's answer does not wait for ever.
                let _ = timeout(PATIENCE, self.wake.notified()).await;
            }
            tokio::time::sleep(GATHER).await;
            let (mut batch, last): (Vec<_>, Vec<_>) = self
                .hints
                .lock()
                .take(&self.picture)
                .into_iter()
                .partition(|(slot, _)| !suspects.contains(slot));
            let bound = batch.len();
            batch.extend(last);
            let (others, last) = batch.split_at(bound);
            let parts = others.chunks(BATCH).chain(last.chunks((suspects.len() / 2).max(1)));
            let mut looked = 0;
            for part in parts {
                if self.look(part, Look::Patient).await.is_err() {
                    self.give_up(&batch[looked..]);
                    suspects = part.iter().map(|(slot, _)| *slot).collect();
                    tokio::time::sleep(RETRY).await;
                    break;
                }
                looked += part.len();
                for (_, hint) in part {
                    self.picture.observe(Observation::EventLag(hint.since.elapsed()));
                }
            }
        }
    }

    /// These cannot be read: what is due ends, and they are looked at again. Where another store decides, everything is
    /// read before this one does again.
    fn give_up(&self, batch: &[(Slot, Hint)]) {
        let slots: Vec<Slot> = batch.iter().map(|(slot, _)| *slot).collect();
        self.picture.expire(&slots);
        if self.scripts.check_mode().is_err() {
            return;
        }
        let mut hints = self.hints.lock();
        batch.iter().for_each(|(slot, hint)| hints.put_back(*slot, *hint));
        self.wake.notify_one();
    }

    /// Looks at all of these, whatever their number; at those in a room where a command is under way, after its end.
    /// Returns how many looked different from the picture.
    pub(super) async fn look_all(&self, slots: &[Slot], absence: Absence) -> Result<usize, StoreError> {
        let mut changed = 0;
        for batch in slots.chunks(BATCH) {
            let batch: Vec<(Slot, Hint)> = batch.iter().map(|slot| (*slot, Hint::new(absence))).collect();
            changed += self.look(&batch, Look::Patient).await?;
        }
        Ok(changed)
    }

    /// Looks at a slot for a command that does not know all about it.
    pub(super) async fn look_after(
        &self,
        slot: Slot,
        absence: Absence,
        actor: Option<ActorId>,
    ) -> Result<(), StoreError> {
        self.look(&[(slot, Hint::new(absence))], Look::OfCommand(actor)).await.map(drop)
    }

    async fn look(&self, batch: &[(Slot, Hint)], why: Look) -> Result<usize, StoreError> {
        let _one_at_a_time = self.looking.lock().await;
        self.hints.lock().look_begins(batch.iter().map(|(slot, _)| *slot));
        let slots = || batch.iter().map(|(slot, _)| *slot);
        let mut answer = self.scripts.read(slots()).await;
        if let (Ok((_, states)), Some(keeper)) = (&answer, self.lock_keeper.get().and_then(Weak::upgrade)) {
            let missing = slots()
                .zip(states)
                .filter(|(slot, (_, lock))| matches!(lock, KeyState::Nothing) && self.shows_lock(*slot));
            let missing: Vec<Slot> = missing.map(|(slot, _)| slot).collect();
            // What only the copy lost, is put back before anybody hears of it.
            let is_emptied = self.scripts.replaced.pending();
            if !missing.is_empty() && keeper.put_back(&missing, is_emptied).await {
                answer = self.scripts.read(slots()).await;
            }
        }
        let changed = answer.map(|(seq, states)| {
            let now = Instant::now();
            let went_with_store = self.scripts.replaced.pending();
            let mut rooms: HashMap<Room, SmallVec<[SlotFact; 2]>> = HashMap::new();
            for ((slot, hint), (active, lock)) in batch.iter().zip(states) {
                if matches!(why, Look::Patient) && self.wait_again(*slot, hint) {
                    continue;
                }
                if hint.deletion && matches!(active, KeyState::Nothing) && !self.is_published(*slot, hint) {
                    self.picture.doubt_booked(slot.room);
                }
                let fact = SlotFact {
                    time: slot.time,
                    selection: self.known(active.selection(now)),
                    lock: self.known(lock.lock(now)),
                    absence: if went_with_store { Absence::WithStore } else { hint.absence },
                };
                rooms.entry(slot.room).or_default().push(fact);
            }
            let actor = why.actor();
            let apply =
                |(room, facts)| self.picture.apply(Change { room, seq, source: Source::Read, actor, facts });
            rooms.into_iter().map(apply).sum()
        });
        self.hints.lock().look_ended();
        changed
    }

    /// Puts a hint back if a command began while it was followed: what was seen may be a part of its outcome. Or if a
    /// booking was announced.
    fn wait_again(&self, slot: Slot, hint: &Hint) -> bool {
        let mut hints = self.hints.lock();
        let must_wait = hints.must_wait(slot, hint, &self.picture);
        if must_wait {
            hints.put_back(slot, *hint);
            self.wake.notify_one();
        }
        must_wait
    }

    /// Whether a gateway said what it did there: its message may have come after the hint was taken.
    fn is_published(&self, slot: Slot, hint: &Hint) -> bool {
        hint.published || self.hints.lock().is_published(slot)
    }

    /// Whether the picture has a lock there that should live, and that this program granted.
    fn shows_lock(&self, slot: Slot) -> bool {
        self.picture.lock(slot).is_some_and(|lock| lock.fence > 0 && lock.deadline > Instant::now())
    }

    fn known<T>(&self, hold: Result<Option<T>, NotAHold>) -> Option<T> {
        hold.unwrap_or_else(|NotAHold| {
            self.picture.observe(Observation::ForeignSkipped);
            None
        })
    }
}

#[cfg(test)]
mod tests;
