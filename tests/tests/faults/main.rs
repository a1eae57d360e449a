//! Faults of stores, lines and gateways under the load of many clients, each judged by what the clients
//! were told. The short form is a test like any other; `tests/faults` runs the long one. Seeds are printed
//! with everything.

mod alerts;
mod crowd;
mod excuses;
mod fault;
mod history;
mod member;
mod run;
mod scrapes;
mod servers;
mod tenure;
mod truth;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crowd::Size;
use fault::{ALL, Fault};
use history::Violation;
use run::World;
use servers::Stores;

const HEAD: &str = "\
| fault | first `ok` | all agree | back in redis | requests | errors | worst answer | violations |\n\
| --- | --- | --- | --- | --- | --- | --- | --- |";
const LONG: Size = Size { clients: 200, rooms: 20, writes_per_second: 50 };
const SHORT: Size = Size { clients: 40, rooms: 20, writes_per_second: 20 };
/// So long nothing goes wrong, before all faults.
const QUIET: Duration = Duration::from_secs(60);
/// What the short form plays, each in a world of its own.
const IN_SHORT: [Fault; 4] = [Fault::RedisKilled, Fault::BlackHole, Fault::OnlyA, Fault::MySqlKilled];

fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the gateways are given: `SLOTCAST_FAULTS_STORES=redis` leaves MySQL out.
fn stores() -> Stores {
    match from_environment("SLOTCAST_FAULTS_STORES").as_deref() {
        Some("redis") => Stores::Redis,
        Some("both") | None => Stores::Both,
        Some(other) => panic!("SLOTCAST_FAULTS_STORES is redis or both, not {other}"),
    }
}

fn seed() -> u64 {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    from_environment("SLOTCAST_TEST_SEED").map_or(fresh, |text| text.parse().expect("a seed is a number"))
}

fn chosen(stores: Stores) -> Vec<Fault> {
    let named = |name: &str| {
        let names = ALL.map(Fault::name).join(", ");
        Fault::named(name).unwrap_or_else(|| panic!("no fault is called {name}; there are {names}"))
    };
    let wanted = from_environment("SLOTCAST_FAULTS_ONLY");
    let wanted = wanted.map_or(ALL.to_vec(), |names| names.split(',').map(named).collect());
    wanted.into_iter().filter(|fault| fault.suits(stores)).collect()
}

/// Prints what was found wrong; returns how much that is.
fn tell(name: &str, seed: u64, violations: &[Violation]) -> usize {
    for violation in violations {
        println!("\nVIOLATION in {name} (seed {seed}) {}", violation.text);
        violation.context.iter().for_each(|line| println!("  {line}"));
    }
    violations.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_cost_clients_no_error_no_selection_and_no_lock() {
    let (stores, seed) = (stores(), seed());
    println!("SLOTCAST_TEST_SEED={seed}");
    let faults: Vec<Fault> = IN_SHORT.into_iter().filter(|fault| fault.suits(stores)).collect();
    let one = async |fault: Fault| {
        let mut world = World::start(stores, SHORT, seed).await;
        let report = world.go_through(fault, true).await;
        keep_logs(&world, fault);
        report
    };
    let reports = futures::future::join_all(faults.iter().map(|fault| one(*fault))).await;
    println!("{HEAD}");
    reports.iter().for_each(|report| println!("{}", report.row));
    let told = faults.iter().zip(&reports);
    let wrong: usize = told.map(|(fault, report)| tell(fault.name(), seed, &report.violations)).sum();
    assert_eq!(wrong, 0, "violations, see above");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quarter of an hour: tests/faults"]
async fn every_fault_in_turn() {
    if from_environment("SLOTCAST_FAULTS_LIST").is_some() {
        ALL.iter().for_each(|fault| println!("{:18} {}", fault.name(), fault.title()));
        return;
    }
    let (stores, seed) = (stores(), seed());
    let short = from_environment("SLOTCAST_FAULTS_SHORT").is_some();
    let fresh = from_environment("SLOTCAST_FAULTS_FRESH").is_some();
    println!("SLOTCAST_TEST_SEED={seed}");
    let mut world = None;
    let mut rows = Vec::new();
    let mut wrong = 0;
    let chosen = chosen(stores);
    if chosen.len() > 1 {
        // In a world of its own, and while nothing else wants the processors.
        let mut quiet = World::start(stores, if short { SHORT } else { LONG }, seed).await;
        wrong += tell(alerts::QUIET, seed, &quiet.stay_quiet(QUIET).await);
    }
    for fault in chosen {
        let mut now = match world.take() {
            Some(world) => world,
            None => World::start(stores, if short { SHORT } else { LONG }, seed).await,
        };
        let report = now.go_through(fault, short).await;
        wrong += tell(fault.name(), seed, &report.violations);
        println!("{}", report.row);
        rows.push(report.row);
        keep_logs(&now, fault);
        // What goes on in a world that did not recover says little about the next fault.
        world = Some(now).filter(|world| !fresh && world.is_healthy());
    }
    println!("\n{HEAD}\n{}", rows.join("\n"));
    assert_eq!(wrong, 0, "violations, see above");
}

/// Leaves what the gateways printed in `SLOTCAST_FAULTS_LOGS`, where that names a folder.
fn keep_logs(world: &World, fault: Fault) {
    let Some(folder) = from_environment("SLOTCAST_FAULTS_LOGS") else { return };
    std::fs::create_dir_all(&folder).expect("a folder for logs");
    for (gateway, letter) in world.servers.gateways.iter().zip(['a', 'b']) {
        let path = format!("{folder}/{}-{letter}.log", fault.name());
        std::fs::write(path, gateway.logs().lines().join("\n")).expect("a log is written");
    }
}
