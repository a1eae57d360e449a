//! One half of a scenario that makes the same changes twice, without and with something beside them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::LoadError;
use crate::cli::{LoadArgs, ServerArgs};
use crate::publisher::Publishers;
use crate::report::PhaseReport;
use crate::stage::{Stage, cpu_secs, usage};

/// How often the server's memory is looked at.
const MEMORY_PERIOD: Duration = Duration::from_millis(200);

/// A phase's numbers, and what went wrong in it.
pub(super) struct Phase {
    pub(super) report: PhaseReport,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) gaps: u64,
}

/// Unmeasured: the first changes of a run fill slots and warm caches.
pub(super) async fn warm_up(load: &LoadArgs, stage: &Stage, publishers: &mut Publishers) {
    publishers.publish(load.changes / 20, load.rate).await;
    stage.quiet(publishers, load).await;
    let _ = (publishers.take_answers(), stage.meter.lock().next_phase());
}

/// All changes once, while the server's memory is watched and `beside` goes on, which does not end by itself.
pub(super) async fn phase(
    (server, load): (&ServerArgs, &LoadArgs),
    stage: &Stage,
    publishers: &mut Publishers,
    beside: impl Future<Output = ()>,
) -> Result<Phase, LoadError> {
    let start = usage(server)?;
    let peak_kib = Cell::new(0);
    let changes = async {
        publishers.publish(load.changes, load.rate).await;
        stage.quiet(publishers, load).await;
    };
    tokio::select! {
        () = changes => (),
        () = beside => (),
        failed = watch_memory(server, &peak_kib) => failed?,
    }
    let end = usage(server)?;
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
