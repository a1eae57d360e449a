//! Tests of loading: order of the sources, wrong keys and values, secrets, and the sample file.

use std::io::Write;
use std::time::Duration;

use super::*;
use crate::config::{Listen, StorageChoice};

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    load(&Sources { file: Some(file.path().to_owned()), listen: None, environment })
}

fn complaint(text: &str, environment: &[(&str, &str)]) -> String {
    load_text(text, environment).unwrap_err().to_string()
}

#[test]
fn without_any_source_the_defaults_hold_and_memory_is_used() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.config.storage(), StorageChoice::Memory);
    assert!(loaded.warnings()[0].contains("no redis.url"));
}

#[test]
fn environment_beats_the_file_and_each_value_knows_its_source() {
    let loaded = load_text(
        "[redis]\nurl = \"redis://file\"\ncommand_timeout_ms = 100\n[slots]\nday_end = \"18:30\"",
        &[
            ("SLOTCAST_REDIS_URL", "redis://:not-for-logs@environment"),
            ("SLOTCAST_SECURITY_ALLOWED_ORIGINS", "https://one.example, https://two.example:8443,"),
            ("SLOTCAST_SERVER_TRUSTED_PROXIES", "10.0.0.0/8"),
            ("SLOTCAST_SERVER_DEMO", "false"),
            ("SLOTCAST_LOG_LEVEL", ""),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.redis.url.as_ref().unwrap().expose(), "redis://:not-for-logs@environment");
    assert_eq!(config.redis.command_timeout(), Duration::from_millis(100));
    assert_eq!(config.slots.day_end.to_string(), "18:30");
    assert_eq!(config.security.allowed_origins.len(), 2);
    assert!(!config.server.demo);
    assert_eq!(config.storage(), StorageChoice::Redis);
    assert_eq!(loaded.origin("redis.url"), Some("SLOTCAST_REDIS_URL"));
    assert!(loaded.origin("redis.command_timeout_ms").unwrap().starts_with('/'));
    assert_eq!(loaded.origin("log.level"), None);
}

#[test]
fn the_argument_beats_everything() {
    let environment = vec![("SLOTCAST_SERVER_LISTEN".into(), "127.0.0.1:1".into())];
    let loaded = load(&Sources { file: None, listen: Some("127.0.0.1:2".into()), environment }).unwrap();
    assert_eq!(loaded.config.server.listen, Listen::Tcp("127.0.0.1:2".into()));
    assert_eq!(loaded.origin("server.listen"), Some("--listen"));
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    for (text, nearest) in [
        ("[redis]\nulr = \"redis://:not-for-logs@host\"", "redis.url"),
        ("[slots]\nselection_ttl = 5", "slots.selection_ttl_secs"),
        ("drain_secs = 5", "server.drain_secs"),
        ("[redis]\nlisten = \"127.0.0.1:1\"", "server.listen"),
        ("[security]\nmax_holds = 5", "security.max_holds_per_address"),
        ("[log.level]\ndefault = 1", "log.level"),
    ] {
        let complaint = complaint(text, &[]);
        assert!(complaint.ends_with(&format!("the nearest one is {nearest}")), "{complaint}");
        assert!(!complaint.contains("not-for-logs"), "{complaint}");
    }
    assert!(
        complaint("", &[("SLOTCAST_REDIS_ULR", "redis://:not-for-logs@host")])
            .starts_with("SLOTCAST_REDIS_ULR: is not a known key; the nearest one is SLOTCAST_REDIS_URL")
    );
}

#[test]
fn a_word_that_is_none_of_a_keys_words_is_answered_with_them() {
    for (text, advice) in [
        ("[security]\nmode = \"tokn\"", "write open or token"),
        ("[log]\nformat = \"jsno\"", "write json or pretty"),
    ] {
        let complaint = complaint(text, &[]);
        assert!(complaint.ends_with(advice), "{complaint}");
    }
    let file = complaint("", &[("SLOTCAST_CONFIG", "/etc/slotcast.toml")]);
    assert!(file.starts_with("SLOTCAST_CONFIG: ") && file.contains("--config"), "{file}");
}

#[test]
fn all_wrong_values_are_reported_at_once() {
    let complaint = complaint(
        "[server]\nlisten = \"8080\"\ntrusted_proxies = [\"10.0.0.0/99\"]\ndemo = 1\n\
         [redis]\nurl = \"http://:not-for-logs@host\"\ncommand_timeout_ms = 0\n\
         [slots]\nday_start = \"9\"\nhorizon_days = 1.5\nlock_ttl_secs = -1\n\
         [security]\nmode = \"closed\"\nallowed_origins = [\"*\"]\ntoken_keys = [\"hush-hush-hush\"]\n\
         [log]\nlevel = \"inof\"",
        &[("SLOTCAST_SLOTS_COALESCE_MS", "soon"), ("SLOTCAST_TYPO", "")],
    );
    let lines: Vec<_> = complaint.lines().collect();
    for key in [
        "server.listen = \"8080\"",
        "server.trusted_proxies",
        "server.demo",
        "redis.url = \"http://:***@host\"",
        "redis.command_timeout_ms = 0",
        "slots.day_start = \"9\"",
        "slots.horizon_days = 1.5",
        "slots.lock_ttl_secs = -1",
        "slots.coalesce_ms = \"soon\"",
        "security.mode",
        "security.allowed_origins",
        "security.token_keys = ***",
        "log.level = \"inof\"",
        "SLOTCAST_TYPO",
    ] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(key)).count(), 1, "{key} in:\n{complaint}");
    }
    assert_eq!(lines.len(), 14, "{complaint}");
    assert!(!complaint.contains("not-for-logs") && !complaint.contains("hush-hush-hush"), "{complaint}");
}

