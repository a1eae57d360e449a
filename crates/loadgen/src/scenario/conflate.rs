//! One subscriber that stops reading among many: the same changes twice, without and with it. The others' latency and the
//! server's memory should not tell the two apart, and its state should be right soon after it reads again.

use std::future::pending;
use std::time::Duration;

use super::phase::{phase, warm_up};
use crate::LoadError;
use crate::cli::{ConflateArgs, GenericArgs};
use crate::report::ConflateReport;
use crate::stage::Stage;
use crate::stalled::StalledReader;

/// How long the stalled subscriber may take to be right again.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the scenario. To be called within a `LocalSet`.
pub async fn conflate(args: &ConflateArgs) -> Result<ConflateReport, LoadError> {
    let server = &args.server;
    let stage = Stage::open(server, &args.crowd, &GenericArgs::default()).await?;
    let mut publishers = stage.publishers(&args.load).await?;

    warm_up(&args.load, &stage, &mut publishers).await;
    let of = (server, &args.load);
    let before = phase(of, &stage, &mut publishers, pending()).await?;
    let mut stalled = StalledReader::join(stage.target(), &stage.dialect, args.crowd.rooms).await?;
    let during = phase(of, &stage, &mut publishers, stalled.stall()).await?;
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
