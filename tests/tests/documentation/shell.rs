//! Shell scripts of the documentation, taken apart into commands: enough for what is written there, no shell.

use std::iter::Peekable;
use std::vec::IntoIter;

/// One simple command: its words, variables set before it included.
pub(crate) type Command = Vec<String>;

/// Every command of a script, those inside `$(…)` included.
pub(crate) fn commands(script: &str) -> Vec<Command> {
    let chars: Vec<char> = script.replace("\\\n", " ").chars().collect();
    let mut reader = Reader { chars: chars.into_iter().peekable(), ..Reader::default() };
    reader.read();
    reader.found
}

struct Reader {
    chars: Peekable<IntoIter<char>>,
    found: Vec<Command>,
    command: Command,
    word: Option<String>,
    quoted: bool,
    /// The next word is a file to read or write.
    redirects: bool,
}

impl Default for Reader {
    fn default() -> Self {
        let chars = Vec::new().into_iter().peekable();
        let (found, command) = (Vec::new(), Command::new());
        Reader { chars, found, command, word: None, quoted: false, redirects: false }
    }
}

impl Reader {
    fn read(&mut self) {
        while let Some(c) = self.chars.next() {
            match c {
                '"' => {
                    self.quoted = !self.quoted;
                    self.word.get_or_insert_default();
                }
                '\\' => self.take_until(|_, taken| taken == 1),
                '$' if self.chars.next_if_eq(&'(').is_some() => self.read_inner(),
                c if self.quoted => self.word.get_or_insert_default().push(c),
                '#' if self.word.is_none() => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '\'' => {
                    self.take_until(|c, _| c == '\'');
                    self.chars.next();
                }
                ' ' | '\t' => self.end_word(),
                '\n' | '|' | ';' | '&' => self.end_command(),
                '>' | '<' => {
                    self.end_word();
                    self.redirects = true;
                }
                c => self.word.get_or_insert_default().push(c),
            }
        }
        self.end_command();
    }

    fn take_until(&mut self, ends: impl Fn(char, usize) -> bool) {
        let word = self.word.get_or_insert_default();
        let mut taken = 0;
        while let Some(c) = self.chars.next_if(|c| !ends(*c, taken)) {
            word.push(c);
            taken += 1;
        }
    }

    fn read_inner(&mut self) {
        let (mut inner, mut depth) = (String::new(), 1);
        for c in self.chars.by_ref() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 {
                break;
            }
            inner.push(c);
        }
        self.found.extend(commands(&inner));
        self.word.get_or_insert_default().push('…');
    }

    fn end_word(&mut self) {
        let word = self.word.take();
        let is_file = word.is_some() && std::mem::take(&mut self.redirects);
        self.command.extend(word.filter(|_| !is_file));
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.command.is_empty() {
            self.found.push(std::mem::take(&mut self.command));
        }
    }
}

#[test]
fn a_script_is_taken_apart_as_a_shell_would() {
    let script = "A=1 slotcast --config 'a b.toml' watch \\\n --date \"$(date -d 'next week' +%F)\" # none\n\
                  curl -si https://x/ > out.txt | head -n 1 && tests/all\n";
    let expected: [&[&str]; 5] = [
        &["date", "-d", "next week", "+%F"],
        &["A=1", "slotcast", "--config", "a b.toml", "watch", "--date", "…"],
        &["curl", "-si", "https://x/"],
        &["head", "-n", "1"],
        &["tests/all"],
    ];
    assert_eq!(commands(script), expected);
}
