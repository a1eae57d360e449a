//! Blocks of code are code: each kind goes to whoever knows it. Shell scripts are looked at by `commands`,
//! transcripts are played by `protocol`.

use std::process::Stdio;

use serde_json::{Deserializer, Value};
use support::{MariaDb, NodeFolder, run_slotcast};
use tokio::process::Command;

use super::pages::{Block, blocks, pages};

/// Kinds that something looks at, and those that are for eyes alone.
const KINDS: [&str; 13] =
    ["diff", "http", "js", "json", "jsx", "php", "sh", "sql", "text", "toml", "transcript", "ts", "yaml"];
/// Names that examples of page code take for granted.
const GIVEN: &str = "declare const React: any;
    declare module 'react' { const React: any; export default React; }
    declare const slotcast: { url: string, client: string, token(): Promise<string>,
        connect(): Promise<import('./web/slotcast.js').Rooms> };
    declare const date: string, employeeId: number, clientId: string, selectedTime: string | null;
    declare function useSlots(options: import('./web/react.js').SlotsOptions): import('./web/react.js').Slots;
    declare function show(...anything: unknown[]): void;
    declare namespace JSX { interface IntrinsicElements { [name: string]: any } }";
const TSCONFIG: &str = r#"{ "compilerOptions": {
    "strict": true, "noImplicitAny": false, "checkJs": true, "allowJs": true, "noEmit": true,
    "jsx": "preserve", "moduleDetection": "force", "target": "es2022", "module": "esnext", "moduleResolution": "bundler",
    "lib": ["es2022", "dom", "dom.iterable"], "types": [] },
    "include": ["block*", "given.d.ts"] }"#;

#[test]
fn every_block_names_its_language() {
    let all = pages().into_iter().flat_map(|page| page.blocks);
    let odd: Vec<_> = all.filter(|block| !KINDS.contains(&&*block.kind)).map(|block| block.place).collect();
    assert!(odd.is_empty(), "of no kind that is looked at: {odd:?}");
}

#[tokio::test]
async fn every_configuration_is_one() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let file = folder.path().join("slotcast.toml");
    let examples = blocks(&["toml"]);
    assert!(examples.len() >= 2);
    for example in examples {
        std::fs::write(&file, &example.text).expect("a temporary file");
        let output = run_slotcast(&["check-config", "--config", file.to_str().expect("a path")], &[]).await;
        let (said, warned) =
            (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{}: {said}", example.place);
        assert!(!warned.contains("# warning"), "{}: {warned}", example.place);
    }
}

#[test]
fn every_json_is_json() {
    for example in blocks(&["json"]) {
        for value in Deserializer::from_str(&example.text).into_iter::<Value>() {
            value.unwrap_or_else(|error| panic!("{}: {error}", example.place));
        }
    }
}

#[tokio::test]
async fn page_code_keeps_to_the_types_of_the_client_and_the_hooks() {
    let folder = NodeFolder::with(&["crates/gateway/web"]).await;
    folder.write("given.d.ts", GIVEN);
    folder.write("tsconfig.json", TSCONFIG);
    let examples = blocks(&["js", "jsx", "ts", "diff"]);
    assert!(examples.len() >= 4);
    for (number, Block { place, kind, text }) in examples.iter().enumerate() {
        let (text, extension) = match &**kind {
            "diff" => (added(text), "js"),
            kind => (text.clone(), kind),
        };
        let text = text.replace("\"/client/", "\"./web/");
        folder.write(&format!("block{number}.{extension}"), &format!("// {place}\n{text}"));
    }
    folder.run(&["../node_modules/typescript/bin/tsc", "--project", "."], &[]).await;
}

/// What a diff leaves standing.
fn added(diff: &str) -> String {
    let lines = diff.lines().filter(|line| !line.starts_with('-'));
    lines.flat_map(|line| [line.get(1..).unwrap_or_default(), "\n"]).collect()
}

#[tokio::test]
async fn every_php_and_yaml_parses() {
    const READ_YAML: &str = "import sys, yaml; yaml.safe_load(open(sys.argv[1]))";
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let file = folder.path().join("block");
    for example in blocks(&["php", "yaml"]) {
        let is_php = example.kind == "php";
        let text = if is_php { format!("<?php\n{};", example.text) } else { example.text };
        std::fs::write(&file, text).expect("a temporary file");
        let (program, arguments) =
            if is_php { ("php", ["-l"].as_slice()) } else { ("python3", &["-c", READ_YAML][..]) };
        let run = Command::new(program).args(arguments).arg(&file).stdin(Stdio::null()).output().await;
        let said = run.expect("php-cli and python3 are installed");
        assert!(said.status.success(), "{}: {said:?}", example.place);
    }
}

/// Against the tables that slotcast makes beside WordPress' and AppointEase's, page by page: the last page drops
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_one_for_the_database() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria.appointments().await;
    let migrated = run_slotcast(&["migrate"], &[("SLOTCAST_MYSQL_URL", &maria.url())]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'site'";
    assert_eq!(maria.query::<i64>(tables).await, [7]);
    let statements = blocks(&["sql"]);
    assert!(statements.len() >= 4);
    for statement in statements {
        if let Err(error) = maria.try_run(&statement.text).await {
            panic!("{}: {error}", statement.place);
        }
    }
    assert_eq!(maria.query::<i64>(tables).await, [3], "what slotcast made alone is gone");
    let left = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = 'site' \
                AND (column_name LIKE 'slotcast%' OR column_name IN ('fence', 'deadline_ms'))";
    assert_eq!(maria.query::<i64>(left).await, [0], "and its columns elsewhere");
}
