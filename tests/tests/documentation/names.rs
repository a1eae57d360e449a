//! Names in the prose exist: configuration keys, variables, metrics, files, and every snake_case word.

use std::collections::BTreeSet;

use support::run_slotcast;

use super::pages::{pages, repository};
use super::source::{metrics, sources};

/// Variables that are no configuration keys: WordPress' constants and the tests' own.
const OTHER_VARIABLES: [&str; 4] = ["SLOTCAST_KEY", "SLOTCAST_URL", "SLOTCAST_BIN", "SLOTCAST_FUZZ_SEED"];
/// Words that look like a key of a section.
const FILES: [&str; 2] = ["redis.conf", "slotcast.toml"];
/// Words of other programs, which our own code does not name.
const FOREIGN: [&str; 2] = ["log_bin", "max_connections"];

/// Every key, as `check-config` prints it.
async fn keys() -> BTreeSet<String> {
    let output = run_slotcast(&["check-config"], &[]).await;
    let printed = String::from_utf8(output.stdout).expect("text");
    let (mut keys, mut section) = (BTreeSet::new(), "");
    for line in printed.lines() {
        let set = line.split_once(" = ").map(|(key, _)| key);
        let unset = line.strip_prefix("# ").and_then(|line| line.strip_suffix(" is not set"));
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some(key) = unset.or(set.filter(|key| !key.starts_with('#'))) {
            keys.insert(format!("{section}.{key}"));
        }
    }
    assert!(keys.len() >= 38, "{keys:?}");
    keys
}

fn is_snake_case(word: &str) -> bool {
    word.contains('_')
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !word.starts_with('_')
        && !word.ends_with('_')
}

#[tokio::test]
async fn every_configuration_key_and_variable_exists() {
    let keys = keys().await;
    let variables: BTreeSet<String> =
        keys.iter().map(|key| format!("SLOTCAST_{}", key.replace('.', "_").to_uppercase())).collect();
    let sections: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let checks = sources("crates/gateway/src/cli/doctor", "rs").concat();
    let mut wrong = Vec::new();
    for page in pages() {
        for (line, code) in page.code() {
            let word = code.split([' ', '=']).next().unwrap_or_default();
            let names_a_key = word.split_once('.').is_some_and(|(section, key)| {
                sections.contains(section)
                    && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            });
            let is_a_check = checks.contains(&format!("\"{word}\""));
            if names_a_key && !keys.contains(word) && !is_a_check && !FILES.contains(&word) {
                wrong.push(format!("{}:{line}: {word}", page.path.display()));
            }
        }
        let blocks: String = page.blocks.iter().map(|block| block.text.as_str()).collect();
        for after in [&page.prose, &blocks].iter().flat_map(|text| text.split("SLOTCAST_").skip(1)) {
            let name: String = after.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let variable = format!("SLOTCAST_{}", name.trim_end_matches('_'));
            let is_known = variables.contains(&variable) || OTHER_VARIABLES.contains(&&*variable);
            if !name.is_empty() && !is_known {
                wrong.push(format!("{}: {variable}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no such key, check or variable:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_metric_exists() {
    let metrics = metrics().await;
    let others = ["crates/slot-state/src/mysql", "crates/gateway/src/protocol"];
    let others: String = others.iter().flat_map(|folder| sources(folder, "rs")).collect();
    let mut wrong = Vec::new();
    for page in pages() {
        for (line, code) in page.code() {
            let name = code.split('{').next().unwrap_or_default();
            let is_metric = is_snake_case(name) && name.starts_with("slotcast_");
            // Columns, keys of the database and fields of requests have such names too.
            if is_metric && !metrics.contains_key(name) && !others.contains(name) {
                wrong.push(format!("{}:{line}: {name}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no such metric:\n{}", wrong.join("\n"));
}

#[test]
fn every_snake_case_word_and_every_file_is_in_the_code() {
    let code = ["rs", "lua", "js", "ts", "php", "toml", "conf", "sql"];
    let code: String = ["crates", "config", "tests"]
        .iter()
        .flat_map(|folder| code.iter().flat_map(|extension| sources(folder, extension)))
        .collect();
    let words: BTreeSet<&str> = code
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| is_snake_case(word))
        .collect();
    let mut wrong = Vec::new();
    for page in pages() {
        for (line, code) in page.code() {
            let mut wrong_if = |is_wrong: bool| {
                if is_wrong {
                    wrong.push(format!("{}:{line}: {code}", page.path.display()));
                }
            };
            // Behind the site's prefix, or in the code without the tables' common beginning.
            let tail = code.trim_start_matches("appointease_");
            let is_metric = code.starts_with("slotcast_");
            let is_known =
                is_metric || words.contains(&*code) || words.contains(tail) || FOREIGN.contains(&&*code);
            wrong_if(is_snake_case(&code) && !is_known);
            let is_path = ["crates/", "config/", "tests/"].iter().any(|folder| code.starts_with(folder));
            let path = code.split([' ', '*']).next().unwrap_or_default();
            let whole = if code.contains('*') {
                path.rsplit_once('/').map_or("", |(folder, _)| folder)
            } else {
                path
            };
            wrong_if(is_path && !repository().join(whole).exists());
        }
    }
    assert!(wrong.is_empty(), "not found in the code:\n{}", wrong.join("\n"));
}
