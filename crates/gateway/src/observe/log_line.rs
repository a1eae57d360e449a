//! One event as one line: flat JSON for machines, or text for eyes.
//! Used by `logging` alone. Invariant: no field's content can end the line, or steer a terminal.

use std::error::Error;
use std::fmt::{self, Write};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The code of events that carry none: other libraries' own; they also get a `target`.
const NO_CODE: &str = "log";
/// Names every line has; a field of the same name gets a `_` behind it.
const RESERVED: [&str; 3] = ["timestamp", "level", "target"];

/// Builds lines, reusing its buffers.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: String,
    parts: Parts,
}

impl Line {
    /// `{"timestamp":…,"level":…,"event":…,"message":…,fields}` and a line feed.
    pub(super) fn json(&mut self, event: &Event<'_>) -> &str {
        self.parts.take(event, Style::Json);
        let metadata = event.metadata();
        self.text.clear();
        let text = &mut self.text;
        push(text, format_args!("{{\"timestamp\":\"{:.3}\",", Timestamp::now()));
        push(text, format_args!("\"level\":\"{}\",\"event\":", level_name(*metadata.level())));
        let code = self.parts.code.as_str();
        push_json(text, if code.is_empty() { NO_CODE } else { code });
        if code.is_empty() {
            text.push_str(",\"target\":");
            push_json(text, metadata.target());
        }
        if !self.parts.message.is_empty() {
            text.push_str(",\"message\":");
            push_json(text, &self.parts.message);
        }
        text.push_str(&self.parts.rest);
        text.push_str("}\n");
        text
    }

    /// `2026-11-02 12:34:56.789 INFO  event message key=value …`
    pub(super) fn pretty(&mut self, event: &Event<'_>, colours: bool) -> &str {
        self.parts.take(event, if colours { Style::Coloured } else { Style::Plain });
        let metadata = event.metadata();
        let (bold, plain) = if colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let (colour, name) = match *metadata.level() {
            Level::ERROR => ("\x1b[31m", "ERROR"),
            Level::WARN => ("\x1b[33m", "WARN "),
            Level::INFO => ("\x1b[32m", "INFO "),
            Level::DEBUG => ("\x1b[34m", "DEBUG"),
            Level::TRACE => ("\x1b[35m", "TRACE"),
        };
        let colour = if colours { colour } else { "" };
        let code = self.parts.code.as_str();
        let code = if code.is_empty() { metadata.target() } else { code };
        let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3f");
        self.text.clear();
        push(&mut self.text, format_args!("{now} {colour}{name}{plain} {bold}"));
        push_visible(&mut self.text, code);
        self.text.push_str(plain);
        if !self.parts.message.is_empty() {
            self.text.push(' ');
            push_visible(&mut self.text, &self.parts.message);
        }
        self.text.push_str(&self.parts.rest);
        self.text.push('\n');
        &self.text
    }

    /// Gives back what a long line has grown.
    pub(super) fn shrink_to(&mut self, kept: usize) {
        let Parts { code, message, rest, scratch, .. } = &mut self.parts;
        for buffer in [&mut self.text, code, message, rest, scratch] {
            if buffer.capacity() > kept {
                *buffer = String::new();
            }
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Style {
    #[default]
    Json,
    Plain,
    Coloured,
}

/// An event taken apart: its code, its message, and all other fields already in the line's style.
#[derive(Debug, Default)]
struct Parts {
    style: Style,
    code: String,
    message: String,
    rest: String,
    scratch: String,
}

impl Parts {
    fn take(&mut self, event: &Event<'_>, style: Style) {
        self.style = style;
        for buffer in [&mut self.code, &mut self.message, &mut self.rest] {
            buffer.clear();
        }
        event.record(self);
    }

    fn push_name(&mut self, name: &str) {
        let mark = if RESERVED.contains(&name) { "_" } else { "" };
        match self.style {
            Style::Json => {
                self.rest.push(',');
                push_json(&mut self.rest, name);
                if !mark.is_empty() {
                    self.rest.insert_str(self.rest.len() - 1, mark);
                }
                self.rest.push(':');
            }
            Style::Plain => push(&mut self.rest, format_args!(" {name}=")),
            Style::Coloured => push(&mut self.rest, format_args!(" \x1b[2m{name}=\x1b[0m")),
        }
    }

    fn push_text(&mut self, name: &str, value: &str) {
        match name {
            "event" => value.clone_into(&mut self.code),
            "message" => value.clone_into(&mut self.message),
            _ => {
                self.push_name(name);
                match self.style {
                    Style::Json => push_json(&mut self.rest, value),
                    Style::Plain | Style::Coloured if value.is_empty() || value.contains([' ', '"', '=']) => {
                        push_json(&mut self.rest, value);
                    }
                    Style::Plain | Style::Coloured => push_visible(&mut self.rest, value),
                }
            }
        }
    }

    fn push_formatted(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        push(&mut scratch, value);
        self.push_text(name, &scratch);
        self.scratch = scratch;
    }

    /// Numbers and truth values, which JSON writes bare.
    fn push_bare(&mut self, name: &str, value: impl fmt::Display) {
        if name == "event" || name == "message" {
            return self.push_formatted(name, format_args!("{value}"));
        }
        self.push_name(name);
        push(&mut self.rest, format_args!("{value}"));
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_formatted(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            push(&mut text, format_args!(": {error}"));
            cause = error.source();
        }
        self.push_text(field.name(), &text);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.push_bare(field.name(), value);
        } else {
            // JSON has no word for it.
            self.push_bare(field.name(), "null");
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push_bare(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push_bare(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push_bare(field.name(), value);
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Formats onto `text`. A `Display` that fails leaves what it wrote: half a field is better than no line.
fn push(text: &mut String, value: fmt::Arguments<'_>) {
    let _ = text.write_fmt(value);
}

/// What could end a line for some reader, or steer a terminal: C0, DEL, C1, and the Unicode line ends and direction marks.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_json(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if is_unsafe(c) => push(text, format_args!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

fn push_visible(text: &mut String, value: &str) {
    for c in value.chars() {
        if is_unsafe(c) {
            push(text, format_args!("{}", c.escape_default()));
        } else {
            text.push(c);
        }
    }
}
