//! Redis: whether it can be relied on for holds, judged from the facts that `slot-state` finds.
//! Pure but for `checks`. Invariant: what follows from another trouble is not told as one of its own.

use std::time::Duration;

use slot_state::{ClockOffset, Feed, RedisReport, RedisTrouble, StoreError, examine_redis};
use tokio::time::timeout;

use super::report::{Check, is_it_running, redis_cli, redis_conf, slotcast_toml, wp_config};
use crate::config::{Config, SecretUrl};

/// The longest that all questions together may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first version with all commands we use.
const OLDEST: (u64, u64) = (6, 0);
const REACHABLE: &str = "redis.reachable";

/// Its checks, and its clock; nothing where none is configured.
pub(super) async fn checks(config: &Config) -> (Vec<Check>, Option<ClockOffset>) {
    let Some(url) = &config.redis.url else { return (Vec::new(), None) };
    let report = match timeout(PATIENCE, examine_redis(url.expose())).await {
        Ok(report) => report,
        Err(_) => Err(RedisTrouble::Away(format!(
            "not all questions were answered within {} s",
            PATIENCE.as_secs()
        ))),
    };
    match report {
        Ok(report) => (Judge { config, report: &report }.checks(url), report.clock),
        Err(trouble) => (vec![unreachable(url, &trouble)], None),
    }
}

fn unreachable(url: &SecretUrl, trouble: &RedisTrouble) -> Check {
    let says = |what: &str| format!("{url} {what}: {trouble}; nothing else about it can be told");
    match trouble {
        RedisTrouble::Away(_) => {
            let says = says("cannot be reached");
            Check::failed(REACHABLE, format!("{says}. Is it running? If it is, does redis.url say where?"))
                .paste(is_it_running("redis-server"))
        }
        RedisTrouble::Login(_) => Check::failed(REACHABLE, says("refuses this user and password")).paste(
            slotcast_toml("[redis]\nurl = \"redis://user:password@host:6379/0\"   # odd characters as %40"),
        ),
        RedisTrouble::Refuses(_) => Check::failed(REACHABLE, says("refuses to answer")),
    }
}

struct Judge<'a> {
    config: &'a Config,
    report: &'a RedisReport,
}

