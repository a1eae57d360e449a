//! The page of somebody who moves an appointment: its slot is free to that page, and booked to everybody else.

use serde_json::{Value, json};
use support::{Gateway, LegacyPage, Page, Room};

/// Subscribes without this appointment's slot and returns the snapshot.
async fn subscribe_without(page: &Page, room: &Room, appointment: &Value) -> Value {
    let mut frame = room.frame("subscribe");
    frame["exclude_appointment_id"] = appointment.clone();
    page.ask(frame).await.assert_kind("snapshot").0
}

#[tokio::test]
async fn an_own_booking_is_left_out_of_every_snapshot_and_comes_in_no_diff() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let other = Page::watching(&gateway, "other", &room).await;
    let mover = Page::of(&gateway, "mover").await;
    let booked = other.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
    other.confirm(&room, "11:00", "b").await.assert_ok("confirmed");
    other.eventually_booked(&room, &["10:00", "11:00"]).await;
    let (number, strong_id) = (booked.0["appointment_id"].clone(), booked.0["strong_id"].clone());
    for appointment in [&number, &json!(number.to_string()), &strong_id] {
        let snapshot = subscribe_without(&mover, &room, appointment).await;
        assert_eq!((&snapshot["own_booking"], &snapshot["booked"]), (&json!("10:00"), &json!(["11:00"])));
    }
    let synced = mover.sync(&room).await.assert_kind("snapshot").0;
    assert_eq!((&synced["own_booking"], &synced["booked"]), (&json!("10:00"), &json!(["11:00"])));

    // Holds come as everybody's diffs, bookings as snapshots of its own.
    let before = mover.live(&room);
    other.select(&room, "12:00").await.assert_ok("selected");
    mover.eventually_active(&room, &["12:00"]).await;
    assert_eq!(mover.live(&room).snapshots, before.snapshots);
    other.confirm(&room, "12:00", "c").await.assert_ok("confirmed");
    mover.eventually_booked(&room, &["11:00", "12:00"]).await;
    assert!(mover.view(&room).active.is_empty());
    assert_eq!(mover.live(&room).snapshots, before.snapshots + 1);
    other.select(&room, "13:00").await.assert_ok("selected");
    mover.eventually_active(&room, &["13:00"]).await;

    // Everybody else goes on seeing it; so does the page once it asks for all.
    other.eventually_booked(&room, &["10:00", "11:00", "12:00"]).await;
    let all = mover.subscribe(&room).await.0;
    assert_eq!((&all["own_booking"], &all["booked"]), (&json!(null), &json!(["10:00", "11:00", "12:00"])));
    other.confirm(&room, "13:00", "d").await.assert_ok("confirmed");
    mover.eventually_booked(&room, &["10:00", "11:00", "12:00", "13:00"]).await;
    other.assert_never_heard("own_booking");
}

#[tokio::test]
async fn a_booking_that_becomes_ones_own_later_never_shows_as_booked() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let mover = Page::of(&gateway, "mover").await;
    let other = Page::watching(&gateway, "other", &room).await;
    // The memory store counts from 1.
    let snapshot = subscribe_without(&mover, &room, &json!(1)).await;
    assert_eq!((&snapshot["own_booking"], &snapshot["booked"]), (&json!(null), &json!([])));
    other.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
    other.eventually_booked(&room, &["10:00"]).await;
    other.confirm(&room, "11:00", "b").await.assert_ok("confirmed");
    mover.eventually_booked(&room, &["11:00"]).await;
    for (_, frame) in mover.frames() {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let is_told = |list: &Value| list.as_array().is_some_and(|times| times.contains(&json!("10:00")));
        assert!(!is_told(&frame["booked"]) && !is_told(&frame["booked"]["add"]), "{frame}");
    }
    assert_eq!(mover.sync(&room).await.0["own_booking"], json!("10:00"));
}

#[tokio::test]
async fn of_another_room_nothing_is_left_out() {
    let gateway = Gateway::start().await;
    let (room, elsewhere) = (Room::tomorrow_of(1), Room::tomorrow_of(2));
    let page = Page::of(&gateway, "mover").await;
    let booked = page.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
    page.confirm(&elsewhere, "10:00", "b").await.assert_ok("confirmed");
    let snapshot = subscribe_without(&page, &elsewhere, &booked.0["strong_id"]).await;
    assert_eq!((&snapshot["own_booking"], &snapshot["booked"]), (&json!(null), &json!(["10:00"])));
}

#[tokio::test]
async fn polls_and_questions_of_old_pages_leave_it_out_too() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let page = Page::of(&gateway, "alice").await;
    let booked = page.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
    page.confirm(&room, "11:00", "b").await.assert_ok("confirmed");
    let legacy = LegacyPage::of(&gateway);
    let number = booked.number("appointment_id").to_string();
    for (appointment, wanted) in [
        (booked.text("strong_id"), json!(["11:00"])),
        (&number, json!(["11:00"])),
        ("APT-1999-000001", json!(["10:00", "11:00"])),
        ("no such thing", json!(["10:00", "11:00"])),
        ("", json!(["10:00", "11:00"])),
    ] {
        let poll = legacy.poll(&room, &[("exclude_appointment_id", appointment)]).await;
        assert_eq!(poll["appointease_booked_slots"], wanted, "{appointment}");
        let query =
            [("date", room.date.as_str()), ("employee_id", "1"), ("exclude_appointment_id", appointment)];
        let poll = legacy.rest_get("/slots/poll", &query).await;
        assert_eq!(poll.json["booked_slots"], wanted, "{appointment}");
        let mut fields = room.fields(&[("exclude_appointment_id", appointment)]);
        fields["action"] = json!("check_availability");
        let answer = legacy.heartbeat(json!({"appointease_booking": fields})).await.json;
        assert_eq!(answer["appointease_booking"]["booked_slots"], wanted, "{appointment}");
    }
}
