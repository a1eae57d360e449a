//! What somebody types to have a command of slotcast read the configuration that is read here.
//! Said by `cli::doctor` and `dashboard`. Invariant: a shell takes it as it stands.

use std::path::Path;

/// `slotcast`, the command with its options, and the file if there is one.
pub fn command_line(command: &str, file: Option<&Path>) -> String {
    let Some(file) = file else { return format!("slotcast {command}") };
    let words = file.display().to_string();
    let is_plain = words.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-+".contains(letter));
    let word = if is_plain { words } else { format!("'{}'", words.replace('\'', r"'\''")) };
    format!("slotcast {command} --config {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_as_a_shell_reads_it() {
        assert_eq!(command_line("doctor", None), "slotcast doctor");
        for (file, expected) in [
            ("/etc/slotcast/slotcast.toml", "slotcast doctor --config /etc/slotcast/slotcast.toml"),
            ("it's mine.toml", r"slotcast doctor --config 'it'\''s mine.toml'"),
        ] {
            assert_eq!(command_line("doctor", Some(Path::new(file))), expected);
        }
    }
}
