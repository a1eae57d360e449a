//! Every command line of the documentation can be typed: the program is known, so are its commands and options,
//! and the files of the repository that it names are there.

use std::collections::BTreeMap;
use std::process::Stdio;

use support::run_slotcast;
use tokio::io::AsyncWriteExt;

use super::pages::{blocks, pages, repository};
use super::shell::{Command, commands};

/// Programs of others; what they take is theirs to say.
const OTHERS: [&str; 12] = [
    "curl",
    "date",
    "head",
    "install",
    "mariadb-dump",
    "openssl",
    "pidof",
    "redis-cli",
    "systemctl",
    "useradd",
    "loadgen",
    "target/release/loadgen",
];

/// What `--help` of the program and of each command tells: options, and whether they want a value.
struct Slotcast {
    of: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Slotcast {
    async fn ask() -> Self {
        let help = help_of(&[]).await;
        let listed = help.split_once("Commands:").expect("a list of commands").1;
        let listed = listed.split_once("Options:").expect("a list of options").0;
        let names = listed.lines().filter_map(|line| {
            let name = line.strip_prefix("  ")?.split(' ').next()?;
            (!name.is_empty() && name != "help").then(|| name.to_owned())
        });
        let mut of = BTreeMap::from([(String::new(), options(&help))]);
        for name in names {
            let help = help_of(&[&name]).await;
            of.insert(name, options(&help));
        }
        assert!(of.len() >= 9, "{:?}", of.keys());
        Slotcast { of }
    }

    /// What is wrong with these arguments.
    fn complaint(&self, arguments: &[String]) -> Option<String> {
        let mut command = "";
        let mut given = Vec::new();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix("--") else {
                if !command.is_empty() || !self.of.contains_key(argument) {
                    return Some(format!("{argument:?} is no command"));
                }
                command = argument;
                continue;
            };
            let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
            given.push(name);
            let wants = self.of.values().any(|options| options.get(name) == Some(&true));
            if wants && value.is_none() && arguments.next().is_none() {
                return Some(format!("--{name} wants a value"));
            }
        }
        let known = &self.of[command];
        let unknown = given.into_iter().find(|name| !known.contains_key(*name));
        unknown.map(|name| format!("--{name} is no option of slotcast {command}"))
    }
}

