//! WordPress is told of every booking made here, whatever becomes of the messages, of WordPress and of the gateway.

mod wordpress;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::{
    CUSTOMER_WORDS, Certificate, Fate, Gateway, GatewayBuilder, LegacyPage, MariaDb, Message, PATIENCE, Page,
    Receiver, RedisServer, Room, eventually, holds_for, in_days,
};

const SECRET: &str = "s3cret-of-the-outbox";
/// A message that is not answered is given up after 10 s, and a gateway that is gone keeps a booking for 20 s.
const PATIENCE_FOR_SILENCE: Duration = Duration::from_secs(45);

async fn site() -> MariaDb {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria
}

fn on(maria: &MariaDb) -> GatewayBuilder {
    Gateway::builder().with("mysql.url", maria.url()).with("log.level", "debug")
}

fn telling(maria: &MariaDb, receiver: &Receiver) -> GatewayBuilder {
    on(maria)
        .with("legacy.upstream", receiver.admin_ajax())
        .with("security.token_keys", format!("k1:{SECRET},k2:another"))
}

async fn started(builder: GatewayBuilder) -> Gateway {
    let gateway = builder.start().await;
    gateway.eventually_well_with_mysql().await;
    gateway
}

async fn outbox(gateway: &Gateway) -> Value {
    LegacyPage::of(gateway).get("/health").await.json["outbox"].clone()
}

async fn eventually_told(gateway: &Gateway) {
    eventually("nothing is left to tell", PATIENCE, async || {
        let outbox = outbox(gateway).await;
        (outbox["waiting"] == 0).then(|| assert_eq!(outbox["status"], "ok", "{outbox}"))
    })
    .await;
}

/// Books these times, and says which appointments they are.
async fn book(gateway: &Gateway, room: &Room, times: &[&str]) -> Vec<u64> {
    let page = Page::of(gateway, "alice").await;
    let mut appointments = Vec::new();
    for time in times {
        let booked = page.confirm(room, time, time).await.assert_ok("confirmed");
        appointments.push(booked.number("appointment_id"));
    }
    appointments
}

/// How often each message came, by its number.
fn counted(messages: &[Message]) -> BTreeMap<u64, usize> {
    let mut counted = BTreeMap::new();
    messages.iter().for_each(|message| *counted.entry(message.id()).or_default() += 1);
    counted
}

