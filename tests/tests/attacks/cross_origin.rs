//! Pages of other origins at the legacy paths: those that are named may read the answers, all others get nothing.

use support::{Answer, Gateway, LegacyPage, Room};
use tokio_tungstenite::tungstenite::http::Method;

const SHOP: &str = "https://shop.example";
const PATHS: [&str; 4] = [
    "/wp-admin/admin-ajax.php",
    "/slotcast/heartbeat",
    "/wp-json/appointease/v1/slots/select",
    "/wp-json/appointease/v1/slots/poll",
];

async fn gateway() -> Gateway {
    Gateway::builder().with("security.allowed_origins", SHOP).start().await
}

/// What a browser asks before it lets a page send JSON.
async fn preflight(gateway: &Gateway, origin: &str, path: &str) -> Answer {
    LegacyPage::of(gateway)
        .with_header("origin", origin)
        .with_header("access-control-request-method", "POST")
        .with_header("access-control-request-headers", "content-type,x-idempotency-key")
        .send(Method::OPTIONS, path, "", String::new())
        .await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

/// `Vary` may be several lines, and the words in any letters.
fn varies_by_origin(answer: &Answer) -> bool {
    let lines = answer.headers.get_all("vary").iter();
    let words = lines.flat_map(|line| line.to_str().expect("text").split(','));
    words.map(str::trim).any(|word| word.eq_ignore_ascii_case("origin"))
}

#[tokio::test]
async fn a_named_origin_may_ask_and_read_and_no_other_does() {
    let gateway = gateway().await;
    for path in PATHS {
        let leave = preflight(&gateway, SHOP, path).await;
        assert!([200, 204].contains(&leave.status), "{path}: {leave:?}");
        assert_eq!(header(&leave, "access-control-allow-origin"), SHOP, "{path}");
        assert_eq!(header(&leave, "access-control-allow-credentials"), "true", "{path}");
        assert!(header(&leave, "access-control-allow-methods").contains("POST"), "{path}: {leave:?}");
        let headers = header(&leave, "access-control-allow-headers").to_ascii_lowercase();
        assert!(headers.contains("content-type") && headers.contains("x-idempotency-key"), "{headers}");
        assert!(varies_by_origin(&leave), "{path}: {leave:?}");

        for foreign in
            ["https://evil.example", "null", "https://shop.example.evil.example", "http://shop.example"]
        {
            let refused = preflight(&gateway, foreign, path).await;
            assert_eq!(refused.status, 403, "{foreign} at {path}");
            assert_eq!(header(&refused, "access-control-allow-origin"), "", "{foreign} at {path}");
            assert!(varies_by_origin(&refused), "{foreign} at {path}");
        }
    }
    let none = LegacyPage::of(&gateway).send(Method::OPTIONS, "/no-such-path", "", String::new()).await;
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn answers_name_the_origin_that_may_read_them() {
    let gateway = gateway().await;
    let room = Room::tomorrow_of(3);
    let from = |origin: &str| LegacyPage::of(&gateway).with_header("origin", origin);
    let select = || room.fields(&[("time", "10:00"), ("client_id", "customer")]);
    let granted = from(SHOP).rest_post("/slots/select", select()).await;
    assert_eq!(granted.json["status"], "selected");
    // A refusal is to be read as well.
    let taken = room.fields(&[("time", "10:00"), ("client_id", "another")]);
    let refused = from(SHOP).rest_post("/slots/select", taken).await;
    assert_eq!(refused.status, 409);
    for answer in [granted, refused] {
        assert_eq!(header(&answer, "access-control-allow-origin"), SHOP);
        assert_eq!(header(&answer, "access-control-allow-credentials"), "true");
        assert!(varies_by_origin(&answer), "{answer:?}");
    }
    // A page of the same host needs no leave, and what is no page asks for none.
    for page in [from(&gateway.http_url()), LegacyPage::of(&gateway)] {
        let answer = page.rest_get("/selections", &[("date", &room.date), ("employee_id", "3")]).await;
        assert_eq!(answer.json["selections"], serde_json::json!(["10:00"]));
        assert_eq!(header(&answer, "access-control-allow-origin"), "");
        assert_eq!(header(&answer, "access-control-allow-credentials"), "");
        assert!(varies_by_origin(&answer), "{answer:?}");
    }
}
