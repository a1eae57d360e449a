//! Tests of what no server can be brought to say here.

use std::collections::BTreeMap;

use slot_state::NotifyFlags;

use super::super::report::Verdict;
use super::*;

fn report(info: &[(&str, &str)]) -> RedisReport {
    let mut fields = BTreeMap::from([
        ("redis_version", "7.0.15"),
        ("role", "master"),
        ("maxmemory_policy", "noeviction"),
        ("aof_enabled", "1"),
    ]);
    fields.extend(info.iter().copied());
    RedisReport {
        info: fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        save: None,
        flags: Some(NotifyFlags { current: "g$xeK".to_owned(), missing: String::new() }),
        may_configure: true,
        write: Ok(()),
        feed: Some(Feed::Notifications),
        has_foreign_keys: false,
        pings: vec![Duration::from_micros(200); 20],
        clock: None,
        user: "default".to_owned(),
        channels: vec!["appointease:changes".to_owned()],
    }
}

/// What is not ok.
fn troubles(report: &RedisReport) -> Vec<(&'static str, Verdict)> {
    let config = Config::default();
    let url = SecretUrl::try_from("redis://:hush@a".to_owned()).unwrap();
    let checks = Judge { config: &config, report }.checks(&url);
    assert!(checks.iter().all(|check| !check.says.contains("hush")), "{checks:?}");
    let bad = checks.iter().filter(|check| check.verdict != Verdict::Ok);
    bad.map(|check| (check.check, check.verdict)).collect()
}

#[test]
fn a_good_redis_has_no_troubles() {
    assert_eq!(troubles(&report(&[])), []);
}

#[test]
fn what_info_says_is_judged() {
    for (field, value, expected) in [
        ("redis_version", "5.0.14", ("redis.version", Verdict::Failed)),
        ("redis_mode", "cluster", ("redis.version", Verdict::Failed)),
        ("role", "slave", ("redis.role", Verdict::Failed)),
        ("aof_last_write_status", "err", ("redis.persistence", Verdict::Failed)),
        ("maxmemory_policy", "volatile-lru", ("redis.eviction", Verdict::Warning)),
    ] {
        assert_eq!(troubles(&report(&[(field, value)])), [expected], "{field} {value}");
    }
    assert_eq!(troubles(&report(&[("redis_version", "10.1.0")])), []);
    let evicting = [("maxmemory_policy", "allkeys-lru"), ("maxmemory", "1000"), ("used_memory", "10")];
    assert_eq!(troubles(&report(&evicting)), [("redis.eviction", Verdict::Failed)]);
    let full = [("maxmemory", "1000"), ("used_memory", "950")];
    assert_eq!(troubles(&report(&full)), [("redis.eviction", Verdict::Warning)]);
}

#[test]
fn a_slow_redis_is_named_before_it_counts_as_failed() {
    for (ms, expected) in [
        (10, vec![]),
        (70, vec![("redis.latency", Verdict::Warning)]),
        (300, vec![("redis.latency", Verdict::Failed)]),
    ] {
        let slow = RedisReport { pings: vec![Duration::from_millis(ms); 20], ..report(&[]) };
        assert_eq!(troubles(&slow), expected, "{ms} ms");
    }
}

#[test]
fn a_refused_write_is_told_with_the_servers_words() {
    for words in ["misconf", "anything"] {
        let refused =
            RedisReport { write: Err(StoreError::Refusing(words.to_owned())), feed: None, ..report(&[]) };
        assert_eq!(troubles(&refused), [("redis.write", Verdict::Failed)], "{words}");
    }
    let replica = RedisReport {
        write: Err(StoreError::Refusing("You can't write against a read only replica.".to_owned())),
        feed: None,
        ..report(&[("role", "slave")])
    };
    assert_eq!(troubles(&replica), [("redis.role", Verdict::Failed)]);
}