async fn each_booking_is_told_once(gateway: &Gateway, maria: &MariaDb, receiver: &Receiver) {
    let room = Room::tomorrow_of(7);
    let times = ["10:00", "11:00", "12:00"];
    let appointments = book(gateway, &room, &times).await;
    let messages = receiver.eventually(times.len()).await;
    for message in &messages {
        assert_eq!(message.path, "/blog/index.php?rest_route=/slotcast/v1/bookings");
        assert_eq!(message.header("content-type"), "application/json");
        message.assert_signed("k1", SECRET);
        let told = CUSTOMER_WORDS.iter().find(|word| message.text.contains(**word));
        assert!(told.is_none(), "{}", message.text);
        let number = message.body["appointment_id"].as_u64().expect("a number");
        let at = appointments.iter().position(|known| *known == number).expect("an appointment of ours");
        let strong_ids = format!("SELECT strong_id FROM wp_appointease_appointments WHERE id = {number}");
        let age = jiff::Timestamp::now().as_second() - message.body["created_at"].as_i64().expect("seconds");
        assert!((-1..60).contains(&age), "booked {age} s ago");
        let expected = json!({
            "id": message.id(), "event": "appointment_created", "appointment_id": number,
            "strong_id": maria.query::<String>(&strong_ids).await[0], "date": room.date, "time": times[at],
            "employee_id": 7, "created_at": message.body["created_at"],
        });
        assert_eq!(message.body, expected);
    }
    // The same key again is no new booking.
    book(gateway, &room, &times).await;
    eventually_told(gateway).await;
    assert_eq!(maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_outbox").await, [0]);
    let once = async || receiver.messages().len() == times.len();
    holds_for("nothing is told twice", Duration::from_secs(4), once).await;
    assert_eq!(
        outbox(gateway).await,
        json!({"status": "ok", "waiting": 0, "oldest_secs": null, "error": null})
    );
}

#[tokio::test]
async fn each_booking_is_told_once_on_mysql_alone() {
    let (maria, receiver) = (site().await, Receiver::there());
    let gateway = started(telling(&maria, &receiver)).await;
    each_booking_is_told_once(&gateway, &maria, &receiver).await;
}

#[tokio::test]
async fn each_booking_is_told_once_on_redis_with_mysql() {
    let (maria, redis, receiver) = (site().await, RedisServer::start().await, Receiver::there());
    let gateway = started(telling(&maria, &receiver).redis_at(&redis.url())).await;
    each_booking_is_told_once(&gateway, &maria, &receiver).await;
}

#[tokio::test]
async fn over_https_only_a_trusted_wordpress_is_told() {
    let (maria, receiver) = (site().await, Receiver::there_over_tls().await);
    let stranger = Certificate::new().await;
    let gateway = started(telling(&maria, &receiver).trusting(&stranger.file())).await;
    book(&gateway, &Room::tomorrow_of(1), &["10:00"]).await;
    let error = gateway.logs().eventually_event("wordpress_not_told").await;
    assert!(error["error"].as_str().is_some_and(|error| error.contains("certificate")), "{error}");
    assert!(receiver.messages().is_empty());
    drop(gateway);
    let gateway = started(telling(&maria, &receiver).trusting(&receiver.certificate())).await;
    let messages = receiver.within(PATIENCE_FOR_SILENCE, 1).await;
    messages[0].assert_signed("k1", SECRET);
    eventually_told(&gateway).await;
}

#[tokio::test]
async fn a_message_that_is_not_taken_is_sent_again_until_it_is() {
    let (maria, receiver) = (site().await, Receiver::there());
    let gateway = started(telling(&maria, &receiver)).await;
    let fates =
        [Fate::Refused(500), Fate::Closed, Fate::Redirected, Fate::Page, Fate::Refused(401), Fate::Hangs];
    receiver.plan(&fates);
    let times = ["10:00", "10:30", "11:00", "11:30", "12:00", "12:30"];
    book(&gateway, &Room::tomorrow_of(1), &times).await;
    let messages = receiver.within(PATIENCE_FOR_SILENCE, 2 * fates.len()).await;
    eventually_told(&gateway).await;
    assert!(messages.iter().all(|message| message.path.starts_with("/blog/index.php?")), "{messages:?}");
    messages.iter().for_each(|message| message.assert_signed("k1", SECRET));
    let counted = counted(&messages);
    assert!(counted.len() == fates.len() && counted.values().all(|count| *count == 2), "{counted:?}");
    assert_eq!(gateway.log_events("wordpress_not_told").len(), 1);
    gateway.logs().eventually_event("wordpress_told_all").await;
    let words = CUSTOMER_WORDS.iter().copied().chain([SECRET, "another", "refused", "A site"]);
    for line in gateway.logs().lines() {
        let told = words.clone().find(|word| line.contains(*word));
        assert!(told.is_none(), "{line}");
    }
}

#[tokio::test]
async fn what_an_answer_holds_is_not_waited_for() {
    let (maria, receiver) = (site().await, Receiver::there());
    let gateway = started(telling(&maria, &receiver)).await;
    receiver.plan(&[Fate::Endless]);
    book(&gateway, &Room::tomorrow_of(1), &["10:00"]).await;
    receiver.eventually(1).await;
    eventually_told(&gateway).await;
    assert_eq!(receiver.messages().len(), 1);
}

#[tokio::test]
async fn health_says_what_waits_while_wordpress_is_away() {
    let (maria, mut receiver) = (site().await, Receiver::away());
    let gateway = started(telling(&maria, &receiver)).await;
    let room = Room::tomorrow_of(1);
    book(&gateway, &room, &["10:00", "11:00"]).await;
    let told = eventually("health counts what waits", PATIENCE, async || {
        let outbox = outbox(&gateway).await;
        let old = outbox["oldest_secs"].as_u64().is_some_and(|age| age >= 1);
        (old && outbox["waiting"] == 2 && outbox["status"] == "failing").then_some(outbox)
    })
    .await;
    let error = told["error"].as_str().expect("an error");
    assert!(error.contains("cannot reach 127.0.0.1") && error.contains("refused"), "{error}");
    let metrics = LegacyPage::of(&gateway).get("/metrics").await.body;
    assert!(metrics.contains("slotcast_outbox_waiting 2"), "{metrics}");
    receiver.come();
    receiver.within(PATIENCE_FOR_SILENCE, 2).await;
    eventually_told(&gateway).await;
    assert_eq!(counted(&receiver.messages()).len(), 2);
}

#[tokio::test]
async fn what_a_gateway_that_was_killed_left_is_told_by_the_next() {
    let (maria, receiver) = (site().await, Receiver::there());
    let mut gateway = started(on(&maria)).await;
    let room = Room::tomorrow_of(1);
    // Booked, and the gateway ends before anybody is told.
    let first = book(&gateway, &room, &["10:00"]).await;
    gateway.kill().await;
    receiver.otherwise(Fate::Hangs);
    let mut gateway = started(telling(&maria, &receiver)).await;
    let messages = receiver.eventually(1).await;
    assert_eq!(messages[0].body["appointment_id"], first[0]);
    // And once more with the message under way.
    gateway.kill().await;
    receiver.otherwise(Fate::Taken(Duration::ZERO));
    let gateway = started(telling(&maria, &receiver)).await;
    let second = book(&gateway, &room, &["11:00"]).await;
    let messages = receiver.within(PATIENCE_FOR_SILENCE, 3).await;
    let told: Vec<&Value> = messages.iter().map(|message| &message.body["appointment_id"]).collect();
    assert_eq!(told, [&json!(first[0]), &json!(second[0]), &json!(first[0])]);
    eventually_told(&gateway).await;
}

#[tokio::test]
async fn two_gateways_share_the_work_and_tell_nothing_twice() {
    let (maria, receiver) = (site().await, Receiver::there());
    receiver.otherwise(Fate::Taken(Duration::from_millis(100)));
    let with_key =
        |kid: &str| telling(&maria, &receiver).with("security.token_keys", format!("{kid}:{SECRET}"));
    let (one, other) = (started(with_key("one")).await, started(with_key("other")).await);
    let rows = vec!["(7, '{}')"; 198].join(",");
    maria.run(&format!("INSERT INTO wp_appointease_outbox (appointment_id, payload) VALUES {rows}")).await;
    // A booking of one's own is looked for at once, and with it all that is due.
    book(&one, &Room::tomorrow_of(1), &["10:00"]).await;
    book(&other, &Room::tomorrow_of(1), &["11:00"]).await;
    let messages = receiver.within(PATIENCE_FOR_SILENCE, 200).await;
    for gateway in [&one, &other] {
        eventually_told(gateway).await;
    }
    assert_eq!(receiver.messages().len(), 200, "something was told twice");
    assert_eq!(counted(&messages).len(), 200);
    for kid in ["one", "other"] {
        let by_this = messages.iter().filter(|message| message.header("x-slotcast-key") == kid).count();
        assert!(by_this >= 40, "{kid} told {by_this}");
    }
}

#[tokio::test]
async fn a_gateway_that_cannot_tell_counts_and_says_what_to_set() {
    let maria = site().await;
    let gateway = started(on(&maria).with("security.token_keys", format!("k1:{SECRET}"))).await;
    book(&gateway, &Room::in_days_of(2, 1), &["10:00"]).await;
    let entry = gateway.logs().eventually_event("wordpress_not_told").await;
    assert_eq!(entry["waiting"], 1, "{entry}");
    let told = outbox(&gateway).await;
    assert_eq!((&told["status"], &told["waiting"]), (&json!("off"), &json!(1)), "{told}");
    assert_eq!(told["error"], "legacy.upstream is not set", "{told}");
    book(&gateway, &Room { date: in_days(3), employee_id: 1 }, &["11:00"]).await;
    eventually("both are counted", PATIENCE, async || (outbox(&gateway).await["waiting"] == 2).then_some(()))
        .await;
    assert_eq!(gateway.log_events("wordpress_not_told").len(), 1);
    // Nobody waits for ever: one booked 31 days ago is dropped, the others wait on.
    maria
        .run("UPDATE wp_appointease_outbox SET created_ms = created_ms - 31 * 86400000 ORDER BY id LIMIT 1")
        .await;
    let forgotten = gateway.logs().eventually_event("outbox_forgotten").await;
    assert_eq!(forgotten["forgotten"], 1, "{forgotten}");
    assert_eq!(maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_outbox").await, [1]);
    let memory = Gateway::start().await;
    assert_eq!(outbox(&memory).await, Value::Null);
}
