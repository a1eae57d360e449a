//! The sections and keys of the configuration with their defaults; a field's name is its key.
//! Read by every part of the program; `config/slotcast.toml` explains the same keys to operators.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use slot_state::{Grid, SlotTime};

use super::secret::{Secret, SecretUrl, TokenKey};
use super::upstream::Upstream;
use super::values::{Listen, LogFormat, LogLevels, SecurityMode, StorageChoice, as_text};
use crate::security::address::TrustedProxies;
use crate::security::origin::Origin;

/// Everything an operator can set.
///
/// Serializing masks secrets: it serves printing and listing the keys, never saving.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where requests come in.
    pub server: Server,
    /// The primary store.
    pub redis: Redis,
    /// The fallback store, bookings.
    pub mysql: Mysql,
    /// What a slot is and how long holds last.
    pub slots: Slots,
    /// Pages without the new client.
    pub legacy: Legacy,
    /// Who may connect, and how much of it.
    pub security: Security,
    /// The log.
    pub log: Log,
}

impl Config {
    /// Which store decides with this configuration.
    pub fn storage(&self) -> StorageChoice {
        match (self.redis.url.is_some(), self.mysql.url.is_some()) {
            (true, true) => StorageChoice::RedisAndMysql,
            (true, false) => StorageChoice::Redis,
            (false, true) => StorageChoice::Mysql,
            (false, false) => StorageChoice::Memory,
        }
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port, or `unix:/path`.
    pub listen: Listen,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// How long open connections may take to end at shutdown.
    pub drain_secs: u64,
    /// Whether `/demo` is served.
    pub demo: bool,
    /// Certificate chain (PEM).
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM).
    pub tls_key: Option<PathBuf>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp("127.0.0.1:8080".to_owned()),
            trusted_proxies: TrustedProxies::default(),
            drain_secs: 10,
            demo: true,
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl Server {
    /// `drain_secs` as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_secs)
    }
}

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// `redis://[user[:password]@]host[:port][/db]` or `unix:///path`.
    pub url: Option<SecretUrl>,
    /// Deadline of every command, reconnect waits included.
    pub command_timeout_ms: u64,
}

impl Default for Redis {
    fn default() -> Self {
        Self { url: None, command_timeout_ms: 250 }
    }
}

impl Redis {
    /// `command_timeout_ms` as a duration.
    pub fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }
}

/// `[mysql]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mysql {
    /// `mysql://user:password@host[:port]/database`.
    pub url: Option<SecretUrl>,
    /// WordPress' table prefix.
    pub table_prefix: String,
    /// A table's name, or `auto`.
    pub appointments_table: String,
    /// Time between two looks for changes of others and expired rows.
    pub sweep_ms: u64,
    /// Deadline of every statement.
    pub command_timeout_ms: u64,
    /// An IANA name, or `auto`: WordPress' own setting, else UTC.
    pub site_timezone: String,
}

impl Default for Mysql {
    fn default() -> Self {
        Self {
            url: None,
            table_prefix: "wp_".to_owned(),
            appointments_table: "auto".to_owned(),
            sweep_ms: 1000,
            command_timeout_ms: 2000,
            site_timezone: "auto".to_owned(),
        }
    }
}

impl Mysql {
    /// The table of appointments; `None` where it is to be found.
    pub fn appointments_table(&self) -> Option<&str> {
        Some(self.appointments_table.as_str()).filter(|name| *name != "auto")
    }

    /// The site's time zone; `None` where the site says it itself, or the name is none.
    pub fn zone(&self) -> Option<TimeZone> {
        Some(self.site_timezone.as_str())
            .filter(|name| *name != "auto")
            .and_then(|name| TimeZone::get(name).ok())
    }

    /// `sweep_ms` as a duration.
    pub fn sweep(&self) -> Duration {
        Duration::from_millis(self.sweep_ms)
    }

    /// `command_timeout_ms` as a duration.
    pub fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }
}

/// `[slots]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slots {
    /// How long a selection lasts without being renewed.
    pub selection_ttl_secs: u64,
    /// How long a lock lasts.
    pub lock_ttl_secs: u64,
    /// How long an answer about availability may be reused.
    pub availability_ttl_secs: u64,
    /// How many days ahead of today are served.
    pub horizon_days: u16,
    /// Changes of one room within this time may share a diff; 0 = each its own.
    pub coalesce_ms: u64,
    /// How often a focused page without the new client shall ask: 5, 15, 30, 60 or 120.
    pub heartbeat_interval_secs: u64,
    /// First slot of the grid where AppointEase's own settings are not found.
    #[serde(with = "as_text")]
    pub day_start: SlotTime,
    /// End of the grid.
    #[serde(with = "as_text")]
    pub day_end: SlotTime,
    /// Length of one slot.
    pub slot_minutes: u16,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            selection_ttl_secs: 10,
            lock_ttl_secs: 600,
            availability_ttl_secs: 300,
            horizon_days: 400,
            coalesce_ms: 10,
            heartbeat_interval_secs: 5,
            day_start: as_text::constant("09:00"),
            day_end: as_text::constant("17:00"),
            slot_minutes: 30,
        }
    }
}

