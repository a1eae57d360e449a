//! The client as it is served: its size, headers and types, and its rules run by node on a clock and sockets of the test.

use support::{Answer, Gateway, LegacyPage, NodeFolder};

const KIB: usize = 1024;
const SCRIPT: &str = "text/javascript; charset=utf-8";

async fn served(gateway: &Gateway, path: &str) -> Answer {
    let answer = LegacyPage::of(gateway).get(path).await;
    assert_eq!(answer.status, 200, "{path}");
    answer
}

#[track_caller]
fn assert_header(answer: &Answer, name: &str, expected: &str) {
    let value = answer.headers.get(name).map(|value| value.to_str().expect("a header of text"));
    assert_eq!(value, Some(expected), "{name}");
}

#[tokio::test]
async fn the_client_is_served_as_a_module_that_browsers_ask_for_again() {
    let gateway = Gateway::start().await;
    for path in ["/client/slotcast.js", "/client/react.js", "/client/demo.js"] {
        let answer = served(&gateway, path).await;
        assert_header(&answer, "content-type", SCRIPT);
        assert_header(&answer, "cache-control", "no-cache");
        assert_header(&answer, "x-content-type-options", "nosniff");
        assert_header(&answer, "access-control-allow-origin", "*");
        let tag = answer.headers["etag"].to_str().expect("a tag of text");
        let known = LegacyPage::of(&gateway).with_header("if-none-match", tag).get(path).await;
        assert_eq!((known.status, known.body.as_str()), (304, ""), "{path}");
        assert_header(&known, "etag", tag);
    }
    let types = served(&gateway, "/client/slotcast.d.ts").await;
    assert!(types.body.contains("export function connect"));
}

#[tokio::test]
async fn the_client_is_below_6_kib_gzipped_as_served() {
    let gateway = Gateway::start().await;
    let client = served(&gateway, "/client/slotcast.js").await;
    let folder = NodeFolder::with(&[]).await;
    folder.write("slotcast.js", &client.body);
    let measure = "const { gzipSync } = require('zlib'), { readFileSync } = require('fs');
        console.log(gzipSync(readFileSync('slotcast.js'), { level: 9 }).length)";
    let size: usize = folder.run(&["-e", measure], &[]).await.trim().parse().expect("a number");
    assert!(size < 6 * KIB, "{size} bytes");
    assert!(size > KIB, "{size} bytes are no client");
}

#[tokio::test]
async fn the_demo_allows_nothing_from_elsewhere_and_can_be_switched_off() {
    let gateway = Gateway::start().await;
    let page = served(&gateway, "/demo").await;
    assert_header(&page, "content-type", "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().expect("a policy of text");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let without = Gateway::builder().with("server.demo", false).start().await;
    for path in ["/demo", "/client/demo.js", "/client/demo.css"] {
        assert_eq!(LegacyPage::of(&without).get(path).await.status, 404, "{path}");
    }
    served(&without, "/client/slotcast.js").await;
}

#[tokio::test]
async fn the_client_keeps_its_rules() {
    let gateway = Gateway::start().await;
    let tests = ["fakes.js", "line.test.js", "requests.test.js", "react.test.js"];
    let tests = tests.map(|file| format!("tests/browser/{file}"));
    let folder = NodeFolder::with(&tests.each_ref().map(String::as_str)).await;
    for file in ["slotcast.js", "react.js"] {
        folder.write(file, &served(&gateway, &format!("/client/{file}")).await.body);
    }
    let said = folder.run(&["--test", "--test-reporter=tap"], &[("SLOTCAST_CLIENT", "slotcast.js")]).await;
    assert!(said.contains("\n# fail 0\n") && !said.contains("\n# pass 0\n"), "{said}");
}

#[tokio::test]
async fn the_sources_are_typed_without_a_hole() {
    let folder =
        NodeFolder::with(&["crates/gateway/web", "tests/browser/tsconfig.json", "tests/browser/uses.ts"])
            .await;
    folder.run(&["../node_modules/typescript/bin/tsc", "--project", "."], &[]).await;
}
