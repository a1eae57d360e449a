//! Looks at keys and tells the picture. Every read of holds goes through here, one look at a time, so that two looks
//! at one key are applied in the order Redis answered them. A hint that comes while a look is under way is looked
//! at again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::LockKeeper;
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

/// How long a hint waits for the answers to this gateway's commands in its room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Answered commands whose message has not come, at most; without them there are only more looks. Where there are no
/// messages, none ever come.
const ANSWERED: usize = 16_384;

/// Why a slot is looked at. Anybody may publish: a message takes back only what it is certain to have caused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint {
    /// When the reason arrived.
    since: Instant,
    /// What it means if a hold is gone.
    absence: Absence,
    /// Nothing but a new time to live was seen, as a renewal causes it.
    renewal: bool,
    /// A key was deleted.
    deletion: bool,
    /// A gateway said what it did.
    published: bool,
    /// The message of this gateway's own command of that number came after all else. Not needed if that command
    /// was really answered.
    own: Option<u64>,
    /// Something came after the message in `own`.
    more: bool,
}

impl Hint {
    pub(super) fn new(absence: Absence) -> Self {
        let since = Instant::now();
        Hint { since, absence, renewal: false, deletion: false, published: false, own: None, more: false }
    }

    /// A key was deleted, perhaps by the plugin, which does so when it books.
    pub(super) fn deletion() -> Self {
        Hint { deletion: true, ..Hint::new(Absence::Unknown) }
    }

    /// A key's time to live was set.
    pub(super) fn renewal() -> Self {
        Hint { renewal: true, ..Hint::new(Absence::Unknown) }
    }

    /// A hint about what a gateway did; `own` is the number of the command if it was this one.
    pub(super) fn published(absence: Absence, own: Option<u64>) -> Self {
        Hint { own, published: true, ..Hint::new(absence) }
    }

    /// Takes in a later one.
    fn add(&mut self, later: Hint) {
        self.since = self.since.min(later.since);
        if self.absence == Absence::Unknown {
            self.absence = later.absence;
        }
        self.renewal &= later.renewal;
        self.deletion |= later.deletion;
        self.published |= later.published;
        self.more |= later.more || self.own.is_some();
        self.own = self.own.or(later.own);
    }
}

/// Slots that must be looked at, and the one who looks.
pub(super) struct Reader {
    scripts: Arc<Scripts>,
    picture: Pen,
    hints: Mutex<Hints>,
    wake: Notify,
    looking: tokio::sync::Mutex<()>,
    pub(super) lock_keeper: OnceLock<Weak<dyn LockKeeper>>,
}

#[derive(Default)]
struct Hints {
    dirty: HashMap<Slot, Hint>,
    /// What the look under way asked for.
    looked_at: HashSet<Slot>,
    /// How many of this gateway's commands are under way in a room.
    commands: HashMap<Room, u32>,
    /// The numbers of this gateway's answered commands on a slot, until their message came.
    answered: HashSet<(Slot, u64)>,
}

impl Hints {
    fn must_wait(&self, slot: Slot, hint: &Hint, picture: &Pen) -> bool {
        self.commands.contains_key(&slot.room) && hint.since.elapsed() < PATIENCE
            || picture.awaits_booking(slot, hint.since)
    }

    /// Puts back a hint that was taken: what came since is newer.
    fn put_back(&mut self, slot: Slot, mut hint: Hint) {
        match self.dirty.entry(slot) {
            Entry::Vacant(entry) => _ = entry.insert(hint),
            Entry::Occupied(mut entry) => {
                hint.add(*entry.get());
                entry.insert(hint);
            }
        }
    }

    /// Whether all that this hint says is known from the answer to a command of this gateway. Says so once: the
    /// same message again is somebody else's.
    fn is_answered(&mut self, slot: Slot, hint: &Hint) -> bool {
        hint.own.is_some_and(|seq| self.answered.remove(&(slot, seq))) && !hint.more
    }

    fn add(&mut self, slot: Slot, hint: Hint) {
        if let Some(known) = self.dirty.get(&slot).copied()
            && self.is_answered(slot, &known)
        {
            self.dirty.remove(&slot);
        }
        self.dirty.entry(slot).and_modify(|known| known.add(hint)).or_insert(hint);
    }
}

/// Why somebody looks.
enum Look {
    /// Hints were given: they may wait.
    AtHints,
    /// Somebody waits for it, perhaps a command of this actor.
    AtOnce(Option<ActorId>),
}

