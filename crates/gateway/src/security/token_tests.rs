//! What a token grants, and everything that is none. The tokens here are signed by hand, as PHP does it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "a secret of more than thirty-two characters";

fn keys(texts: &[&str]) -> Tokens {
    let key = |text: &&str| TokenKey::try_from((*text).to_owned()).unwrap();
    Tokens::new(&texts.iter().map(key).collect::<Vec<_>>())
}

fn tokens() -> Tokens {
    keys(&["new:of no matter here", &format!("k1:{SECRET}")])
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed_with(secret: &str, header: &Value, claims: &Value) -> String {
    let message =
        format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&message);
    format!("{message}.{}", base64(&mac.finalize().into_bytes()))
}

fn header() -> Value {
    json!({"alg": "HS256", "typ": "JWT", "kid": "k1"})
}

fn in_secs(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_second() + seconds
}

fn granted(claims: &Value) -> Option<Grant> {
    tokens().check(&signed_with(SECRET, &header(), claims))
}

#[test]
fn a_token_says_who_and_how_long() {
    let grant = granted(&json!({"sub": "u_5", "exp": in_secs(60), "iat": in_secs(0)})).unwrap();
    assert_eq!(grant.client.as_str(), "u_5");
    assert!(grant.left > Duration::from_secs(85) && grant.left <= Duration::from_secs(91), "{grant:?}");
    assert!(grant.scope.is_everything());
    let minted = keys(&[&format!("k1:{SECRET}")]).mint(&grant.client, Duration::from_secs(5)).unwrap();
    assert_eq!(tokens().check(&minted).unwrap().client, grant.client);
    assert_eq!(keys(&[]).mint(&grant.client, Duration::from_secs(5)), None);
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    let leeway = LEEWAY.as_secs() as i64;
    assert!(granted(&json!({"sub": "a", "exp": in_secs(10 - leeway)})).is_some());
    assert!(granted(&json!({"sub": "a", "exp": in_secs(-2 - leeway)})).is_none(), "expired");
    assert!(granted(&json!({"sub": "a", "exp": in_secs(99), "nbf": in_secs(leeway - 10)})).is_some());
    assert!(
        granted(&json!({"sub": "a", "exp": in_secs(99), "nbf": in_secs(leeway + 10)})).is_none(),
        "future"
    );
    assert!(granted(&json!({"sub": "a", "exp": 1e300})).is_none(), "no time at all");
    assert!(granted(&json!({"sub": "a", "exp": u64::MAX})).is_some(), "late, but a time");
    assert!(granted(&json!({"sub": "a", "exp": in_secs(60) as f64 + 0.5})).is_some());
}

#[test]
fn claims_that_are_missing_or_odd_grant_nothing() {
    for claims in [
        json!({}),
        json!({"sub": "a"}),
        json!({"exp": in_secs(60)}),
        json!({"sub": "", "exp": in_secs(60)}),
        json!({"sub": "a b", "exp": in_secs(60)}),
        json!({"sub": "reschedule_7", "exp": in_secs(60)}),
        json!({"sub": 5, "exp": in_secs(60)}),
        json!({"sub": "a", "exp": in_secs(60).to_string()}),
        json!({"sub": "a", "exp": -1}),
        json!({"sub": "a", "exp": null}),
        json!({"sub": "a", "exp": in_secs(60), "nbf": "soon"}),
        json!({"sub": "a", "exp": in_secs(60), "aud": "another service"}),
        json!({"sub": "a", "exp": in_secs(60), "rooms": "all"}),
        json!({"sub": "a", "exp": in_secs(60), "rooms": [{"date": "tomorrow"}]}),
        json!({"sub": "a", "exp": in_secs(60), "rooms": [{"employee_id": 0}]}),
        json!({"sub": "a", "exp": in_secs(60), "rooms": [{"employee_id": 3, "read_only": true}]}),
        json!([]),
    ] {
        assert_eq!(granted(&claims), None, "{claims}");
    }
}

#[test]
fn another_algorithm_key_or_kid_grants_nothing() {
    let claims = json!({"sub": "a", "exp": in_secs(60)});
    for header in [
        json!({"alg": "none", "kid": "k1"}),
        json!({"alg": "None", "kid": "k1"}),
        json!({"alg": "HS512", "kid": "k1"}),
        json!({"alg": "HS384", "kid": "k1"}),
        json!({"alg": "RS256", "kid": "k1"}),
        json!({"kid": "k1"}),
        json!({"alg": "HS256"}),
        json!({"alg": "HS256", "kid": "k2"}),
        json!({"alg": "HS256", "kid": "new"}),
        json!({"alg": "HS256", "kid": "k1", "crit": ["b64"], "b64": false}),
    ] {
        assert_eq!(tokens().check(&signed_with(SECRET, &header, &claims)), None, "{header}");
    }
    assert_eq!(tokens().check(&signed_with("another secret", &header(), &claims)), None);
    assert_eq!(keys(&[]).check(&signed_with(SECRET, &header(), &claims)), None);
    let signed = signed_with(SECRET, &header(), &claims);
    let (message, signature) = signed.rsplit_once('.').unwrap();
    let other = base64(json!({"sub": "b", "exp": in_secs(60)}).to_string().as_bytes());
    let swapped = format!("{}.{other}.{signature}", message.split_once('.').unwrap().0);
    let first = message.to_owned() + ".";
    for text in ["", ".", "..", "...", &swapped, message, &first, &format!("{signed}."), &"a".repeat(100_000)]
    {
        assert_eq!(tokens().check(text), None, "{text:.100}");
    }
    assert!(tokens().check(&signed).is_some(), "as it was signed");
}

#[test]
fn a_key_is_changed_by_having_both_for_a_while() {
    let [old, new] = [format!("old:{SECRET}"), "new:quite another one".to_owned()];
    let client = "a".parse().unwrap();
    let of_old = keys(&[&old]).mint(&client, Duration::from_secs(60)).unwrap();
    let both = keys(&[&new, &old]);
    let of_new = both.mint(&client, Duration::from_secs(60)).unwrap();
    assert!(both.check(&of_old).is_some() && both.check(&of_new).is_some());
    assert!(keys(&[&old]).check(&of_new).is_none(), "the first key signs");
    assert!(keys(&[&new]).check(&of_old).is_none());
}

#[test]
fn a_scope_names_dates_employees_or_both() {
    let room = |date: &str, employee_id: u64| Room {
        date: parse_date(date).unwrap(),
        employee_id: EmployeeId::new(employee_id).unwrap(),
    };
    let scope =
        |rooms: Value| granted(&json!({"sub": "a", "exp": in_secs(60), "rooms": rooms})).unwrap().scope;
    let both = scope(json!([{"date": "2026-12-01", "employee_id": 3}, {"employee_id": 4}]));
    assert!(both.has(room("2026-12-01", 3)) && both.has(room("2026-12-02", 4)));
    assert!(!both.has(room("2026-12-02", 3)) && !both.has(room("2026-12-01", 5)));
    assert!(scope(json!([{"date": "2026-12-01"}])).has(room("2026-12-01", 9)));
    assert!(!scope(json!([])).has(room("2026-12-01", 3)), "no room at all");
    assert!(scope(json!(null)).is_everything());
}