#[test]
fn what_is_not_built_yet_is_refused_in_a_plain_sentence() {
    let complaint = complaint("[redis]\nurl = \"rediss://host\"", &[]);
    assert!(complaint.starts_with("redis.url") && complaint.contains("cannot"), "{complaint}");
}

#[test]
fn a_file_that_is_not_toml_is_refused_without_quoting_it() {
    let complaint = complaint("[redis]\nurl = \"redis://:not-for-logs@host\n", &[]);
    assert!(complaint.contains("line 2") && !complaint.contains("not-for-logs"), "{complaint}");
    let missing = load(&Sources { file: Some("/no/such/file.toml".into()), ..Sources::default() });
    assert!(missing.unwrap_err().to_string().starts_with("/no/such/file.toml: cannot be read"));
}

#[test]
fn settings_without_effect_are_warned_of() {
    let loaded = load_text("[mysql]\ntable_prefix = \"wp7_\"", &[]).unwrap();
    let warnings = loaded.warnings().join("\n");
    assert!(warnings.contains("mysql.table_prefix has no effect"), "{warnings}");
}

#[test]
fn token_mode_wants_a_key_and_warns_of_a_short_one() {
    let complaint = complaint("[security]\nmode = \"token\"", &[]);
    assert!(complaint.starts_with("security.mode") && complaint.contains("token_keys"), "{complaint}");
    let with = |secret: &str| {
        let text = format!("[security]\nmode = \"token\"\ntoken_keys = [\"k1:{secret}\"]");
        load_text(&text, &[]).unwrap().warnings().join("\n")
    };
    assert!(with("hush").contains("\"k1\"") && !with("hush").contains("hush"), "{}", with("hush"));
    assert!(!with(&"x".repeat(32)).contains("token_keys"));
}

#[test]
fn kubernetes_own_variables_are_let_be() {
    let service = [("SLOTCAST_PORT", "tcp://10.0.0.1:80"), ("SLOTCAST_SERVICE_HOST", "10.0.0.1")];
    assert_eq!(complaint("", &service).lines().count(), 2);
    load_text("", &[service[0], service[1], ("KUBERNETES_SERVICE_HOST", "10.0.0.2")]).unwrap();
}

#[test]
fn printing_a_configuration_shows_every_key_and_no_secret() {
    let loaded = load_text(
        "[redis]\nurl = \"redis://:hush@host\"\n[security]\ndashboard_key = \"hush\"\ntoken_keys = [\"k1:hush\"]",
        &[],
    )
    .unwrap();
    let entries = loaded.entries();
    let printed = format!("{entries:?} {:?}", loaded.config);
    assert!(!printed.contains("hush-hush-hush") && printed.contains("k1:***"), "{printed}");
    assert_eq!(entries.len(), 46);
}