impl Slots {
    /// The times of a day that can be booked, where the site's own settings do not say.
    pub fn grid(&self) -> Grid {
        Grid { start: self.day_start, end: self.day_end, step: self.slot_minutes }
    }

    /// `selection_ttl_secs` as a duration.
    pub fn selection_ttl(&self) -> Duration {
        Duration::from_secs(self.selection_ttl_secs)
    }

    /// `lock_ttl_secs` as a duration.
    pub fn lock_ttl(&self) -> Duration {
        Duration::from_secs(self.lock_ttl_secs)
    }

    /// `availability_ttl_secs` as a duration.
    pub fn availability_ttl(&self) -> Duration {
        Duration::from_secs(self.availability_ttl_secs)
    }

    /// `coalesce_ms` as a duration.
    pub fn coalesce(&self) -> Duration {
        Duration::from_millis(self.coalesce_ms)
    }

    /// `heartbeat_interval_secs` as a duration.
    pub fn heartbeat_interval(&self) -> Duration {
        Duration::from_secs(self.heartbeat_interval_secs)
    }
}

/// `[legacy]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Legacy {
    /// Whether the heartbeat form and the REST paths are served.
    pub enabled: bool,
    /// Where WordPress is, named by its admin-ajax.php.
    pub upstream: Option<Upstream>,
}

impl Default for Legacy {
    fn default() -> Self {
        Self { enabled: true, upstream: None }
    }
}

/// `[security]`; 0 = none for each limit but those of one head, body or frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Whether clients must prove who they are.
    pub mode: SecurityMode,
    /// Keys that tokens are signed with; the first signs.
    pub token_keys: Vec<TokenKey>,
    /// Pages of other hosts that may connect; the same host always may.
    pub allowed_origins: Vec<Origin>,
    /// Opens the dashboard, the metrics and the detailed health page to others than loopback.
    pub dashboard_key: Option<Secret>,
    /// WebSockets in all, and connections of plain HTTP.
    pub max_connections: u32,
    /// The same of one address.
    pub max_connections_per_address: u32,
    /// Connections that have not sent a head yet.
    pub max_handshakes: u32,
    /// The same of one address.
    pub max_handshakes_per_address: u32,
    /// How long a request's head, or a TLS handshake, may take.
    pub head_timeout_secs: u64,
    /// Size of a request's head.
    pub max_head_bytes: u32,
    /// Size of a request's body.
    pub max_body_bytes: u32,
    /// Size of a WebSocket message.
    pub max_frame_bytes: u32,
    /// Subscriptions of one connection.
    pub max_rooms_per_connection: u32,
    /// Frames a second from one connection.
    pub frames_per_second: u32,
    /// Bytes a second from one connection.
    pub bytes_per_second: u32,
    /// Changes a second by one client.
    pub writes_per_second: u32,
    /// Changes a second from one address.
    pub writes_per_second_per_address: u32,
    /// Rooms a second that one address looks at and nobody did lately.
    pub new_rooms_per_second_per_address: u32,
    /// Live selections and locks of one address.
    pub max_holds_per_address: u32,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            mode: SecurityMode::Open,
            token_keys: Vec::new(),
            allowed_origins: Vec::new(),
            dashboard_key: None,
            max_connections: 0,
            max_connections_per_address: 256,
            max_handshakes: 1_024,
            max_handshakes_per_address: 64,
            head_timeout_secs: 10,
            max_head_bytes: 16 * 1024,
            max_body_bytes: 64 * 1024,
            max_frame_bytes: 8 * 1024,
            max_rooms_per_connection: 20,
            frames_per_second: 20,
            bytes_per_second: 32 * 1024,
            writes_per_second: 5,
            writes_per_second_per_address: 50,
            new_rooms_per_second_per_address: 50,
            max_holds_per_address: 50,
        }
    }
}

impl Security {
    /// `head_timeout_secs` as a duration.
    pub fn head_timeout(&self) -> Duration {
        Duration::from_secs(self.head_timeout_secs)
    }
}

/// `[log]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Unset: pretty where the log goes to a terminal, JSON otherwise.
    pub format: Option<LogFormat>,
    /// What is worth a line.
    pub level: LogLevels,
}
