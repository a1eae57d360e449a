//! A configuration that is read anew while the gateway runs: what of it holds at once, and what waits for a restart.
//! Called by `reload`. Invariant: what a running configuration says is what the gateway does.

use super::load::keys_of;
use super::{Config, SecurityMode};

/// Which keys are another now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Hold from now on.
    pub taken: Vec<String>,
    /// Are written otherwise than the gateway runs; they hold after a restart.
    pub waiting: Vec<String>,
}

impl Config {
    /// Takes over what can change while it runs; every other key keeps its value.
    pub fn take_over(&mut self, new: &Config) -> Changes {
        let before = self.clone();
        self.log.level = new.log.level.clone();
        let (server, written) = (&mut self.server, &new.server);
        server.trusted_proxies = written.trusted_proxies.clone();
        server.drain_secs = written.drain_secs;
        // To begin or end TLS takes another listener.
        if server.tls_cert.is_some() == written.tls_cert.is_some() {
            server.tls_cert = written.tls_cert.clone();
            server.tls_key = written.tls_key.clone();
        }
        let before_it = std::mem::replace(&mut self.security, new.security.clone());
        self.security.mode = before_it.mode;
        // A gateway that asks for tokens cannot do without a key.
        if self.security.mode == SecurityMode::Token && self.security.token_keys.is_empty() {
            self.security.token_keys = before_it.token_keys;
        }
        Changes { taken: differences(&before, self), waiting: differences(self, new) }
    }
}

/// The keys whose values differ.
fn differences(one: &Config, other: &Config) -> Vec<String> {
    let shown = keys_of(one).into_iter().zip(keys_of(other));
    let differing =
        shown.filter(|((key, value), (_, others))| value != others || secrets_differ(key, one, other));
    differing.map(|((key, _), _)| key).collect()
}

/// What is masked where it is shown.
fn secrets_differ(key: &str, one: &Config, other: &Config) -> bool {
    match key {
        "redis.url" => one.redis.url != other.redis.url,
        "mysql.url" => one.mysql.url != other.mysql.url,
        "security.token_keys" => one.security.token_keys != other.security.token_keys,
        "security.dashboard_key" => one.security.dashboard_key != other.security.dashboard_key,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::config::{Sources, load};

    fn config(environment: &[(&str, &str)]) -> Config {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        load(&Sources { environment, ..Sources::default() }).unwrap().config
    }

    #[test]
    fn what_can_change_is_taken_over_and_the_rest_is_named() {
        let mut running = config(&[("SLOTCAST_REDIS_URL", "redis://:one@127.0.0.1")]);
        let new = config(&[
            ("SLOTCAST_REDIS_URL", "redis://:two@127.0.0.1"),
            ("SLOTCAST_LOG_LEVEL", "debug"),
            ("SLOTCAST_LOG_FORMAT", "json"),
            ("SLOTCAST_SERVER_DRAIN_SECS", "5"),
            ("SLOTCAST_SERVER_LISTEN", "127.0.0.1:9"),
            ("SLOTCAST_SECURITY_DASHBOARD_KEY", "a long random text"),
            ("SLOTCAST_SECURITY_MAX_CONNECTIONS", "7"),
            ("SLOTCAST_SECURITY_TOKEN_KEYS", "a:b"),
        ]);
        let changes = running.take_over(&new);
        let security = ["security.dashboard_key", "security.max_connections", "security.token_keys"];
        assert_eq!(changes.taken, [&["server.drain_secs"][..], &security, &["log.level"]].concat());
        assert_eq!(changes.waiting, ["server.listen", "redis.url", "log.format"]);
        assert_eq!(running.security.max_connections, 7);
        assert_eq!(running.security.token_keys, new.security.token_keys);
        assert_eq!(running.redis.url.as_ref().unwrap().expose(), "redis://:one@127.0.0.1");

        let again = running.take_over(&new);
        assert_eq!(again.taken, Vec::<String>::new());
        assert_eq!(again.waiting, changes.waiting, "what waits is named each time");
    }

    #[test]
    fn a_gateway_that_asks_for_tokens_keeps_its_keys_where_the_new_file_has_none() {
        let keys = ("SLOTCAST_SECURITY_TOKEN_KEYS", "a:b");
        let mut running = config(&[("SLOTCAST_SECURITY_MODE", "token"), keys]);
        let changes = running.take_over(&config(&[]));
        assert_eq!(changes.waiting, ["security.mode", "security.token_keys"]);
        assert_eq!(running.security.token_keys.len(), 1);
    }

    #[test]
    fn a_secret_that_is_shown_as_before_is_another_all_the_same() {
        let key = "SLOTCAST_SECURITY_DASHBOARD_KEY";
        let mut running = config(&[(key, "one long random text")]);
        let changes = running.take_over(&config(&[(key, "another long random text")]));
        assert_eq!(changes.taken, ["security.dashboard_key"]);
    }

    /// The sample file says of each section which keys SIGHUP takes over: `# Reload: all but mode, token_keys.`
    fn is_said_to_be_taken(sample: &str, section: &str, name: &str) -> bool {
        let body = sample.split(&format!("\n[{section}]\n# Reload: ")).nth(1).expect("each section says it");
        let said = body.split_once(['.', '(']).expect("a sentence").0;
        let names = |text: &str| text.split(", ").any(|other| other.trim() == name);
        match said.strip_prefix("all") {
            Some(but) => !names(but.trim_start_matches(" but ")),
            None => names(said),
        }
    }

    /// Another value that its key takes; whether it makes sense beside the others is not asked here.
    fn another(key: &str, default: &Json) -> Json {
        match default {
            Json::Number(number) => (number.as_u64().unwrap() + 1).into(),
            Json::Bool(is) => (!is).into(),
            _ => match key {
                "server.listen" => "127.0.0.1:9".into(),
                "server.trusted_proxies" => json!(["10.0.0.0/8"]),
                "server.tls_cert" | "server.tls_key" => "/another.pem".into(),
                "redis.url" => "redis://127.0.0.1".into(),
                "mysql.url" => "mysql://host/wordpress".into(),
                "mysql.site_timezone" => "Europe/Berlin".into(),
                "slots.day_start" | "slots.day_end" => "11:11".into(),
                "legacy.upstream" => "https://www.example.com/wp-admin/admin-ajax.php".into(),
                "security.mode" => "token".into(),
                "security.token_keys" => json!(["k1:secret"]),
                "security.allowed_origins" => json!(["https://www.example.com"]),
                "log.format" => "json".into(),
                "log.level" => "debug".into(),
                _ => "another".into(),
            },
        }
    }

    #[test]
    fn the_sample_file_says_of_every_key_whether_a_reload_takes_it_over() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/slotcast.toml");
        let sample = std::fs::read_to_string(path).unwrap();
        let mut before = Config::default();
        // To begin TLS takes a restart, to go on with other files does not.
        before.server.tls_cert = Some("/cert.pem".into());
        before.server.tls_key = Some("/key.pem".into());
        for (key, default) in keys_of(&Config::default()) {
            let (section, name) = key.split_once('.').unwrap();
            let mut written = serde_json::to_value(&before).unwrap();
            written[section][name] = another(&key, &default);
            let written: Config = serde_json::from_value(written).unwrap();
            let changes = before.clone().take_over(&written);
            let said = is_said_to_be_taken(&sample, section, name);
            let (taken, waiting) = (changes.taken.contains(&key), changes.waiting.contains(&key));
            assert_eq!((taken, waiting), (said, !said), "{key}: a reload {changes:?}");
        }
    }
}
