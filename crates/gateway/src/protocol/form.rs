//! Request bodies as PHP reads them: a form whose names have brackets, or JSON, to one shape.

use serde_json::{Map, Value};

/// Brackets may nest this deep; PHP's own limit is 64, the heartbeat's data needs two.
const MAX_DEPTH: usize = 8;
/// Fields beyond this are passed over, as PHP passes over those beyond `max_input_vars`.
const MAX_FIELDS: usize = 1000;

/// `a=1&b[c][d]=2` as nested objects; every leaf is a string. A list's `a[]` counts up from 0.
pub fn parse_form(body: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body).take(MAX_FIELDS) {
        let (first, rest) = name.find('[').map_or((name.as_ref(), ""), |at| name.split_at(at));
        if first.is_empty() {
            continue;
        }
        let mut path = vec![first];
        let mut inner = rest;
        while let Some((key, after)) = inner.strip_prefix('[').and_then(|open| open.split_once(']')) {
            path.push(key);
            inner = after;
        }
        if path.len() <= MAX_DEPTH {
            insert(&mut fields, &path, value.into_owned());
        }
    }
    fields
}

fn insert(fields: &mut Map<String, Value>, path: &[&str], value: String) {
    let Some((key, rest)) = path.split_first() else { return };
    let key = if key.is_empty() { fields.len().to_string() } else { (*key).to_owned() };
    if rest.is_empty() {
        fields.insert(key, Value::String(value));
        return;
    }
    let inner = fields.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}

/// The fields of a body, by its content type; `None` if it is JSON but no object.
pub fn parse_body(content_type: &str, body: &[u8]) -> Option<Map<String, Value>> {
    let json = content_type
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !json {
        return Some(parse_form(body));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_heartbeat_form_becomes_nested_objects_of_strings() {
        let body = b"data%5Bappointease_poll%5D%5Bdate%5D=2026-12-01&data[appointease_poll][employee_id]=3\
            &interval=60&_nonce=&action=heartbeat&has_focus=true";
        assert_eq!(
            Value::Object(parse_form(body)),
            json!({
                "data": {"appointease_poll": {"date": "2026-12-01", "employee_id": "3"}},
                "interval": "60", "_nonce": "", "action": "heartbeat", "has_focus": "true"
            })
        );
    }

    #[test]
    fn odd_names_are_taken_as_php_would_and_never_fail() {
        assert_eq!(Value::Object(parse_form(b"a[]=1&a[]=2")), json!({"a": {"0": "1", "1": "2"}}));
        assert_eq!(Value::Object(parse_form(b"a=1&a[b]=2")), json!({"a": {"b": "2"}}));
        assert_eq!(Value::Object(parse_form(b"a[b=1&&=")), json!({"a": "1"}));
        assert!(parse_form("x[".repeat(100).as_bytes()).len() <= 1);
    }
}
