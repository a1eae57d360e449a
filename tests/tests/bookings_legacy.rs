//! Bookings of pages without the new client, on the memory store: the heartbeat's actions and the REST routes.

use serde_json::{Value, json};
use support::{Answer, CUSTOMER_WORDS, Gateway, LegacyPage, Page, Room, in_days};
use tokio_tungstenite::tungstenite::http::Method;

const SLOT: &str = "10:00";
const APPOINTMENTS: &str = "/appointments";

/// `confirm_booking` as the plugin's page fills it in.
fn form(room: &Room, time: &str, client_id: &str) -> Value {
    let [name, email, phone, _] = CUSTOMER_WORDS;
    json!({
        "action": "confirm_booking", "firstName": name, "lastName": "Lee", "email": email, "phone": phone,
        "service_id": "1", "staff_id": room.employee_id, "date": room.date, "time": time, "client_id": client_id
    })
}

async fn act(page: &LegacyPage, form: Value) -> Value {
    let answer = page.heartbeat(json!({"appointease_booking": form})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["appointease_booking"].clone()
}

#[tokio::test]
async fn a_form_books_once_however_often_its_page_sends_it() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(3);
    let legacy = LegacyPage::of(&gateway);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    legacy.select(&room, SLOT, "old").await;
    let booked = act(&legacy, form(&room, SLOT, "old")).await;
    assert_eq!(booked["booking_confirmed"], true, "{booked}");
    let strong_id = booked["appointment_id"].as_str().unwrap();
    assert!(strong_id.starts_with("APT-20") && strong_id.ends_with("-000001"), "{booked}");
    assert!(booked["message"].as_str().is_some_and(|message| !message.is_empty()));
    watcher.eventually_booked(&room, &[SLOT]).await;
    assert!(watcher.view(&room).active.is_empty());
    let body = json!({"action": "heartbeat", "data": {"appointease_booking": form(&room, SLOT, "old")}});
    let page = Page::open(&gateway).await;
    page.send_raw(body.to_string());
    for again in [
        act(&legacy, form(&room, SLOT, "old")).await,
        legacy.heartbeat_json(body["data"].clone()).await.json["appointease_booking"].clone(),
        page.eventually_legacy(0).await["appointease_booking"].clone(),
    ] {
        assert_eq!(again, booked);
    }
    let poll = legacy.poll(&room, &[("client_id", "old"), ("time", SLOT)]).await;
    assert_eq!(poll["appointease_booked_slots"], json!([SLOT]), "{poll}");
    assert_eq!(poll["appointease_active_selections"], json!([]), "{poll}");
    assert_eq!(legacy.select(&room, SLOT, "old").await["status"], "slot_booked");
    CUSTOMER_WORDS.iter().for_each(|word| watcher.assert_never_heard(word));
}

#[tokio::test]
async fn a_form_that_is_refused_says_why() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(3);
    let legacy = LegacyPage::of(&gateway);
    let mut wrong = form(&room, SLOT, "old");
    for (field, value) in
        [("firstName", ""), ("lastName", ""), ("email", "nobody"), ("phone", "123456789012345678901")]
    {
        wrong[field] = json!(value);
    }
    let invalid = act(&legacy, wrong).await;
    assert_eq!(invalid["is_valid"], false, "{invalid}");
    let named: Vec<&String> = invalid["validation_errors"].as_object().unwrap().keys().collect();
    assert_eq!(named, ["email", "firstName", "phone"], "{invalid}");
    let past = act(&legacy, form(&Room::in_days_of(-1, 3), SLOT, "old")).await;
    assert!(past["validation_errors"]["time"].is_string(), "{past}");
    for (field, value, status) in [
        ("date", "never", "invalid_date"),
        ("time", "25:00", "invalid_time"),
        ("client_id", "u_7", "invalid_client"),
    ] {
        let mut wrong = form(&room, SLOT, "old");
        wrong[field] = json!(value);
        let refused = act(&legacy, wrong).await;
        assert_eq!(refused["status"], status, "{refused}");
        assert!(refused["error"].is_string() && refused.get("booking_confirmed").is_none(), "{refused}");
    }
    legacy.select(&room, SLOT, "another").await;
    let taken = act(&legacy, form(&room, SLOT, "old")).await;
    assert_eq!(
        (&taken["status"], &taken["suggested_slots"]),
        (&json!("slot_locked"), &json!(["09:00", "09:30", "10:30"]))
    );
    assert_eq!(act(&legacy, form(&room, SLOT, "another")).await["booking_confirmed"], true);
    let booked = act(&legacy, form(&room, SLOT, "old")).await;
    assert_eq!(booked["status"], "slot_booked", "{booked}");
    assert!(booked["error"].is_string());
}

