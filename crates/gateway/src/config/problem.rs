//! What is wrong with a configuration, said so that it can be put right.
//! Made by `load` and `validate`, printed by `cli`. Invariant: no text here holds a secret.

use std::fmt;
use std::path::PathBuf;

use config::{Value, ValueKind};

use super::secret::{MASK, mask_url};

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key as it was written: `section.key` or `SLOTCAST_…`.
    pub key: String,
    /// The wrong value, secrets masked; `None` where the key itself is wrong.
    pub value: Option<String>,
    /// Where it was set, if not by default.
    pub origin: Option<String>,
    /// What is wrong and what to write instead.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(origin) = self.origin.as_ref().filter(|origin| **origin != self.key) {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}", self.advice)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read or is not TOML.
    #[error("{}: {reason}", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// One sentence.
        reason: String,
    },
    /// Settings that are wrong, all of them.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

/// A wrong value as it may be printed.
pub(super) fn shown(key: &str, value: &ValueKind) -> String {
    match (key, value) {
        ("redis.url" | "mysql.url" | "legacy.upstream", ValueKind::String(url)) => mask_url(url),
        (
            "redis.url" | "mysql.url" | "legacy.upstream" | "security.token_keys" | "security.dashboard_key",
            _,
        ) => MASK.to_owned(),
        (_, ValueKind::String(text)) => format!("{text:?}"),
        (_, ValueKind::Array(items)) => {
            format!("{:?}", items.iter().map(Value::to_string).collect::<Vec<_>>())
        }
        (_, other) => other.to_string(),
    }
}

/// What to say of a key nobody knows.
pub(super) fn unknown_key<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, candidate);
        // A right key in a wrong section, or in none.
        let part = strsim::normalized_damerau_levenshtein(&last(key), &last(candidate)) * 0.9;
        whole.max(part)
    };
    // Who stops half-way means a key that goes on so, however long it is.
    let rank = |candidate: &str| likeness(candidate) + f64::from(candidate.starts_with(key));
    let nearest = known.max_by(|a, b| rank(a).total_cmp(&rank(b)));
    nearest.map_or_else(
        || "is not a known key".to_owned(),
        |nearest| format!("is not a known key; the nearest one is {nearest}"),
    )
}