impl Look {
    fn actor(&self) -> Option<ActorId> {
        match self {
            Look::AtHints => None,
            Look::AtOnce(actor) => *actor,
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
        let mut hints = self.reader.hints.lock();
        if let Entry::Occupied(mut commands) = hints.commands.entry(self.room) {
            *commands.get_mut() -= 1;
            if *commands.get() == 0 {
                commands.remove();
            }
        }
        if !hints.dirty.is_empty() {
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

    /// Has a slot looked at soon. The first hint's time counts; what a later one knows of the reason is added.
    pub(super) fn hint(&self, slot: Slot, hint: Hint) {
        self.hints.lock().add(slot, hint);
        self.wake.notify_one();
    }

    /// Takes back a hint of a renewal: what it hinted at is known to be as the picture has it, unless a look is under
    /// way that may have seen something older and is about to say so.
    pub(super) fn settle(&self, slot: Slot) {
        let mut hints = self.hints.lock();
        if !hints.looked_at.contains(&slot)
            && let Entry::Occupied(hint) = hints.dirty.entry(slot)
            && hint.get().renewal
        {
            hint.remove();
        }
    }

    /// The picture has from its answer what this gateway's command of that number made of a slot.
    pub(super) fn answered(&self, slot: Slot, seq: u64) {
        let mut hints = self.hints.lock();
        if hints.answered.len() >= ANSWERED {
            hints.answered.clear();
        }
        hints.answered.insert((slot, seq));
    }

    /// Call before a command of this gateway is sent, and drop when the picture has its outcome.
    pub(super) fn command(&self, room: Room) -> CommandUnderWay<'_> {
        *self.hints.lock().commands.entry(room).or_default() += 1;
        CommandUnderWay { reader: self, room }
    }

    /// Follows hints, for ever. What a failed look was about comes last at the next, and in halves: a slot that
    /// cannot be read does not hold the others.
    pub(super) async fn run(self: Arc<Self>) {
        let mut suspects: HashSet<Slot> = HashSet::new();
        loop {
            if self.hints.lock().dirty.is_empty() {
                self.wake.notified().await;
            } else {
                // A command whose answer does not come holds them up no longer than this.
                let _ = timeout(PATIENCE, self.wake.notified()).await;
            }
            tokio::time::sleep(GATHER).await;
            let (mut batch, last): (Vec<_>, Vec<_>) =
                self.take().into_iter().partition(|(slot, _)| !suspects.contains(slot));
            let bound = batch.len();
            batch.extend(last);
            let (others, last) = batch.split_at(bound);
            let parts = others.chunks(BATCH).chain(last.chunks((suspects.len() / 2).max(1)));
            let mut looked = 0;
            for part in parts {
                if self.look(part, Look::AtHints).await.is_err() {
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

    /// All hints that must be followed now. Those in a room where a command's answer is still to come stay: what it
    /// changed is to be shown at once, not slot by slot. So do those of slots that are about to be shown as booked.
    fn take(&self) -> Vec<(Slot, Hint)> {
        let mut hints = self.hints.lock();
        let dirty = std::mem::take(&mut hints.dirty);
        let mut now = Vec::with_capacity(dirty.len());
        for (slot, hint) in dirty {
            if hints.is_answered(slot, &hint) {
                continue;
            }
            if hints.must_wait(slot, &hint, &self.picture) {
                hints.dirty.insert(slot, hint);
            } else {
                now.push((slot, hint));
            }
        }
        now
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

    /// Looks at all of these, whatever their number. Returns how many looked different from the picture.
    pub(super) async fn look_all(&self, slots: &[Slot], absence: Absence) -> Result<usize, StoreError> {
        let mut changed = 0;
        for batch in slots.chunks(BATCH) {
            let batch: Vec<(Slot, Hint)> = batch.iter().map(|slot| (*slot, Hint::new(absence))).collect();
            changed += self.look(&batch, Look::AtOnce(None)).await?;
        }
        Ok(changed)
    }

    /// Looks at a slot after a command that does not know all about it.
    pub(super) async fn look_after(&self, slot: Slot, actor: Option<ActorId>) -> Result<(), StoreError> {
        self.look(&[(slot, Hint::new(Absence::ByHolder))], Look::AtOnce(actor)).await.map(drop)
    }

    async fn look(&self, batch: &[(Slot, Hint)], why: Look) -> Result<usize, StoreError> {
        let _one_at_a_time = self.looking.lock().await;
        self.hints.lock().looked_at = batch.iter().map(|(slot, _)| *slot).collect();
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
                if matches!(why, Look::AtHints) && self.wait_again(*slot, hint) {
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
        self.hints.lock().looked_at.clear();
        changed
    }

    /// Puts a hint back if a command began while it was followed: what was seen may be a part of its outcome. Or if a
    /// booking was announced.
    fn wait_again(&self, slot: Slot, hint: &Hint) -> bool {
        let mut hints = self.hints.lock();
        let must_wait = hints.must_wait(slot, hint, &self.picture);
        if must_wait {
            hints.put_back(slot, *hint);
        }
        must_wait
    }

    /// Whether a gateway said what it did there: its message may have come after the hint was taken.
    fn is_published(&self, slot: Slot, hint: &Hint) -> bool {
        hint.published || self.hints.lock().dirty.get(&slot).is_some_and(|later| later.published)
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