#[tokio::test]
async fn a_form_without_a_client_and_with_the_time_in_its_date_books_too() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(3);
    let legacy = LegacyPage::of(&gateway);
    let mut nameless = form(&room, "", "");
    nameless["date"] = json!(format!("{} {SLOT}:00", room.date));
    let booked = act(&legacy, nameless.clone()).await;
    assert_eq!(booked["booking_confirmed"], true, "{booked}");
    assert_eq!(act(&legacy, nameless.clone()).await, booked);
    // The same as JSON, where numbers are numbers.
    nameless["service_id"] = json!(1);
    let again = legacy.heartbeat_json(json!({"appointease_booking": nameless})).await;
    assert_eq!(again.json["appointease_booking"], booked);
}

#[tokio::test]
async fn nobody_finds_out_by_guessing_who_booked_a_slot() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(3);
    let legacy = LegacyPage::of(&gateway);
    let hers = form(&room, SLOT, "");
    assert_eq!(act(&legacy, hers.clone()).await["booking_confirmed"], true);
    let stranger = json!({"firstName": "Zoe", "lastName": "", "email": "zoe@example.com", "phone": ""});
    let mut foreign = hers.clone();
    foreign.as_object_mut().unwrap().extend(stranger.as_object().unwrap().clone());
    let told = act(&legacy, foreign).await;
    assert_eq!(told["status"], "slot_booked", "{told}");
    for (field, value) in [
        ("email", "zoe@example.com"),
        ("firstName", "Zoe"),
        ("lastName", ""),
        ("phone", ""),
        ("phone", "555"),
        ("notes", "a guess"),
        ("service_id", "2"),
    ] {
        let mut guess = hers.clone();
        guess[field] = json!(value);
        assert_eq!(act(&legacy, guess).await, told, "{field} {value}");
    }
}

#[tokio::test]
async fn an_old_page_is_told_what_is_free() {
    let gateway = Gateway::builder()
        .with("slots.day_start", "09:00")
        .with("slots.day_end", "12:00")
        .with("slots.slot_minutes", 60)
        .start()
        .await;
    let room = Room::tomorrow_of(3);
    let legacy = LegacyPage::of(&gateway);
    let check = async |room: &Room, client_id: &str| {
        let mut fields = room.fields(&[("client_id", client_id)]);
        fields["action"] = json!("check_availability");
        act(&legacy, fields).await
    };
    let free = check(&room, "").await;
    assert_eq!(free, json!({"available_slots": ["09:00", "10:00", "11:00"], "booked_slots": []}));
    legacy.select(&room, "09:00", "old").await;
    act(&legacy, form(&room, "10:00", "other")).await;
    let others = check(&room, "another").await;
    assert_eq!(others, json!({"available_slots": ["11:00"], "booked_slots": ["10:00"]}));
    let own = check(&room, "old").await;
    assert_eq!(own["available_slots"], json!(["09:00", "11:00"]), "one's own selection is no hindrance");
    let over = check(&Room::in_days_of(-1, 3), "").await;
    assert_eq!(over["available_slots"], json!([]));
    let nowhere = act(&legacy, json!({"action": "check_availability"})).await;
    assert!(nowhere["error"].is_string(), "{nowhere}");
    for action in [json!("get_user_data"), json!("reschedule_appointment"), json!(7)] {
        let refused = act(&legacy, json!({"action": action, "date": room.date})).await;
        assert_eq!(refused["status"], "unsupported", "{refused}");
    }
}

fn assert_booked(answer: &Answer) -> &str {
    assert_eq!((answer.status, &answer.json["success"]), (200, &json!(true)), "{answer:?}");
    assert!(answer.json["appointment_id"].as_u64().is_some(), "{answer:?}");
    assert!(answer.json["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer:?}");
    answer.json["strong_id"].as_str().expect("a strong_id")
}

#[tokio::test]
async fn an_appointment_is_made_by_rest_in_every_spelling_of_the_plugin() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(3);
    let rest = LegacyPage::of(&gateway);
    let watcher = Page::watching(&gateway, "watcher", &room).await;
    let first = rest.rest_post(APPOINTMENTS, room.booking(SLOT, "k")).await;
    let strong_id = assert_booked(&first).to_owned();
    watcher.eventually_booked(&room, &[SLOT]).await;

    let mut spelled = room.booking(SLOT, "k");
    let fields = spelled.as_object_mut().unwrap();
    fields.remove("time");
    fields.remove("name");
    fields.remove("idempotency_key");
    fields.insert("date".into(), json!(format!("{} {SLOT}:00", room.date)));
    fields.insert("firstName".into(), json!(CUSTOMER_WORDS[0]));
    let with_key = rest.clone().with_header("X-Idempotency-Key", "k");
    let again = with_key.rest_post(APPOINTMENTS, spelled).await;
    assert_eq!(assert_booked(&again), strong_id);

    let mut body = form_urlencoded::Serializer::new(String::new());
    for (name, value) in room.booking("11:00", "k2").as_object().unwrap() {
        body.append_pair(name, value.as_str().map_or(&value.to_string(), |text| text));
    }
    let path = "/wp-json/appointease/v1/appointments";
    let kind = "application/x-www-form-urlencoded";
    let by_form = rest.send(Method::POST, path, kind, body.finish()).await;
    assert_booked(&by_form);
    watcher.eventually_booked(&room, &[SLOT, "11:00"]).await;
}

