//! What PHP and a gateway put into a room's transient, and what is left of it afterwards.

use proptest::prelude::*;

use super::*;

fn room() -> Room {
    Room {
        date: parse_date("2026-12-01").expect("a day"),
        employee_id: EmployeeId::new(7).expect("an employee"),
    }
}

fn at(time: &str) -> SlotTime {
    time.parse().expect("a time")
}

fn ours() -> Ours {
    Ours {
        expires_at: 1_764_000_010_500,
        chosen: Chosen::ByPoll,
        address: Some(AddressTag(0xff)),
        gateway: "gw-1".into(),
        epoch: 3,
    }
}

fn ann() -> Stored {
    Stored::new("ann".parse().expect("a client"), 1_764_000_000, 1_763_999_990, ours())
}

fn array<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Array(entries.into_iter().map(|(key, value)| (Key::new(key), value)).collect())
}

fn read(value: &Value) -> RoomSelections {
    RoomSelections::parse(&php::encode(value)).expect("an array")
}

fn written(selections: &RoomSelections) -> Value {
    php::parse(&selections.encode()).expect("readable")
}

#[test]
fn a_gateways_selection_is_written_as_agreed_with_php_and_read_back() {
    let mut selections = RoomSelections::default();
    assert!(selections.is_empty());
    selections.entries.insert(at("10:00"), ann());
    let text = selections.encode();
    assert_eq!(
        text.escape_ascii().to_string().replace("\\\"", "\""),
        concat!(
            r#"a:1:{s:5:"10:00";a:9:{s:9:"timestamp";i:1764000000;s:9:"client_id";s:3:"ann";"#,
            r#"s:7:"user_id";i:0;s:5:"since";i:1763999990;s:10:"expires_at";i:1764000010500;"#,
            r#"s:6:"chosen";s:4:"poll";s:7:"address";s:16:"00000000000000ff";"#,
            r#"s:7:"gateway";s:4:"gw-1";s:5:"epoch";i:3;}}"#,
        )
    );
    let again = RoomSelections::parse(&text).expect("ours");
    let stored = &again.entries[&at("10:00")];
    assert_eq!((stored.client.as_str(), stored.timestamp, stored.user_id), ("ann", 1_764_000_000, 0));
    assert_eq!((stored.since, stored.ours.as_ref()), (1_763_999_990, Some(&ours())));
    assert!(!again.is_empty());
}

#[test]
fn an_unknown_address_is_the_empty_text() {
    let nowhere = Ours { address: None, chosen: Chosen::Explicitly, ..ours() };
    let mut selections = RoomSelections::default();
    selections.entries.insert(at("10:00"), Stored { ours: Some(nowhere.clone()), ..ann() });
    let again = RoomSelections::parse(&selections.encode()).expect("ours");
    assert_eq!(again.entries[&at("10:00")].ours, Some(nowhere));
    let Value::Array(rooms) = written(&selections) else { panic!("an array") };
    let Value::Array(inner) = &rooms[0].1 else { panic!("an array") };
    assert_eq!((get(inner, ADDRESS), get(inner, CHOSEN)), (Some(&bytes("")), Some(&bytes("select"))));
}

#[test]
fn what_php_leaves_out_or_spells_otherwise_is_read_all_the_same() {
    let bare = read(&array([("10:00", array([("client_id", bytes("x"))]))]));
    let stored = &bare.entries[&at("10:00")];
    assert_eq!((stored.timestamp, stored.user_id, stored.since, &stored.ours), (0, 0, 0, &None));

    let spelled = array([
        ("timestamp", bytes("17")),
        ("client_id", Value::Bytes(b"\xffa b".to_vec())),
        ("user_id", Value::Float(4.9)),
        ("since", Value::Bool(true)),
    ]);
    let spelled = read(&array([("10:00", spelled)]));
    let stored = &spelled.entries[&at("10:00")];
    assert_eq!(stored.client.as_str(), "\u{fffd}a b");
    assert_eq!((stored.timestamp, stored.user_id, stored.since), (17, 4, 17));
}

#[test]
fn an_end_that_is_no_positive_integer_makes_it_phps() {
    for end in [Value::Int(0), Value::Int(-5), bytes("1764000010500"), Value::Float(1e12), Value::Null] {
        let value = array([("10:00", array([("client_id", bytes("x")), ("expires_at", end)]))]);
        let selections = read(&value);
        assert_eq!(selections.entries[&at("10:00")].ours, None, "{value:?}");
        assert_eq!(written(&selections), value);
    }
}

#[test]
fn damaged_fields_of_a_gateways_selection_do_not_cost_the_selection() {
    let value = array([
        ("client_id", bytes("x")),
        ("expires_at", Value::Int(1)),
        ("chosen", Value::Null),
        ("address", bytes("no tag")),
        ("gateway", Value::Int(1)),
        ("epoch", Value::Int(-1)),
    ]);
    let value = array([("10:00", value)]);
    let selections = read(&value);
    let plain =
        Ours { expires_at: 1, chosen: Chosen::Explicitly, address: None, gateway: String::new(), epoch: 0 };
    assert_eq!(selections.entries[&at("10:00")].ours, Some(plain));
    assert_eq!(written(&selections), value);
}

