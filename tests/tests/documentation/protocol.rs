//! PROTOCOL.md is true: every transcript in it is played against a real gateway, frame by frame.

use std::collections::HashSet;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use support::{Gateway, in_days};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const REFERENCE: &str = include_str!("../../../crates/gateway/PROTOCOL.md");
/// The day the examples name.
const EXAMPLE_DATE: &str = "2026-12-01";
/// Stands for any value.
const ANY: &str = "…";

/// The transcripts: runs of lines that begin with `>` (sent) or `<` (received).
fn transcripts() -> Vec<Vec<(char, Value)>> {
    let blocks = REFERENCE.split("```transcript\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    let line = |line: &str| {
        let line = line.replace(EXAMPLE_DATE, &in_days(1).to_string());
        let frame = serde_json::from_str(&line[1..]).unwrap_or_else(|error| panic!("{line}: {error}"));
        (line.chars().next().expect("a direction"), frame)
    };
    blocks.map(|(block, _)| block.lines().map(line).collect()).collect()
}

/// The documented frame names the same fields with the same values, but for those it leaves open.
fn assert_like(documented: &Value, received: &Value) {
    let (Value::Object(documented), Value::Object(received)) = (documented, received) else {
        return assert_eq!(documented, received);
    };
    let names = |fields: &serde_json::Map<String, Value>| fields.keys().cloned().collect::<HashSet<_>>();
    assert_eq!(names(documented), names(received), "documented {documented:?}, received {received:?}");
    for (name, value) in documented.iter().filter(|(_, value)| *value != ANY) {
        match value {
            Value::Object(_) => assert_like(value, &received[name]),
            _ => assert_eq!(value, &received[name], "{name} of {received:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transcript_in_the_protocol_reference_plays_as_written() {
    let transcripts = transcripts();
    assert!(transcripts.len() >= 4, "found {} transcripts", transcripts.len());
    for transcript in transcripts {
        let gateway = Gateway::start().await;
        let (mut socket, _) = connect_async(gateway.ws_url()).await.expect("connects");
        let mut unread: Vec<Value> = Vec::new();
        for (direction, frame) in transcript {
            if direction == '>' {
                socket.send(Message::text(frame.to_string())).await.expect("sends");
                continue;
            }
            // An answer and the diff it causes come in either order.
            let kind = |frame: &Value| frame.get("type").cloned();
            let received = loop {
                if let Some(at) = unread.iter().position(|other| kind(other) == kind(&frame)) {
                    break unread.remove(at);
                }
                let next = timeout(Duration::from_secs(10), socket.next()).await.expect("a frame in time");
                let Message::Text(text) = next.expect("open").expect("sound") else { continue };
                unread.push(serde_json::from_str(&text).expect("JSON"));
            };
            assert_like(&frame, &received);
        }
        assert!(unread.is_empty(), "not documented: {unread:?}");
    }
}

#[test]
fn every_error_code_the_gateway_knows_is_documented() {
    let table = include_str!("../../../crates/gateway/src/protocol/error.rs");
    let codes = table.split("=> (\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(code, _)| code);
    for code in codes {
        assert!(REFERENCE.contains(&format!("`{code}`")), "PROTOCOL.md does not name {code}");
    }
}
