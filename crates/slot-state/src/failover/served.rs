//! What this gateway's clients hold and gave up lately, as it knows from serving them. When another store begins to
//! decide, whoever carries holds over may not know the last of it; this gateway does.

use std::collections::HashMap;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::hold::{Renewal, Renewed, Selection};
use crate::slot::{ClientId, Slot};

/// A selection renewed here within this is one of this gateway's pages: two renewals may have failed.
const RENEWED_WITHIN: Duration = Duration::from_secs(6);
/// For so long after a change of store a selection may have come over that its holder gave up, or not come over.
pub(super) const SETTLING: Duration = Duration::from_secs(15);
/// Beyond so many clients the old ones are forgotten.
const MOST_CLIENTS: usize = 20_000;
/// How often, at most.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// By client, the last that was done about each slot.
#[derive(Default)]
pub(super) struct Served {
    clients: HashMap<ClientId, SmallVec<[Act; 2]>>,
    pruned: Option<Instant>,
}

/// What was done about a slot last.
#[derive(Clone, Copy)]
struct Act {
    slot: Slot,
    at: Instant,
    /// Selected or renewed, rather than given up.
    holds: bool,
}

impl Served {
    /// A client selected; what it had in the room it gave up.
    pub(super) fn selected(&mut self, client: &ClientId, slot: Slot) {
        let now = Instant::now();
        let acts = self.acts_of(client, now);
        let others = acts.iter_mut().filter(|act| act.slot.room == slot.room && act.holds);
        others.for_each(|act| *act = Act { at: now, holds: false, ..*act });
        note(acts, Act { slot, at: now, holds: true });
    }

    /// A client gave up a selection, or made a lock of it.
    pub(super) fn gave_up(&mut self, client: &ClientId, slot: Slot) {
        let now = Instant::now();
        note(self.acts_of(client, now), Act { slot, at: now, holds: false });
    }

    /// What became of renewals, in the same order.
    pub(super) fn renewed(&mut self, renewals: &[Renewal], outcomes: &[Renewed]) {
        let now = Instant::now();
        for (Renewal { slot, client, .. }, outcome) in renewals.iter().zip(outcomes) {
            match outcome {
                Renewed::Kept | Renewed::PutBack => {
                    let acts = self.acts_of(client, now);
                    // Given up while it was renewed.
                    if !acts.iter().any(|act| act.slot == *slot && !act.holds) {
                        note(acts, Act { slot: *slot, at: now, holds: true });
                    }
                }
                Renewed::Lost | Renewed::Superseded => {
                    let acts = self.acts_of(client, now);
                    acts.retain(|act| act.slot != *slot || !act.holds);
                }
                Renewed::Unknown => {}
            }
        }
    }

    /// Whether this was selected or renewed since then.
    pub(super) fn is_held_since(&self, client: &ClientId, slot: Slot, since: Instant) -> bool {
        self.last(client, slot).is_some_and(|act| act.holds && act.at >= since)
    }

    /// Those of these selections that this gateway selected or renewed lately.
    pub(super) fn of_ours(&self, mut held: Vec<(Slot, Selection)>) -> Vec<(Slot, Selection)> {
        held.retain(|(slot, held)| {
            self.last(&held.client, *slot).is_some_and(|act| act.holds && act.at.elapsed() < RENEWED_WITHIN)
        });
        held
    }

    /// Whether the last that was done about it was to give it up.
    pub(super) fn is_given_up(&self, client: &ClientId, slot: Slot) -> bool {
        self.last(client, slot).is_some_and(|act| !act.holds)
    }

    /// Forgets that these were given up.
    pub(super) fn forget_given_up(&mut self, is_back: impl Fn(&ClientId, Slot) -> bool) {
        for (client, acts) in &mut self.clients {
            acts.retain(|act| act.holds || !is_back(client, act.slot));
        }
    }

    /// What clients gave up here lately and did not select again here.
    pub(super) fn given_up(&self) -> Vec<(Slot, ClientId)> {
        let lately = |act: &&Act| !act.holds && act.at.elapsed() < SETTLING;
        let of = |(client, acts): (&ClientId, &SmallVec<[Act; 2]>)| -> Vec<(Slot, ClientId)> {
            acts.iter().filter(lately).map(|act| (act.slot, client.clone())).collect()
        };
        self.clients.iter().flat_map(of).collect()
    }

    fn last(&self, client: &ClientId, slot: Slot) -> Option<&Act> {
        self.clients.get(client)?.iter().find(|act| act.slot == slot)
    }

    fn acts_of(&mut self, client: &ClientId, now: Instant) -> &mut SmallVec<[Act; 2]> {
        let is_late = |act: &Act| now.saturating_duration_since(act.at) < SETTLING;
        let is_pruned = self.pruned.is_some_and(|at| now.saturating_duration_since(at) < PRUNE_EVERY);
        if self.clients.len() >= MOST_CLIENTS && !is_pruned {
            self.clients.retain(|_, acts| acts.iter().any(is_late));
            self.pruned = Some(now);
        }
        let acts = self.clients.entry(client.clone()).or_default();
        acts.retain(|act| is_late(act));
        acts
    }
}

fn note(acts: &mut SmallVec<[Act; 2]>, new: Act) {
    match acts.iter_mut().find(|act| act.slot == new.slot) {
        Some(act) => *act = new,
        None => acts.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{EmployeeId, Room, parse_date};

    fn slot(time: &str) -> Slot {
        let date = parse_date("2031-03-09").expect("a date");
        let room = Room { date, employee_id: EmployeeId::new(7).expect("an employee") };
        room.slot(time.parse().expect("a time"))
    }

    fn client() -> ClientId {
        "ann".parse().expect("a client")
    }

    fn renewal(slot: Slot) -> Renewal {
        Renewal { slot, client: client(), put_back: false, address: None }
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_gave_up_where_it_was() {
        let mut served = Served::default();
        let began = Instant::now();
        served.selected(&client(), slot("10:00"));
        served.selected(&client(), slot("11:00"));
        assert_eq!(served.given_up(), [(slot("10:00"), client())]);
        assert!(served.is_held_since(&client(), slot("11:00"), began));
        served.selected(&client(), slot("10:00"));
        assert_eq!(served.given_up(), [(slot("11:00"), client())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_ends_after_its_selection_was_given_up_changes_nothing() {
        let mut served = Served::default();
        served.selected(&client(), slot("10:00"));
        served.gave_up(&client(), slot("10:00"));
        served.renewed(&[renewal(slot("10:00"))], &[Renewed::Kept]);
        assert_eq!(served.given_up(), [(slot("10:00"), client())]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_is_forgotten_after_a_while() {
        let mut served = Served::default();
        served.gave_up(&client(), slot("10:00"));
        tokio::time::advance(SETTLING).await;
        assert_eq!(served.given_up(), []);
        served.renewed(&[renewal(slot("10:00"))], &[Renewed::Kept]);
        assert!(served.is_held_since(&client(), slot("10:00"), Instant::now()));
        served.renewed(&[renewal(slot("10:00"))], &[Renewed::Lost]);
        assert!(!served.is_held_since(&client(), slot("10:00"), Instant::now()));
    }
}
