//! Gateways behind proxies that do not do what a push protocol needs.

use std::time::Duration;

use support::{
    Certificate, Gateway, GatewayBuilder, PATIENCE, WebProxy, WebProxyBuilder, WebServer, eventually,
};

use super::examined::{SECRET, Visit};

/// Holds are kept in memory in these tests.
const ASIDE: [&str; 1] = ["configuration.meaning warning"];
const TRUSTED: &str = "127.0.0.1";

/// What is wrong, the proxy, and what is found.
type Case = (&'static str, WebProxyBuilder, &'static [(&'static str, &'static str)]);

fn gateway() -> GatewayBuilder {
    Gateway::builder().with("server.trusted_proxies", TRUSTED).with("security.dashboard_key", SECRET)
}

fn visit() -> Visit {
    Visit::new()
        .with("server.trusted_proxies", TRUSTED)
        .with("security.dashboard_key", SECRET)
        .asking(&["--quick"])
}

async fn assert_troubles(visit: &Visit, url: &str, expected: &[(&str, &str)]) {
    visit.clone().asking(&["--url", url]).examine().await.assert_troubles(&ASIDE, expected);
}

#[tokio::test]
async fn each_broken_proxy_is_named_with_the_lines_that_mend_it() {
    let gateway = gateway().start().await;
    let good = || WebProxy::before(&[gateway.addr()]);
    let cases: [Case; 9] = [
        ("good", good(), &[]),
        ("overwrites", good().setting("x-forwarded-for", "203.0.113.9"), &[]),
        ("no upgrade", good().dropping("upgrade"), &[("address.upgrade failed", "Upgrade $http_upgrade")]),
        ("passes on", good().silent(), &[("address.proxies failed", "$proxy_add_x_forwarded_for")]),
        (
            "says nothing",
            good().silent().dropping("x-forwarded-for"),
            &[("address.proxies failed", "count as one")],
        ),
        (
            "not trusted",
            good().from([127, 0, 0, 9]),
            &[("address.proxies failed", "trusted_proxies = [\\\"127.0.0.1/32\\\", \\\"127.0.0.9\\\"]")],
        ),
        (
            "no host",
            good().setting("host", "gateway.internal"),
            &[("address.origin failed", "Host $http_host")],
        ),
        (
            "origin",
            good().setting("origin", &gateway.http_url()).setting("host", &gateway.addr().to_string()),
            &[("address.origin failed", "Origin $http_origin")],
        ),
        ("key lost", good().dropping("authorization"), &[("address.proxies warning", "Authorization")]),
    ];
    for (what, proxy, expected) in cases {
        println!("{what}");
        let proxy = proxy.start().await;
        assert_troubles(&visit(), &proxy.ws_url(), expected).await;
    }
}

#[tokio::test]
async fn the_lines_that_are_pasted_mend_a_real_nginx_over_tls() {
    let (gateway, certificate) = (gateway().start().await, Certificate::new().await);
    let behind = async |lines: &str| WebServer::nginx_over_tls(gateway.addr(), lines, &certificate).await;
    let visit = visit().trusting(&certificate.file());

    // As nginx is where nobody said anything.
    let bare = behind("").await;
    let found = visit.clone().asking(&["--url", &bare.ws_url()]).examine().await;
    found.assert_troubles(&ASIDE, &[("address.upgrade failed", "proxy_http_version 1.1;")]);
    let mended = behind(found.paste("address.upgrade")).await;
    assert_troubles(&visit, &mended.ws_url(), &[]).await;

    // As the manuals have it: the upgrade works, and nothing else.
    let manual = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                  proxy_set_header Connection \"upgrade\";";
    let half = behind(manual).await;
    let found = visit.clone().asking(&["--url", &half.ws_url()]).examine().await;
    let origin = ("address.origin failed", "Host $http_host");
    found.assert_troubles(&ASIDE, &[origin, ("address.proxies failed", "$proxy_add_x_forwarded_for")]);
    let mended = behind(&format!("{manual}\n{}", found.paste("address.proxies"))).await;
    assert_troubles(&visit, &mended.ws_url(), &[]).await;

    let distrustful = self::visit();
    let trouble = ("address.upgrade failed", "certificate");
    assert_troubles(&distrustful, &mended.ws_url(), &[trouble]).await;
}

