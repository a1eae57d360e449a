//! A log that is flooded stays readable, and says what it left out.

use support::{Gateway, PATIENCE, Page, Room, eventually};

const REFUSALS: u64 = 400;
const TIMES: [&str; 12] = [
    "09:00", "09:30", "10:00", "10:30", "11:00", "11:30", "12:00", "12:30", "13:00", "13:30", "14:00",
    "14:30",
];

#[tokio::test]
async fn a_flood_of_refusals_is_sampled_and_counted_and_what_happened_is_never_left_out() {
    let mut gateway = Gateway::start().await;
    let room = Room::tomorrow_of(1);
    let (alice, bob) = (Page::of(&gateway, "alice").await, Page::of(&gateway, "bob").await);
    for time in TIMES {
        alice.select(&room, time).await.assert_ok("selected");
    }
    let asked: Vec<String> =
        (0..REFUSALS).map(|_| bob.send(room.slot_frame("select", TIMES[TIMES.len() - 1]))).collect();
    for id in asked {
        bob.reply(&id).await.assert_error("slot_locked");
    }
    let sampled = async || Some(gateway.log_events("log_sampled")).filter(|lines| !lines.is_empty());
    let lines = eventually("the log says that it leaves out lines", PATIENCE, sampled).await;
    assert_eq!((&lines[0]["of"], &lines[0]["level"]), (&"request_refused".into(), &"warn".into()));
    gateway.terminate().await;
    // Nothing is lost between what is written and what is counted, to the very end.
    eventually("every refusal is in the log, as a line or in a count", PATIENCE, async || {
        let written = gateway.log_events("request_refused").len() as u64;
        let counted: u64 =
            gateway.log_events("log_sampled").iter().filter_map(|line| line["dropped"].as_u64()).sum();
        (written + counted == REFUSALS && written < REFUSALS).then_some(())
    })
    .await;
    let selected = gateway.log_events("slot_selected").len();
    assert_eq!(selected, TIMES.len(), "a line for each, though they came at once");
}
