//! What is planned for databases in the states they are found in.

use super::super::guard::APPOINTMENT;
use super::*;

fn wanted() -> Wanted {
    Wanted {
        prefix: "wp_".to_owned(),
        appointments: super::super::appointments::possible_names("wp_", None),
        guard_bookings: true,
    }
}

fn table(columns: &[&str]) -> ExistingTable {
    ExistingTable {
        engine: "InnoDB".to_owned(),
        columns: columns.iter().map(|column| ((*column).to_owned(), None)).collect(),
        unique: Vec::new(),
        keys: Vec::new(),
    }
}

/// Everything as `plan` would have it.
fn complete() -> Existing {
    let mut existing = Existing { storage_rows: BTreeSet::from([1, 2]), ..Existing::default() };
    for wanted in &TABLES {
        let columns: Vec<_> = wanted.columns.iter().map(|column| column.name).collect();
        existing.tables.insert(format!("wp_{}", wanted.name), table(&columns));
    }
    existing.tables.insert("wp_options".to_owned(), table(&["option_name"]));
    existing.tables.insert("wp_appointease_appointments".to_owned(), table(&APPOINTMENT));
    let guard = ["employee_id", "appointment_date", "slotcast_live"];
    appointments(&mut existing).unique.push(guard.iter().map(ToString::to_string).collect());
    appointments(&mut existing).keys.push(guard.map(str::to_owned).to_vec());
    locks(&mut existing).unique.push(SLOT.iter().map(ToString::to_string).collect());
    existing
}

fn locks(existing: &mut Existing) -> &mut ExistingTable {
    existing.tables.get_mut("wp_appointease_slot_locks").unwrap()
}

fn appointments(existing: &mut Existing) -> &mut ExistingTable {
    existing.tables.get_mut("wp_appointease_appointments").unwrap()
}

fn statements(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.statement.as_str()).collect()
}

#[test]
fn an_empty_database_lacks_five_tables_and_two_rows() {
    let plan = plan(&wanted(), &Existing::default());
    let begins: Vec<_> = statements(&plan).iter().map(|text| text.split(" (").next().unwrap()).collect();
    assert_eq!(
        begins,
        [
            "CREATE TABLE `wp_appointease_slot_locks`",
            "CREATE TABLE `wp_appointease_storage`",
            "CREATE TABLE `wp_appointease_gateways`",
            "CREATE TABLE `wp_appointease_idempotency`",
            "CREATE TABLE `wp_appointease_outbox`",
            "INSERT IGNORE INTO `wp_appointease_storage`",
            "INSERT IGNORE INTO `wp_appointease_storage`",
        ]
    );
    assert!(plan.blockers.is_empty(), "{plan:?}");
    assert!(plan.warnings[0].text.contains("no table wp_options"), "{plan:?}");
}

#[test]
fn a_complete_database_lacks_nothing() {
    assert_eq!(plan(&wanted(), &complete()), Plan::default());
}

#[test]
fn the_first_mode_is_left_to_the_first_gateway() {
    let plan = plan(&wanted(), &Existing::default());
    assert!(statements(&plan).iter().any(|text| text.ends_with("VALUES (1, '', 0, 0, '')")), "{plan:?}");
}

#[test]
fn the_plugins_lock_table_gets_our_columns_and_nothing_else() {
    let mut existing = complete();
    for ours in ["fence", "deadline_ms"] {
        locks(&mut existing).columns.remove(ours);
    }
    let plan = plan(&wanted(), &existing);
    assert_eq!(
        statements(&plan),
        [
            "ALTER TABLE `wp_appointease_slot_locks` ADD COLUMN `fence` BIGINT UNSIGNED NOT NULL DEFAULT 0",
            "ALTER TABLE `wp_appointease_slot_locks` ADD COLUMN `deadline_ms` BIGINT UNSIGNED NULL",
        ]
    );
}

