//! From built-in defaults, file, environment and arguments to one valid `Config`, in this order of strength.
//! Called by `cli`. Invariant: every value's source stays known, all problems are reported at once, and none of them shows
//! a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{ConfigBuilder, FileFormat, Value, ValueKind};
use serde_json::Value as Json;

use super::Config;
use super::problem::{ConfigError, Problem, shown, unknown_key};

/// Where values come from besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// The process' environment, or a test's.
    pub environment: Vec<(OsString, OsString)>,
}

/// A valid configuration that still knows where each value came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    origins: BTreeMap<String, String>,
}

/// One key with its value in use, for printing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `section.key`.
    pub key: String,
    /// The value as TOML would write it, secrets masked; `None` = not set.
    pub value: Option<String>,
    /// The file, variable or argument that set it; `None` = the default.
    pub origin: Option<String>,
}

impl Loaded {
    /// What set `key` (`section.key`): a file's path, `SLOTCAST_…` or `--listen`; `None` where the default stands.
    pub fn origin(&self, key: &str) -> Option<&str> {
        self.origins.get(key).map(String::as_str)
    }

    /// Every key with the value in use, section by section.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(key, value): (String, Json)| {
            let origin = self.origins.get(&key).cloned();
            Entry { value: (!value.is_null()).then(|| value.to_string()), key, origin }
        };
        keys_of(&self.config).into_iter().map(entry).collect()
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings();
        let defaults = keys_of(&Config::default());
        for (key, value) in keys_of(&self.config).into_iter().filter(|(key, _)| key.starts_with("mysql.")) {
            if self.config.mysql.url.is_none() && !defaults.contains(&(key.clone(), value)) {
                warnings.push(format!("{key} has no effect: no mysql.url is set"));
            }
        }
        warnings
    }
}

/// Reads every source and checks the outcome.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let file = match &sources.file {
        Some(path) => Some((path.display().to_string(), read_file(path)?)),
        None => None,
    };
    put_together(file, sources)
}

/// As [`load`], of a file with this text alone.
#[cfg(any(test, fuzzing))]
pub(crate) fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let path = Path::new("text");
    put_together(Some(("text".to_owned(), read_text(path, text)?)), &Sources::default())
}

fn put_together(
    file: Option<(String, Vec<(String, ValueKind)>)>,
    sources: &Sources,
) -> Result<Loaded, ConfigError> {
    let known: BTreeMap<String, Json> = keys_of(&Config::default()).into_iter().collect();
    let mut problems = Vec::new();
    let mut given: BTreeMap<String, Given> = BTreeMap::new();

    if let Some((origin, values)) = file {
        for (key, value) in values {
            let origin = origin.clone();
            if known.contains_key(&key) {
                given.insert(key, Given { value, origin });
            } else {
                let advice = unknown_key(&key, known.keys());
                problems.push(Problem { key, value: None, origin: Some(origin), advice });
            }
        }
    }
    read_environment(&sources.environment, &known, &mut given, &mut problems);
    if let Some(listen) = &sources.listen {
        let value = ValueKind::String(listen.clone());
        given.insert("server.listen".to_owned(), Given { value, origin: "--listen".to_owned() });
    }

    // Each value is tried alone above the defaults, so that every wrong one is found, not only the first.
    given.retain(|key, setting| match misfit(key, setting, &known[key]) {
        None => true,
        Some(advice) => {
            let value = Some(shown(key, &setting.value));
            problems.push(Problem { key: key.clone(), value, origin: Some(setting.origin.clone()), advice });
            false
        }
    });
    let config = build(&given).map_err(|error| {
        let advice = error.to_string();
        ConfigError::Problems(vec![Problem {
            key: "configuration".to_owned(),
            value: None,
            origin: None,
            advice,
        }])
    })?;
    let origins = given.into_iter().map(|(key, setting)| (key, setting.origin)).collect();
    let loaded = Loaded { config, origins };
    for mut problem in loaded.config.problems() {
        problem.origin = loaded.origin(&problem.key).map(str::to_owned);
        problems.push(problem);
    }
    if problems.is_empty() { Ok(loaded) } else { Err(ConfigError::Problems(problems)) }
}

/// Every key of a configuration with its value, secrets masked, in the order of the sections.
pub(super) fn keys_of(config: &Config) -> Vec<(String, Json)> {
    const SECTIONS: [&str; 7] = ["server", "redis", "mysql", "slots", "legacy", "security", "log"];
    let Ok(Json::Object(mut sections)) = serde_json::to_value(config) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    for section in SECTIONS {
        if let Some(Json::Object(values)) = sections.remove(section) {
            keys.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
        }
    }
    keys
}

