//! Bookings by push, on the memory store: who gets a slot, what everybody hears of it, and what is refused.

use serde_json::{Value, json};
use support::{CUSTOMER_WORDS, Gateway, LegacyPage, PATIENCE, Page, Reply, Room, eventually, in_days};

const SLOT: &str = "10:00";

fn suggested(reply: &Reply) -> Vec<&str> {
    reply.0["suggested"].as_array().expect("suggestions").iter().filter_map(Value::as_str).collect()
}

fn fields(reply: &Reply) -> Vec<&str> {
    reply.0["fields"].as_object().expect("fields").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_and_with_other_data_none() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let first = Page::of(&gateway, "alice").await.confirm(&room, SLOT, "k").await.assert_ok("confirmed");
    for _ in 0..3 {
        let page = Page::of(&gateway, "alice").await;
        let again = page.confirm(&room, SLOT, "k").await.assert_ok("confirmed");
        assert_eq!(again.number("appointment_id"), first.number("appointment_id"));
        assert_eq!(again.text("strong_id"), first.text("strong_id"));
        page.vanish().await;
    }
    let alice = Page::of(&gateway, "alice").await;
    for (field, value) in [
        ("time", json!("11:00")),
        ("employee_id", json!(2)),
        ("name", json!("Yvonne")),
        ("email", json!("yvonne@example.com")),
        ("phone", json!("1")),
        ("notes", json!("")),
        ("service_id", json!(2)),
    ] {
        let mut frame = room.confirm_frame(SLOT, "k");
        frame[field] = value;
        alice.ask(frame).await.assert_error("idempotency_mismatch");
    }
    let mut spelled = room.confirm_frame("10:00:00", "k");
    spelled["name"] = json!(format!("  {} ", CUSTOMER_WORDS[0]));
    spelled["fence"] = json!(7);
    assert_eq!(alice.ask(spelled).await.assert_ok("confirmed").text("strong_id"), first.text("strong_id"));
    // Another client's keys are its own.
    let bob = Page::of(&gateway, "bob").await;
    bob.confirm(&room, SLOT, "k").await.assert_error("slot_booked");
    bob.confirm(&room, "11:00", "k").await.assert_ok("confirmed");
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once_and_nothing_is_booked() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::watching(&gateway, "alice", &room).await;
    let bare = alice.ask(room.slot_frame("confirm", SLOT)).await.assert_error("booking_invalid");
    assert_eq!(fields(&bare), ["email", "idempotency_key", "name"]);
    let mut frame = Room { date: in_days(-1), employee_id: 1 }.slot_frame("confirm", SLOT);
    for (field, value) in [
        ("idempotency_key", json!("ü")),
        ("name", json!("x".repeat(101))),
        ("email", json!("nobody")),
        ("phone", json!("1".repeat(21))),
        ("notes", json!("ü".repeat(1001))),
        ("service_id", json!(0)),
        ("fence", json!("seven")),
    ] {
        frame[field] = value;
    }
    let all = alice.ask(frame).await.assert_error("booking_invalid");
    let named = ["email", "fence", "idempotency_key", "name", "notes", "phone", "service_id", "time"];
    assert_eq!(fields(&all), named);
    let sentences = all.0["fields"].as_object().unwrap().values();
    assert!(sentences.into_iter().all(|sentence| sentence.as_str().is_some_and(|text| text.len() > 10)));
    let past = Room { date: in_days(-1), employee_id: 1 }.confirm_frame(SLOT, "k");
    assert_eq!(fields(&alice.ask(past).await.assert_error("booking_invalid")), ["time"]);
    alice.settle().await;
    assert!(alice.view(&room).booked.is_empty());
    alice.confirm(&room, SLOT, &"~".repeat(128)).await.assert_ok("confirmed");
}

#[tokio::test]
async fn wrong_slots_and_wrong_types_are_typed_errors_and_the_connection_stays() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    for (field, value, code) in [
        ("date", json!(in_days(402)), "invalid_date"),
        ("employee_id", json!(0), "invalid_employee"),
        ("time", json!("25:00"), "invalid_time"),
    ] {
        let mut frame = room.confirm_frame(SLOT, "k");
        frame[field] = value.clone();
        alice.ask(frame).await.assert_error(code);
        if field != "time" {
            let mut frame = room.frame("availability");
            frame[field] = value;
            alice.ask(frame).await.assert_error(code);
        }
    }
    for field in ["idempotency_key", "name", "email", "phone", "notes", "service_id", "fence"] {
        for wrong in [json!(true), json!(1.5), json!([]), json!({"$gt": ""}), json!(-1)] {
            let mut frame = room.confirm_frame(SLOT, "k");
            frame[field] = wrong;
            assert_eq!(fields(&alice.ask(frame).await.assert_error("booking_invalid")), [field]);
        }
    }
    for wrong in [json!("'; DROP TABLE"), json!({}), json!(-1), json!("u_7")] {
        let mut frame = room.frame("subscribe");
        frame["exclude_appointment_id"] = wrong;
        alice.ask(frame).await.assert_error("bad_request");
    }
    alice.assert_open();
    let mut large = room.confirm_frame(SLOT, "k");
    large["unknown"] = json!("x".repeat(8 * 1024));
    alice.send(large);
    assert_eq!(alice.eventually_closed().await, Some(1009));
}

