//! What a request to book says of the customer: fields to checked values, or a sentence for every field that is wrong.
//! Push, REST and old pages' forms alike; `as_ours` brings the plugin's names to those of the push protocol.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use slot_state::{ClientId, Customer, IdempotencyKey, Slot};

use super::legacy::whole_number;

/// The longest name and e-mail address, in characters: what the columns hold.
const MAX_LINE: usize = 100;
/// The shortest e-mail address.
const MIN_EMAIL: usize = 3;
/// The longest telephone number, in characters.
const MAX_PHONE: usize = 20;
/// The longest notes, in bytes.
const MAX_NOTES: usize = 2_000;

/// Every field that is wrong, with a sentence for people.
pub type WrongFields = BTreeMap<&'static str, String>;

/// Everything of a request to book but its slot and client.
#[derive(Debug, Clone)]
pub struct BookingForm {
    /// The same for every try of this booking.
    pub key: IdempotencyKey,
    /// Of the lock that the client believes to have.
    pub fence: Option<u64>,
    /// Who comes.
    pub customer: Customer,
    /// What for.
    pub service_id: Option<u32>,
}

/// Reads a request to book. What is empty or `null` counts as not sent; text is taken without the white space around it.
pub fn read(fields: &Map<String, Value>) -> Result<BookingForm, WrongFields> {
    let mut form = Reader { fields, wrong: WrongFields::new() };
    let key = form.text("idempotency_key", KEY_RULE, |text| text.parse().ok());
    let name = form.text("name", NAME_RULE, |text| line(text, 1, MAX_LINE));
    let email = form.text("email", EMAIL_RULE, address);
    let phone = form.optional_text("phone", PHONE_RULE, |text| line(text, 1, MAX_PHONE));
    let notes =
        form.optional_text("notes", NOTES_RULE, |text| (text.len() <= MAX_NOTES).then(|| text.to_owned()));
    let service_id = form.number("service_id", SERVICE_RULE, |number| {
        u32::try_from(number).ok().filter(|service_id| *service_id > 0)
    });
    let fence = form.number("fence", FENCE_RULE, Some);
    match (key, name, email) {
        (Some(key), Some(name), Some(email)) if form.wrong.is_empty() => {
            Ok(BookingForm { key, fence, customer: Customer { name, email, phone, notes }, service_id })
        }
        _ => Err(form.wrong),
    }
}

const KEY_RULE: &str =
    "The key must be 1 to 128 printable ASCII characters, the same for every try of one booking";
const NAME_RULE: &str = "The name must be 1 to 100 characters on one line";
const EMAIL_RULE: &str = "The e-mail address must look like name@example.com and have 3 to 100 characters";
const PHONE_RULE: &str = "The phone number must be up to 20 characters on one line";
const NOTES_RULE: &str = "The notes must be up to 2000 bytes";
const SERVICE_RULE: &str = "The service must be a whole number above 0";
const FENCE_RULE: &str = "The fence must be the whole number that came with the lock";

/// Reads field after field and keeps what is wrong.
struct Reader<'a> {
    fields: &'a Map<String, Value>,
    wrong: WrongFields,
}