#[test]
fn what_is_no_selection_is_kept_as_it_was() {
    let value = array([
        ("10:00", bytes("taken")),
        ("10:30", array([("timestamp", Value::Int(1))])),
        ("11:00", array([("client_id", Value::Int(5))])),
        ("10:00:00", array([("client_id", bytes("x"))])),
        ("24:00", array([("client_id", bytes("x"))])),
        ("7", array([("client_id", bytes("x"))])),
        ("", Value::Float(0.5)),
    ]);
    let selections = read(&value);
    assert!(selections.entries.is_empty() && !selections.is_empty());
    assert_eq!(written(&selections), value);
}

#[test]
fn a_new_selection_takes_the_place_of_what_is_none() {
    let mut selections = read(&array([("10:00", bytes("taken")), ("note", Value::Null)]));
    selections.entries.insert(at("10:00"), ann());
    let again = read(&written(&selections));
    assert_eq!(again.entries[&at("10:00")].client.as_str(), "ann");
    assert_eq!(again.others, [(Key::new("note"), Value::Null)]);
}

#[test]
fn phps_selection_keeps_what_php_added_even_when_a_gateway_renews_it() {
    let entry = [("note", array([("a", Value::Null)])), ("client_id", bytes("x")), ("timestamp", bytes("1"))];
    let value = array([("10:00", array(entry))]);
    let mut selections = read(&value);
    assert_eq!(written(&selections), value, "left alone");

    if let Some(stored) = selections.entries.get_mut(&at("10:00")) {
        stored.timestamp = 2;
        stored.ours = Some(ours());
    }
    let mut renewed = read(&written(&selections));
    let stored = &renewed.entries[&at("10:00")];
    assert_eq!((stored.client.as_str(), stored.timestamp, stored.since), ("x", 2, 1));
    assert_eq!(stored.ours, Some(ours()));
    assert_eq!(stored.raw[0], (Key::new("note"), array([("a", Value::Null)])));

    if let Some(stored) = renewed.entries.get_mut(&at("10:00")) {
        stored.ours = None;
    }
    let entry = array([
        ("note", array([("a", Value::Null)])),
        ("client_id", bytes("x")),
        ("timestamp", Value::Int(2)),
        ("user_id", Value::Int(0)),
        ("since", Value::Int(1)),
    ]);
    assert_eq!(written(&renewed), array([("10:00", entry)]), "given back to PHP");
}

#[test]
fn what_is_no_array_is_an_error() {
    for text in ["", "N;", "s:0:\"\";", "a:0:{", "a:1:{s:5:\"10:00\";O:8:\"stdClass\":0:{}}"] {
        assert!(RoomSelections::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(RoomSelections::parse(b"a:0:{}").expect("an array").is_empty());
}

#[test]
fn a_row_names_its_room_in_one_spelling() {
    assert_eq!(option_name(room()), "_transient_appointease_active_2026-12-01_7");
    assert_eq!(timeout_name(room()), "_transient_timeout_appointease_active_2026-12-01_7");
    assert_eq!(room_of(&option_name(room())), Some(room()));
    for name in [
        "_transient_timeout_appointease_active_2026-12-01_7",
        "_transient_appointease_active_2026-12-01_07",
        "_transient_appointease_active_2026-12-01_7_",
        "_transient_appointease_active_2026-12-01_7_10:00",
        "_transient_appointease_active_2026-12-32_7",
        "_transient_appointease_active_2026-12-01_",
        "_transient_appointease_active_2026-12-01",
        "_Transient_appointease_active_2026-12-01_7",
        "_transient_appointease_active_",
        "transient_appointease_active_2026-12-01_7",
        "",
    ] {
        assert_eq!(room_of(name), None, "{name}");
    }
}

#[test]
fn the_pattern_matches_the_names_and_takes_no_underscore_for_any_character() {
    let unescaped = ACTIVE_PATTERN.replace(r"\_", "_");
    assert_eq!(unescaped.strip_suffix('%'), option_name(room()).strip_suffix("2026-12-01_7"));
    assert_eq!(ACTIVE_PATTERN.matches('_').count(), ACTIVE_PATTERN.matches(r"\_").count());
}

proptest! {
    #[test]
    fn every_room_is_found_under_its_name(days in 0_i64..3_000_000, employee in 1_u64..8_388_608) {
        let date = parse_date("1000-01-01").expect("a day").saturating_add(jiff::Span::new().days(days));
        let room = Room { date, employee_id: EmployeeId::new(employee).expect("an employee") };
        prop_assert_eq!(room_of(&option_name(room)), Some(room));
    }

    #[test]
    fn every_selection_of_ours_reads_back_as_it_was(
        client in "[A-Za-z0-9._:-]{1,128}",
        timestamp: i64,
        since: i64,
        expires_at in 1..=i64::MAX,
        by_poll: bool,
        address: Option<u64>,
        gateway in ".{0,20}",
        epoch in 0..=i64::MAX as u64,
        minutes in 0_u16..1440,
    ) {
        let chosen = if by_poll { Chosen::ByPoll } else { Chosen::Explicitly };
        let ours = Ours { expires_at, chosen, address: address.map(AddressTag), gateway, epoch };
        let stored = Stored::new(client.parse().expect("a client"), timestamp, since, ours.clone());
        let time = at(&format!("{:02}:{:02}", minutes / 60, minutes % 60));
        let selections = RoomSelections { entries: [(time, stored)].into(), others: Vec::new() };
        let again = RoomSelections::parse(&selections.encode()).expect("ours");
        let stored = &again.entries[&time];
        prop_assert_eq!(stored.client.as_str(), client);
        prop_assert_eq!((stored.timestamp, stored.since), (timestamp, since));
        prop_assert_eq!(&stored.ours, &Some(ours));
        prop_assert_eq!(again.encode(), selections.encode());
    }
}
