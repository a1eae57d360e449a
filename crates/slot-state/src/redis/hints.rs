//! Slots that must be looked at, and why: what events hint at and this gateway's own answers do not explain. `reader`
//! follows. Invariant: a hint is forgotten only for the answer to the very command that caused it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::event::Absence;
use crate::pen::Pen;
use crate::slot::{Room, Slot};

/// How long a hint waits for the answers to this gateway's commands in its room.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Answered commands whose message has not come, at most; without them there are only more looks. Where there are no
/// messages, none ever come.
const ANSWERED: usize = 16_384;

/// Why a slot is looked at. Anybody may publish: a message takes back only what it is certain to have caused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint {
    /// When the reason arrived.
    pub(super) since: Instant,
    /// What it means if a hold is gone.
    pub(super) absence: Absence,
    /// Nothing but a new time to live was seen, as a renewal causes it.
    renewal: bool,
    /// A key was deleted.
    pub(super) deletion: bool,
    /// A gateway said what it did.
    pub(super) published: bool,
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

#[derive(Default)]
pub(super) struct Hints {
    dirty: HashMap<Slot, Hint>,
    /// Hints were taken and are being followed: what comes meanwhile is kept beside them.
    following: bool,
    /// What the look under way asked for.
    looked_at: HashSet<Slot>,
    /// How many of this gateway's commands are under way in a room.
    commands: HashMap<Room, u32>,
    /// The numbers of this gateway's answered commands on a slot, until their message came.
    answered: HashSet<(Slot, u64)>,
}

impl Hints {
    pub(super) fn add(&mut self, slot: Slot, hint: Hint) {
        self.forget_answered(slot);
        self.dirty.entry(slot).and_modify(|known| known.add(hint)).or_insert(hint);
        self.forget_unless_following(slot);
    }

    /// Puts back a hint that was taken: what came since is newer.
    pub(super) fn put_back(&mut self, slot: Slot, mut hint: Hint) {
        match self.dirty.entry(slot) {
            Entry::Vacant(entry) => _ = entry.insert(hint),
            Entry::Occupied(mut entry) => {
                hint.add(*entry.get());
                entry.insert(hint);
            }
        }
    }

    /// Takes back a hint of a renewal, unless a look is under way that may have seen something older and is about to say
    /// so.
    pub(super) fn settle(&mut self, slot: Slot) {
        if !self.looked_at.contains(&slot)
            && let Entry::Occupied(hint) = self.dirty.entry(slot)
            && hint.get().renewal
        {
            hint.remove();
        }
    }

    pub(super) fn command_began(&mut self, room: Room) {
        *self.commands.entry(room).or_default() += 1;
    }

    /// Returns whether there are hints, which may have waited for that.
    pub(super) fn command_ended(&mut self, room: Room) -> bool {
        if let Entry::Occupied(mut commands) = self.commands.entry(room) {
            *commands.get_mut() -= 1;
            if *commands.get() == 0 {
                commands.remove();
            }
        }
        !self.dirty.is_empty()
    }

    /// The picture has from its answer what this gateway's command of that number made of a slot.
    pub(super) fn on_answer(&mut self, slot: Slot, seq: u64) {
        if self.answered.len() >= ANSWERED {
            self.answered.clear();
        }
        self.answered.insert((slot, seq));
        self.forget_unless_following(slot);
    }

    fn forget_unless_following(&mut self, slot: Slot) {
        if !self.following {
            self.forget_answered(slot);
        }
    }

    fn forget_answered(&mut self, slot: Slot) {
        if let Some(known) = self.dirty.get(&slot).copied()
            && self.is_answered(slot, &known)
        {
            self.dirty.remove(&slot);
        }
    }

    /// Whether all that this hint says is known from the answer to a command of this gateway. Says so once: the
    /// same message again is somebody else's.
    fn is_answered(&mut self, slot: Slot, hint: &Hint) -> bool {
        hint.own.is_some_and(|seq| self.answered.remove(&(slot, seq))) && !hint.more
    }

