//! The demonstration page in two windows: what one does shows in the other, whatever becomes of stores and gateway.

use fantoccini::key::Key;
use serde_json::json;
use support::{
    Browser, Gateway, GatewayBuilder, MariaDb, Page, RedisServer, ReservedPort, Room, Window, tomorrow,
};

/// The page of employee 2, tomorrow.
fn demo(gateway: &Gateway) -> String {
    format!("{}/demo?employee=2&date={}", gateway.http_url(), tomorrow())
}

fn slot(time: &str) -> String {
    format!("[data-time='{time}']")
}

async fn eventually_slot(window: &Window<'_>, time: &str, state: &str) {
    window.eventually(&format!("document.querySelector(\"{}\")?.dataset.state", slot(time)), state).await;
}

async fn eventually_line(window: &Window<'_>, state: &str, storage: &str) {
    let line = "(({ state, storage }) => [state, storage])(document.getElementById('line').dataset)";
    window.eventually(line, json!([state, storage])).await;
}

/// Opens the page and waits until it is live.
async fn open<'a>(browser: &'a Browser, gateway: &Gateway, storage: &str) -> Window<'a> {
    let window = browser.window(&demo(gateway)).await;
    eventually_line(&window, "live", storage).await;
    window
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_in_one_window_shows_in_the_other_and_goes_with_the_window() {
    let gateway = Gateway::start().await;
    let (browser, stranger) = tokio::join!(Browser::start(), Browser::start());
    let one = open(&browser, &gateway, "memory").await;
    let two = open(&browser, &gateway, "memory").await;
    let other = open(&stranger, &gateway, "memory").await;

    one.click(&slot("10:00")).await;
    eventually_slot(&one, "10:00", "yours").await;
    eventually_slot(&two, "10:00", "selecting").await;
    eventually_slot(&other, "10:00", "selecting").await;
    // Another window of the same browser is the same client: nothing else would end what this one selected.
    one.close().await;
    eventually_slot(&two, "10:00", "free").await;
    eventually_slot(&other, "10:00", "free").await;

    other.click(&slot("11:00")).await;
    eventually_slot(&two, "11:00", "selecting").await;
    stranger.quit().await;
    eventually_slot(&two, "11:00", "free").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_alone_chooses_keeps_and_books_a_time() {
    let gateway = Gateway::start().await;
    let room = Room::tomorrow_of(2);
    let other = Page::watching(&gateway, "other", &room).await;
    other.lock(&room, "09:30").await.assert_ok("locked");
    let browser = Browser::start().await;
    let window = open(&browser, &gateway, "memory").await;
    eventually_slot(&window, "09:30", "locked").await;

    window.run("document.querySelector('#times [tabindex=\"0\"]').focus();", Vec::new()).await;
    window.press_key(Key::Right).await;
    window.press_key(Key::Enter).await;
    window.eventually("document.getElementById('toast').textContent", "09:30 is locked.").await;
    window.press_key(Key::Right).await;
    window.press_key(Key::Enter).await;
    eventually_slot(&window, "10:00", "yours").await;
    other.eventually_active(&room, &["10:00"]).await;

    window.run("document.getElementById('lock').focus();", Vec::new()).await;
    window.press_key(Key::Enter).await;
    other.eventually_locked(&room, &["09:30", "10:00"]).await;
    window.eventually("document.activeElement.id", "name").await;
    window
        .eventually("/^(10:00|9:\\d\\d)$/.test(document.getElementById('countdown').textContent)", true)
        .await;
    window.press("Ann Lee").await;
    window.press_key(Key::Tab).await;
    window.press("ann").await;
    window.press_key(Key::Enter).await;
    window.eventually("document.activeElement.id + document.activeElement.ariaInvalid", "emailtrue").await;
    window.press("@example.com").await;
    // The lock outlives a reload of the page; what was typed does not.
    window.reload().await;
    eventually_slot(&window, "10:00", "yours").await;
    window.eventually("document.getElementById('form').hidden", false).await;
    window.run("document.getElementById('name').focus();", Vec::new()).await;
    window.press("Ann Lee").await;
    window.press_key(Key::Tab).await;
    window.press("ann@example.com").await;
    window.press_key(Key::Enter).await;
    eventually_slot(&window, "10:00", "booked").await;
    window.eventually("document.getElementById('booked-number').textContent.includes('APT-')", true).await;
    other.eventually_booked(&room, &["10:00"]).await;
    browser.quit().await;
}

fn on_both(redis: &RedisServer, maria: &MariaDb, port: &ReservedPort) -> GatewayBuilder {
    let builder = Gateway::builder().redis_at(&redis.url()).with("mysql.url", maria.url());
    builder.with("server.listen", port.addr()).with("server.drain_secs", 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_windows_outlive_redis_and_a_restart_of_the_gateway() {
    let (mut redis, maria) = tokio::join!(RedisServer::start(), MariaDb::start());
    maria.wordpress_options().await;
    let port = ReservedPort::new();
    let mut gateway = on_both(&redis, &maria, &port).start().await;
    gateway.eventually_well_with_mysql().await;
    let (ann, bob) = tokio::join!(Browser::start(), Browser::start());
    let anns = open(&ann, &gateway, "redis").await;
    let bobs = open(&bob, &gateway, "redis").await;
    anns.click(&slot("10:00")).await;
    eventually_slot(&bobs, "10:00", "selecting").await;

    redis.kill().await;
    eventually_line(&anns, "live", "mysql").await;
    eventually_line(&bobs, "live", "mysql").await;
    anns.eventually("document.getElementById('line-text').textContent", "Live · on MySQL, Redis is away")
        .await;
    eventually_slot(&anns, "10:00", "yours").await;
    bobs.click(&slot("11:00")).await;
    eventually_slot(&bobs, "11:00", "yours").await;
    eventually_slot(&anns, "11:00", "selecting").await;
    bobs.click("#lock").await;
    eventually_slot(&anns, "11:00", "locked").await;

    assert_eq!(gateway.terminate().await.code, Some(0));
    eventually_line(&anns, "away", "mysql").await;
    let gateway = on_both(&redis, &maria, &port).start().await;
    for window in [&anns, &bobs] {
        eventually_line(window, "live", "mysql").await;
    }
    eventually_slot(&anns, "10:00", "yours").await;
    eventually_slot(&bobs, "10:00", "selecting").await;
    eventually_slot(&bobs, "11:00", "yours").await;
    eventually_slot(&anns, "11:00", "locked").await;
    let room = Room::tomorrow_of(2);
    let truth = Page::watching(&gateway, "truth", &room).await;
    truth.select(&room, "10:00").await.assert_error("slot_locked");
    truth.lock(&room, "11:00").await.assert_error("slot_locked");
    tokio::join!(ann.quit(), bob.quit());
}
