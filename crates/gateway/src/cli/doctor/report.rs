//! What the doctor found, for eyes and for programs. Filled by the other modules, printed by `run`.
//! Invariant: whatever is not well comes with one sentence, and with what to paste where that helps.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::config::command_line;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works; something is probably not meant, or worse than it could be.
    Warning,
    /// It does not work, or a promise is not kept.
    Failed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        }
    }
}

/// slotcast's own configuration, whatever the file is called.
const SLOTCAST_TOML: &str = "slotcast.toml";

/// What mends something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Paste {
    /// Where it belongs.
    into: Cow<'static, str>,
    /// The lines.
    text: String,
}

/// slotcast's own configuration.
pub(super) fn slotcast_toml(text: impl Into<String>) -> Paste {
    Paste { into: SLOTCAST_TOML.into(), text: text.into() }
}

/// The server's configuration; needs a restart, or `CONFIG SET`.
pub(super) fn redis_conf(text: impl Into<String>) -> Paste {
    Paste { into: "redis.conf".into(), text: text.into() }
}

/// Commands for an administrator of Redis.
pub(super) fn redis_cli(text: impl Into<String>) -> Paste {
    Paste { into: "redis-cli, as an administrator".into(), text: text.into() }
}

/// Statements for an administrator of the database.
pub(super) fn sql(text: impl Into<String>) -> Paste {
    Paste { into: "mysql, as an administrator".into(), text: text.into() }
}

/// The database server's configuration.
pub(super) fn my_cnf(text: impl Into<String>) -> Paste {
    Paste { into: "my.cnf, under [mysqld]".into(), text: text.into() }
}

/// The web server in front; other ones have the same by other names.
pub(super) fn nginx(text: impl Into<String>) -> Paste {
    Paste { into: "nginx, in the location of /ws".into(), text: text.into() }
}

/// WordPress' configuration, for the Redis Object Cache plugin.
pub(super) fn wp_config(text: impl Into<String>) -> Paste {
    Paste { into: "wp-config.php".into(), text: text.into() }
}

/// A command for this machine.
pub(super) fn shell(text: impl Into<String>) -> Paste {
    Paste { into: "a shell".into(), text: text.into() }
}

/// Whether a server's program runs, and why not.
pub(super) fn is_it_running(service: &str) -> Paste {
    shell(format!(
        "systemctl status {service}   # is it running?\njournalctl -u {service} -n 50   # if not, why"
    ))
}

/// A key of the configuration, with where its value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    /// `section.key`.
    pub(super) key: String,
    /// As TOML writes it, secrets masked; `None` = not set.
    pub(super) value: Option<String>,
    /// The file, variable or argument; `default` where none of them.
    pub(super) origin: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// `part.thing`: stable, for programs.
    pub(super) check: &'static str,
    /// How it is.
    pub(super) verdict: Verdict,
    /// One plain sentence.
    pub(super) says: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) paste: Option<Paste>,
    /// Of the check of the configuration alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) settings: Vec<Setting>,
}

impl Check {
    pub(super) fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, says: says.into(), paste: None, settings: Vec::new() }
    }

    pub(super) fn warning(check: &'static str, says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, ..Self::ok(check, says) }
    }

    pub(super) fn failed(check: &'static str, says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::ok(check, says) }
    }

    pub(super) fn paste(self, paste: Paste) -> Self {
        Self { paste: Some(paste), ..self }
    }
}

/// Prints checks for eyes, under the heading of their part.
pub(super) fn print(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    const INDENT: &str = "           ";
    let mut part = "";
    for check in checks {
        let (of, thing) = check.check.split_once('.').unwrap_or((check.check, ""));
        if of != part {
            writeln!(out, "{of}")?;
            part = of;
        }
        writeln!(out, "  {:<8} {thing}: {}", check.verdict.word(), plain(&check.says))?;
        for setting in check.settings.iter().filter(|setting| setting.origin != DEFAULT) {
            let value = setting.value.as_deref().unwrap_or("not set");
            writeln!(out, "{INDENT}{} = {}   (from {})", setting.key, plain(value), setting.origin)?;
        }
        if let Some(paste) = &check.paste {
            writeln!(out, "{INDENT}paste into {}:", paste.into)?;
            for line in paste.text.lines() {
                writeln!(out, "{INDENT}    {}", plain(line))?;
            }
        }
    }
    out.flush()
}

/// Names the place of each line for slotcast's own configuration: what the environment says is above the
/// file.
pub(super) fn say_where<'a>(checks: &mut [Check], origin: impl Fn(&str) -> Option<&'a str>) {
    for paste in checks.iter_mut().filter_map(|check| check.paste.as_mut()) {
        if paste.into != SLOTCAST_TOML {
            continue;
        }
        let mut section = "";
        for line in paste.text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
            } else if let Some((key, _)) = line.split_once(" = ")
                && let Some(origin) = origin(&format!("{section}.{key}"))
            {
                paste.into = if Path::new(origin).is_file() {
                    origin.to_owned().into()
                } else {
                    format!("{SLOTCAST_TOML}, but {origin} is set and overrides it: change it there").into()
                };
            }
        }
    }
}