#[tokio::test]
async fn a_rest_booking_that_is_refused_says_why_in_wordpress_form() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(3);
    let rest = LegacyPage::of(&gateway);
    let mut keyless = room.booking(SLOT, "");
    keyless["email"] = json!("nobody");
    let refused = rest.rest_post(APPOINTMENTS, keyless).await;
    refused.assert_rest_error(400, "booking_invalid");
    let named: Vec<&String> = refused.json["data"]["fields"].as_object().unwrap().keys().collect();
    assert_eq!(named, ["email", "idempotency_key"], "{refused:?}");
    for (field, value, code) in [
        ("date", json!(in_days(402)), "invalid_date"),
        ("employee_id", json!(0), "invalid_employee"),
        ("time", json!("noon"), "invalid_time"),
        ("client_id", json!("u_7"), "invalid_client"),
    ] {
        let mut wrong = room.booking(SLOT, "k");
        wrong[field] = value;
        rest.rest_post(APPOINTMENTS, wrong).await.assert_rest_error(400, code);
    }
    let page = Page::of(&gateway, "alice").await;
    page.select(&room, SLOT).await.assert_ok("selected");
    let held = rest.rest_post(APPOINTMENTS, room.booking(SLOT, "k")).await;
    held.assert_rest_error(409, "slot_taken");
    assert_eq!(held.json["data"]["suggested_slots"], json!(["09:00", "09:30", "10:30"]));
    let mut hers = room.booking(SLOT, "k");
    hers["client_id"] = json!("alice");
    assert_booked(&rest.rest_post(APPOINTMENTS, hers).await);
    assert_eq!(page.eventually_released(&room, SLOT).await, ("selection".into(), "booked".into()));
    let taken = rest.rest_post(APPOINTMENTS, room.booking(SLOT, "k")).await;
    taken.assert_rest_error(409, "slot_taken");
    assert_booked(&rest.rest_post(APPOINTMENTS, room.booking("11:00", "k")).await);
    rest.rest_post(APPOINTMENTS, room.booking("12:00", "k"))
        .await
        .assert_rest_error(409, "idempotency_mismatch");
    // The same key of another customer is another key.
    let mut another = room.booking("12:00", "k");
    another["email"] = json!("another@example.com");
    assert_booked(&rest.rest_post(APPOINTMENTS, another).await);
    let select = room.fields(&[("time", SLOT), ("client_id", "old")]);
    rest.rest_post("/slots/select", select.clone()).await.assert_rest_error(409, "slot_booked");
    rest.rest_post("/slots/lock", select).await.assert_rest_error(409, "slot_booked");
    for body in ["", "not json", "[]", "{}"] {
        let path = "/wp-json/appointease/v1/appointments";
        let answer = rest.send(Method::POST, path, "application/json", body.into()).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn availability_by_rest_says_what_is_taken_and_nothing_about_by_whom() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(3);
    let rest = LegacyPage::of(&gateway);
    let page = Page::of(&gateway, "alice").await;
    page.confirm(&room, SLOT, "k").await.assert_ok("confirmed");
    page.lock(&room, "11:00").await.assert_ok("locked");
    let wanted = json!({
        "unavailable": [SLOT, "11:00"],
        "booking_details": {SLOT: {"status": "booked"}, "11:00": {"status": "locked"}},
        "storage": "memory"
    });
    for path in ["/wp-json/appointease/v1/availability", "/wp-json/booking/v1/availability"] {
        let body = room.fields(&[]).to_string();
        let mut answer = rest.send(Method::POST, path, "application/json", body).await;
        let cached = answer.json.as_object_mut().unwrap().remove("cached");
        assert!(cached.is_some_and(|cached| cached.is_boolean()));
        assert_eq!((answer.status, &answer.json), (200, &wanted), "{path}");
    }
    let over = rest.rest_post("/availability", Room::in_days_of(-1, 3).fields(&[])).await;
    assert_eq!((over.status, &over.json), (200, &json!({"unavailable": "all", "reason": "past_date"})));
    rest.rest_post("/availability", json!({"employee_id": 3})).await.assert_rest_error(400, "invalid_date");
}

#[tokio::test]
async fn with_the_legacy_paths_closed_nobody_books_there() {
    let gateway = Gateway::builder().with("legacy.enabled", false).start().await;
    let room = Room::tomorrow_of(3);
    let rest = LegacyPage::of(&gateway);
    assert_eq!(rest.rest_post(APPOINTMENTS, room.booking(SLOT, "k")).await.status, 404);
    assert_eq!(rest.rest_post("/availability", room.fields(&[])).await.status, 404);
}
