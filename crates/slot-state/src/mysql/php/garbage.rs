//! The codec, and what is built on it, against generated values and garbage: whatever is read is written in a
//! way that reads the same, and nothing in a room's transient is lost.

use std::collections::HashSet;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::mysql::fuzz::{php as settles, shown};

/// Texts that mean something somewhere.
const TELLING: &[&str] = &[
    "", "0", "10", "-5", "-0", "010", "+5", " 5", "1e3", "10:00", "時間", "\"", "\";}", "i:1;", "poll", "ff",
];
/// What an integer just holds, and just does not.
const LARGE: [i128; 4] = [i64::MIN as i128 - 1, i64::MIN as i128, i64::MAX as i128, i64::MAX as i128 + 1];

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => select(TELLING).prop_map(|text| text.as_bytes().to_vec()).boxed(),
        1 => select(&LARGE[..]).prop_map(|number| number.to_string().into_bytes()).boxed(),
        3 => vec(any::<u8>(), 0..12).boxed(),
    ]
}

/// Any plain value, each key once in an array and spelled as PHP keeps it.
pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let float = prop_oneof![
        prop::num::f64::ANY,
        any::<i32>().prop_map(f64::from),
        (any::<i16>(), -30_i32..30).prop_map(|(number, power)| f64::from(number) * 10_f64.powi(power)),
    ];
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![any::<i64>(), -20_i64..20].prop_map(Value::Int),
        float.prop_map(Value::Float),
        any_text().prop_map(Value::Bytes),
    ];
    let key = prop_oneof![any_text().prop_map(Key::new), (-3_i64..9).prop_map(Key::Int)];
    plain.prop_recursive(4, 40, 6, move |inner| {
        vec((key.clone(), inner), 0..6).prop_map(|mut entries| {
            let mut seen = HashSet::new();
            entries.retain(|(key, _)| seen.insert(key.clone()));
            Value::Array(entries)
        })
    })
}

/// Where bytes of a text change, and how.
pub(super) fn any_damage() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    let byte = prop_oneof![select(&b"aidbsNOCERSr:;{}\"0123456789-+.E"[..]), any::<u8>()];
    vec((any::<Index>(), 0_u8..8, byte), 1..3)
}

/// A text after such changes.
pub(super) fn damaged(mut text: Vec<u8>, damage: &[(Index, u8, u8)]) -> Vec<u8> {
    for (place, how, byte) in damage {
        let at = place.index(text.len() + 1);
        match how {
            0 => text.insert(at, *byte),
            1 => text.truncate(at),
            _ if at == text.len() => text.push(*byte),
            2 => drop(text.remove(at)),
            _ => text[at] = *byte,
        }
    }
    text
}

/// Something like the array in a room's transient.
fn any_room() -> impl Strategy<Value = Value> {
    let time = select(&["09:00", "09:30", "10:00", "10:00:00", "24:00", "7", "note"][..]);
    let field = select(
        &[
            "client_id",
            "timestamp",
            "user_id",
            "since",
            "expires_at",
            "chosen",
            "address",
            "gateway",
            "epoch",
        ][..],
    );
    let client = prop::option::weighted(0.9, any_text().prop_map(Value::Bytes));
    let entry = (client, btree_map(field, any_value(), 0..6)).prop_map(|(client, fields)| {
        let client = client.into_iter().map(|client| ("client_id", client));
        let fields = fields.into_iter().filter(|(name, _)| *name != "client_id");
        Value::Array(client.chain(fields).map(|(name, value)| (Key::new(name), value)).collect())
    });
    let any_entry = prop_oneof![9 => entry.boxed(), 1 => any_value().boxed()];
    btree_map(time, any_entry, 0..5).prop_map(|entries| {
        Value::Array(entries.into_iter().map(|(key, entry)| (Key::new(key), entry)).collect())
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(value in any_value()) {
        let text = encode(&value);
        // Debug output compares NaN and -0 as well.
        prop_assert_eq!(format!("{:?}", parse(&text)), format!("{:?}", Ok::<_, ParseError>(value)));
        settles(&text);
    }

    #[test]
    fn nothing_in_a_rooms_transient_is_lost(room in any_room()) {
        settles(&encode(&room));
    }

    #[test]
    fn a_value_cut_short_is_an_error(value in any_value()) {
        let text = encode(&value);
        for len in 0..text.len() {
            prop_assert!(parse(&text[..len]).is_err_and(|error| error.at <= len), "{}", shown(&text[..len]));
        }
    }

    #[test]
    fn a_damaged_value_is_an_error_or_another_value(value in any_value(), damage in any_damage()) {
        settles(&damaged(encode(&value), &damage));
    }

    #[test]
    fn any_bytes_are_an_error_or_a_value(text in vec(any::<u8>(), 0..60)) {
        settles(&text);
    }
}
