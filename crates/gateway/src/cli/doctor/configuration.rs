//! The configuration: what is set, by whom, and what is probably not meant.

use super::report::{Check, DEFAULT, Setting};
use crate::config::{ConfigError, Loaded};

const VALUES: &str = "configuration.values";
const MEANING: &str = "configuration.meaning";

/// The checks of a configuration that is valid.
pub(super) fn checks(loaded: &Loaded) -> Vec<Check> {
    let setting = |entry: crate::config::Entry| Setting {
        key: entry.key,
        value: entry.value,
        origin: entry.origin.unwrap_or_else(|| DEFAULT.to_owned()),
    };
    let settings: Vec<Setting> = loaded.entries().into_iter().map(setting).collect();
    let set = settings.iter().filter(|setting| setting.origin != DEFAULT).count();
    let says = format!(
        "keys that are set: {set}, at their defaults: {} (`slotcast check-config` shows all); storage: {}",
        settings.len() - set,
        loaded.config.storage()
    );
    let mut checks = vec![Check { settings, ..Check::ok(VALUES, says) }];
    let warnings = loaded.warnings();
    if warnings.is_empty() {
        checks.push(Check::ok(MEANING, "nothing that is set contradicts anything else"));
    }
    checks.extend(warnings.into_iter().map(|warning| Check::warning(MEANING, warning)));
    checks
}

/// A configuration that is not usable, a check for each mistake.
pub(super) fn refused(error: &ConfigError) -> Vec<Check> {
    match error {
        ConfigError::Problems(problems) => {
            problems.iter().map(|problem| Check::failed(VALUES, problem.to_string())).collect()
        }
        ConfigError::File { .. } => vec![Check::failed(VALUES, error.to_string())],
    }
}
