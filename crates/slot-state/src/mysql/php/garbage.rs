//! The codec, and what is built on it, against generated values and garbage: whatever is read is written in a
//! way that reads the same, and nothing in a room's transient is lost.

use std::collections::HashSet;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::time::Instant;

use super::*;
use crate::mysql::transients::RoomSelections;

/// Bytes for people to read.
pub(super) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

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

/// What is read at all is written in a way that reads the same, and stays so.
fn settles(text: &[u8]) {
    if let Ok(value) = parse(text) {
        let written = encode(&value);
        let again = parse(&written).unwrap_or_else(|error| panic!("{}: {error}", shown(&written)));
        assert_eq!(shown(&encode(&again)), shown(&written), "from {}", shown(text));
    }
    if let Ok(selections) = RoomSelections::parse(text) {
        let written = selections.encode();
        assert_eq!(sorted(&written), sorted(text), "from {}", shown(text));
        assert_eq!(selections.is_empty(), written == b"a:0:{}");
    }
}

/// The entries of an array, in an order that is not the array's.
fn sorted(text: &[u8]) -> Vec<String> {
    let Ok(Value::Array(array)) = parse(text) else { panic!("{} is no array", shown(text)) };
    let mut entries: Vec<_> = array.iter().map(|entry| format!("{entry:?}")).collect();
    entries.sort();
    entries
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

/// How long the garbage lasts, in seconds.
const FUZZ_SECS: &str = "SLOTCAST_FUZZ_SECS";
/// Runs one case again.
const FUZZ_SEED: &str = "SLOTCAST_FUZZ_SEED";

#[test]
#[ignore = "as long as SLOTCAST_FUZZ_SECS says; tests/fuzz runs it"]
fn php_codec_survives_garbage() {
    let asked = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    if let Some(seed) = asked(FUZZ_SEED) {
        return survives(seed);
    }
    let until = Instant::now() + Duration::from_secs(asked(FUZZ_SECS).unwrap_or(60));
    let (first, mut cases) = (u64::from(rand::random::<u32>()), 0);
    while Instant::now() < until {
        let told = PrintSeed(first + cases);
        survives(first + cases);
        drop(told);
        cases += 1;
    }
    println!("{cases} cases without a fault, seeds from {first}");
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {FUZZ_SEED}={}", self.0);
        }
    }
}

fn survives(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let pieces = select(&["a:1:{", "a:2:{i:0;", "}", "i:1;", "N;", "d:1.5;", "s:5:\"10:00\";", "s:1:\""][..]);
    let soup = vec(pieces, 0..40).prop_map(|pieces| pieces.concat().into_bytes());
    let garbage = (any_value(), any_room(), vec(any_damage(), 0..20), soup, vec(any::<u8>(), 0..200));
    let (value, room, damages, soup, noise) = garbage.new_tree(&mut runner).expect("garbage").current();
    let texts = [encode(&value), encode(&room), soup, noise];
    for text in texts {
        settles(&text);
        for damage in &damages {
            settles(&damaged(text.clone(), damage));
        }
    }
}
