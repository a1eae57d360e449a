//! Request bodies as PHP reads them: a form whose names have brackets, or JSON, to one shape.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use smallvec::{SmallVec, smallvec};

/// Brackets may nest this deep; PHP's own limit is 64, the heartbeat's data needs two.
const MAX_DEPTH: usize = 8;
/// Fields beyond this are passed over, as PHP passes over those beyond `max_input_vars`.
const MAX_FIELDS: usize = 1000;
/// So many fields are passed on, and one more of our own: PHP would pass over the last ones.
const MAX_FLAT_FIELDS: usize = MAX_FIELDS - 1;
/// What they may take together when each has its whole name, in bytes: a long name over many items becomes
/// thousands of times what was sent.
const MAX_FLAT: usize = 512 * 1024;

/// `a=1&b[c][d]=2` as nested objects; every leaf is a string. A list's `a[]` counts up from 0.
pub fn parse_form(body: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(body).take(MAX_FIELDS) {
        let path = path_of(&name);
        if (1..=MAX_DEPTH).contains(&path.len()) {
            insert(&mut fields, &path, value.into_owned());
        }
    }
    fields
}

/// `a[b][c]` as its parts; empty where PHP would pass over the field.
pub fn path_of(name: &str) -> SmallVec<[&str; 4]> {
    let (first, mut inner) = name.find('[').map_or((name, ""), |at| name.split_at(at));
    if first.is_empty() {
        return SmallVec::new();
    }
    let mut path = smallvec![first];
    while let Some((key, after)) = inner.strip_prefix('[').and_then(|open| open.split_once(']')) {
        path.push(key);
        inner = after;
    }
    path
}

/// A body's fields one by one, under the names a form has for them: all that is there, in its order.
/// `None` where that is too much.
pub fn flat(content_type: &str, body: &[u8], fields: &Map<String, Value>) -> Option<Vec<(String, String)>> {
    if !is_json(content_type) {
        let flat: Vec<_> = form_urlencoded::parse(body).into_owned().take(MAX_FIELDS).collect();
        return (flat.len() <= MAX_FLAT_FIELDS).then_some(flat);
    }
    let mut flat = Flat { fields: Vec::new(), left: MAX_FLAT };
    for (name, value) in fields {
        flat.add(name, value)?;
    }
    Some(flat.fields)
}

struct Flat {
    fields: Vec<(String, String)>,
    left: usize,
}

impl Flat {
    /// As jQuery writes it: everything is a string, and empty things are left out.
    fn add(&mut self, name: &str, value: &Value) -> Option<()> {
        self.left = self.left.checked_sub(name.len())?;
        let text = match value {
            Value::Object(fields) => {
                return fields.iter().try_for_each(|(key, value)| self.add(&format!("{name}[{key}]"), value));
            }
            Value::Array(items) => {
                let mut items = items.iter().enumerate();
                return items.try_for_each(|(at, item)| self.add(&format!("{name}[{at}]"), item));
            }
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.fields.push((name.to_owned(), text));
        (self.fields.len() <= MAX_FLAT_FIELDS).then_some(())
    }
}

/// What the body is, as its sender says.
pub fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn insert(fields: &mut Map<String, Value>, path: &[&str], value: String) {
    let Some((key, rest)) = path.split_first() else { return };
    let key = if key.is_empty() { Cow::Owned(fields.len().to_string()) } else { Cow::Borrowed(*key) };
    if rest.is_empty() {
        fields.insert(key.into_owned(), Value::String(value));
        return;
    }
    // Most names begin as the one before: a key is copied only where it is new.
    if !fields.get(&*key).is_some_and(Value::is_object) {
        fields.insert(key.clone().into_owned(), Value::Object(Map::new()));
    }
    if let Some(Value::Object(inner)) = fields.get_mut(&*key) {
        insert(inner, rest, value);
    }
}

/// The fields of a body, by its content type; `None` if it is JSON but no object.
pub fn parse_body(content_type: &str, body: &[u8]) -> Option<Map<String, Value>> {
    if !is_json(content_type) {
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
    fn a_body_is_flat_fields_whatever_it_was_encoded_as() {
        let flat = |kind: &str, body: &[u8]| {
            flat(kind, body, &parse_body(kind, body).expect("fields"))
                .expect("not too many")
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(flat("text/plain", b"a[]=1&a[]=2&b=%26&a[x]="), ["a[]=1", "a[]=2", "b=&", "a[x]="]);
        let json = br#"{"a":{"x":[1,{"y":true}],"z":{}},"b":null,"c":"d"}"#;
        let kind = "application/json; charset=UTF-8";
        assert_eq!(flat(kind, json), ["a[x][0]=1", "a[x][1][y]=true", "b=", "c=d"]);
    }

    #[test]
    fn a_body_of_more_than_php_reads_is_not_flat() {
        let is_flat = |kind: &str, body: &str| {
            let fields = parse_body(kind, body.as_bytes()).expect("fields");
            flat(kind, body.as_bytes(), &fields).is_some()
        };
        assert!(is_flat("text/plain", &"a=1&".repeat(999)));
        assert!(!is_flat("text/plain", &"a=1&".repeat(1000)));
        let json = |name: usize, item: &str, items: usize| {
            format!("{{\"{}\":[{}]}}", "a".repeat(name), vec![item; items].join(","))
        };
        let kind = "application/json";
        assert!(is_flat(kind, &json(9, "0", 999)) && is_flat(kind, &json(30_000, "0", 9)));
        assert!(!is_flat(kind, &json(9, "0", 1000)));
        for empty in ["0", "[]", "{}"] {
            assert!(!is_flat(kind, &json(30_000, empty, 900)), "{empty}");
        }
    }

    #[test]
    fn odd_names_are_taken_as_php_would_and_never_fail() {
        assert_eq!(Value::Object(parse_form(b"a[]=1&a[]=2")), json!({"a": {"0": "1", "1": "2"}}));
        assert_eq!(Value::Object(parse_form(b"a=1&a[b]=2")), json!({"a": {"b": "2"}}));
        assert_eq!(Value::Object(parse_form(b"a[b=1&&=")), json!({"a": "1"}));
        assert!(parse_form("x[".repeat(100).as_bytes()).len() <= 1);
    }
}