struct Given {
    value: ValueKind,
    origin: String,
}

fn read_file(path: &Path) -> Result<Vec<(String, ValueKind)>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        reason: format!("cannot be read: {error}"),
    })?;
    read_text(path, &text)
}

fn read_text(path: &Path, text: &str) -> Result<Vec<(String, ValueKind)>, ConfigError> {
    let file = config::File::from_str(text, FileFormat::Toml);
    let parsed = ConfigBuilder::<DefaultState>::default().add_source(file).build().map_err(|error| {
        ConfigError::File { path: path.to_owned(), reason: without_excerpt(&error.to_string()) }
    })?;
    let mut found = Vec::new();
    flatten("", parsed.cache, &mut found);
    Ok(found)
}

/// The parser's message without the quoted lines of the file: one of them may hold a password.
fn without_excerpt(message: &str) -> String {
    let is_excerpt = |line: &str| {
        line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|')
    };
    message.lines().filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join(" ")
}

fn flatten(path: &str, value: Value, found: &mut Vec<(String, ValueKind)>) {
    match value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(&path, value, found);
            }
        }
        kind => found.push((path.to_owned(), kind)),
    }
}

fn read_environment(
    environment: &[(OsString, OsString)],
    known: &BTreeMap<String, Json>,
    given: &mut BTreeMap<String, Given>,
    problems: &mut Vec<Problem>,
) {
    const PREFIX: &str = "SLOTCAST_";
    let names: BTreeMap<String, &String> = known
        .keys()
        .map(|key| (format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase()), key))
        .collect();
    let in_kubernetes = environment.iter().any(|(name, _)| name == "KUBERNETES_SERVICE_HOST");
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        // Kubernetes puts these into every pod beside a service that happens to be called "slotcast".
        if in_kubernetes && (name.starts_with("SLOTCAST_SERVICE_") || name.starts_with("SLOTCAST_PORT")) {
            continue;
        }
        // Tests of bookings set it: see `fail_point` of slot-state, which is nothing in other builds.
        if cfg!(debug_assertions) && name == "SLOTCAST_FAIL_POINT" {
            continue;
        }
        let mut refuse = |advice: String| {
            problems.push(Problem { key: name.to_owned(), value: None, origin: None, advice });
        };
        if name == "SLOTCAST_CONFIG" {
            refuse("is not read: use --config to name the file".to_owned());
            continue;
        }
        let Some(key) = names.get(name) else {
            refuse(unknown_key(name, names.keys()));
            continue;
        };
        let Some(text) = value.to_str() else {
            refuse("is not valid UTF-8".to_owned());
            continue;
        };
        if text.is_empty() {
            continue;
        }
        let value = if known[*key].is_array() {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            ValueKind::Array(items.map(Value::from).collect())
        } else {
            ValueKind::String(text.trim().to_owned())
        };
        given.insert((*key).clone(), Given { value, origin: name.to_owned() });
    }
}

/// Why a value does not fit its key, as advice; `None` = it fits.
fn misfit(key: &str, setting: &Given, default: &Json) -> Option<String> {
    // The conversions of `config` would round 1.5 to 2 and read `true` as 1.
    let fits = match default {
        Json::Number(_) => !matches!(setting.value, ValueKind::Float(_) | ValueKind::Boolean(_)),
        Json::Bool(_) => matches!(setting.value, ValueKind::Boolean(_) | ValueKind::String(_)),
        Json::Array(_) => matches!(setting.value, ValueKind::Array(_)),
        _ => matches!(setting.value, ValueKind::String(_)),
    };
    let expected = match default {
        Json::Number(_) => "write a whole number, 0 or larger",
        Json::Bool(_) => "write true or false",
        Json::Array(_) => "write a list, as [\"one\", \"two\"]",
        _ => "write a text in quotes",
    };
    if !fits {
        return Some(expected.to_owned());
    }
    let alone = BTreeMap::from([(
        key.to_owned(),
        Given { value: setting.value.clone(), origin: setting.origin.clone() },
    )]);
    let reason = innermost(build(&alone).err()?);
    Some(reason.unwrap_or_else(|| expected.to_owned()))
}

/// The text of our own parsers; `None` for errors of conversion, whose text would quote the value.
fn innermost(error: config::ConfigError) -> Option<String> {
    match error {
        config::ConfigError::At { error, .. } => innermost(*error),
        config::ConfigError::Message(text) => Some(text),
        _ => None,
    }
}

fn build(given: &BTreeMap<String, Given>) -> Result<Config, config::ConfigError> {
    let mut builder = config::Config::builder();
    for (key, setting) in given {
        builder = builder.set_override(key, setting.value.clone())?;
    }
    builder.build()?.try_deserialize()
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
