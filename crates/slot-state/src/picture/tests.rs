//! The picture against a store that is only imagined: facts come late, twice and in any order, and the newest wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::hold::Writer;
use crate::slot::{EmployeeId, parse_date};

/// Who has a slot selected, who has it locked.
type Held = (Option<usize>, Option<usize>);

const SLOTS: usize = 3;

#[derive(Default)]
struct Ear {
    changes: Mutex<usize>,
    selected: Mutex<Vec<(ClientId, Instant)>>,
    ended: Mutex<Vec<(Slot, ClientId, HoldKind)>>,
}

impl Watcher for Ear {
    fn room_changed(&self, _: Room) {
        *self.changes.lock() += 1;
    }
    fn selected(&self, _: Slot, selection: &Selection) {
        self.selected.lock().push((selection.client.clone(), selection.deadline));
    }
    fn hold_ended(&self, ended: HoldEnded) {
        self.ended.lock().push((ended.slot, ended.client, ended.kind));
    }
    fn live_rooms(&self) -> Vec<Room> {
        Vec::new()
    }
    fn is_live(&self, _: Room) -> bool {
        false
    }
    fn read_anew(&self) {}
    fn storage_changed(&self, _: Storage) {}
    fn observed(&self, _: Observation) {}
}

fn room() -> Room {
    let date = parse_date("2031-03-09").expect("a date");
    Room { date, employee_id: EmployeeId::new(7).expect("an employee") }
}

fn time(slot: usize) -> SlotTime {
    format!("{:02}:00", 9 + slot).parse().expect("a time")
}

fn client(number: usize) -> ClientId {
    format!("c{number}").parse().expect("a client")
}

fn fact(slot: usize, held: Held) -> SlotFact {
    let deadline = Instant::now() + Duration::from_secs(60);
    let selection = held.0.map(|who| Selection { client: client(who), deadline, writer: Writer::Php });
    let lock = held.1.map(|who| Lock { client: client(who), deadline, fence: 1 });
    SlotFact { time: time(slot), selection, lock, absence: Absence::Unknown }
}

const STORE: StorageMode = StorageMode::Memory;

fn new_picture() -> Picture {
    let picture = Picture::default();
    picture.decide(STORE);
    picture
}

fn change(seq: u64, source: Source, facts: impl IntoIterator<Item = (usize, Held)>) -> Change {
    let facts = facts.into_iter().map(|(slot, held)| fact(slot, held)).collect();
    Change { room: room(), seq, source, actor: None, facts }
}

fn shown(picture: &Picture) -> Vec<Held> {
    let number = |client: ClientId| client.as_str()[1..].parse().expect("a number");
    let held = |slot| {
        let slot = room().slot(time(slot));
        (
            picture.selection(slot).map(|held| number(held.client)),
            picture.lock(slot).map(|held| number(held.client)),
        )
    };
    (0..SLOTS).map(held).collect()
}

/// Who has selected, until when.
fn selections_in(picture: &Picture) -> Vec<(ClientId, Instant)> {
    let held = (0..SLOTS).filter_map(|slot| picture.selection(room().slot(time(slot))));
    held.map(|held| (held.client, held.deadline)).collect()
}

/// The index by client says the same as the slots.
fn assert_indexed(picture: &Picture) {
    let mut by_client: BTreeMap<usize, BTreeSet<SlotTime>> = BTreeMap::new();
    for (slot, (selection, lock)) in shown(picture).into_iter().enumerate() {
        for who in selection.into_iter().chain(lock) {
            by_client.entry(who).or_default().insert(time(slot));
        }
    }
    for who in 0..4 {
        let slots: Vec<SlotTime> = picture.slots_of(&client(who)).iter().map(|slot| slot.time).collect();
        let set: BTreeSet<SlotTime> = slots.iter().copied().collect();
        assert_eq!(slots.len(), set.len(), "no slot twice");
        assert_eq!(set, by_client.remove(&who).unwrap_or_default());
    }
}

/// Applies a change, and checks that the watcher heard of exactly what became different.
fn apply_and_check(picture: &Picture, ear: &Ear, change: Change) {
    let (before, view) = (shown(picture), picture.view(room()));
    let (changes, ended) = (*ear.changes.lock(), ear.ended.lock().len());
    let selections = selections_in(picture);
    ear.selected.lock().clear();
    picture.apply(STORE, change);
    assert_indexed(picture);
    let mut anew = selections_in(picture);
    anew.retain(|selection| !selections.contains(selection));
    assert_eq!(*ear.selected.lock(), anew, "also if only its deadline is another");
    let mut expected = Vec::new();
    for (slot, (old, new)) in before.into_iter().zip(shown(picture)).enumerate() {
        let place = room().slot(time(slot));
        let gone =
            |was: Option<usize>, is: Option<usize>| was.filter(|who| is != Some(*who) && new.1 != Some(*who));
        expected.extend(gone(old.0, new.0).map(|who| (place, client(who), HoldKind::Selection)));
        expected.extend(gone(old.1, new.1).map(|who| (place, client(who), HoldKind::Lock)));
    }
    assert_eq!(ear.ended.lock()[ended..], expected);
    let told = *ear.changes.lock() - changes;
    assert!(told <= 1);
    assert!(told == 1 || picture.view(room()) == view, "a changed view is told of");
}

