//! The must-use plugin on a real site (nginx, php-fpm, MariaDB): tokens, pages, heartbeats of other plugins, bookings
//! made at the gateway, Site Health. What a browser makes of it is in `legacy_browser`.

use std::time::Duration;

use futures::future::join_all;
use hmac::{Hmac, Mac};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use sha2::Sha256;
use support::{
    Answer, Gateway, GatewayBuilder, KEY, LegacyPage, MariaDb, PATIENCE, Page, RedisServer, Room, SECRET,
    Site, eventually, holds_for,
};
use tokio_tungstenite::tungstenite::http::Method;

const FORM: &str = "application/x-www-form-urlencoded";

struct Whole {
    maria: MariaDb,
    gateway: Gateway,
    site: Site,
}

async fn site_with(builder: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Whole {
    let maria = MariaDb::start().await;
    let mut site = Site::install(&maria).await;
    let gateway = site.serve(&maria, builder(Gateway::builder()).with("mysql.sweep_ms", 200)).await;
    Whole { maria, gateway, site }
}

fn visitor(site: &Site) -> LegacyPage {
    LegacyPage::at(site.address())
}

/// The same with the cookies of the site's administrator.
async fn administrator(site: &Site) -> LegacyPage {
    let form = "log=admin&pwd=secret&testcookie=1".to_owned();
    let door = visitor(site).with_header("cookie", "wordpress_test_cookie=WP%20Cookie%20check");
    let answer = door.send(Method::POST, "/wp-login.php", FORM, form).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
    let pairs: Vec<&str> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
    visitor(site).with_header("cookie", &pairs.join("; "))
}

/// What a script of the page defines: the JSON after these words.
fn defined(html: &str, words: &str) -> Value {
    let (_, rest) = html.split_once(words).unwrap_or_else(|| panic!("no {words} in {html}"));
    let json = serde_json::Deserializer::from_str(rest).into_iter::<Value>().next();
    json.expect("a value").expect("JSON")
}

/// A page of the site.
async fn html(site: &Site, page: &LegacyPage, path: &str) -> String {
    let answer = page.get(path).await;
    site.assert_no_php_errors();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn token_path(client_id: &str) -> String {
    format!("/index.php?rest_route=/slotcast/v1/token&client_id={client_id}")
}

async fn hello(page: &Page, token: &Value) -> String {
    let welcome = page.ask(json!({"type": "hello", "token": token})).await.assert_kind("welcome");
    welcome.text("client_id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_get_the_gateways_address_and_a_token_for_who_they_are() {
    let Whole { maria: _maria, gateway, site } =
        site_with(|gateway| gateway.with("security.mode", "token")).await;
    let stranger = visitor(&site);
    let answer = stranger.get(&token_path("browser-7")).await;
    let cached = answer.headers["cache-control"].to_str().expect("text");
    assert!(cached.contains("no-store") && cached.contains("private"), "{cached}");
    assert_eq!(answer.json["client_id"], "browser-7", "{answer:?}");
    assert_eq!(answer.json["url"], format!("ws://{}/ws", site.address()));
    assert_eq!(hello(&Page::open(&gateway).await, &answer.json["token"]).await, "browser-7");
    for not_a_name in ["u_1", "reschedule_7", "a%20b", "", "x".repeat(129).as_str(), "a%0A"] {
        let answer = stranger.get(&token_path(not_a_name)).await;
        let made = answer.json["client_id"].as_str().expect("a client").to_owned();
        assert!(made.starts_with("c_") && made.len() == 34, "{not_a_name}: {made}");
        assert_eq!(hello(&Page::open(&gateway).await, &answer.json["token"]).await, made);
    }

    let admin = administrator(&site).await;
    let without_nonce = admin.get(&token_path("browser-7")).await;
    assert_eq!(without_nonce.json["client_id"], "browser-7", "another site's page could have asked");
    let nonce = admin.get("/wp-admin/admin-ajax.php?action=rest-nonce").await.body;
    let answer = admin.clone().with_header("x-wp-nonce", &nonce).get(&token_path("browser-7")).await;
    assert_eq!(answer.json["client_id"], "u_1", "{answer:?}");
    assert_eq!(hello(&Page::open(&gateway).await, &answer.json["token"]).await, "u_1");

    let page = html(&site, &stranger, "/?booking_page=1").await;
    let ours = format!("http://{}", site.address());
    assert_eq!(defined(&page, "heartbeatSettings = ")["ajaxurl"], format!("{ours}/slotcast/heartbeat"));
    assert!(page.contains(&format!("<script type=\"module\" src=\"{ours}/client/slotcast.js\" ")), "{page}");
    assert!(!page.contains("eyJ") && !page.contains("\"nonce\""), "nothing in it may not be cached: {page}");
    let page = html(&site, &admin, "/?booking_page=1").await;
    assert!(page.contains("\"nonce\"") && !page.contains("eyJ"), "{page}");
    let dashboard = admin.get("/wp-admin/index.php").await.body;
    assert!(
        dashboard.contains("heartbeatSettings") && !dashboard.contains("slotcast/heartbeat"),
        "wp-admin's own"
    );
    site.assert_no_php_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plugins_heartbeat_reaches_php_with_the_pages_user_and_wp_admins_stays_there() {
    let Whole { maria: _maria, gateway: _gateway, site } = site_with(|gateway| gateway).await;
    let room = Room::tomorrow_of(3);
    let data =
        json!({"other_plugin": {"a": "b & ü"}, "appointease_poll": room.fields(&[("client_id", "old")])});
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("data[other_plugin][a]", "b & ü").append_pair("action", "heartbeat");
    form.append_pair("data[appointease_poll][date]", &room.date)
        .append_pair("data[appointease_poll][employee_id]", "3");
    let form = form.finish();
    let beat = async |page: &LegacyPage, nonce: &str| {
        let form = format!("{form}&_nonce={nonce}&interval=15&screen_id=front");
        page.send(Method::POST, "/slotcast/heartbeat", FORM, form).await
    };
    let answer = beat(&visitor(&site), "").await;
    let said = json!({"said": {"a": "b & ü"}, "user": 0, "polls": false});
    assert_eq!(answer.json["other_plugin"], said, "{answer:?}");
    assert_eq!(
        (&answer.json["storage_mode"], &answer.json["wp-auth-check"]),
        (&json!("mysql"), &json!(false))
    );

    let admin = administrator(&site).await;
    let page = html(&site, &admin, "/?booking_page=1").await;
    let nonce = defined(&page, "heartbeatSettings = ")["nonce"].as_str().expect("a nonce").to_owned();
    let answer = beat(&admin, &nonce).await;
    assert_eq!(answer.json["other_plugin"]["user"], 1, "{answer:?}");
    assert_eq!(
        (&answer.json["appointease_booked_slots"], &answer.json["wp-auth-check"]),
        (&json!([]), &json!(true))
    );
    let answer = beat(&admin, "stale").await;
    assert_eq!(answer.json["nonces_expired"], true, "{answer:?}");
    assert!(answer.json["heartbeat_nonce"].is_string() && answer.json["appointease_booked_slots"].is_array());

    // What nginx leads to PHP is PHP's.
    let direct = admin.heartbeat_with(data, &[("_nonce", &nonce)]).await;
    assert!(direct.json.get("storage_mode").is_none(), "{direct:?}");
    let select = room.fields(&[("time", "10:00"), ("client_id", "old")]);
    let pretty = "$wp_rewrite->set_permalink_structure('/%postname%/'); $wp_rewrite->flush_rules(false);";
    site.wordpress().eval(pretty, &[]).await;
    let rest = visitor(&site);
    assert_eq!(rest.rest_post("/slots/select", select).await.json["status"], "selected");
    assert_eq!(rest.rest_post("/appointments", json!({})).await.json["code"], "rest_no_route");
    site.assert_no_php_errors();
}

async fn created(site: &Site, count: usize) -> Vec<Value> {
    eventually("the bookings have been acted on", PATIENCE, async || {
        Some(site.seen("created")).filter(|seen| seen.len() >= count)
    })
    .await
}

async fn send(site: &Site, message: &Value, key: &str, secret: &str, age: i64) -> Answer {
    let (body, sent) = (message.to_string(), (jiff::Timestamp::now().as_second() - age).to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(format!("{sent}.{body}").as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let gateway = visitor(site).with_header("x-slotcast-timestamp", &sent).with_header("x-slotcast-key", key);
    let gateway = gateway.with_header("x-slotcast-signature", &signature);
    let path = "/index.php?rest_route=/slotcast/v1/bookings";
    gateway.send(Method::POST, path, "application/json", body).await
}

/// Puts a row where AppointEase has them, and says what the gateway would of it.
async fn booked(maria: &MariaDb, id: u64, status: &str, date: &str) -> Value {
    maria
        .run(&format!(
            "INSERT INTO wp_appointease_appointments (id, name, email, appointment_date, status, service_id, \
             employee_id, strong_id) VALUES ({id}, 'Ann', 'ann@example.com', '{date} 10:00:00', '{status}', 1, 3, 'APT-{id}')"
        ))
        .await;
    json!({"id": id, "event": "appointment_created", "appointment_id": id, "strong_id": format!("APT-{id}"),
        "date": date, "time": "10:00", "employee_id": 3, "created_at": jiff::Timestamp::now().as_second()})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_made_at_the_gateway_is_acted_on_in_php_exactly_once() {
    let Whole { maria, gateway, site } = site_with(|gateway| gateway).await;
    let room = Room::tomorrow_of(3);
    let page = Page::of(&gateway, "alice").await;
    let booking = page.confirm(&room, "10:00", "a").await.assert_ok("confirmed");
    let number = booking.number("appointment_id");
    let seen = created(&site, 1).await;
    let strong_id = booking.text("strong_id");
    let expected = json!({
        "event": "appointment.created", "appointment_id": strong_id,
        "customer": {"name": "Zebedee", "email": "zebedee@example.com", "phone": "555-0199"},
        "appointment": {"date": format!("{} 10:00:00", room.date), "service_id": 1, "employee_id": 3},
        "timestamp": seen[0]["timestamp"],
    });
    assert_eq!(seen, [expected]);
    let [mail] = site.seen("mail").try_into().expect("one mail");
    assert_eq!(mail["to"], "zebedee@example.com");
    let words = mail["message"].as_str().expect("text");
    assert!(words.contains("Zebedee") && words.contains(strong_id) && words.contains("10:00"), "{words}");

    // The row is gone from the outbox; the same delivery again, and all at once, is acknowledged and nothing else.
    let waiting = async || {
        (maria.query::<u64>("SELECT COUNT(*) FROM wp_appointease_outbox").await == [0]).then_some(())
    };
    eventually("WordPress was told", PATIENCE, waiting).await;
    let memories = "SELECT option_name FROM wp_options WHERE option_name LIKE 'slotcast_told_%' AND option_value LIKE 'done %'";
    let [memory] = maria.query::<String>(memories).await.try_into().expect("one memory");
    let (_, id) =
        memory.strip_suffix(&format!("_{number}")).and_then(|left| left.rsplit_once('_')).expect("a number");
    let again = json!({"id": id.parse::<u64>().expect("a number"), "event": "appointment_created",
        "appointment_id": number, "strong_id": strong_id});
    let answers = join_all((0..8).map(|_| send(&site, &again, KEY, SECRET, 0))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200 && answer.json["status"] == "known"),
        "{answers:?}"
    );

    // Deliveries of a new one at the same moment: one acts, the others are told to come again, and then it is known.
    site.wordpress().eval("update_option('witness_slow', 1);", &[]).await;
    let message = booked(&maria, 900, "confirmed", &Room::in_days_of(2, 3).date).await;
    let mut stopper = maria.connection().await;
    for sql in [
        "START TRANSACTION",
        "INSERT INTO wp_options (option_name, option_value) VALUES ('slotcast_told_900_900', '')",
    ] {
        stopper.query_drop(sql).await.expect("a row that nobody sees");
    }
    let deliveries = join_all((0..5).map(|_| send(&site, &message, KEY, SECRET, 0)));
    let all_at_once = async {
        let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT IGNORE %'";
        let all = async || (maria.query::<u64>(waiting).await == [5]).then_some(());
        eventually("all want to be the one", PATIENCE, all).await;
        stopper.query_drop("ROLLBACK").await.expect("it is gone");
    };
    let (answers, ()) = tokio::join!(deliveries, all_at_once);
    let taken = answers.iter().filter(|answer| answer.json["status"] == "taken").count();
    assert!(taken == 1 && answers.iter().all(|answer| [200, 409].contains(&answer.status)), "{answers:?}");
    assert_eq!(send(&site, &message, KEY, SECRET, 0).await.json["status"], "known");
    let once = async || site.seen("created").len() == 2 && site.seen("mail").len() == 2;
    holds_for("nothing is acted on twice", Duration::from_secs(2), once).await;
    site.assert_no_php_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_gateway_signed_lately_is_acted_on_and_only_if_it_still_matters() {
    let Whole { maria, gateway: _gateway, site } = site_with(|gateway| gateway).await;
    let tomorrow = Room::tomorrow_of(3).date;
    let message = booked(&maria, 1, "confirmed", &tomorrow).await;
    for (key, secret, age) in
        [(KEY, "another", 0), ("k2", SECRET, 0), (KEY, SECRET, 600), (KEY, SECRET, -600), ("", "", 0)]
    {
        let answer = send(&site, &message, key, secret, age).await;
        answer.assert_rest_error(403, "slotcast_refused");
    }
    let path = "/index.php?rest_route=/slotcast/v1/bookings";
    let unsigned = visitor(&site).send(Method::POST, path, "application/json", message.to_string()).await;
    unsigned.assert_rest_error(403, "slotcast_refused");
    for (id, status, date) in
        [(2, "cancelled", tomorrow.as_str()), (3, "confirmed", &Room::in_days_of(-2, 3).date)]
    {
        let message = booked(&maria, id, status, date).await;
        assert_eq!(send(&site, &message, KEY, SECRET, 0).await.status, 200);
    }
    let mut gone = message.clone();
    gone["appointment_id"] = json!(77);
    assert_eq!(send(&site, &gone, KEY, SECRET, 0).await.status, 200);
    let mut other = message.clone();
    other["event"] = json!("appointment_moved");
    assert_eq!(send(&site, &other, KEY, SECRET, 0).await.json["status"], "passed_over");
    send(&site, &json!({"event": "appointment_created"}), KEY, SECRET, 0)
        .await
        .assert_rest_error(400, "slotcast_bad_message");
    assert_eq!((site.seen("created"), site.seen("mail")), (vec![], vec![]));
    // The same number once more for another appointment, as after a restored database, is another booking.
    assert_eq!(send(&site, &message, KEY, SECRET, 250).await.json["status"], "taken");
    assert_eq!(site.seen("created").len(), 1);
    site.assert_no_php_errors();

    // A hook that fails spares the mail, and is not tried again.
    site.wordpress().eval("update_option('witness_fails', 1);", &[]).await;
    let message = booked(&maria, 4, "created", &tomorrow).await;
    assert_eq!(send(&site, &message, KEY, SECRET, 0).await.status, 200);
    assert_eq!(send(&site, &message, KEY, SECRET, 0).await.json["status"], "known");
    assert_eq!((site.seen("created").len(), site.seen("mail").len()), (2, 2));
    // Whoever took one and died is followed by the next, three times in all.
    site.wordpress().eval("update_option('witness_fails', 0);", &[]).await;
    let message = booked(&maria, 5, "confirmed", &tomorrow).await;
    let long_ago = jiff::Timestamp::now().as_second() - 3_600;
    for (tries, status, acted_on) in [(1, "taken", 3), (3, "known", 3)] {
        let took = format!(
            "REPLACE INTO wp_options (option_name, option_value, autoload) \
             VALUES ('slotcast_told_5_5', 'taken {long_ago} {tries}', 'no')"
        );
        maria.run(&took).await;
        assert_eq!(send(&site, &message, KEY, SECRET, 0).await.json["status"], status);
        assert_eq!(site.seen("created").len(), acted_on);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn site_health_says_what_is_wrong() {
    let Whole { maria: _maria, mut gateway, site } = site_with(|gateway| gateway).await;
    let health = async |test: &str| {
        let code = format!("echo json_encode(\\Slotcast\\test_{test}());");
        serde_json::from_str::<Value>(&site.wordpress().eval(&code, &[]).await).expect("JSON")
    };
    let listed =
        "echo implode(',', array_keys(apply_filters('site_status_tests', ['direct' => []])['direct']));";
    let listed = site.wordpress().eval(listed, &[]).await;
    assert_eq!(listed, "slotcast_gateway,slotcast_key,slotcast_object_cache");
    for test in ["gateway", "key", "object_cache"] {
        let result = health(test).await;
        assert_eq!(
            (&result["status"], &result["test"]),
            (&json!("good"), &json!(format!("slotcast_{test}"))),
            "{result}"
        );
    }
    let constants = site.wordpress().folder().join("constants.php");
    let text = std::fs::read_to_string(&constants).expect("what the site defines");
    std::fs::write(&constants, text.replace(SECRET, &"x".repeat(40))).expect("the folder takes files");
    let other = health("key").await;
    assert_eq!(other["status"], "critical", "{other}");
    assert!(
        other["description"].as_str().is_some_and(|text| text.contains("security.token_keys")),
        "{other}"
    );
    gateway.terminate().await;
    assert_eq!(health("key").await["status"], "good", "nobody says that it is another");
    let away = health("gateway").await;
    assert_eq!(away["status"], "critical", "{away}");
    assert!(away["description"].as_str().is_some_and(|text| text.contains("SLOTCAST_URL")), "{away}");
    let cached = "wp_using_ext_object_cache(true); echo \\Slotcast\\test_object_cache()['status'];";
    assert_eq!(site.wordpress().eval(cached, &[]).await, "recommended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_php_books_and_cancels_is_hinted_at_where_it_has_a_redis_client() {
    let redis = RedisServer::start().await;
    let Whole { maria, gateway, site } =
        site_with(|gateway| gateway.redis_at(&redis.url()).with("mysql.sweep_ms", 60_000)).await;
    site.wordpress().define("WP_REDIS_PORT", &redis.addr().port().to_string());
    let room = Room::tomorrow_of(3);
    let page = Page::watching(&gateway, "alice", &room).await;
    booked(&maria, 7, "confirmed", &room.date).await;
    let action = format!(
        "do_action('appointease_appointment_created', ['appointment_id' => 'APT-7', 'appointment' => \
         ['date' => '{} 10:00:00', 'employee_id' => 3]]);",
        room.date
    );
    site.wordpress().eval(&action, &[]).await;
    page.eventually_booked(&room, &["10:00"]).await;
    maria.run("UPDATE wp_appointease_appointments SET status = 'cancelled' WHERE id = 7").await;
    site.wordpress().eval("do_action('appointease_appointment_cancelled', 'APT-7');", &[]).await;
    page.eventually_booked(&room, &[]).await;
}