#[test]
fn a_slot_that_can_be_locked_twice_is_guarded_unless_one_is() {
    let mut existing = complete();
    let id_alone = BTreeSet::from(["id".to_owned()]);
    locks(&mut existing).unique = vec![id_alone];
    let guard = "ALTER TABLE `wp_appointease_slot_locks` \
                 ADD UNIQUE KEY `slotcast_slot` (`date`, `time`, `employee_id`)";
    assert_eq!(statements(&plan(&wanted(), &existing)), [guard]);

    existing.duplicate_locks.push("2026-12-01 10:00:00 of employee 3".to_owned());
    let plan = plan(&wanted(), &existing);
    assert!(plan.steps.is_empty(), "{plan:?}");
    assert!(plan.blockers[0].contains("2026-12-01 10:00:00 of employee 3"), "{plan:?}");
}

#[test]
fn a_table_that_only_has_the_name_is_left_alone() {
    let mut existing = complete();
    existing.tables.insert("wp_appointease_slot_locks".to_owned(), table(&["id", "door", "key"]));
    let plan = plan(&wanted(), &existing);
    assert!(plan.steps.is_empty(), "{plan:?}");
    let expected = "it has no date, time, employee_id, client_id, expires_at, created_at";
    assert!(plan.blockers[0].ends_with(expected), "{plan:?}");
}

#[test]
fn what_cannot_be_changed_is_said() {
    let mut existing = complete();
    locks(&mut existing).engine = "MyISAM".to_owned();
    locks(&mut existing).columns.insert("client_id".to_owned(), Some(64));
    existing.tables.get_mut("wp_options").unwrap().engine = "MyISAM".to_owned();
    let plan = plan(&wanted(), &existing);
    assert!(plan.steps.is_empty(), "{plan:?}");
    assert!(plan.blockers[0].contains("ALTER TABLE `wp_appointease_slot_locks` ENGINE=InnoDB"), "{plan:?}");
    assert!(plan.warnings[0].text.contains("64 characters"), "{plan:?}");
    assert!(plan.warnings[1].text.contains("wp_options is kept by MyISAM"), "{plan:?}");
}

#[test]
fn a_table_of_ours_from_an_older_version_is_completed() {
    let mut existing = complete();
    existing.tables.get_mut("wp_appointease_gateways").unwrap().columns.remove("version");
    existing.storage_rows.remove(&2);
    let plan = plan(&wanted(), &existing);
    let [column, row] = statements(&plan)[..] else { panic!("{plan:?}") };
    assert!(column.starts_with("ALTER TABLE `wp_appointease_gateways` ADD COLUMN `version`"), "{column}");
    assert!(row.ends_with("VALUES (2, '', 0, 0, '')"), "{row}");
}

#[test]
fn a_slot_that_can_be_booked_twice_is_guarded_where_asked_and_nothing_is_in_the_way() {
    let mut existing = complete();
    appointments(&mut existing).unique.clear();
    let plan_of =
        |existing: &Existing, guard_bookings| plan(&Wanted { guard_bookings, ..wanted() }, existing);
    assert_eq!(plan_of(&existing, false), Plan::default());
    let guard = "ALTER TABLE `wp_appointease_appointments` \
                 ADD COLUMN `slotcast_live` TINYINT GENERATED ALWAYS AS \
                 (CASE WHEN status IN ('confirmed', 'created') THEN 1 END) \
                 VIRTUAL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */, \
                 ADD UNIQUE KEY `slotcast_slot` (`employee_id`, `appointment_date`, `slotcast_live`)";
    assert_eq!(statements(&plan_of(&existing, true)), [guard]);

    appointments(&mut existing).columns.insert("slotcast_live".to_owned(), None);
    let half = plan_of(&existing, true);
    assert!(!statements(&half)[0].contains("ADD COLUMN"), "{half:?}");

    existing.duplicate_bookings.push("2026-12-01 10:00:00 of employee 3 (2)".to_owned());
    let blocked = plan_of(&existing, true);
    assert!(blocked.steps.is_empty(), "{blocked:?}");
    assert!(blocked.blockers[0].ends_with("2026-12-01 10:00:00 of employee 3 (2)"), "{blocked:?}");

    // A key that lets no slot have two rows at all guards more than enough.
    let stricter = ["employee_id", "appointment_date"];
    appointments(&mut existing).unique.push(stricter.iter().map(ToString::to_string).collect());
    assert_eq!(plan_of(&existing, true), Plan::default());
}

