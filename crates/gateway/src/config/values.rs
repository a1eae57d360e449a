//! The values of the configuration that are more than a number or a text, parsed once.
//! Used by `sections`; their error texts are what an operator reads, so they say what to write instead.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

/// Where the gateway listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// `host:port`, as `TcpListener::bind` takes it.
    Tcp(String),
    /// A socket file.
    Unix(PathBuf),
}

impl TryFrom<String> for Listen {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err("a socket file is written with its whole path, as unix:/run/slotcast.sock")
            };
        }
        let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let host_fits = !host.is_empty() && (bracketed || !host.contains([':', '/', '[', ']', ' ']));
            host_fits && port.parse::<u16>().is_ok()
        });
        if valid {
            Ok(Self::Tcp(text))
        } else {
            Err("write address and port, as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080")
        }
    }
}

impl Listen {
    /// Whether nobody but this machine reaches it directly.
    pub fn is_loopback(&self) -> bool {
        let Self::Tcp(address) = self else { return true };
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Host and port by which this machine reaches who listens there. `None` for a socket file, and for port 0, which the
    /// system replaces.
    pub fn reached_at(&self) -> Option<String> {
        let Self::Tcp(address) = self else { return None };
        let (host, port) = address.rsplit_once(':').filter(|(_, port)| port.parse() != Ok(0u16))?;
        let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        Some(if host.parse() == Ok(Ipv4Addr::UNSPECIFIED) {
            format!("{}:{port}", Ipv4Addr::LOCALHOST)
        } else if v6.is_some_and(|host| host.parse() == Ok(Ipv6Addr::UNSPECIFIED)) {
            format!("[{}]:{port}", Ipv6Addr::LOCALHOST)
        } else {
            address.clone()
        })
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether clients name themselves or prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum SecurityMode {
    /// A client is who it says.
    Open,
    /// A client shows a signed token.
    Token,
}

impl TryFrom<String> for SecurityMode {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.to_ascii_lowercase().as_str() {
            "open" => Ok(Self::Open),
            "token" => Ok(Self::Token),
            _ => Err("write open or token"),
        }
    }
}

/// The store that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageChoice {
    /// Redis, and MySQL whenever Redis fails; MySQL's rows decide about locks.
    RedisAndMysql,
    /// Redis alone.
    Redis,
    /// MySQL alone.
    Mysql,
    /// The embedded store of this process.
    Memory,
}

impl fmt::Display for StorageChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RedisAndMysql => "redis, with mysql to step in for it and to keep the locks",
            Self::Redis => "redis alone",
            Self::Mysql => "mysql alone",
            Self::Memory => "memory",
        })
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For eyes.
    Pretty,
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("write json or pretty"),
        }
    }
}

/// `info`, or with exceptions by module: `info,slot_state=debug,redis=off`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogLevels {
    /// The level of slotcast's own modules.
    pub base: LevelFilter,
    /// Modules with another level.
    pub modules: Vec<(String, LevelFilter)>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self { base: LevelFilter::INFO, modules: Vec::new() }
    }
}

impl TryFrom<String> for LogLevels {
    type Error = &'static str;

    // Not tracing's own parser: it takes a misspelt level for a module's name and switches everything else off.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WHAT: &str = "write error, warn, info, debug, trace or off, and where one module differs: info,slot_state=debug";
        let level = |name: &str| -> Result<LevelFilter, &'static str> {
            match name.to_ascii_lowercase().as_str() {
                "off" => Ok(LevelFilter::OFF),
                "error" => Ok(LevelFilter::ERROR),
                "warn" => Ok(LevelFilter::WARN),
                "info" => Ok(LevelFilter::INFO),
                "debug" => Ok(LevelFilter::DEBUG),
                "trace" => Ok(LevelFilter::TRACE),
                _ => Err(WHAT),
            }
        };
        let mut parts = text.split(',').map(str::trim);
        let mut levels = Self { base: level(parts.next().unwrap_or_default())?, modules: Vec::new() };
        for part in parts {
            let (module, name) = part.split_once('=').ok_or(WHAT)?;
            let module_fits =
                module.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
            if module.is_empty() || !module_fits {
                return Err(WHAT);
            }
            levels.modules.push((module.to_owned(), level(name)?));
        }
        Ok(levels)
    }
}

impl From<LogLevels> for String {
    fn from(levels: LogLevels) -> Self {
        let mut text = levels.base.to_string();
        for (module, level) in levels.modules {
            text.push_str(&format!(",{module}={level}"));
        }
        text
    }
}

/// serde for values of other crates that are written as text.
pub(super) mod as_text {
    use super::{FromStr, fmt};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<T: fmt::Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }

    /// A default written in this crate.
    pub(in crate::config) fn constant<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
        text.parse().expect("a default is valid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_on_this_machine() {
        for (listen, reached) in [
            ("0.0.0.0:8080", Some("127.0.0.1:8080")),
            ("[::]:8080", Some("[::1]:8080")),
            ("[0:0::0]:8080", Some("[::1]:8080")),
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("10.1.2.3:80", Some("10.1.2.3:80")),
            ("localhost:80", Some("localhost:80")),
            ("127.0.0.1:0", None),
            ("unix:/run/a", None),
        ] {
            let listen = Listen::try_from(listen.to_owned()).unwrap();
            assert_eq!(listen.reached_at().as_deref(), reached, "{listen}");
        }
    }
}
