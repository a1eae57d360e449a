//! The rules a configuration must keep beyond each value's own form, and what this version cannot do yet.
//! Called by `load`. Invariant: all problems come back at once, each with advice.

use super::load::keys_of;
use super::problem::Problem;
use super::{Config, Listen, SecretUrl, SecurityMode, StorageChoice};
use crate::security::{BURST_SECS, certificate};

/// Above this a rate is no limit any more; four seconds' worth must fit 32 bits.
const MAX_RATE: u32 = 1_000_000;
/// The same of bytes.
const MAX_BYTE_RATE: u32 = 100_000_000;
/// hyper's own buffer for a head is not smaller.
const SMALLEST_HEAD: u64 = 8 * 1024;
/// Below it no page could say what it has to.
const SMALLEST_MESSAGE: u64 = 1024;
/// Each of the connections may take so much memory: more is an attack, or a misprint.
const LARGEST: u64 = 1024 * 1024;
/// The intervals a WordPress page can be told.
const HEARTBEAT_INTERVALS: [u64; 5] = [5, 15, 30, 60, 120];
/// Selections are renewed this often; below twice of it one late renewal loses them.
const SHORT_SELECTION_SECS: u64 = 5;
/// A key of HS256 is to be as long as its output.
const SHORT_SECRET: usize = 32;
/// A shorter dashboard key can be guessed.
const SHORT_KEY: usize = 16;

