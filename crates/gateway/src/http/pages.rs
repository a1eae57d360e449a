//! The browser's files: the client, its React hooks and the demonstration page, built into the program.
//! Called by `router`. Invariant: what is served is what the sources in `web/` say, without their comments.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::app::Services;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const TYPES: &str = "application/typescript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PAGE: &str = "text/html; charset=utf-8";

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The client's modules, each after those it imports: one file is fetched faster than six.
const CLIENT: [&str; 6] = [
    include_str!("../../web/client/care.js"),
    include_str!("../../web/client/room.js"),
    include_str!("../../web/client/polling.js"),
    include_str!("../../web/client/line.js"),
    include_str!("../../web/client/connection.js"),
    include_str!("../../web/slotcast.js"),
];

pub(super) fn routes(demo: bool) -> Router<Arc<Services>> {
    let client = Router::new()
        .route("/client/slotcast.js", file(SCRIPT, &one_module(&CLIENT)))
        .route("/client/slotcast.d.ts", file(TYPES, include_str!("../../web/slotcast.d.ts")))
        .route("/client/react.js", file(SCRIPT, &bare(include_str!("../../web/react.js"))))
        .route("/client/react.d.ts", file(TYPES, include_str!("../../web/react.d.ts")));
    if !demo {
        return client;
    }
    client
        .route("/demo", file(PAGE, include_str!("../../web/demo.html")))
        .route("/client/demo.js", file(SCRIPT, &bare(include_str!("../../web/demo.js"))))
        .route("/client/demo.css", file(STYLE, include_str!("../../web/demo.css")))
}

/// Serves a text; a browser that has it already is told so.
fn file(kind: &'static str, text: &str) -> axum::routing::MethodRouter<Arc<Services>> {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let digest = Sha256::digest(&body);
    let tag = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
    let tag = format!("\"{tag}\"");
    get(async move |headers: HeaderMap| answer(kind, &tag, body.clone(), &headers))
}

fn answer(kind: &'static str, tag: &str, body: Bytes, asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, kind);
    // With the tag: always asked for, seldom sent.
    set(header::CACHE_CONTROL, "no-cache");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if kind == PAGE {
        set(header::CONTENT_SECURITY_POLICY, POLICY);
        set(header::REFERRER_POLICY, "no-referrer");
    } else {
        // Modules of another origin are fetched by CORS; this is everybody's code.
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Joins modules whose top-level names differ; only the last one's exports remain.
fn one_module(modules: &[&str]) -> String {
    let (last, inner) = modules.split_last().unwrap_or((&"", &[]));
    let inner = inner.iter().map(|module| bare(module));
    let parts: Vec<String> = inner
        .map(|text| text.lines().map(|line| line.trim_start_matches("export ").to_owned() + "\n").collect())
        .chain([bare(last)])
        .collect();
    let is_code = |line: &&str| !(line.starts_with("import") && line.contains("\"./"));
    parts.concat().lines().filter(is_code).map(|line| line.to_owned() + "\n").collect()
}

/// A script without its comments and the spaces that only people need. It may hold no `/*` or quote in a regular
/// expression, and no `//` comment behind code.
fn bare(script: &str) -> String {
    let mut code = String::new();
    let mut rest = script;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let lines = code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.map(|line| squeezed(line) + "\n").collect()
}

/// A line without the spaces beside punctuation, but for those in quotes.
fn squeezed(line: &str) -> String {
    let is_free = |character: Option<char>| character.is_none_or(|it| "=<>{}()[],;:?&|*".contains(it));
    let mut quote = None;
    let mut squeezed = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match quote {
            Some(open) if open == character => quote = None,
            None if "\"'`".contains(character) => quote = Some(character),
            None if character == ' '
                && (is_free(squeezed.chars().last()) || is_free(characters.peek().copied())) =>
            {
                continue;
            }
            _ => {}
        }
        squeezed.push(character);
    }
    squeezed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_idle_spaces_go_and_quotes_stay_as_they_are() {
        let script = "// Why.\n/** @type {string}\n * more */\nconst a = /** @type {any} */ (\"a = // b\");\n  f( a, `${a}: b` );\n";
        assert_eq!(bare(script), "const a=(\"a = // b\");\nf(a,`${a}: b`);\n");
    }

    #[test]
    fn modules_become_one_with_the_exports_of_the_last() {
        let one =
            one_module(&["export const a = 1;\n", "import { a } from \"./a.js\";\nexport const b = a;\n"]);
        assert_eq!(one, "const a=1;\nexport const b=a;\n");
    }

    #[test]
    fn nothing_of_the_sources_remains_that_was_for_their_readers() {
        let client = one_module(&CLIENT);
        assert!(!client.contains("/*") && !client.contains("import "), "{client}");
        assert_eq!(client.matches("export").count(), 2, "connect and SlotcastError");
    }
}