#[tokio::test]
async fn a_lock_with_another_fence_is_lost() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    let fence = alice.lock(&room, SLOT).await.assert_ok("locked").number("fence");
    let mut frame = room.confirm_frame(SLOT, "k");
    frame["fence"] = json!(fence + 1);
    alice.ask(frame.clone()).await.assert_error("lock_lost");
    frame["fence"] = json!(fence);
    alice.ask(frame).await.assert_ok("confirmed");
    // Without a lock any more, a free slot is booked all the same.
    let mut frame = room.confirm_frame("11:00", "l");
    frame["fence"] = json!(fence);
    alice.ask(frame).await.assert_ok("confirmed");
}

#[tokio::test]
async fn what_is_suggested_is_free_and_near() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let (alice, bob) = (Page::of(&gateway, "alice").await, Page::of(&gateway, "bob").await);
    bob.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
    bob.confirm(&room, "09:30", "b").await.assert_ok("confirmed");
    bob.lock(&room, "10:30").await.assert_ok("locked");
    bob.select(&room, "11:00").await.assert_ok("selected");
    let taken = alice.confirm(&room, "10:00", "k").await.assert_error("slot_booked");
    assert_eq!(suggested(&taken), ["09:00", "11:30", "12:00"]);
    let held = alice.confirm(&room, "11:00", "k").await.assert_error("slot_locked");
    assert_eq!(suggested(&held), ["11:30", "12:00", "12:30"]);
    alice.confirm(&room, "11:30", "k").await.assert_ok("confirmed");
}

#[tokio::test]
async fn availability_lists_what_is_booked_or_locked_and_says_when_a_day_is_over() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice").await;
    let ask = async || alice.ask(room.frame("availability")).await.assert_kind("availability").0;
    let free = ask().await;
    assert_eq!(
        (&free["unavailable"], &free["booked"], &free["locked"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert_eq!(
        (&free["storage"], &free["date"], &free["employee_id"]),
        (&json!("memory"), &json!(room.date), &json!(1))
    );
    assert!(free["cached"].is_boolean());
    alice.lock(&room, "11:00").await.assert_ok("locked");
    alice.select(&room, "12:00").await.assert_ok("selected");
    alice.confirm(&room, "10:00", "k").await.assert_ok("confirmed");
    let taken = ask().await;
    assert_eq!(taken["unavailable"], json!(["10:00", "11:00"]), "{taken}");
    assert_eq!((&taken["booked"], &taken["locked"]), (&json!(["10:00"]), &json!(["11:00"])));
    let over = alice.ask(Room::in_days_of(-1, 1).frame("availability")).await.assert_kind("availability").0;
    assert_eq!((&over["unavailable"], &over["reason"]), (&json!("all"), &json!("past_date")), "{over}");
}

#[tokio::test]
async fn one_of_a_crowd_gets_the_slot_and_the_others_a_clear_refusal() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let mut crowd = Vec::new();
    for number in 0..60 {
        let page = Page::watching(&gateway, &format!("c-{number}"), &room).await;
        if number % 2 == 0 {
            page.send(room.slot_frame("lock", SLOT));
        }
        let id = page.send(room.confirm_frame(SLOT, "k"));
        crowd.push((page, id));
    }
    let mut winners = 0;
    for (page, id) in &crowd {
        let reply = page.reply(id).await;
        if reply.is_ok("confirmed") {
            winners += 1;
        } else {
            assert!(["slot_locked", "slot_booked"].contains(&reply.text("code")), "{}", reply.0);
            assert_eq!(suggested(&reply).len(), 3);
        }
        page.eventually_booked(&room, &[SLOT]).await;
    }
    assert_eq!(winners, 1);
    for (page, _) in &crowd {
        CUSTOMER_WORDS.iter().for_each(|word| page.assert_never_heard(word));
    }
}

#[tokio::test]
async fn bookings_are_writes_to_the_limits_and_leave_no_personal_data_in_the_log() {
    let gateway = Gateway::builder().with_limits().with("security.frames_per_second", 0).start().await;
    let room = Room::tomorrow_of(1);
    let alice = Page::of(&gateway, "alice-5ecret").await;
    let ids: Vec<String> = (0..40).map(|_| alice.send(room.confirm_frame(SLOT, "key-5ecret"))).collect();
    let (mut booked, mut limited) = (0, 0);
    for id in ids {
        let reply = alice.reply(&id).await;
        match reply.kind() {
            "ok" => booked += 1,
            _ => limited += usize::from(reply.assert_error("rate_limited").kind() == "error"),
        }
    }
    assert!(booked >= 20 && limited > 0, "{booked} answered, {limited} limited");
    eventually("another try is let in", PATIENCE, async || {
        alice.confirm(&room, "10:30", "x").await.is_ok("confirmed").then_some(())
    })
    .await;
    let entry = gateway.logs().eventually_event("booking_confirmed").await;
    assert_eq!((&entry["time"], &entry["storage"]), (&json!(SLOT), &json!("memory")), "{entry}");
    assert_eq!(entry["level"].as_str().map(str::to_lowercase).as_deref(), Some("info"), "{entry}");
    for line in gateway.logs().lines() {
        let told = CUSTOMER_WORDS.iter().chain(&["5ecret"]).find(|word| line.contains(**word));
        assert!(told.is_none(), "{line}");
    }
    let metrics = LegacyPage::of(&gateway).get("/metrics").await.body;
    let counted = format!("slotcast_requests_total{{request=\"confirm\",outcome=\"ok\"}} {}", booked + 1);
    assert!(metrics.contains(&counted), "no {counted} in\n{metrics}");
}

#[tokio::test]
async fn the_memory_store_says_at_start_that_bookings_end_with_it() {
    let gateway = Gateway::start().await;
    let entry = gateway.logs().eventually_event("config_warning").await;
    assert!(
        entry["message"].as_str().is_some_and(|text| text.contains("bookings live in this process")),
        "{entry}"
    );
}
