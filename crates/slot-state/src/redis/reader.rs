//! Looks at keys and tells the picture. Every read of holds goes through here, one look at a time, so that two looks
//! at one key are applied in the order Redis answered them. A hint that comes while a look is under way is looked
//! at again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::scripts::Scripts;
use super::value::NotAHold;
use crate::event::{Absence, Change, Observation, SlotFact, Source};
use crate::picture::Picture;
use crate::slot::{Room, Slot};
use crate::store::StoreError;

/// Slots looked at in one script call: keeps the call under a millisecond.
const BATCH: usize = 256;
/// A command's notifications and its own message arrive together; waiting this long makes them one look.
const GATHER: Duration = Duration::from_millis(1);
/// After a failed look.
const RETRY: Duration = Duration::from_millis(100);

/// Why a slot is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint {
    /// When the reason arrived.
    since: Instant,
    /// What it means if a hold is gone.
    absence: Absence,
    /// Not needed if the picture has the outcome of this gateway's own command of that number by then.
    unless_known: Option<u64>,
}

impl Hint {
    pub(super) fn new(absence: Absence) -> Self {
        Hint { since: Instant::now(), absence, unless_known: None }
    }

    /// A hint about what this gateway itself did.
    pub(super) fn own(seq: u64) -> Self {
        Hint { since: Instant::now(), absence: Absence::ByHolder, unless_known: Some(seq) }
    }
}

/// Slots that must be looked at, and the one who looks.
pub(super) struct Reader {
    scripts: Arc<Scripts>,
    picture: Arc<Picture>,
    dirty: Mutex<HashMap<Slot, Hint>>,
    wake: Notify,
    looking: tokio::sync::Mutex<()>,
}

impl Reader {
    pub(super) fn new(scripts: Arc<Scripts>, picture: Arc<Picture>) -> Arc<Self> {
        Arc::new(Reader {
            scripts,
            picture,
            dirty: Mutex::default(),
            wake: Notify::new(),
            looking: tokio::sync::Mutex::new(()),
        })
    }

    /// Has a slot looked at soon. The first hint's time counts; what a later one knows of the reason is added.
    pub(super) fn hint(&self, slot: Slot, hint: Hint) {
        match self.dirty.lock().entry(slot) {
            Entry::Vacant(entry) => _ = entry.insert(hint),
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.unless_known = hint.unless_known;
                if known.absence == Absence::Unknown {
                    known.absence = hint.absence;
                }
            }
        }
        self.wake.notify_one();
    }

    /// Takes back a hint: what it hinted at is known to be as the picture has it.
    pub(super) fn settle(&self, slot: Slot) {
        self.dirty.lock().remove(&slot);
    }

    /// Follows hints, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            tokio::time::sleep(GATHER).await;
            loop {
                let batch: Vec<(Slot, Hint)> = {
                    let mut dirty = self.dirty.lock();
                    let slots: Vec<Slot> = dirty.keys().take(BATCH).copied().collect();
                    slots.into_iter().filter_map(|slot| Some((slot, dirty.remove(&slot)?))).collect()
                };
                let taken = batch.len();
                let batch: Vec<(Slot, Hint)> =
                    batch.into_iter().filter(|(slot, hint)| self.needed(*slot, *hint)).collect();
                if taken == 0 {
                    break;
                }
                if batch.is_empty() {
                    continue;
                }
                if self.look(&batch).await.is_err() {
                    let slots: Vec<Slot> = batch.iter().map(|(slot, _)| *slot).collect();
                    self.picture.expire(&slots);
                    batch.into_iter().for_each(|(slot, hint)| self.hint(slot, hint));
                    tokio::time::sleep(RETRY).await;
                } else {
                    let now = Instant::now();
                    for (_, hint) in batch {
                        self.picture.observe(Observation::EventLag(now.duration_since(hint.since)));
                    }
                }
            }
        }
    }

    fn needed(&self, slot: Slot, hint: Hint) -> bool {
        hint.unless_known.is_none_or(|seq| self.picture.seq(slot) < seq)
    }

    /// Looks at all of these, whatever their number. Returns how many looked different from the picture.
    pub(super) async fn look_all(&self, slots: &[Slot], absence: Absence) -> Result<usize, StoreError> {
        let mut changed = 0;
        for batch in slots.chunks(BATCH) {
            let batch: Vec<(Slot, Hint)> = batch.iter().map(|slot| (*slot, Hint::new(absence))).collect();
            changed += self.look(&batch).await?;
        }
        Ok(changed)
    }

    async fn look(&self, batch: &[(Slot, Hint)]) -> Result<usize, StoreError> {
        let _one_at_a_time = self.looking.lock().await;
        let (seq, states) = self.scripts.read(batch.iter().map(|(slot, _)| *slot)).await?;
        let now = Instant::now();
        let went_with_store = self.scripts.replaced.pending();
        let mut rooms: HashMap<Room, SmallVec<[SlotFact; 2]>> = HashMap::new();
        for ((slot, hint), (active, lock)) in batch.iter().zip(states) {
            let fact = SlotFact {
                time: slot.time,
                selection: self.known(active.selection(now)),
                lock: self.known(lock.lock(now)),
                absence: if went_with_store { Absence::WithStore } else { hint.absence },
            };
            rooms.entry(slot.room).or_default().push(fact);
        }
        let apply = |(room, facts)| {
            self.picture.apply(Change { room, seq, source: Source::Read, actor: None, facts })
        };
        Ok(rooms.into_iter().map(apply).sum())
    }

    fn known<T>(&self, hold: Result<Option<T>, NotAHold>) -> Option<T> {
        hold.unwrap_or_else(|NotAHold| {
            self.picture.observe(Observation::ForeignSkipped);
            None
        })
    }
}