#[test]
fn the_sample_file_names_every_key_and_holds_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/slotcast.toml");
    let loaded = load(&Sources { file: Some(path.clone()), ..Sources::default() }).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings().len(), 1, "of the memory store alone");
    let text = std::fs::read_to_string(path).unwrap();
    for (key, default) in keys_of(&Config::default()) {
        let (section, name) = key.split_once('.').unwrap();
        let body = text
            .split(&format!("\n[{section}]\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("[{section}] is missing"));
        let body = body.split("\n[").next().unwrap();
        // A key without a default can only be shown as a comment.
        let line = if default.is_null() { format!("# {name} = ") } else { format!("{name} = ") };
        assert!(body.lines().any(|found| found.starts_with(&line)), "{key} is missing");
        assert_eq!(loaded.origin(&key).is_some(), !default.is_null(), "{key}");
    }
}

#[test]
fn a_mysql_address_that_could_not_be_used_is_told_at_once() {
    for url in [
        "postgres://a:b@host/db",
        "mysql://host",
        "mysql://a:b@host:port/db",
        "mysql://a:b@/db",
        "mysql://a:b@host/db?charset=utf8mb4",
        "mysql://a:b@host/db?require_ssl=true",
    ] {
        let complaint = complaint(&format!("[mysql]\nurl = \"{url}\""), &[]);
        assert!(complaint.starts_with("mysql.url"), "{url}: {complaint}");
    }
    load_text("[mysql]\nurl = \"mysql://wp:p%40ss@127.0.0.1:3307/wordpress\"", &[]).unwrap();
}

#[test]
fn a_time_zone_is_known_or_left_to_the_site() {
    for (name, known) in
        [("Europe/Berlin", true), ("UTC", true), ("Pacific/Kiritimati", true), ("auto", false)]
    {
        let loaded = load_text(&format!("[mysql]\nsite_timezone = \"{name}\""), &[]).unwrap();
        assert_eq!(loaded.config.mysql.zone().is_some(), known, "{name}");
    }
    for name in ["", "Mars/Olympus", "+02:00", "local"] {
        let complaint = complaint(&format!("[mysql]\nsite_timezone = \"{name}\""), &[]);
        assert!(complaint.starts_with("mysql.site_timezone"), "{name}: {complaint}");
    }
}

#[test]
fn where_wordpress_is_may_be_said_and_without_a_key_it_is_not_told_of_bookings() {
    let upstream = "[legacy]\nupstream = \"https://www.example.com/wp-admin/admin-ajax.php\"\n";
    let (mysql, key) =
        ("[mysql]\nurl = \"mysql://wp@host/wordpress\"\n", "[security]\ntoken_keys = [\"k1:hush\"]\n");
    for (text, warned) in [
        ([upstream, key].concat(), None),
        (format!("{upstream}enabled = false"), Some("there is no mysql.url")),
        ([upstream, mysql].concat(), Some("without security.token_keys")),
        ([upstream, mysql, key].concat(), None),
    ] {
        let warnings = load_text(&text, &[]).unwrap().warnings().join("\n");
        let about_it = warnings.contains("legacy.upstream") || warnings.contains("token_keys");
        assert!(warned.map_or(!about_it, |words| warnings.contains(words)), "{text}: {warnings}");
    }
    for upstream in ["https://www.example.com/", "https://site:hush@www.example.com/wp-admin/admin-ajax.php"]
    {
        let complaint = complaint(&format!("[legacy]\nupstream = \"{upstream}\""), &[]);
        assert!(complaint.starts_with("legacy.upstream = ") && !complaint.contains("hush"), "{complaint}");
    }
    let complaint = complaint("[security]\ntoken_keys = [\"a key:hush\"]", &[]);
    assert!(complaint.starts_with("security.token_keys = ***") && !complaint.contains("hush"), "{complaint}");
}

#[test]
fn sizes_times_and_rates_that_nobody_could_keep_to_are_refused() {
    let complaints = |text: &str| complaint(&format!("[security]\n{text}"), &[]);
    for (text, advice) in [
        ("head_timeout_secs = 0", "must be from 1 to 300"),
        ("head_timeout_secs = 301", "must be from 1 to 300"),
        ("max_head_bytes = 8191", "must be from 8192 to 1048576"),
        ("max_body_bytes = 0", "must be from 1024 to 1048576"),
        ("max_frame_bytes = 1023", "must be from 1024 to 1048576"),
        ("bytes_per_second = 100000001", "must be from 0 to 100000000"),
        ("bytes_per_second = 2047", "write at least 2048, lower max_frame_bytes, or write 0"),
        ("max_handshakes = -1", ""),
        ("max_handshakes_per_address = 1.5", ""),
    ] {
        let complaint = complaints(text);
        let key = text.split(' ').next().unwrap();
        assert!(complaint.starts_with(&format!("security.{key} = ")), "{complaint}");
        assert!(complaint.contains(advice) && complaint.lines().count() == 1, "{complaint}");
    }
    let large = complaints("max_frame_bytes = 1000001\nbytes_per_second = 250000");
    assert!(large.contains("write at least 250001,"), "{large}");
    for fits in [
        "max_head_bytes = 8192\nmax_body_bytes = 1024\nhead_timeout_secs = 300",
        "max_frame_bytes = 1024\nbytes_per_second = 256",
        "max_frame_bytes = 1048576\nbytes_per_second = 0",
        "bytes_per_second = 100000000\nmax_handshakes = 0\nmax_handshakes_per_address = 0",
    ] {
        load_text(&format!("[security]\n{fits}"), &[]).unwrap();
    }
}