#[tokio::test]
async fn the_snippets_for_site_owners_leave_nothing_to_be_mended() {
    let gateway = gateway().start().await;
    for server in [
        WebServer::nginx(gateway.addr()).await,
        WebServer::apache(gateway.addr()).await,
        WebServer::caddy(gateway.addr()).await,
    ] {
        assert_troubles(&visit(), &server.ws_url(), &[]).await;
    }
}

#[tokio::test]
async fn where_clients_must_prove_who_they_are_the_doctor_does() {
    let keys = format!("k1:{SECRET}-{SECRET}");
    let gateway = gateway().with("security.mode", "token").with("security.token_keys", &keys).start().await;
    let visit = visit().with("security.mode", "token");
    assert_troubles(&visit.clone().with("security.token_keys", &keys), &gateway.ws_url(), &[]).await;
    let other = visit.with("security.token_keys", &format!("k2:{SECRET}-{SECRET}"));
    assert_troubles(&other, &gateway.ws_url(), &[("address.upgrade failed", "token_keys = ")]).await;
}

#[tokio::test]
async fn a_proxy_that_ends_idle_connections_is_named() {
    let gateway = gateway().start().await;
    let proxy = WebProxy::before(&[gateway.addr()]).closing_idle_after(Duration::from_secs(4)).start().await;
    let visit = Visit::new().with("server.trusted_proxies", TRUSTED).with("security.dashboard_key", SECRET);
    let patient = visit.asking(&["--idle-secs", "9"]);
    let trouble = ("address.idle failed", "proxy_read_timeout 120s");
    assert_troubles(&patient, &proxy.ws_url(), &[trouble]).await;
}

#[tokio::test]
async fn a_gateway_that_stops_meanwhile_is_no_fault_of_a_proxy() {
    let gateway = Gateway::start().await;
    let visit = Visit::new().asking(&["--idle-secs", "60", "--url", &gateway.ws_url()]);
    let stop = async {
        eventually("the doctor has said hello", PATIENCE, async || {
            (gateway.metric("slotcast_clients").await > 0.0).then_some(())
        })
        .await;
        gateway.ask_to_stop();
    };
    let (findings, ()) = tokio::join!(visit.examine(), stop);
    let idle = findings.checks.iter().find(|check| check["check"] == "address.idle").expect("it was made");
    assert_eq!(idle["verdict"], "warning", "{idle}");
    assert!(idle["says"].as_str().unwrap().contains("ask again"), "{idle}");
}

#[tokio::test]
async fn a_proxy_that_passes_for_this_machine_opens_the_operators_pages_to_all() {
    let gateway = Gateway::start().await;
    let proxy = WebProxy::before(&[gateway.addr()]).silent().start().await;
    let keyless = Visit::new().asking(&["--quick"]);
    assert_troubles(&keyless, &proxy.ws_url(), &[("address.proxies failed", "/metrics")]).await;
}

#[tokio::test]
async fn without_the_key_nobody_is_told_how_clients_are_counted() {
    let gateway = gateway().start().await;
    let proxy = WebProxy::before(&[gateway.addr()]).start().await;
    let keyless = Visit::new().asking(&["--quick"]);
    assert_troubles(&keyless, &proxy.ws_url(), &[("address.proxies warning", "dashboard_key")]).await;
}

#[tokio::test]
async fn gateways_that_do_not_share_their_stores_are_found_by_a_race() {
    let (one, other) = (gateway().start().await, gateway().start().await);
    let proxy = WebProxy::before(&[one.addr(), other.addr()]).start().await;
    assert_troubles(&visit(), &proxy.ws_url(), &[("address.race failed", "the same for every gateway")])
        .await;
}