    /// Whether there is more than messages about this gateway's commands where one is under way: its end has those
    /// followed.
    pub(super) fn is_pressing(&self) -> bool {
        self.dirty.iter().any(|(slot, hint)| hint.own.is_none() || !self.commands.contains_key(&slot.room))
    }

    pub(super) fn must_wait(&self, slot: Slot, hint: &Hint, picture: &Pen) -> bool {
        self.commands.contains_key(&slot.room) && hint.since.elapsed() < PATIENCE
            || picture.awaits_booking(slot, hint.since)
    }

    /// All hints that must be followed now. Those in a room where a command's answer is still to come stay: what it
    /// changed is to be shown at once, not slot by slot. So do those of slots that are about to be shown as booked.
    pub(super) fn take(&mut self, picture: &Pen) -> Vec<(Slot, Hint)> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut now = Vec::with_capacity(dirty.len());
        for (slot, hint) in dirty {
            if self.is_answered(slot, &hint) {
                continue;
            }
            if self.must_wait(slot, &hint, picture) {
                self.dirty.insert(slot, hint);
            } else {
                now.push((slot, hint));
            }
        }
        self.following = !now.is_empty();
        now
    }

    /// What was taken is followed. Returns whether there is nothing else.
    pub(super) fn is_done(&mut self) -> bool {
        self.following = false;
        self.dirty.is_empty()
    }

    pub(super) fn look_begins(&mut self, slots: impl Iterator<Item = Slot>) {
        self.looked_at = slots.collect();
    }

    pub(super) fn look_ended(&mut self) {
        self.looked_at.clear();
    }

    /// Whether a gateway said since what it did there.
    pub(super) fn is_published(&self, slot: Slot) -> bool {
        self.dirty.get(&slot).is_some_and(|later| later.published)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::parse_suffix;
    use super::*;

    const OWN: u64 = 7;

    fn slot() -> Slot {
        parse_suffix("2026-12-01_1_10:00").expect("a slot")
    }

    fn message() -> Hint {
        Hint::published(Absence::ByHolder, Some(OWN))
    }

    #[tokio::test]
    async fn a_command_explains_its_own_events_whichever_comes_first() {
        let mut hints = Hints::default();
        hints.command_began(slot().room);
        hints.add(slot(), Hint::deletion());
        assert!(hints.is_pressing(), "whose event that is, nobody knows yet");
        hints.add(slot(), message());
        assert!(!hints.is_pressing(), "the answer is about to come");
        hints.on_answer(slot(), OWN);
        assert!(!hints.command_ended(slot().room), "all is explained");

        hints.on_answer(slot(), OWN);
        hints.add(slot(), Hint::deletion());
        hints.add(slot(), message());
        assert!(hints.is_done());
        hints.add(slot(), message());
        assert!(hints.is_pressing(), "the same message again is somebody else's");
    }

    #[tokio::test]
    async fn a_command_whose_answer_is_lost_is_followed_when_it_ends() {
        let mut hints = Hints::default();
        hints.command_began(slot().room);
        hints.add(slot(), message());
        assert!(!hints.is_pressing());
        assert!(hints.command_ended(slot().room) && hints.is_pressing());
    }

    #[tokio::test]
    async fn what_happens_after_a_command_is_not_explained_by_it() {
        let mut hints = Hints::default();
        hints.add(slot(), message());
        hints.add(slot(), Hint::deletion());
        hints.on_answer(slot(), OWN);
        assert!(hints.is_pressing());

        let mut hints = Hints { following: true, ..Hints::default() };
        hints.on_answer(slot(), OWN);
        hints.add(slot(), message());
        assert!(hints.is_published(slot()), "kept for whoever follows the deletion before it");
        hints.add(slot(), Hint::deletion());
        assert!(!hints.is_published(slot()), "this one is another's");
        assert!(!hints.is_done());
    }
}