async fn help_of(command: &[&str]) -> String {
    let output = run_slotcast(&[command, &["--help"]].concat(), &[]).await;
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The options in a help text.
fn options(help: &str) -> BTreeMap<String, bool> {
    let lines =
        help.lines().filter_map(|line| line.trim_start().split_once("--").filter(|_| line.starts_with("  ")));
    let options = lines.filter_map(|(before, option)| {
        let name: String = option.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
        let begins = before.is_empty() || before.ends_with(", ");
        (begins && !name.is_empty()).then(|| (name.clone(), option[name.len()..].starts_with(" <")))
    });
    options.collect()
}

/// What is wrong with a command of the documentation.
fn complaint(slotcast: &Slotcast, command: &Command) -> Option<String> {
    let is_variable = |word: &&String| {
        word.split_once('=').is_some_and(|(name, _)| {
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') && !name.is_empty()
        })
    };
    let words: Vec<String> = command.iter().skip_while(is_variable).cloned().collect();
    let (program, arguments) = words.split_first()?;
    let lost = arguments.iter().find(|word| {
        ["tests/", "crates/", "config/"].iter().any(|folder| word.starts_with(folder))
            && !repository().join(word).exists()
    });
    if let Some(lost) = lost {
        return Some(format!("{lost} is not there"));
    }
    match &**program {
        "slotcast" | "./slotcast" => slotcast.complaint(arguments),
        "cargo" => cargo(slotcast, arguments),
        "loadgen" | "target/release/loadgen" => {
            let known = source("crates/loadgen/src/cli.rs");
            let fields: Vec<&str> = long_options(arguments).collect();
            let is_known = |name: &str| {
                known.contains(&format!("pub {}:", name.replace('-', "_")))
                    || known.contains(&format!("long = \"{name}\""))
            };
            fields
                .into_iter()
                .find(|name| !is_known(name))
                .map(|name| format!("--{name} is no option of loadgen"))
        }
        script if script.starts_with("tests/") => {
            let Ok(text) = std::fs::read_to_string(repository().join(script)) else {
                return Some(format!("{script} is not there"));
            };
            let is_known = |name: &&str| text.contains(&format!("--{name})"));
            let unknown = long_options(arguments).find(|name| !is_known(name) && *name != "help");
            unknown.map(|name| format!("--{name} is no option of {script}"))
        }
        other => (!OTHERS.contains(&other)).then(|| format!("{other} is not known here")),
    }
}

fn cargo(slotcast: &Slotcast, arguments: &[String]) -> Option<String> {
    let parted = arguments.iter().position(|word| word == "--");
    let (own, passed) = arguments.split_at(parted.unwrap_or(arguments.len()));
    match own.first().map(String::as_str) {
        Some("run") => slotcast.complaint(passed.get(1..).unwrap_or_default()),
        Some("test" | "build" | "doc" | "fmt" | "clippy") => {
            let after = |option: &str| own.iter().skip_while(move |word| *word != option).nth(1);
            let targets = ["tests/Cargo.toml", "crates/slot-state/Cargo.toml"].map(source).concat();
            let exists = |name: &String| targets.contains(&format!("[[test]]\nname = \"{name}\""));
            let lost = after("--test").filter(|name| !exists(name));
            let packages = ["slotcast-gateway", "slot-state", "slotcast-tests", "loadgen"];
            let stranger = after("-p").filter(|name| !packages.contains(&name.as_str()));
            lost.or(stranger).map(|name| format!("cargo knows no {name}"))
        }
        other => Some(format!("cargo {other:?} is not known here")),
    }
}

fn long_options(arguments: &[String]) -> impl Iterator<Item = &str> {
    arguments.iter().filter_map(|word| word.strip_prefix("--")).filter(|name| !name.is_empty())
}

fn source(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect("a source file")
}

#[tokio::test]
async fn every_command_line_can_be_typed() {
    let slotcast = Slotcast::ask().await;
    let scripts = blocks(&["sh"]);
    assert!(scripts.len() >= 10, "{} scripts", scripts.len());
    let mut wrong = Vec::new();
    let mut look = |place: &str, script: &str| {
        for command in commands(script) {
            wrong.extend(complaint(&slotcast, &command).map(|why| format!("{place}: {why}: {command:?}")));
        }
    };
    for script in &scripts {
        look(&script.place, &script.text);
    }
    for page in pages() {
        for (line, code) in page.code() {
            let begins = ["slotcast --", "cargo ", "tests/"].iter().any(|word| code.starts_with(word));
            let names_command = code.strip_prefix("slotcast ").is_some_and(|rest| !rest.contains(['=', '"']));
            if (begins && code.contains(' ')) || names_command {
                look(&format!("{}:{line}", page.path.display()), &code.replace(['[', ']'], " "));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_script_is_one_for_bash() {
    for script in blocks(&["sh"]) {
        let mut bash = tokio::process::Command::new("bash");
        let mut bash = bash.arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
        let mut input = bash.stdin.take().expect("a pipe");
        input.write_all(script.text.as_bytes()).await.expect("bash reads");
        drop(input);
        let said = bash.wait_with_output().await.expect("bash ends");
        assert!(said.status.success(), "{}: {}", script.place, String::from_utf8_lossy(&said.stderr));
    }
}

#[tokio::test]
async fn an_option_that_does_not_exist_would_be_found() {
    let slotcast = Slotcast::ask().await;
    for (line, is_right) in [
        ("slotcast doctor --quick --url wss://a/ws", true),
        ("slotcast --config a.toml status --watch", true),
        ("slotcast doctor --hurry", false),
        ("slotcast migrate --watch", false),
        ("slotcast sevre", false),
        ("slotcast watch --url", false),
        ("cargo run --release -- watch --date 2026-12-01", true),
        ("cargo run --release -- watch --day 2026-12-01", false),
        ("tests/bench --rounds 1", true),
        ("tests/bench --laps 1", false),
        ("tests/nothing", false),
        ("loadgen fanout --subscribers 1", true),
        ("loadgen fanout --subscribes 1", false),
        ("cargo test -p slotcast-tests --test nothing", false),
        ("slotcats", false),
    ] {
        let found: Vec<_> =
            commands(line).iter().filter_map(|command| complaint(&slotcast, command)).collect();
        assert_eq!(found.is_empty(), is_right, "{line}: {found:?}");
    }
}
