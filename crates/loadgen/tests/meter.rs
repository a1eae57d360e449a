//! The meter on a small fake slotcast: what a sound server delivers is counted, and each way to break the contract shows.

mod fake;

use clap::Parser;
use fake::Fault;
use loadgen::cli::{Cli, Scenario};
use loadgen::report::{ConflateReport, FanoutReport, Report};
use loadgen::scenario;
use tokio::task::LocalSet;

fn run(fault: Fault, command: &str) -> Report {
    let addr = fake::start(fault);
    let words = format!("loadgen {command} --url ws://{addr}/ws --pid {}", std::process::id());
    let cli = Cli::try_parse_from(words.split_whitespace()).expect("a command");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        match &cli.scenario {
            Scenario::Fanout(args) => Report::Fanout(scenario::fanout(args).await.expect("a report")),
            Scenario::Conflate(args) => Report::Conflate(scenario::conflate(args).await.expect("a report")),
            Scenario::Hostile(_)
            | Scenario::Hold(_)
            | Scenario::Poll(_)
            | Scenario::Bare(_)
            | Scenario::Table(_) => {
                panic!("not tested here")
            }
        }
    })
}

fn fanout(fault: Fault) -> (FanoutReport, Vec<String>) {
    let report = run(fault, "fanout --subscribers 20 --rooms 2 --changes 20 --rate 100 --settle-secs 0");
    let faults = report.faults();
    let Report::Fanout(report) = report else { panic!("a fanout") };
    (report, faults)
}

#[test]
fn every_delivery_of_a_sound_server_is_counted() {
    let (report, faults) = fanout(Fault::None);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((report.ready, report.accepted, report.deliveries), (20, 20, 200));
    assert_eq!(report.answer.expect("answers").count, 20);
    assert_eq!(
        (report.delivery.expect("receipts").count, report.last.expect("last receipts").count),
        (200, 20)
    );
}

#[test]
fn a_diff_that_one_subscriber_never_got_is_a_missed_delivery() {
    let (report, faults) = fanout(Fault::SkipsOneDiff);
    assert_eq!((report.missed, report.deliveries), (1, 199), "{faults:?}");
}

#[test]
fn a_change_that_nobody_was_told_of_is_found_by_a_fresh_look() {
    let (report, faults) = fanout(Fault::TellsNobody);
    assert!(report.wrong_views > 0, "{faults:?}");
}

#[test]
fn a_subscriber_that_was_told_something_else_is_a_wrong_view() {
    let (report, faults) = fanout(Fault::TellsOneWrongly);
    assert!(report.wrong_views > 0, "{faults:?}");
}

#[test]
fn refused_changes_are_told_by_code() {
    let (report, faults) = fanout(Fault::Refuses);
    assert_eq!(report.refused.get("rate_limited"), Some(&4));
    assert!(!faults.is_empty());
}

fn conflate(fault: Fault) -> (ConflateReport, Vec<String>) {
    let report = run(fault, "conflate --subscribers 10 --rooms 2 --changes 2000 --rate 2000 --publishers 20");
    let faults = report.faults();
    let Report::Conflate(report) = report else { panic!("a conflation") };
    (report, faults)
}

#[test]
fn a_subscriber_that_stopped_reading_is_right_after_one_snapshot_per_room() {
    let (report, faults) = conflate(Fault::None);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((report.fresh_snapshots_per_room, report.wrong_rooms, report.missed), (1, 0, 0));
    assert!(report.recovered_diffs < 1000, "{report:?}");
}
