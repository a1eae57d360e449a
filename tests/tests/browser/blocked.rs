//! A proxy that refuses WebSockets: the page goes on by polls, and returns when it is let through. All the time it is who its
//! token says.

use serde_json::json;
use support::{Browser, Gateway, KEY, Page, Room, SECRET, UpgradeGate, token_for};

const CLIENT: &str = r#"
    const { connect } = await import("/client/slotcast.js");
    const rooms = window.rooms = connect({ token: args[2] });
    rooms.subscribe(args[0], args[1], (view) => { window.view = view; });
"#;

#[tokio::test(flavor = "multi_thread")]
async fn where_websockets_are_blocked_the_page_polls_and_returns_when_they_are_not() {
    let keys = format!("{KEY}:{SECRET}");
    let gateway =
        Gateway::builder().with("security.mode", "token").with("security.token_keys", keys).start().await;
    let gate = UpgradeGate::closed_before(&gateway);
    let room = Room::tomorrow_of(3);
    let [other, same] = [Page::open(&gateway).await, Page::open(&gateway).await];
    let user = token_for("u_7", 600);
    other.ask(json!({"type": "hello", "token": token_for("u_8", 600)})).await.assert_kind("welcome");
    same.ask(json!({"type": "hello", "token": user})).await.assert_kind("welcome");
    other.subscribe(&room).await;
    other.select(&room, "09:00").await.assert_ok("selected");
    let browser = Browser::start().await;
    let page = browser.window(&format!("{}/livez", gate.http_url())).await;
    page.run(CLIENT, vec![json!(room.date), json!(room.employee_id), json!(user)]).await;

    page.eventually("rooms.state.transport", "polling").await;
    assert!(gate.refused() >= 3, "{} refused", gate.refused());
    page.eventually("window.view?.active", json!(["09:00"])).await;
    // What an act came to: its status, or the code of the refusal.
    let act = |verb: &str, time: &str| {
        let Room { date, employee_id } = &room;
        format!(
            "await rooms.{verb}('{date}', {employee_id}, '{time}').then((ok) => ok.status, (error) => error.code)"
        )
    };
    assert_eq!(page.value(&act("select", "10:00")).await, "selected");
    other.eventually_active(&room, &["09:00", "10:00"]).await;
    page.eventually("view.mine.selected", "10:00").await;
    other.lock(&room, "09:00").await.assert_ok("locked");
    page.eventually("[view.active, view.locked]", json!([["10:00"], ["09:00"]])).await;
    assert_eq!(page.value(&act("select", "09:00")).await, "slot_locked");
    assert_eq!(page.value(&act("lock", "12:00")).await, "locked");
    same.lock(&room, "12:00").await.assert_ok("locked");
    assert_eq!(page.value(&act("unlock", "12:00")).await, "unlocked");

    gate.let_through();
    page.eventually("rooms.state.transport", "websocket").await;
    assert_eq!(page.value("view.mine.selected").await, "10:00");
    other.unlock(&room, "09:00").await.assert_ok("unlocked");
    page.eventually("[view.active, view.locked]", json!([["10:00"], []])).await;
    other.eventually_active(&room, &["10:00"]).await;
    assert_eq!(page.value(&act("lock", "10:00")).await, "locked");
    other.eventually_locked(&room, &["10:00"]).await;
    browser.quit().await;
}
