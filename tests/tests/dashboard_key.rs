//! Who may see inside: this machine, or whoever has the key; and a page that keeps the key to itself.

use support::{EventStream, Gateway, LegacyPage};

const KEY: &str = "0pen-sesame-0pen-sesame";
const SECRET_PATHS: [&str; 4] = ["/dashboard", "/dashboard/status", "/dashboard/events", "/metrics"];

async fn with_key() -> Gateway {
    Gateway::builder().with("security.dashboard_key", KEY).start().await
}

/// From elsewhere, for another host, and through a proxy on this machine.
fn outsiders(gateway: &Gateway) -> [LegacyPage; 4] {
    let page = || LegacyPage::of(gateway);
    [
        page().from_address("203.0.113.7"),
        page().from_address("127.0.0.1"),
        page().with_header("forwarded", "for=127.0.0.1"),
        page().with_host("booking.example"),
    ]
}

#[tokio::test]
async fn without_a_key_set_everybody_but_this_machine_is_told_what_to_set() {
    let gateway = Gateway::start().await;
    for path in ["/dashboard", "/dashboard/status", "/metrics"] {
        assert_eq!(LegacyPage::of(&gateway).get(path).await.status, 200, "{path}");
    }
    for outsider in outsiders(&gateway) {
        for path in SECRET_PATHS {
            let refused = outsider.get(&format!("{path}?key=")).await;
            assert_eq!(refused.status, 403, "{path}: {refused:?}");
            assert!(refused.body.contains("security.dashboard_key"), "{path}: {refused:?}");
        }
        let health = outsider.get("/health").await;
        assert_eq!((health.status, health.fields()), (200, vec!["status"]), "{health:?}");
    }
}

#[tokio::test]
async fn the_right_key_opens_as_bearer_and_in_the_address_and_a_wrong_one_does_not() {
    let gateway = with_key().await;
    for outsider in outsiders(&gateway) {
        let wrong = outsider.clone().with_header("authorization", "Bearer 0pen-sesame-0pen-sesamf");
        let right = outsider.clone().with_header("authorization", &format!("Bearer {KEY}"));
        for path in ["/dashboard", "/dashboard/status", "/metrics"] {
            for refused in [
                outsider.get(path).await,
                outsider.get(&format!("{path}?key={KEY}x")).await,
                wrong.get(path).await,
            ] {
                assert_eq!(refused.status, 401, "{path}: {refused:?}");
                assert!(refused.headers.contains_key("www-authenticate"), "{path}: {refused:?}");
                assert!(!refused.body.contains(KEY));
            }
            assert_eq!(outsider.get(&format!("{path}?key={KEY}")).await.status, 200, "{path}");
            assert_eq!(right.get(path).await.status, 200, "{path}");
        }
        assert!(right.get("/health").await.fields().len() > 5);
        assert_eq!(wrong.get("/health").await.fields(), ["status"]);
    }
    // Here no key is needed, and a wrong one locks nobody out.
    assert!(EventStream::open(&gateway, "/dashboard/events?key=wrong").await.is_ok());
}

#[tokio::test]
async fn a_browser_without_the_key_gets_an_empty_page_that_asks_for_it() {
    let gateway = with_key().await;
    let browser = LegacyPage::of(&gateway).from_address("203.0.113.7").with_header("accept", "text/html,*/*");
    let asked = browser.get("/dashboard").await;
    assert_eq!(asked.status, 401);
    let opened = LegacyPage::of(&gateway).get("/dashboard").await;
    assert_eq!(asked.body, opened.body, "the page itself is the same for all, and says nothing");
    for file in ["/dashboard/dashboard.js", "/dashboard/dashboard.css"] {
        assert_eq!(browser.get(file).await.status, 200, "{file}");
    }
}

#[tokio::test]
async fn the_page_asks_nobody_else_and_leaks_no_address() {
    let gateway = Gateway::start().await;
    let operator = LegacyPage::of(&gateway);
    let page = operator.get("/dashboard").await;
    let header =
        |name: &str| page.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let policy = header("content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!((header("referrer-policy"), header("cache-control")), ("no-referrer", "no-store"));
    assert!(page.body.contains("<script type=\"module\" src="), "{}", page.body);
    for (path, body) in [
        ("page", page.body.clone()),
        ("script", operator.get("/dashboard/dashboard.js").await.body),
        ("style", operator.get("/dashboard/dashboard.css").await.body),
    ] {
        let body = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!body.contains("http://") && !body.contains("https://") && !body.contains("//cdn"), "{path}");
    }
    for inline in ["<style", " style=", "onclick=", "onload=", "<script>"] {
        assert!(!page.body.contains(inline), "{inline} is against the page's own policy");
    }
}
