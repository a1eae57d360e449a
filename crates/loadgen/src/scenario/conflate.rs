//! One subscriber that stops reading among many: the same changes twice, without and with it. The others' latency and the
//! server's memory should not tell the two apart, and its state should be right soon after it reads again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::LoadError;
use crate::cli::{ConflateArgs, GenericArgs, ServerArgs};
use crate::publisher::Publishers;
use crate::report::{ConflateReport, PhaseReport};
use crate::stage::{Stage, cpu_secs, usage};
use crate::stalled::StalledReader;

/// How often the server's memory is looked at.
const MEMORY_PERIOD: Duration = Duration::from_millis(200);
/// How long the stalled subscriber may take to be right again.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the scenario. To be called within a `LocalSet`.
pub async fn conflate(args: &ConflateArgs) -> Result<ConflateReport, LoadError> {
    let server = &args.server;
    let stage = Stage::open(server, &args.crowd, &GenericArgs::default()).await?;
    let mut publishers = stage.publishers(&args.load).await?;

    // Unmeasured: the first changes of a run fill slots and warm caches.
    publishers.publish(args.load.changes / 20, args.load.rate).await;
    stage.quiet(&publishers, &args.load).await;
    let _ = (publishers.take_answers(), stage.meter.lock().next_phase());

    let before = phase(args, &stage, &mut publishers, None).await?;
    let mut stalled = StalledReader::join(stage.target(), &stage.dialect, args.crowd.rooms).await?;
    let during = phase(args, &stage, &mut publishers, Some(&mut stalled)).await?;
    let recovery = stalled.recover(&stage.meter, RECOVERY_PATIENCE).await;
    let shortfall = stage.shortfall(&publishers).await?;

    let meter = stage.meter.lock();
    let (ready, lost) = meter.presence();
    let mut refused = during.refused;
    for (code, count) in before.refused {
        *refused.entry(code).or_default() += count;
    }
    Ok(ConflateReport {
        title: server.title.clone(),
        label: server.label.clone(),
        subscribers: args.crowd.subscribers,
        ready,
        lost,
        rooms: args.crowd.rooms,
        changes: args.load.changes,
        rate: args.load.rate,
        before: before.report,
        stalled: during.report,
        refused,
        missed: shortfall.missed + before.gaps + during.gaps,
        wrong_views: shortfall.wrong_views,
        recovered_diffs: recovery.diffs,
        recovered_gaps: recovery.gaps,
        recovered_bytes: recovery.bytes,
        recovery_ms: recovery.took.as_secs_f64() * 1e3,
        snapshots_per_room: recovery.snapshots_per_room,
        fresh_snapshots_per_room: recovery.fresh_snapshots_per_room,
        wrong_rooms: recovery.wrong_rooms,
        why_closed: recovery.why_closed,
    })
}

/// A phase's numbers, and what went wrong in it.
struct Phase {
    report: PhaseReport,
    refused: BTreeMap<String, u64>,
    gaps: u64,
}

/// All changes once, while the server's memory is watched and the stalled subscriber, if any, stalls.
async fn phase(
    args: &ConflateArgs,
    stage: &Stage,
    publishers: &mut Publishers,
    stalled: Option<&mut StalledReader>,
) -> Result<Phase, LoadError> {
    let start = usage(&args.server)?;
    let peak_kib = Cell::new(0);
    let changes = async {
        publishers.publish(args.load.changes, args.load.rate).await;
        stage.quiet(publishers, &args.load).await;
    };
    let stall = async {
        match stalled {
            Some(stalled) => stalled.stall().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = changes => (),
        () = stall => (),
        failed = watch_memory(&args.server, &peak_kib) => failed?,
    }
    let end = usage(&args.server)?;
    let answers = publishers.take_answers();
    let tally = stage.meter.lock().next_phase();
    Ok(Phase {
        report: PhaseReport {
            deliveries: tally.deliveries,
            delivery: tally.latency.latency(),
            answer: answers.latency.latency(),
            server_cpu_secs: start.zip(end).map(|(start, end)| cpu_secs(start, end)),
            anon_kib: start
                .zip(end)
                .map(|(start, end)| [start.anon_kib, peak_kib.get().max(end.anon_kib), end.anon_kib]),
        },
        refused: answers.refused,
        gaps: tally.gaps,
    })
}

/// Ends only with an error, as when the server is gone.
async fn watch_memory(server: &ServerArgs, peak_kib: &Cell<u64>) -> Result<(), LoadError> {
    let mut ticks = interval(MEMORY_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if let Some(now) = usage(server)? {
            peak_kib.set(peak_kib.get().max(now.anon_kib));
        }
    }
}