#[derive(Debug, Clone)]
enum Step {
    /// A command of ours changes a slot, and its number rises.
    Command(usize, Held),
    /// Somebody else changes a slot; no number rises.
    Foreign(usize, Held),
    /// We look at some slots.
    Look(BTreeSet<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let held = (prop::option::of(0..4usize), prop::option::of(0..4usize));
    let step = prop_oneof![
        (0..SLOTS, held.clone()).prop_map(|(slot, held)| Step::Command(slot, held)),
        (0..SLOTS, held).prop_map(|(slot, held)| Step::Foreign(slot, held)),
        prop::collection::btree_set(0..SLOTS, 1..=SLOTS).prop_map(Step::Look),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #[test]
    fn in_whatever_order_answers_come_the_newest_state_is_shown(
        steps in steps(),
        delays in prop::collection::vec((0..30usize, any::<bool>()), 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _guard = runtime.enter();
        let (picture, ear) = (new_picture(), Arc::new(Ear::default()));
        let watcher: Arc<dyn Watcher> = ear.clone();
        picture.watch(Arc::downgrade(&watcher));

        let (mut truth, mut seq) = ([(None, None); SLOTS], 0);
        let mut delays = delays.into_iter().cycle();
        // When it is delivered, what it is. Answers to commands come when they will; looks one after the other.
        let mut deliveries: Vec<(usize, Change)> = Vec::new();
        let mut last_look = 0;
        for (now, step) in steps.into_iter().chain([Step::Look((0..SLOTS).collect())]).enumerate() {
            let (delay, twice) = delays.next().expect("endless");
            match step {
                Step::Command(slot, held) => {
                    truth[slot] = held;
                    seq += 1;
                    let answer = change(seq, Source::Command, [(slot, held)]);
                    if twice {
                        deliveries.push((now + delay / 2, answer.clone()));
                    }
                    deliveries.push((now + delay, answer));
                }
                Step::Foreign(slot, held) => truth[slot] = held,
                Step::Look(slots) => {
                    last_look = last_look.max(now + delay);
                    let seen = slots.into_iter().map(|slot| (slot, truth[slot]));
                    deliveries.push((last_look, change(seq, Source::Read, seen)));
                }
            }
        }
        deliveries.sort_by_key(|(at, _)| *at);
        for (_, change) in deliveries {
            apply_and_check(&picture, &ear, change);
        }
        prop_assert_eq!(shown(&picture), truth.to_vec());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_slot_was_freed_does_not_bring_the_hold_back() {
    let picture = new_picture();
    picture.apply(STORE, change(2, Source::Command, [(0, (None, None))]));
    tokio::time::advance(REMEMBER_EMPTY - Duration::from_millis(1)).await;
    picture.apply(STORE, change(1, Source::Command, [(0, (Some(1), None))]));
    assert_eq!(shown(&picture)[0], (None, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_due_comes_up_once_and_an_empty_slot_is_forgotten() {
    let picture = new_picture();
    picture.apply(STORE, change(1, Source::Command, [(0, (Some(1), None)), (1, (Some(1), None))]));
    picture.apply(STORE, change(2, Source::Command, [(1, (None, None))]));
    assert_eq!(picture.due().await, [room().slot(time(0))]);
    assert_eq!(picture.rooms.get(&room()).map(|slots| slots.len()), Some(1), "the other is forgotten");
    picture.expire(STORE, &[room().slot(time(0))]);
    assert_eq!(picture.count(), (0, 0));
    let nothing_more = tokio::time::timeout(Duration::from_secs(3600), picture.due()).await;
    assert!(nothing_more.is_err());
    assert!(picture.rooms.is_empty() && picture.clients.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_moves_the_deadline_either_way_unless_something_newer_is_known() {
    let picture = new_picture();
    let place = room().slot(time(0));
    let in_secs = |secs| Instant::now() + Duration::from_secs(secs);
    let deadline = || picture.selection(place).expect("shown").deadline;
    picture.apply(STORE, change(5, Source::Command, [(0, (Some(1), None))]));
    assert!(picture.prolong(STORE, place, &client(1), in_secs(90), 6));
    assert_eq!(deadline(), in_secs(90));
    assert!(picture.prolong(STORE, place, &client(1), in_secs(10), 7));
    assert_eq!(deadline(), in_secs(10));
    assert!(picture.prolong(STORE, place, &client(1), in_secs(300), 4));
    assert_eq!(deadline(), in_secs(10), "an older renewal is old news");
    assert!(!picture.prolong(STORE, place, &client(2), in_secs(300), 8));
    let started = Instant::now();
    assert_eq!(picture.due().await, [place]);
    assert_eq!(started.elapsed().as_secs(), 10);
}
