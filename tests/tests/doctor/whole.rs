//! The doctor as a whole: a set-up in which all is well, exit codes, secrets, what is printed for eyes.

use support::{Gateway, RedisServer, WebProxy};

use super::examined::{SECRET, Visit};
use super::mysql::{complete_site, maria};

#[tokio::test]
async fn where_all_is_well_every_check_is_ok_and_the_code_is_0() {
    let redis = RedisServer::start_with(&["--notify-keyspace-events", "Kg$xe", "--appendonly", "yes"]).await;
    let maria = maria().await;
    complete_site(&maria).await;
    let gateway = Gateway::builder()
        .redis_at(&redis.url())
        .with("mysql.url", maria.url())
        .with("security.dashboard_key", SECRET)
        .start()
        .await;
    gateway.eventually_well_with_mysql().await;
    let proxy = WebProxy::before(&[gateway.addr()]).start().await;
    let visit = Visit::new()
        .with("redis.url", &redis.url())
        .with("mysql.url", &maria.url())
        .with("security.dashboard_key", SECRET)
        .asking(&["--url", &proxy.ws_url(), "--idle-secs", "2"]);
    let findings = visit.examine().await;
    findings.assert_troubles(&[], &[]);
    assert_eq!(findings.code, Some(0));
    let mut parts: Vec<&str> =
        findings.checks.iter().filter_map(|check| check["check"].as_str()?.split('.').next()).collect();
    parts.dedup();
    assert_eq!(parts, ["configuration", "redis", "mysql", "clocks", "address"]);
    for name in
        ["address.idle", "address.race", "address.proxies", "mysql.guard", "redis.latency", "clocks.mysql"]
    {
        assert!(findings.checks.iter().any(|check| check["check"] == name), "{name}: {findings:?}");
    }
}

#[tokio::test]
async fn every_value_comes_with_where_it_was_set_and_no_secret() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("slotcast.toml");
    std::fs::write(&file, format!("[slots]\nhorizon_days = 90\n[security]\ndashboard_key = \"{SECRET}\"\n"))
        .unwrap();
    let path = file.to_str().unwrap();
    let visit = Visit::new()
        .with("redis.url", &format!("redis://shop:{SECRET}@127.0.0.1:1/0"))
        .with("mysql.url", "mysql://shop:hush@127.0.0.1:1/site")
        .asking(&["--quick", "--config", path]);
    let findings = visit.examine().await;
    let settings = findings.checks[0]["settings"].as_array().expect("the settings");
    let setting = |key: &str| settings.iter().find(|setting| setting["key"] == key).expect("a known key");
    assert_eq!(
        (&setting("slots.horizon_days")["value"], &setting("slots.horizon_days")["origin"]),
        (&"90".into(), &path.into())
    );
    assert_eq!(setting("redis.url")["origin"], "SLOTCAST_REDIS_URL");
    assert_eq!(setting("slots.coalesce_ms")["origin"], "default");

    let told = visit.run(&[]).await;
    let text = String::from_utf8(told.stdout).expect("text");
    assert!(text.contains(&format!("slots.horizon_days = 90   (from {path})")), "{text}");
    assert!(!text.contains("slots.coalesce_ms"), "{text}");
    assert!(
        text.contains("  FAILED   reachable: redis://shop:***@127.0.0.1:1/0 cannot be reached"),
        "{text}"
    );
    assert!(String::from_utf8_lossy(&told.stderr).contains("2 FAILED"), "{:?}", told.stderr);
}

#[tokio::test]
async fn a_bad_configuration_ends_with_2_and_warnings_end_with_1_only_where_asked() {
    let bad = Visit::new().with("redis.urll", "redis://a");
    let told = bad.run(&["--json"]).await;
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    let checks: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(checks[0]["verdict"], "failed");
    assert!(checks[0]["says"].as_str().unwrap().contains("SLOTCAST_REDIS_URL"), "{checks}");
    assert_eq!(bad.run(&[]).await.status.code(), Some(2));
    assert_eq!(Visit::new().run(&["--url", "ftp://a"]).await.status.code(), Some(2));

    let warned = Visit::new();
    assert_eq!(warned.run(&[]).await.status.code(), Some(0));
    let strict = warned.run(&["--strict"]).await;
    assert_eq!(strict.status.code(), Some(1), "{strict:?}");
    assert!(String::from_utf8_lossy(&strict.stderr).contains("2 warnings"), "{strict:?}");
    let help = warned.run(&["--help"]).await;
    assert!(
        String::from_utf8_lossy(&help.stdout).contains("Exit codes: 0 all is well, warnings aside"),
        "{help:?}"
    );
}