#[test]
fn a_table_of_appointments_that_takes_no_bookings_is_said() {
    let said = |change: &dyn Fn(&mut Existing), guard_bookings| {
        let mut existing = complete();
        change(&mut existing);
        let plan = plan(&Wanted { guard_bookings, ..wanted() }, &existing);
        assert!(plan.steps.is_empty(), "{plan:?}");
        let warnings: Vec<_> = plan.warnings.into_iter().map(|warning| warning.text).collect();
        (plan.blockers.join(""), warnings.join(""))
    };
    let my_isam = |existing: &mut Existing| appointments(existing).engine = "MyISAM".to_owned();
    assert!(said(&my_isam, true).0.contains("kept by MyISAM"));
    assert!(said(&my_isam, false).1.contains("kept by MyISAM"));
    let foreign = |existing: &mut Existing| _ = appointments(existing).columns.remove("status");
    assert!(said(&foreign, true).0.ends_with("it has no status"));
    let none = |existing: &mut Existing| _ = existing.tables.remove("wp_appointease_appointments");
    assert!(said(&none, true).1.contains("there is no table wp_appointease_appointments"));
}

#[test]
fn an_index_by_which_no_day_is_found_is_said_unless_the_guard_comes() {
    let warned = |keys: &[&[&str]], change: &dyn Fn(&mut Existing), guard_bookings| {
        let mut existing = complete();
        appointments(&mut existing).keys =
            keys.iter().map(|key| key.iter().map(ToString::to_string).collect()).collect();
        change(&mut existing);
        let plan = plan(&Wanted { guard_bookings, ..wanted() }, &existing);
        let missing = plan.warnings.iter().filter(|warning| warning.event == "appointments_index_missing");
        missing.map(|warning| warning.text.clone()).collect::<String>()
    };
    let as_is = |_: &mut Existing| {};
    let unguarded = |existing: &mut Existing| appointments(existing).unique.clear();
    let statement = "CREATE INDEX `slotcast_employee_date` ON `wp_appointease_appointments` \
                     (`employee_id`, `appointment_date`)";
    for keys in [&[&["id"][..], &["employee_id"]][..], &[&["employee_id", "status", "appointment_date"]], &[]]
    {
        let text = warned(keys, &as_is, false);
        assert!(text.ends_with(statement), "{keys:?}: {text}");
        assert_eq!(warned(keys, &unguarded, true), "", "the guard is an index too");
        let blocked = |existing: &mut Existing| {
            unguarded(existing);
            existing.duplicate_bookings.push("10:00".to_owned());
        };
        assert!(warned(keys, &blocked, true).ends_with(statement), "{keys:?}");
    }
    for key in [&["appointment_date"][..], &["employee_id", "appointment_date", "status"]] {
        assert_eq!(warned(&[key], &as_is, false), "", "{key:?}");
    }
}

#[test]
fn a_binary_log_of_statements_is_said() {
    for (format, is_said) in
        [(None, false), (Some("ROW"), false), (Some("MIXED"), false), (Some("STATEMENT"), true)]
    {
        let existing = Existing { binlog_format: format.map(str::to_owned), ..complete() };
        let plan = plan(&wanted(), &existing);
        let events: Vec<_> = plan.warnings.iter().map(|warning| warning.event).collect();
        assert_eq!(events.contains(&"mysql_binlog_statement"), is_said, "{format:?}");
    }
}