impl Reader<'_> {
    fn text<T>(
        &mut self,
        name: &'static str,
        rule: &str,
        check: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let read = self.optional_text(name, rule, check);
        if read.is_none() {
            self.wrong.entry(name).or_insert_with(|| rule.to_owned());
        }
        read
    }

    fn optional_text<T>(
        &mut self,
        name: &'static str,
        rule: &str,
        check: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.value(name, rule, |value| check(value.as_str()?.trim()))
    }

    fn number<T>(
        &mut self,
        name: &'static str,
        rule: &str,
        check: impl FnOnce(u64) -> Option<T>,
    ) -> Option<T> {
        self.value(name, rule, |value| check(whole_number(value)?))
    }

    fn value<T>(
        &mut self,
        name: &'static str,
        rule: &str,
        check: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.fields.get(name).filter(|value| !is_empty(value))?;
        let read = check(value);
        if read.is_none() {
            self.wrong.insert(name, rule.to_owned());
        }
        read
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// So many characters on one line: these end up in the headers of e-mails.
fn line(text: &str, least: usize, most: usize) -> Option<String> {
    let fits = (least..=most).contains(&text.chars().count()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

/// What WordPress' `is_email` takes, shorter than its six characters too, and the same with letters of all scripts.
/// Whether mail arrives, only mail can tell.
fn address(text: &str) -> Option<String> {
    let (user, host) = text.split_once('@')?;
    let is_foreign = |letter: char| !letter.is_ascii() && !letter.is_whitespace() && !letter.is_control();
    let in_label = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || is_foreign(letter);
    let in_user = |letter: char| in_label(letter) || "!#$%&'*+/=?^_`{|}~.".contains(letter);
    let is_label = |label: &str| {
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(in_label)
    };
    let is_host = host.contains('.') && host.split('.').all(is_label);
    let is_address = !user.is_empty() && user.chars().all(in_user) && is_host;
    line(text, MIN_EMAIL, MAX_LINE).filter(|_| is_address)
}

/// The fields under the names of the push protocol, as AppointEase's pages send them: `firstName` and `lastName`,
/// `staff_id`, and a `date` that may hold the time too. What has our name already stays.
pub fn as_ours(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some((date, time)) =
        fields.get("date").and_then(Value::as_str).and_then(|text| text.split_once(' '))
    {
        let (date, time) = (Value::from(date), Value::from(time));
        fields.insert("date".into(), date);
        fields.entry("time").or_insert(time);
    }
    if !fields.contains_key("name") {
        let part = |name| fields.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        let name = format!("{} {}", part("firstName"), part("lastName"));
        fields.insert("name".into(), name.trim().into());
    }
    if let Some(staff) = fields.remove("staff_id") {
        fields.entry("employee_id").or_insert(staff);
    }
    fields
}

/// Who books by a form of a page that sends no key, and the key: the page sends the same form again with each
/// beat until it is answered. Where the form names no client, all that it says of customer and slot is the
/// secret that it is known by: one that differs in anything is another's, who is not told whose the slot is.
pub fn sender_of_form(
    client: Option<ClientId>,
    slot: Slot,
    fields: &Map<String, Value>,
) -> (ClientId, String) {
    let (date, employee_id) = (slot.room.date, slot.room.employee_id);
    if let Some(client) = client {
        let email = text_of(fields, "email");
        // None of these but the last can hold a space.
        let digest = Sha256::digest(format!("{client} {date} {} {employee_id} {email}", slot.time));
        return (client, format!("form-{digest:x}"));
    }
    let mut hash = Sha256::new_with_prefix(format!("{date} {} {employee_id}", slot.time));
    let service = fields.get("service_id").and_then(whole_number).unwrap_or_default().to_string();
    for part in
        ["name", "email", "phone", "notes"].map(|name| text_of(fields, name)).into_iter().chain([&*service])
    {
        // With their lengths, so that no two forms look alike.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    (named(digest), format!("form-{digest:x}"))
}

/// Who books with a key of the page's own and names no client: the same for one e-mail address, so that each
/// customer's keys are a space of its own.
pub fn client_of_email(fields: &Map<String, Value>) -> ClientId {
    named(Sha256::digest(text_of(fields, "email")))
}

fn text_of<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default()
}

fn named(digest: impl std::fmt::LowerHex) -> ClientId {
    let name = format!("form_{digest:x}");
    name.parse().unwrap_or_else(|_| unreachable!("hexadecimal digits are allowed in a client_id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("an object") };
        fields
    }

    fn with(changes: Value) -> Map<String, Value> {
        let mut form = fields(json!({"idempotency_key": "k 1", "name": "Ann", "email": "ann@example.com"}));
        form.extend(fields(changes));
        form
    }

    fn wrong(changes: Value) -> Vec<&'static str> {
        read(&with(changes)).map_or_else(|wrong| wrong.into_keys().collect(), |_| Vec::new())
    }

    #[test]
    fn a_form_at_its_limits_is_read_as_sent() {
        let notes = "ü".repeat(1000);
        let form = read(&with(json!({
            "name": format!(" {} ", "ü".repeat(100)), "email": "a@b.c", "phone": "+".repeat(20), "notes": notes,
            "service_id": "7", "fence": 9, "idempotency_key": "~".repeat(128)
        })))
        .expect("reads");
        assert_eq!(form.customer.name, "ü".repeat(100));
        assert_eq!((form.service_id, form.fence), (Some(7), Some(9)));
        assert_eq!(form.customer.notes, Some(notes));
        let least = read(&with(json!({"phone": "", "notes": null, "service_id": " "}))).expect("reads");
        assert_eq!((least.customer.phone, least.customer.notes, least.service_id), (None, None, None));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let all = ["email", "fence", "idempotency_key", "name", "notes", "phone", "service_id"];
        let too_long = json!({
            "idempotency_key": "x".repeat(129), "name": "x".repeat(101), "email": format!("a@b.{}", "c".repeat(97)),
            "phone": "1".repeat(21), "notes": "x".repeat(2001), "service_id": 0, "fence": -1
        });
        assert_eq!(wrong(too_long), all);
        for no_text in [json!(7), json!(true), json!([]), json!({})] {
            let changes = all.map(|name| (name.to_owned(), no_text.clone()));
            let named = wrong(Value::Object(changes.into_iter().collect()));
            assert!(
                all[..6].iter().all(|name| named.contains(name) || (*name == "fence")),
                "{no_text}: {named:?}"
            );
        }
        assert_eq!(read(&Map::new()).expect_err("nothing sent").len(), 3);
    }

    #[test]
    fn an_address_is_one_to_wordpress_or_would_be_with_letters_of_its_own() {
        for right in
            ["a@b.c", "ann.o'neil+x@sub.ex-ample.com", "ü@ü.example", "a..b.@docomo.example", " a@b.c "]
        {
            assert!(wrong(json!({"email": right})).is_empty(), "{right}");
        }
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "ab",
            "a@b",
            "a@b@c.d",
            "a b@c.d",
            "a@b .c",
            "a@b.c\r\nBcc: d@e.f",
            "a@b.c,d@e.f",
            "<a@b.c>",
            "Ann <a@b.c>",
            "a@b.c>",
            "a@.b.c",
            "a@b.c.",
            "a@b..c",
            "a@.",
            "a@-b.c",
            "a@b-.c",
            "a@[127.0.0.1]",
            "\"a b\"@c.d",
            "a(b)@c.d",
            "a@b_c.d",
            "a\u{2003}b@c.d",
            "a\0@b.c",
            "a\\@b.c",
            "a:b@c.d",
            "a@b.c:25",
        ] {
            assert_eq!(wrong(json!({"email": bad})), ["email"], "{bad}");
        }
        assert_eq!(wrong(json!({"name": "Ann\nBob"})), ["name"]);
    }

    #[test]
    fn the_plugins_names_become_ours() {
        let form = json!({
            "firstName": "Ann", "lastName": "Lee", "staff_id": "3", "date": "2026-12-01 10:00:00", "email": "a@b"
        });
        let ours = as_ours(fields(form));
        assert_eq!((&ours["name"], &ours["employee_id"]), (&json!("Ann Lee"), &json!("3")));
        assert_eq!((&ours["date"], &ours["time"]), (&json!("2026-12-01"), &json!("10:00:00")));
        let ours =
            as_ours(fields(json!({"firstName": "Ann", "name": "Bob", "employee_id": 1, "staff_id": 2})));
        assert_eq!((&ours["name"], &ours["employee_id"]), (&json!("Bob"), &json!(1)));
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~]{0,130}".prop_map(Value::from),
            "[a-z]{0,60}@[a-z @.]{0,60}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_within_the_rules_or_named(
            sent in prop::collection::btree_map(
                prop::sample::select(vec![
                    "idempotency_key", "name", "email", "phone", "notes", "service_id", "fence", "date", "time",
                    "firstName", "lastName", "staff_id", "employee_id",
                ]),
                anything(),
                0..13,
            )
        ) {
            let fields: Map<String, Value> =
                sent.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let ours = as_ours(fields);
            match read(&ours) {
                Err(wrong) => prop_assert!(!wrong.is_empty() && wrong.values().all(|sentence| !sentence.is_empty())),
                Ok(form) => crate::fuzz::check_form(&form),
            }
        }
    }
}