impl Config {
    /// Checks every rule; the error lists all problems.
    pub fn validate(&self) -> Result<(), Vec<Problem>> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        self.check_ranges(&mut found);
        self.check_texts(&mut found);
        self.check_tls(&mut found);
        self.check_not_yet(&mut found);
        let values = keys_of(self);
        let value_of = |key: &str| {
            let value = values.iter().find(|(known, _)| known == key).map(|(_, value)| value);
            value.filter(|value| !value.is_null()).map(ToString::to_string)
        };
        found
            .into_iter()
            .map(|(key, advice)| Problem { key: key.to_owned(), value: value_of(key), origin: None, advice })
            .collect()
    }

    fn check_ranges(&self, found: &mut Vec<(&'static str, String)>) {
        let mut range = |key: &'static str, value: u64, from: u64, to: u64| {
            if !(from..=to).contains(&value) {
                found.push((key, format!("must be from {from} to {to}")));
            }
        };
        range("server.drain_secs", self.server.drain_secs, 0, 600);
        range("redis.command_timeout_ms", self.redis.command_timeout_ms, 10, 60_000);
        range("mysql.command_timeout_ms", self.mysql.command_timeout_ms, 10, 60_000);
        range("mysql.sweep_ms", self.mysql.sweep_ms, 100, 60_000);
        range("slots.selection_ttl_secs", self.slots.selection_ttl_secs, 1, 3_600);
        range("slots.lock_ttl_secs", self.slots.lock_ttl_secs, 1, 86_400);
        range("slots.availability_ttl_secs", self.slots.availability_ttl_secs, 1, 86_400);
        range("slots.horizon_days", self.slots.horizon_days.into(), 1, 3_650);
        range("slots.coalesce_ms", self.slots.coalesce_ms, 0, 1_000);
        range("slots.slot_minutes", self.slots.slot_minutes.into(), 1, 1_440);
        let (security, rate) = (&self.security, u64::from(MAX_RATE));
        range("security.head_timeout_secs", security.head_timeout_secs, 1, 300);
        range("security.max_head_bytes", security.max_head_bytes.into(), SMALLEST_HEAD, LARGEST);
        range("security.max_body_bytes", security.max_body_bytes.into(), SMALLEST_MESSAGE, LARGEST);
        range("security.max_frame_bytes", security.max_frame_bytes.into(), SMALLEST_MESSAGE, LARGEST);
        range("security.frames_per_second", security.frames_per_second.into(), 0, rate);
        range("security.bytes_per_second", security.bytes_per_second.into(), 0, MAX_BYTE_RATE.into());
        range("security.writes_per_second", security.writes_per_second.into(), 0, rate);
        let of_address = security.writes_per_second_per_address;
        range("security.writes_per_second_per_address", of_address.into(), 0, rate);
        let of_address = security.new_rooms_per_second_per_address;
        range("security.new_rooms_per_second_per_address", of_address.into(), 0, rate);
        let (bytes, frame) = (security.bytes_per_second, security.max_frame_bytes);
        if bytes > 0 && bytes.saturating_mul(BURST_SECS) < frame {
            let advice = format!(
                "a frame of security.max_frame_bytes, {frame}, would always be refused: only {BURST_SECS} s' worth may \
                 come at once; write at least {}, lower max_frame_bytes, or write 0 for no limit",
                frame.div_ceil(BURST_SECS)
            );
            found.push(("security.bytes_per_second", advice));
        }
    }

    fn check_texts(&self, found: &mut Vec<(&'static str, String)>) {
        if !HEARTBEAT_INTERVALS.contains(&self.slots.heartbeat_interval_secs) {
            let advice = "must be 5, 15, 30, 60 or 120: the intervals WordPress pages know";
            found.push(("slots.heartbeat_interval_secs", advice.to_owned()));
        }
        if self.slots.day_start >= self.slots.day_end {
            found.push((
                "slots.day_end",
                format!("must be later than slots.day_start, {}", self.slots.day_start),
            ));
        }
        let is_name = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
        };
        let advice = "may only hold letters, digits, _ and $";
        if !is_name(&self.mysql.table_prefix) {
            found.push(("mysql.table_prefix", advice.to_owned()));
        }
        if self.mysql.appointments_table.is_empty() || !is_name(&self.mysql.appointments_table) {
            found.push(("mysql.appointments_table", format!("{advice}; or write auto")));
        }
        if self.mysql.site_timezone != "auto" && self.mysql.zone().is_none() {
            let advice = "must name a time zone, as Europe/Berlin; or write auto";
            found.push(("mysql.site_timezone", advice.to_owned()));
        }
        if self.security.dashboard_key.as_ref().is_some_and(|key| !fits_a_header(key.expose())) {
            let advice = "may only hold printable ASCII, without blanks around it: it travels in headers";
            found.push(("security.dashboard_key", advice.to_owned()));
        }
        if self.security.mode == SecurityMode::Token && self.security.token_keys.is_empty() {
            let advice = "needs a key that tokens are signed with: set security.token_keys";
            found.push(("security.mode", advice.to_owned()));
        }
        if let Some(url) = &self.redis.url {
            if !["redis", "redis+unix", "unix", "rediss"].contains(&url.scheme().as_str()) {
                found.push(("redis.url", "must begin with redis:// or unix://".to_owned()));
            } else if !is_place(url) {
                let advice =
                    "write it as redis://user:password@host:port/0, odd characters of the password as %40";
                found.push(("redis.url", advice.to_owned()));
            }
        }
        if self.mysql.url.as_ref().is_some_and(|url| url.scheme() != "mysql" || !is_database(url)) {
            let advice =
                "write it as mysql://user:password@host:3306/database, odd characters of the password as %40";
            found.push(("mysql.url", advice.to_owned()));
        }
        if let Some(Err(wrong)) = self.mysql.url.as_ref().map(|url| slot_state::check_mysql_url(url.expose()))
        {
            found.push(("mysql.url", wrong));
        }
    }

    /// The files are read here, so that `check-config` says what `serve` would stumble over.
    fn check_tls(&self, found: &mut Vec<(&'static str, String)>) {
        let server = &self.server;
        match (&server.tls_cert, &server.tls_key) {
            (None, None) => {}
            (Some(_), None) => found.push(("server.tls_key", "is missing beside server.tls_cert".to_owned())),
            (None, Some(_)) => found.push(("server.tls_cert", "is missing beside server.tls_key".to_owned())),
            (Some(_), Some(_)) if matches!(server.listen, Listen::Unix(_)) => {
                let advice =
                    "a socket file needs no TLS: leave out tls_cert and tls_key, or listen on a port";
                found.push(("server.tls_cert", advice.to_owned()));
            }
            (Some(certificate), Some(key)) => {
                if let Err(problem) = certificate::load(certificate, key) {
                    found.push((problem.key, problem.advice));
                }
            }
        }
    }

    /// Keys whose work is not built yet: better a refusal than an operator who believes it is done.
    fn check_not_yet(&self, found: &mut Vec<(&'static str, String)>) {
        let mut refuse = |is_set: bool, key: &'static str, what: &str| {
            if is_set {
                found.push((key, format!("this version cannot {what} yet; leave it out")));
            }
        };
        let tls_to_redis = self.redis.url.as_ref().is_some_and(|url| url.scheme() == "rediss");
        refuse(tls_to_redis, "redis.url", "speak TLS to Redis");
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |applies: bool, text: &str| {
            if applies {
                warnings.push(text.to_owned());
            }
        };
        warn(
            self.storage() == StorageChoice::Memory,
            "no redis.url and no mysql.url: holds and bookings live in this process' memory alone; a restart forgets them, \
             and neither WordPress nor another gateway sees them",
        );
        warn(
            self.storage() == StorageChoice::Redis,
            "no mysql.url: bookings are refused; while Redis is away nothing can be selected or locked, and a Redis that \
             loses its data loses the locks",
        );
        warn(
            self.slots.selection_ttl_secs < SHORT_SELECTION_SECS,
            "slots.selection_ttl_secs is below 5: selections are renewed every 2 seconds, one late renewal loses them",
        );
        warn(
            self.security.dashboard_key.as_ref().is_some_and(|key| key.expose().len() < SHORT_KEY),
            "security.dashboard_key is shorter than 16 characters",
        );
        warn(
            self.security.dashboard_key.is_none() && !self.server.listen.is_loopback(),
            "security.dashboard_key is not set: /dashboard, /metrics and the details of /health answer on this \
             machine alone, for a request to a loopback address",
        );
        for key in &self.security.token_keys {
            warn(
                self.security.mode == SecurityMode::Token && key.secret.expose().len() < SHORT_SECRET,
                &format!(
                    "the secret of the key {:?} in security.token_keys is shorter than 32 characters: whoever sees one \
                     token can try all",
                    key.kid
                ),
            );
        }
        let (upstream, keys) = (self.legacy.upstream.is_some(), !self.security.token_keys.is_empty());
        warn(
            upstream && !self.legacy.enabled && self.mysql.url.is_none(),
            "legacy.upstream has no effect: legacy.enabled is false, and there is no mysql.url, so no booking to tell of",
        );
        warn(
            upstream && !keys && self.mysql.url.is_some(),
            "legacy.upstream is not told of bookings without security.token_keys: WordPress believes signed messages alone",
        );
        let server = &self.server;
        let served = server.tls_cert.as_ref().zip(server.tls_key.as_ref());
        if let Some(served) = served.and_then(|(certificate, key)| certificate::load(certificate, key).ok()) {
            warnings.extend(certificate::warning(&served, jiff::Timestamp::now()));
        }
        warnings
    }
}

