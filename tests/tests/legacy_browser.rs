//! An unmodified legacy page on a real WordPress, in a real browser: WordPress' own heartbeat.js and a script that does
//! what AppointEase's hook does, through the must-use plugin, nginx and php-fpm.

use serde_json::{Value, json};
use support::{Browser, Gateway, GatewayBuilder, MariaDb, Page, RedisServer, Room, Site, Window, token_for};

const OURS: &str = "/slotcast/heartbeat";
const PHPS: &str = "/wp-admin/admin-ajax.php";
/// The last answer to a heartbeat.
const LAST: &str = "window.seen.at(-1)";

struct Whole {
    _servers: (MariaDb, RedisServer),
    gateway: Gateway,
    site: Site,
}

async fn served() -> Whole {
    served_with(|gateway| gateway).await
}

async fn served_with(more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Whole {
    let (maria, redis) = (MariaDb::start().await, RedisServer::start().await);
    let mut site = Site::install(&maria).await;
    let gateway = site.serve(&maria, more(Gateway::builder()).redis_at(&redis.url())).await;
    Whole { _servers: (maria, redis), gateway, site }
}

/// What the page's hook sends with the next heartbeats, the first of them now.
async fn poll_with(window: &Window<'_>, poll: &Value, other: &Value) {
    let script = "window.poll = args[0]; window.other = args[1]; wp.heartbeat.connectNow();";
    window.run(script, vec![poll.clone(), other.clone()]).await;
}

/// Waits until an expression has this value in an answer; the page asks at once, again and again.
async fn eventually_answered(window: &Window<'_>, field: &str, expected: Value) {
    let asking = format!("(wp.heartbeat.connectNow(), JSON.stringify({LAST}?.{field} ?? null))");
    window.eventually(&asking, expected.to_string()).await;
}

/// The paths of the site that the page has fetched from.
async fn fetched(window: &Window<'_>) -> Vec<String> {
    let script =
        "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname);";
    serde_json::from_value(window.run(script, vec![]).await).expect("paths")
}

/// Logs the site's administrator in, with the form's own fields.
async fn log_in(window: &Window<'_>, site: &Site) {
    window.go(&site.url("/wp-login.php")).await;
    let script = "
        const form = new URLSearchParams({ log: 'admin', pwd: 'secret', testcookie: '1' });
        const answer = await fetch('/wp-login.php', { method: 'POST', body: form });
        return new URL(answer.url).pathname;";
    assert_eq!(window.run(script, vec![]).await, "/wp-admin/");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_pages_polls_are_answered_by_the_gateway_and_it_and_push_pages_see_each_other() {
    let Whole { _servers, gateway, site } = served().await;
    let room = Room::tomorrow_of(3);
    let push = Page::watching(&gateway, "push", &room).await;
    let browser = Browser::start().await;
    for (client, path, time) in
        [("plain", "/?booking_page=1", "10:00"), ("own", "/?booking_page=1&own_ajaxurl=1", "12:00")]
    {
        let window = browser.window(&site.url(path)).await;
        let poll = room.fields(&[("client_id", client), ("time", time)]);
        poll_with(&window, &poll, &json!({"asks": client})).await;
        eventually_answered(&window, "appointease_active_selections", json!([time])).await;
        push.eventually_active(&room, &[time]).await;
        push.select(&room, "11:00").await.assert_ok("selected");
        let both = if time < "11:00" { [time, "11:00"] } else { ["11:00", time] };
        eventually_answered(&window, "appointease_active_selections", json!(both)).await;
        push.lock(&room, "11:00").await.assert_ok("locked");
        eventually_answered(&window, "appointease_locked_slots", json!(["11:00"])).await;
        eventually_answered(&window, "storage_mode", json!("redis")).await;
        // Another plugin's question in the same heartbeat is PHP's, and ours is not seen there.
        let said = json!({"said": {"asks": client}, "user": 0, "polls": false});
        eventually_answered(&window, "other_plugin", said).await;
        push.unlock(&room, "11:00").await.assert_ok("unlocked");
        let fetched = fetched(&window).await;
        assert!(fetched.iter().any(|path| path == OURS), "{fetched:?}");
        assert!(!fetched.iter().any(|path| path == PHPS), "{fetched:?}");
        window.close().await;
        // Its last poll is the last sign of it.
        push.shows_within(std::time::Duration::from_secs(40), &room, "it is gone", |view| {
            view.active.is_empty()
        })
        .await;
    }
    browser.quit().await;
    site.assert_no_php_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn wp_admins_heartbeat_stays_phps_and_a_users_own_reaches_php_as_that_user() {
    let Whole { _servers, gateway: _gateway, site } = served().await;
    let room = Room::tomorrow_of(3);
    let browser = Browser::start().await;
    let window = browser.window(&site.url("/?booking_page=1")).await;
    let of_visitor = window.value("slotcast.token()").await;
    assert_eq!(subject(&of_visitor)[..2], *"c_", "{of_visitor}");
    assert_eq!(
        subject(&window.value("slotcast.token()").await),
        subject(&of_visitor),
        "one page, one client"
    );
    window.run("localStorage.slotcast_client_id = 'browser-7';", vec![]).await;
    window.go(&site.url("/?booking_page=1&again=1")).await;
    assert_eq!(subject(&window.value("slotcast.token()").await), "browser-7");

    log_in(&window, &site).await;
    window.go(&site.url("/wp-admin/index.php")).await;
    let beat = "
        const answer = new Promise((resolve) => jQuery(document).one('heartbeat-tick', (event, data) => resolve(data)));
        jQuery(document).on('heartbeat-send', (event, data) => { data.other_plugin = { asks: 'admin' }; });
        wp.heartbeat.connectNow();
        return answer;";
    let answer = window.run(beat, vec![]).await;
    assert_eq!(answer["other_plugin"]["user"], 1, "{answer}");
    assert!(answer.get("storage_mode").is_none(), "the gateway was asked: {answer}");
    let fetched_by_admin = fetched(&window).await;
    assert!(fetched_by_admin.iter().any(|path| path == PHPS), "{fetched_by_admin:?}");
    assert!(!fetched_by_admin.iter().any(|path| path == OURS), "{fetched_by_admin:?}");

    window.go(&site.url("/?booking_page=1")).await;
    poll_with(&window, &room.fields(&[("client_id", "old")]), &json!({"asks": "user"})).await;
    let said = json!({"said": {"asks": "user"}, "user": 1, "polls": false});
    eventually_answered(&window, "other_plugin", said).await;
    eventually_answered(&window, "storage_mode", json!("redis")).await;
    assert_eq!(subject(&window.value("slotcast.token()").await), "u_1");
    // Somebody logs in anew in another tab: the page's nonce is of no use any more.
    let other = browser.window(&site.url("/wp-login.php")).await;
    log_in(&other, &site).await;
    assert_eq!(subject(&window.value("slotcast.token()").await), "u_1");
    browser.quit().await;
    site.assert_no_php_errors();
}

/// Connects as a page of the site does, and says so once it is connected.
const CONNECT: &str = "
    window.rooms = await slotcast.connect();
    window.rooms.subscribe(args[0], 3, (view) => { window.view = view; });
    return new Promise((resolve) => {
        const look = () => rooms.state.connected && resolve(true);
        rooms.on('state', look);
        look();
    });";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_site_gets_the_client_and_is_who_its_token_says() {
    let Whole { _servers, gateway, site } =
        served_with(|gateway| gateway.with("security.mode", "token")).await;
    let room = Room::tomorrow_of(3);
    let push = Page::open(&gateway).await;
    push.ask(json!({"type": "hello", "token": token_for("push", 600)})).await.assert_kind("welcome");
    push.subscribe(&room).await;
    let browser = Browser::start().await;
    let window = browser.window(&site.url("/?booking_page=1")).await;
    for (client, time) in [(None, "10:00"), (Some("u_1"), "12:00")] {
        if client.is_some() {
            log_in(&window, &site).await;
            window.go(&site.url("/?booking_page=1")).await;
        }
        window.run(CONNECT, vec![json!(room.date)]).await;
        let select = "return (await rooms.select(args[0], 3, args[1])).status;";
        assert_eq!(window.run(select, vec![json!(room.date), json!(time)]).await, "selected");
        push.eventually_active(&room, &[time]).await;
        window.eventually("window.view?.mine.selected", time).await;
        // The same client's select elsewhere moves it: it is who it says.
        let client = match client {
            Some(client) => json!(client),
            None => window.value("localStorage.slotcast_client_id").await,
        };
        let same = Page::open(&gateway).await;
        same.ask(json!({"type": "hello", "token": token_for(client.as_str().expect("a client"), 600)}))
            .await
            .assert_kind("welcome");
        same.select(&room, "15:00").await.assert_ok("selected");
        push.eventually_active(&room, &["15:00"]).await;
        same.deselect(&room, "15:00").await.assert_ok("deselected");
        push.eventually_active(&room, &[]).await;
        same.close().await;
    }
    browser.quit().await;
    site.assert_no_php_errors();
}

/// Whose a token is.
fn subject(token: &Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = token.as_str().and_then(|token| token.split('.').nth(1)).expect("a token");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["sub"].as_str().expect("a client").to_owned()
}
