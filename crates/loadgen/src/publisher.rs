//! The connections that make changes, and the pace they keep. Changes are sent when they are due whether or not
//! earlier ones were answered, so a slow server cannot slow the load down and look fast.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::LoadError;
use crate::dialect::{Change, Dialect};
use crate::outlet::{Answers, Line, Outlet, SharedAnswers};
use crate::timing::{Clock, Stamps};
use crate::view::SLOTS;

/// All publishers. Each stays in one room, where it moves from slot to slot; no two of a room share a slot.
pub(crate) struct Publishers {
    dialect: Dialect,
    change: Change,
    clock: Clock,
    stamps: Arc<Stamps>,
    answers: SharedAnswers,
    members: Vec<Publisher>,
    /// Next number of each room.
    seqs: Vec<u64>,
    sent: u64,
}

struct Publisher {
    room: usize,
    line: Line,
    slots: SlotCycle,
}

/// The slots of one publisher: every `step`-th from `next` on, round and round.
struct SlotCycle {
    next: usize,
    first: usize,
    step: usize,
}

impl SlotCycle {
    fn take(&mut self) -> usize {
        let slot = self.next;
        self.next = if slot + self.step < SLOTS { slot + self.step } else { self.first };
        slot
    }
}

impl Publishers {
    /// Connects `count` publishers, spread evenly over `rooms`. To be called within a `LocalSet`.
    pub(crate) async fn connect(
        outlet: &Outlet,
        dialect: &Dialect,
        change: Change,
        count: usize,
        rooms: usize,
        clock: Clock,
        stamps: Arc<Stamps>,
    ) -> Result<Publishers, LoadError> {
        let answers = Answers::new();
        let mut members = Vec::with_capacity(count);
        let per_room = count.div_ceil(rooms);
        if per_room > SLOTS / 2 {
            return Err(LoadError::Usage(format!("{per_room} publishers in a room of {SLOTS} slots")));
        }
        for index in 0..count {
            let (room, first) = (index % rooms, index / rooms);
            let line = outlet.connect(dialect, index, room, clock, answers.clone()).await?;
            members.push(Publisher { room, line, slots: SlotCycle { next: first, first, step: per_room } });
        }
        let seqs = vec![0; rooms];
        Ok(Publishers { dialect: dialect.clone(), change, clock, stamps, answers, members, seqs, sent: 0 })
    }

    /// Makes `changes` changes, `rate` a second, each by the next publisher in turn. Returns how far behind its time
    /// the latest one was sent.
    pub(crate) async fn publish(&mut self, changes: u64, rate: f64) -> Duration {
        let start = Instant::now();
        let mut behind = Duration::ZERO;
        for change in 0..changes {
            let due = start + Duration::from_secs_f64(change as f64 / rate);
            sleep_until(due).await;
            behind = behind.max(due.elapsed());
            self.publish_one();
        }
        behind
    }

    fn publish_one(&mut self) {
        let turn = (self.sent % self.members.len() as u64) as usize;
        let publisher = &mut self.members[turn];
        let (room, slot, id) = (publisher.room, publisher.slots.take(), self.sent);
        let seq = self.seqs[room];
        let text = self.dialect.change(self.change, room, slot, id, seq);
        self.seqs[room] += 1;
        self.sent += 1;
        let now_us = self.clock.now_us();
        self.stamps.set(room, self.dialect.stamp(slot, seq), now_us);
        if publisher.line.is_answered(&self.dialect) {
            self.answers.borrow_mut().expect(id, now_us);
        }
        if !publisher.line.send(id, text) {
            self.answers.borrow_mut().refuse("could_not_send");
        }
    }

    /// Changes sent per room so far.
    pub(crate) fn sent_per_room(&self) -> &[u64] {
        &self.seqs
    }

    /// Changes without an answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.answers.borrow().unanswered()
    }

    /// Takes what came back since the last call.
    pub(crate) fn take_answers(&mut self) -> Answers {
        self.answers.borrow_mut().take()
    }
}