/// Whether it arrives in an HTTP header as it was sent.
fn fits_a_header(key: &str) -> bool {
    key.trim() == key && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Whether a MySQL URL names a host and a database.
fn is_database(url: &SecretUrl) -> bool {
    let Some((_, rest)) = url.expose().split_once("://") else { return false };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let Some((authority, database)) = rest.split_once('/') else { return false };
    let place = authority.rsplit('@').next().unwrap_or_default();
    let port = place.rsplit_once(':').filter(|_| !place.ends_with(']')).map(|(_, port)| port);
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    !place.is_empty()
        && !place.starts_with(':')
        && port_fits
        && !database.is_empty()
        && !database.contains('/')
}

/// Whether a Redis URL has a host, a port that is one, and a database number. What a wrong one would do shows only
/// when the store is opened, and then it looks like a store that is away.
fn is_place(url: &SecretUrl) -> bool {
    let Some((_, rest)) = url.expose().split_once("://") else { return false };
    if url.scheme().ends_with("unix") {
        return rest.contains('/');
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let place = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !place.ends_with(']') => (host, port),
        _ => (place, "6379"),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_fits = !host.is_empty() && (bracketed || !host.contains([':', '[', ']', ' ']));
    let database = path.trim_end_matches('/');
    host_fits && port.parse::<u16>().is_ok() && (database.is_empty() || database.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_header_carries_is_told_from_one_that_it_does() {
        for (key, fits) in
            [("a long & random text", true), ("schlüssel", false), (" key", false), ("a\nb", false)]
        {
            assert_eq!(fits_a_header(key), fits, "{key:?}");
        }
    }

    #[test]
    fn a_redis_url_without_a_place_is_told_from_one_that_has_it() {
        for (url, fits) in [
            ("redis://127.0.0.1", true),
            ("redis://site:p%40ss@redis.internal:6380/3", true),
            ("redis://:pw@[::1]:6379/", true),
            ("redis://[::1]", true),
            ("unix:///run/redis.sock?db=2", true),
            ("redis://", false),
            ("redis://:6379", false),
            ("redis://host:port", false),
            ("redis://host:99999", false),
            ("redis://host/zero", false),
            ("redis://:p/w@host", false),
        ] {
            let parsed = SecretUrl::try_from(url.to_owned());
            assert_eq!(parsed.is_ok_and(|parsed| is_place(&parsed)), fits, "{url}");
        }
    }
}
