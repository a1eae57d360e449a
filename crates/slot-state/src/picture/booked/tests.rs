use super::*;

use smallvec::smallvec;

use crate::event::{Absence, Change, SlotFact, Source};
use crate::hold::Lock;
use crate::slot::{EmployeeId, parse_date};
use crate::store::StorageMode;

fn room(number: u64) -> Room {
    let date = parse_date("2031-03-09").expect("a date");
    Room { date, employee_id: EmployeeId::new(number).expect("an employee") }
}

fn slot(time: &str) -> Slot {
    room(7).slot(time.parse().expect("a time"))
}

fn booking(number: u64) -> Booking {
    Booking::new(number, 2031)
}

fn slots(times: &[(&str, u64)]) -> BookedSlots {
    times.iter().map(|(time, number)| (slot(time).time, smallvec![booking(*number)])).collect()
}

fn booked(picture: &Picture) -> Vec<String> {
    picture.booked_times(room(7)).iter().map(ToString::to_string).collect()
}

/// A look that is over at once.
fn watch(picture: &Picture, room: Room) -> Known {
    picture.watch_booked(room).0
}

/// A reading from begin to end.
fn read(picture: &Picture, times: &[(&str, u64)]) {
    picture.set_booked(room(7), picture.before_reading_booked(), slots(times));
}

#[tokio::test(start_paused = true)]
async fn a_room_that_nobody_watches_is_not_kept() {
    let picture = Picture::default();
    read(&picture, &[("10:00", 1)]);
    assert_eq!(booked(&picture), [""; 0]);
    assert!(picture.keep_booked(room(7)).is_none());
    assert_eq!(watch(&picture, room(7)), Known::NotYet);
    read(&picture, &[("10:00", 1)]);
    assert_eq!(watch(&picture, room(7)), Known::All);
    let lately = Duration::from_secs(30);
    tokio::time::advance(lately).await;
    assert_eq!(picture.watched_rooms(&[], lately), [room(7)]);
    assert_eq!(booked(&picture), ["10:00"]);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(picture.watched_rooms(&[room(8)], lately), [room(8)]);
    assert_eq!(booked(&picture), [""; 0]);
    assert!(!picture.knows_booked(room(7)));
}