/// Has slotcast's own commands read the file that was read here.
pub(super) fn say_config(checks: &mut [Check], file: &Path) {
    for paste in checks.iter_mut().filter_map(|check| check.paste.as_mut()) {
        for command in ["migrate", "doctor"] {
            let bare = command_line(command, None);
            paste.text = paste.text.replace(&bare, &command_line(command, Some(file)));
        }
    }
}

/// The origin of what nobody set.
pub(super) const DEFAULT: &str = "default";

/// What servers said stands there too, and our output may be a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Prints checks as a JSON array.
pub(super) fn print_json(checks: &[Check], out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, checks)?;
    writeln!(out)?;
    out.flush()
}

/// `12 ok, 1 warning, 0 FAILED`.
pub(super) fn summary(checks: &[Check]) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (ok, warnings, failed) = (count(Verdict::Ok), count(Verdict::Warning), count(Verdict::Failed));
    let plural = if warnings == 1 { "" } else { "s" };
    format!("{ok} ok, {warnings} warning{plural}, {failed} FAILED")
}

/// The worst of all.
pub(super) fn worst(checks: &[Check]) -> Verdict {
    let has = |verdict| checks.iter().any(|check| check.verdict == verdict);
    match (has(Verdict::Failed), has(Verdict::Warning)) {
        (true, _) => Verdict::Failed,
        (false, true) => Verdict::Warning,
        (false, false) => Verdict::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        let setting = |key: &str, origin: &str| Setting {
            key: key.to_owned(),
            value: Some("5".to_owned()),
            origin: origin.to_owned(),
        };
        let settings = vec![setting("slots.coalesce_ms", "a.toml"), setting("slots.horizon_days", DEFAULT)];
        vec![
            Check { settings, ..Check::ok("configuration.values", "one key is set") },
            Check::failed("redis.eviction", "holds\nmay go").paste(redis_conf("maxmemory-policy noeviction")),
        ]
    }

    #[test]
    fn eyes_get_a_line_a_check_and_what_to_paste() {
        let mut out = Vec::new();
        print(&checks(), &mut out).unwrap();
        let expected = "\
configuration
  ok       values: one key is set
           slots.coalesce_ms = 5   (from a.toml)
redis
  FAILED   eviction: holds may go
           paste into redis.conf:
               maxmemory-policy noeviction
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(summary(&checks()), "1 ok, 0 warnings, 1 FAILED");
    }

    #[test]
    fn programs_get_an_array_with_all_settings() {
        let mut out = Vec::new();
        print_json(&checks(), &mut out).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json[0]["settings"][1]["origin"], "default");
        assert_eq!(json[1]["verdict"], "failed");
        assert_eq!(json[1]["paste"]["text"], "maxmemory-policy noeviction");
        assert_eq!(json[0].get("paste"), None);
    }

    #[test]
    fn lines_for_slotcast_go_where_their_value_came_from() {
        let place = |origin: Option<&'static str>| {
            let paste = slotcast_toml("[redis]\nurl = \"redis://a\"   # b");
            let mut checks = vec![Check::failed("a.b", "c").paste(paste)];
            say_where(&mut checks, |key| origin.filter(|_| key == "redis.url"));
            checks.remove(0).paste.unwrap().into
        };
        assert_eq!(place(None), "slotcast.toml");
        assert_eq!(place(Some("Cargo.toml")), "Cargo.toml");
        let overridden = "slotcast.toml, but SLOTCAST_REDIS_URL is set and overrides it: change it there";
        assert_eq!(place(Some("SLOTCAST_REDIS_URL")), overridden);
    }

    #[test]
    fn commands_read_the_file_that_was_read_here() {
        let mut checks = vec![Check::failed("a.b", "c").paste(shell("slotcast migrate   # a"))];
        say_config(&mut checks, Path::new("/etc/slotcast.toml"));
        let told = &checks[0].paste.as_ref().unwrap().text;
        assert_eq!(told, "slotcast migrate --config /etc/slotcast.toml   # a");
    }

    #[test]
    fn the_worst_counts() {
        let warning = Check::warning("a.b", "c");
        assert_eq!(worst(&[Check::ok("a.b", "c")]), Verdict::Ok);
        assert_eq!(worst(&[Check::ok("a.b", "c"), warning.clone()]), Verdict::Warning);
        assert_eq!(worst(&[Check::failed("a.b", "c"), warning]), Verdict::Failed);
    }
}
