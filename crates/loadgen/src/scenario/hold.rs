//! Rooms that each hold one selection and change no more: what keeping them alive costs the gateway that does, and what
//! finding that nothing changed costs one that only watches, and the database of both.

use tokio::time::{Instant, sleep};

use std::time::Duration;

use crate::LoadError;
use crate::cli::{CrowdArgs, GenericArgs, HoldArgs, LoadArgs};
use crate::process::Usage;
use crate::report::HoldReport;
use crate::stage::{Stage, cpu_secs, usage, usage_of};

/// Watchers behind one source address, and those connecting at one time.
const PER_ADDRESS: usize = 200;
const CONNECTING: usize = 100;
/// So long without news, and everybody has swept again.
const QUIET_SECS: f64 = 1.3;

/// What each process has used so far.
struct Costs {
    watching: Option<Usage>,
    holding: Option<Usage>,
    store: Option<Usage>,
}

impl Costs {
    fn now(args: &HoldArgs) -> Result<Costs, LoadError> {
        Ok(Costs {
            watching: usage(&args.server)?,
            holding: usage_of(&args.select_pids)?,
            store: usage_of(&args.store_pids)?,
        })
    }
}

/// Milliseconds of CPU a second.
fn pace(from: Option<Usage>, to: Option<Usage>, secs: f64) -> Option<f64> {
    from.zip(to).map(|(from, to)| cpu_secs(from, to) * 1e3 / secs)
}

/// Runs the scenario. To be called within a `LocalSet`.
pub async fn hold(args: &HoldArgs) -> Result<HoldReport, LoadError> {
    let mut report = HoldReport {
        title: args.server.title.clone(),
        label: args.server.label.clone(),
        rooms: args.rooms,
        ..HoldReport::default()
    };
    if args.rooms == 0 {
        measure(args, &mut report).await?;
        return Ok(report);
    }
    let crowd = CrowdArgs {
        subscribers: args.rooms,
        rooms: args.rooms,
        per_address: PER_ADDRESS,
        connecting: CONNECTING,
        date: None,
        first_employee: args.first_employee,
    };
    let load = LoadArgs {
        changes: args.rooms as u64,
        rate: args.rate,
        publishers: Some(args.rooms),
        select_at: Some(args.select_at.clone()),
        confirm: false,
        insert_by: None,
        quiet_secs: QUIET_SECS,
    };
    let stage = Stage::open(&args.server, &crowd, &GenericArgs::default()).await?;
    let mut publishers = stage.publishers(&load).await?;
    publishers.publish(load.changes, load.rate).await;
    stage.quiet(&publishers, &load).await;
    measure(args, &mut report).await?;
    report.lost = stage.meter.lock().presence().1;
    report.held = stage.fresh_views().await?.iter().map(|view| view.active.len()).sum();
    report.refused = publishers.take_answers().refused;
    Ok(report)
}

async fn measure(args: &HoldArgs, report: &mut HoldReport) -> Result<(), LoadError> {
    let (before, start) = (Costs::now(args)?, Instant::now());
    sleep(Duration::from_secs_f64(args.seconds)).await;
    let (after, secs) = (Costs::now(args)?, start.elapsed().as_secs_f64());
    report.watching_cpu_ms = pace(before.watching, after.watching, secs);
    report.holding_cpu_ms = pace(before.holding, after.holding, secs);
    report.store_cpu_ms = pace(before.store, after.store, secs);
    Ok(())
}