#[test]
fn a_reading_older_than_a_booking_made_here_is_dropped_and_repeated() {
    let picture = Picture::default();
    watch(&picture, room(7));
    let begun = picture.before_reading_booked();
    picture.add_booked(slot("10:00"), booking(1), None);
    picture.set_booked(room(7), begun, slots(&[]));
    assert_eq!(booked(&picture), ["10:00"]);
    assert!(!picture.knows_booked(room(7)), "of the others nothing is known");
    read(&picture, &[("10:00", 1), ("11:00", 2)]);
    assert_eq!(booked(&picture), ["10:00", "11:00"]);
    read(&picture, &[]);
    assert_eq!(booked(&picture), [""; 0], "cancelled");
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_wanted_again_soon() {
    let picture = Picture::default();
    watch(&picture, room(7));
    assert_eq!(picture.booked_wanted().await, [room(7)]);
    let begun = picture.before_reading_booked();
    picture.add_booked(slot("10:00"), booking(1), None);
    picture.set_booked(room(7), begun, slots(&[]));
    assert_eq!(picture.booked_wanted().await, [room(7)]);
}

#[tokio::test(start_paused = true)]
async fn hints_are_gathered_and_never_many_a_second() {
    let picture = Picture::default();
    picture.doubt_booked(room(7));
    watch(&picture, room(7));
    assert_eq!(picture.booked_wanted().await, [room(7)]);
    let start = Instant::now();
    for reading in 0..4_u32 {
        // Also where it was read otherwise a moment ago.
        read(&picture, &[]);
        (0..100).for_each(|_| picture.doubt_booked(room(7)));
        assert_eq!(picture.booked_wanted().await, [room(7)]);
        assert!(start.elapsed() >= PAUSE * reading, "{reading}: {:?}", start.elapsed());
    }
    assert!(start.elapsed() < PAUSE * 4);
}

#[tokio::test(start_paused = true)]
async fn a_booking_under_way_is_told_by_who_makes_it() {
    let picture = Picture::default();
    watch(&picture, room(7));
    picture.booked_wanted().await;
    let under_way = picture.booking_under_way(slot("10:00"));
    read(&picture, &[("10:00", 1), ("11:00", 2)]);
    assert_eq!(booked(&picture), ["11:00"]);
    picture.add_booked(slot("10:00"), booking(1), None);
    drop(under_way);
    assert_eq!(booked(&picture), ["10:00", "11:00"]);
    // It was passed over: whether it is as said, is looked up.
    assert_eq!(picture.booked_wanted().await, [room(7)]);
    let refused = picture.booking_under_way(slot("12:00"));
    let another = picture.booking_under_way(slot("12:00"));
    drop(refused);
    read(&picture, &[("10:00", 1), ("12:00", 3)]);
    assert_eq!(booked(&picture), ["10:00"], "another request is still at it");
    drop(another);
    assert_eq!(picture.booked_wanted().await, [room(7)]);
    read(&picture, &[("10:00", 1), ("12:00", 3)]);
    assert_eq!(booked(&picture), ["10:00", "12:00"]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_reading_hears_of_its_failure() {
    let picture = Picture::default();
    let until = Instant::now() + Duration::from_secs(2);
    watch(&picture, room(7));
    assert_eq!(picture.booked_read(room(7), until).await, Known::NotYet);
    picture.booked_were_read(&[room(7)], false);
    assert_eq!(picture.booked_read(room(7), until).await, Known::Nothing);
    assert_eq!(watch(&picture, room(7)), Known::Nothing, "the next does not wait");
    read(&picture, &[]);
    assert_eq!(watch(&picture, room(7)), Known::All);
    picture.booked_were_read(&[room(7)], false);
    assert_eq!(watch(&picture, room(7)), Known::All, "what is known is known");
}

#[tokio::test]
async fn news_of_rooms_are_kept_where_somebody_asks_for_them() {
    let picture = Picture::default();
    watch(&picture, room(7));
    read(&picture, &[("09:00", 9)]);
    assert_eq!(picture.take_room_news(), []);
    picture.keep_room_news();
    let other = room(8);
    watch(&picture, other);
    picture.set_booked(other, picture.before_reading_booked(), slots(&[]));
    read(&picture, &[("09:00", 9)]);
    read(&picture, &[]);
    picture.add_booked(slot("10:00"), booking(1), None);
    let news = [(other, RoomNews::Read), (room(7), RoomNews::Booked), (room(7), RoomNews::Booked)];
    assert_eq!(picture.room_news().await, news);
    assert_eq!(picture.take_room_news(), []);
}

#[tokio::test(start_paused = true)]
async fn a_booking_that_was_announced_is_waited_for_until_it_is_read_and_no_longer_than_a_second() {
    let picture = Picture::default();
    let (ten, now) = (slot("10:00"), Instant::now());
    picture.announce_booked(ten);
    assert!(!picture.awaits_booking(ten, now), "nobody looks at this room, so nobody reads it");
    watch(&picture, room(7));
    picture.announce_booked(ten);
    assert!(!picture.awaits_booking(ten, now), "it cannot be read so far");
    read(&picture, &[]);
    picture.announce_booked(ten);
    assert!(picture.awaits_booking(ten, now));
    assert!(!picture.awaits_booking(slot("11:00"), now));
    read(&picture, &[]);
    assert!(picture.awaits_booking(ten, now), "that reading may be older");
    read(&picture, &[("10:00", 1)]);
    assert!(!picture.awaits_booking(ten, now));

    // One that is announced again and again and never comes.
    read(&picture, &[]);
    for _ in 0..9 {
        tokio::time::advance(Duration::from_millis(100)).await;
        picture.announce_booked(ten);
        assert!(picture.awaits_booking(ten, now));
    }
    tokio::time::advance(Duration::from_millis(100)).await;
    picture.announce_booked(ten);
    assert!(!picture.awaits_booking(ten, now));
    picture.watched_rooms(&[room(7)], Duration::from_secs(30));
    assert!(picture.awaits_booking(ten, Instant::now()), "another one may be on its way");
    tokio::time::advance(Duration::from_secs(1)).await;
    picture.watched_rooms(&[room(7)], Duration::from_secs(30));
    assert!(!picture.booked.announced.contains(ten));
}

#[tokio::test]
async fn holds_on_what_another_gateway_booked_are_for_that_one_to_take_back() {
    for announced in [true, false] {
        let picture = Picture::default();
        watch(&picture, room(7));
        read(&picture, &[]);
        picture.decide(StorageMode::Redis);
        let deadline = Instant::now() + Duration::from_secs(600);
        let lock = Some(Lock { client: "ann".parse().expect("a client"), deadline, fence: 1 });
        let fact = SlotFact { time: slot("10:00").time, selection: None, lock, absence: Absence::Unknown };
        let change =
            Change { room: room(7), seq: 1, source: Source::Command, actor: None, facts: smallvec![fact] };
        picture.apply(StorageMode::Redis, change);
        if announced {
            picture.announce_booked(slot("10:00"));
        }
        let begun = picture.before_reading_booked();
        let dead = picture.set_booked(room(7), begun, slots(&[("10:00", 1)]));
        assert_eq!(dead.is_empty(), announced, "{dead:?}");
    }
}

/// Who has subscribers.
struct Live(Mutex<Vec<Room>>);

impl crate::event::Watcher for Live {
    fn room_changed(&self, _: Room) {}
    fn selected(&self, _: Slot, _: &crate::hold::Selection) {}
    fn hold_ended(&self, _: HoldEnded) {}
    fn live_rooms(&self) -> Vec<Room> {
        self.0.lock().clone()
    }
    fn is_live(&self, room: Room) -> bool {
        self.0.lock().contains(&room)
    }
    fn read_anew(&self) {}
    fn storage_changed(&self, _: crate::store::Storage) {}
    fn observed(&self, _: crate::event::Observation) {}
}

#[tokio::test(start_paused = true)]
async fn a_room_for_which_there_is_no_place_is_known_while_somebody_looks_at_it_or_is_subscribed() {
    let (picture, lately) = (Picture::default(), Duration::from_secs(30));
    let live = std::sync::Arc::new(Live(Mutex::default()));
    let watcher: std::sync::Arc<dyn crate::event::Watcher> = live.clone();
    picture.watch(std::sync::Arc::downgrade(&watcher));
    picture.keep_room_news();
    (1..=watched::MOST_KEPT as u64).for_each(|number| _ = watch(&picture, room(1_000 + number)));
    let (known, first) = picture.watch_booked(room(7));
    assert_eq!(known, Known::NotYet);
    read(&picture, &[("10:00", 1)]);
    let (known, second) = picture.watch_booked(room(7));
    assert_eq!((known, booked(&picture)), (Known::All, vec!["10:00".to_owned()]));
    assert_eq!(picture.take_room_news(), [], "nor is it cached");
    drop(first);
    tokio::time::advance(lately * 2).await;
    picture.watched_rooms(&[], lately);
    assert_eq!(booked(&picture), ["10:00"], "one still looks");
    drop(second);
    assert!(!picture.is_watched(room(7)));

    // The sweep has found place; now it is taken again.
    (1..=watched::MOST_KEPT as u64).for_each(|number| _ = watch(&picture, room(1_000 + number)));
    let look = picture.watch_booked(room(7));
    read(&picture, &[("10:00", 1)]);
    live.0.lock().push(room(7));
    drop(look);
    picture.watched_rooms(&[], lately);
    assert_eq!(booked(&picture), ["10:00"], "subscribed to since the rooms were counted");
    assert!(picture.is_watched(room(1_001)), "who was there before stays");
    live.0.lock().clear();
    picture.watched_rooms(&[], lately);
    assert!(!picture.is_watched(room(7)));
}