impl Judge<'_> {
    fn checks(&self, url: &SecretUrl) -> Vec<Check> {
        let mut checks = vec![Check::ok(REACHABLE, format!("{url} answers")), self.version()];
        checks.push(self.role());
        checks.extend(self.write());
        checks.push(self.rights());
        checks.extend(self.events());
        checks.push(self.eviction());
        checks.push(self.persistence());
        checks.push(self.sharing());
        checks.push(self.latency());
        checks
    }

    fn info(&self, field: &str) -> Option<&str> {
        self.report.info.get(field).map(String::as_str)
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.info(field)?.parse().ok()
    }

    fn has_mysql(&self) -> bool {
        self.config.mysql.url.is_some()
    }

    fn unknown(&self, name: &'static str, what: &str) -> Check {
        let user = &self.report.user;
        Check::warning(name, format!("{what} is not known: the user {user} may not ask INFO"))
            .paste(redis_cli(format!("ACL SETUSER {user} +info")))
    }

    fn version(&self) -> Check {
        const NAME: &str = "redis.version";
        let Some(text) = self.info("redis_version") else { return self.unknown(NAME, "its version") };
        let mut numbers = text.split('.').map_while(|number| number.parse().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if self.info("redis_mode") == Some("cluster") {
            return Check::failed(
                NAME,
                "it is a Redis Cluster, which is not supported: holds need one server",
            );
        }
        if version < OLDEST {
            return Check::failed(NAME, format!("it is {text}; slotcast needs Redis 6 or newer"));
        }
        match self.info("valkey_version") {
            Some(valkey) => Check::ok(NAME, format!("it is Valkey {valkey}, which is expected to work")),
            None => Check::ok(NAME, format!("it is Redis {text}")),
        }
    }

    fn role(&self) -> Check {
        const NAME: &str = "redis.role";
        match self.info("role") {
            None => self.unknown(NAME, "its role"),
            Some("master") => Check::ok(NAME, "it is a primary"),
            Some(role) => {
                let primary = self.info("master_host").unwrap_or("primary");
                let port = self.info("master_port").unwrap_or("6379");
                let says = format!(
                    "it is a replica ({role}) of {primary}:{port}: what is written here is refused, or lost \
                     at the next synchronization"
                );
                let text =
                    format!("[redis]\nurl = \"redis://{primary}:{port}/0\"   # the primary, with its user");
                Check::failed(NAME, says).paste(slotcast_toml(text))
            }
        }
    }

    /// That a replica takes no writes is no trouble of its own.
    fn write(&self) -> Option<Check> {
        const NAME: &str = "redis.write";
        let words = match &self.report.write {
            Ok(()) => return Some(Check::ok(NAME, "a script could write a key and read it back")),
            Err(StoreError::Refusing(words) | StoreError::Strange(words)) => words.clone(),
            Err(other) => other.to_string(),
        };
        // By the server's sentences: its codes are not always passed on.
        let said = words.to_ascii_lowercase();
        let has = |sentence: &str| said.contains(sentence);
        if has("read only replica") && self.info("role").is_some_and(|role| role != "master") {
            return None;
        }
        let failed = |what: &str| Check::failed(NAME, format!("it takes no writes: {what} ({words})"));
        let forbidden = ["noperm", "no permission", "acl failure", "user executing the script"];
        let check = if forbidden.iter().any(|words| has(words)) {
            let user = &self.report.user;
            let rights = "~appointease_* +@all -@admin +config|get +config|set";
            failed("this user may not run scripts, not write slotcast's keys, or not publish")
                .paste(redis_cli(format!("ACL SETUSER {user} {rights} {}", self.channels())))
        } else if has("maxmemory") {
            failed("its memory is full")
                .paste(redis_conf("maxmemory 512mb   # more than used_memory, see INFO memory"))
        } else if has("misconf") || has("rdb snapshots") || has("aof") {
            failed("it cannot save to disk, and stops writes therefore; look at its log and at the disk")
        } else if has("good replicas") {
            failed("it has fewer replicas than it wants").paste(redis_conf("min-replicas-to-write 0"))
        } else {
            failed("look at its log")
        };
        Some(check)
    }

    /// As ACL wants them.
    fn channels(&self) -> String {
        let channels: Vec<String> =
            self.report.channels.iter().map(|channel| format!("&{channel}")).collect();
        channels.join(" ")
    }

    /// Whether missing notification flags can be added, now and when somebody overwrites them.
    fn rights(&self) -> Check {
        const NAME: &str = "redis.config";
        if self.report.may_configure && self.report.flags.is_some() {
            return Check::ok(
                NAME,
                "CONFIG is allowed: slotcast keeps the notification flags complete itself",
            );
        }
        let user = &self.report.user;
        let says = format!(
            "CONFIG is forbidden to the user {user}: when somebody overwrites notify-keyspace-events (PHP \
             does), slotcast cannot complete it"
        );
        Check::warning(NAME, says).paste(redis_cli(format!("ACL SETUSER {user} +config|get +config|set")))
    }

    fn events(&self) -> Option<Check> {
        const NAME: &str = "redis.events";
        let feed = self.report.feed?;
        let flags = self.report.flags.as_ref();
        let current = flags.map(|flags| flags.current.as_str()).unwrap_or_default();
        let missing = flags.map(|flags| flags.missing.as_str()).unwrap_or_default();
        let wanted = match flags {
            Some(flags) => format!("notify-keyspace-events {}{}", flags.current, flags.missing),
            None => "notify-keyspace-events Kg$xe".to_owned(),
        };
        let paste = redis_conf(wanted);
        let check = match feed {
            Feed::Notifications if missing.is_empty() => {
                let flags = if flags.is_some() { format!(" (flags {current})") } else { String::new() };
                Check::ok(NAME, format!("a written key's notification arrived{flags}"))
            }
            _ if !missing.is_empty() && self.report.may_configure => {
                let says = format!(
                    "notify-keyspace-events is \"{current}\" and lacks {missing}: slotcast adds what is \
                     missing when it runs; set here, it holds from the first moment"
                );
                Check::warning(NAME, says).paste(paste)
            }
            Feed::Notifications => {
                let says = format!(
                    "notify-keyspace-events is \"{current}\" and lacks {missing}: some changes of others are \
                     seen up to 30 s late"
                );
                Check::warning(NAME, says).paste(paste)
            }
            _ if flags.is_some_and(|flags| flags.missing.is_empty()) => {
                let user = &self.report.user;
                let instead = match feed {
                    Feed::Tracking => "uses CLIENT TRACKING",
                    _ => "looks at all holds once a second",
                };
                let says = format!(
                    "the flags are complete, but the user {user} gets no notifications, and slotcast \
                     {instead} instead: may it subscribe to these channels?"
                );
                Check::warning(NAME, says).paste(redis_cli(format!("ACL SETUSER {user} {}", self.channels())))
            }
            Feed::Tracking => Check::warning(
                NAME,
                "no notifications arrive and slotcast may not switch them on: it uses CLIENT TRACKING \
                 instead, which also reports the keys of other databases",
            )
            .paste(paste),
            Feed::Polling => Check::failed(
                NAME,
                "neither notifications nor CLIENT TRACKING arrive: changes of others are found by looking at \
                 all holds once a second",
            )
            .paste(paste),
        };
        Some(check)
    }

    fn eviction(&self) -> Check {
        const NAME: &str = "redis.eviction";
        /// Percent of `maxmemory`.
        const NEARLY_FULL: u64 = 90;
        let Some(policy) = self.info("maxmemory_policy") else {
            return self.unknown(NAME, "maxmemory-policy");
        };
        let most = self.number("maxmemory").unwrap_or(0);
        let used = self.number("used_memory").unwrap_or(0);
        let advice = redis_conf("maxmemory-policy noeviction");
        if policy == "noeviction" {
            let is_nearly_full = most > 0 && used.saturating_mul(100) / most >= NEARLY_FULL;
            // That it is full is told by the write that failed.
            return if is_nearly_full && self.report.write.is_ok() {
                let says =
                    format!("{used} of {most} bytes are used: when they are full, it refuses all writes");
                Check::warning(NAME, says).paste(redis_conf(format!("maxmemory {}", most.saturating_mul(2))))
            } else {
                Check::ok(NAME, "maxmemory-policy is noeviction: holds stay, whatever the memory")
            };
        }
        let says = format!("maxmemory-policy is {policy}: a full memory throws holds away");
        if most == 0 {
            Check::warning(NAME, format!("{says}, as soon as somebody sets maxmemory")).paste(advice)
        } else if self.has_mysql() {
            Check::warning(NAME, format!("{says}; locks are copied back from MySQL, pages see them flicker"))
                .paste(advice)
        } else {
            Check::failed(NAME, format!("{says}, locks too: there is no mysql.url to copy them back from"))
                .paste(advice)
        }
    }

    fn persistence(&self) -> Check {
        const NAME: &str = "redis.persistence";
        let Some(appends) = self.info("aof_enabled") else {
            return self.unknown(NAME, "whether it keeps its data");
        };
        if self.info("aof_last_write_status").is_some_and(|status| status != "ok") {
            return Check::failed(
                NAME,
                "its last write to the append-only file failed: look at its log and the disk",
            );
        }
        if appends == "1" {
            return Check::ok(NAME, "it keeps an append-only file: a restart loses a second at the most");
        }
        let consequence = if self.has_mysql() {
            "selections are put back by their pages' gateways and locks from MySQL's rows"
        } else {
            "locks are gone: there is no mysql.url to copy them back from"
        };
        let lost = match self.report.save.as_deref() {
            Some("") => "it saves nothing: a restart empties the database",
            Some(_) => "it saves now and then (RDB): a crash loses the last minutes",
            None => "it keeps no append-only file: a crash loses the last minutes, or everything",
        };
        Check::warning(NAME, format!("{lost}; {consequence}"))
            .paste(redis_conf("appendonly yes\nappendfsync everysec"))
    }

    /// Whoever flushes a cache empties the database.
    fn sharing(&self) -> Check {
        const NAME: &str = "redis.sharing";
        if !self.report.has_foreign_keys {
            return Check::ok(NAME, "no keys of other programs were seen in this database");
        }
        let says = "other programs keep keys in this database, as WordPress' object cache: one that flushes \
            it (FLUSHDB) takes all holds along";
        if self.has_mysql() {
            Check::ok(NAME, format!("{says}; they are put back, locks from MySQL"))
        } else {
            Check::warning(NAME, format!("{says}, and locks are not put back: there is no mysql.url"))
                .paste(wp_config("define('WP_REDIS_SELECTIVE_FLUSH', true);"))
        }
    }

    fn latency(&self) -> Check {
        const NAME: &str = "redis.latency";
        /// Of the deadline.
        const SHARE: u32 = 4;
        let deadline = self.config.redis.command_timeout();
        let pings = &self.report.pings;
        let (median, longest) = (pings[pings.len() / 2], pings[pings.len() - 1]);
        let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
        let says = format!(
            "{} PINGs took {} at the median, {} at the most; redis.command_timeout_ms is {}",
            pings.len(),
            ms(median),
            ms(longest),
            deadline.as_millis()
        );
        let paste =
            || slotcast_toml(format!("[redis]\ncommand_timeout_ms = {}", (longest * 2 * SHARE).as_millis()));
        if median >= deadline {
            Check::failed(NAME, format!("{says}: it counts as failed")).paste(paste())
        } else if median >= deadline / SHARE || longest >= deadline {
            Check::warning(NAME, format!("{says}: a little slower, and it counts as failed")).paste(paste())
        } else {
            Check::ok(NAME, says)
        }
    }
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