/// AppointEase's settings: days of the week, 0 is Sunday; from, to.
fn opening(days: &[u32], from: &str, to: &str) -> String {
    let day = |(at, day): (usize, &u32)| format!("i:{at};i:{day};");
    let listed: String = days.iter().enumerate().map(day).collect();
    let count = days.len();
    format!(
        "DELETE FROM wp_options; INSERT INTO wp_options (option_name, option_value) VALUES ('appointease_options', \
         'a:3:{{s:12:\"working_days\";a:{count}:{{{listed}}}s:10:\"start_time\";s:5:\"{from}\";\
         s:8:\"end_time\";s:5:\"{to}\";}}')"
    )
}

/// Days off, so many days from today.
fn blackout(first: u32, last: u32) -> String {
    let (first, last) = (support::in_days(first.into()), support::in_days(last.into()));
    format!("INSERT INTO wp_appointease_blackouts VALUES ('{first}', '{last}')")
}

#[tokio::test]
async fn the_race_is_held_where_the_sites_settings_leave_it_open() {
    let maria = support::MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    maria.run("CREATE TABLE wp_appointease_blackouts (start_date DATE, end_date DATE)").await;
    const EVERY: [u32; 7] = [0, 1, 2, 3, 4, 5, 6];
    let mut all = EVERY.to_vec();
    // Where the doctor begins to look: in the middle of the 400 days that can be booked.
    let middle = support::in_days(200).parse::<jiff::civil::Date>().unwrap().weekday();
    all.retain(|day| *day != u32::try_from(middle.to_sunday_zero_offset()).unwrap());
    let untested = ("address.race warning", "was not tested");
    for (what, settings, expected) in [
        ("by day", opening(&EVERY, "09:00", "17:00"), &[][..]),
        ("an hour a day", opening(&EVERY, "22:00", "23:00"), &[]),
        ("a day off each week", opening(&all, "09:00", "17:00"), &[]),
        ("a month off", format!("{}; {}", opening(&all, "09:00", "17:00"), blackout(190, 230)), &[]),
        ("never open", blackout(0, 500), &[untested]),
    ] {
        println!("{what}");
        maria.run(&format!("DELETE FROM wp_appointease_blackouts; {settings}")).await;
        let gateway = gateway().with("mysql.url", maria.url()).start().await;
        gateway.eventually_ready().await;
        // No store is named here: where the address leads is what is looked at.
        assert_troubles(&visit(), &gateway.ws_url(), expected).await;
    }
}

#[tokio::test]
async fn a_gateway_that_takes_no_writes_is_named() {
    let mut redis = support::RedisServer::start().await;
    let gateway = gateway().redis_at(&redis.url()).start().await;
    gateway.eventually_ready().await;
    redis.kill().await;
    gateway.eventually_readyz(503).await;
    assert_troubles(&visit(), &gateway.ws_url(), &[("address.race failed", "store_unavailable")]).await;
}

#[tokio::test]
async fn an_address_where_no_gateway_answers_is_told_from_a_gateway_that_does_not_run_yet() {
    let (port, visit) = (support::ReservedPort::new(), visit());
    let url = format!("ws://{}/ws", port.addr());
    assert_troubles(&visit, &url, &[("address.upgrade failed", "cannot be reached")]).await;
    let trouble = ("address.upgrade warning", "start it");
    visit.examine().await.assert_troubles(&ASIDE, &[trouble]);
}

#[tokio::test]
async fn without_an_address_the_configured_gateway_is_asked_and_keeps_nothing_of_it() {
    let gateway = gateway().start().await;
    let visit = visit().with("server.listen", &gateway.addr().to_string());
    let findings = visit.examine().await;
    findings.assert_troubles(&ASIDE, &[]);
    assert!(findings.checks.iter().any(|check| check["check"] == "address.race"), "{findings:?}");
    let operator = support::LegacyPage::of(&gateway);
    support::eventually("selections and connections are gone", support::PATIENCE, async || {
        let health = operator.get("/health").await.json;
        (health["selections"] == 0 && health["connections"] == 0).then_some(())
    })
    .await;
}
