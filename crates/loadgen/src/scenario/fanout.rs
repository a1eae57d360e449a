//! Subscribers in rooms, changes at a pace: what a connection weighs, what a delivery costs, how late it is, and whether
//! everything arrived.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::LoadError;
use crate::cli::FanoutArgs;
use crate::process::Usage;
use crate::publisher::Publishers;
use crate::report::{FanoutReport, Memory};
use crate::stage::{Stage, cpu_secs, usage, usage_of};
use crate::timing::Timings;
use crate::yardstick::Yardstick;

/// Runs the scenario. To be called within a `LocalSet`.
pub async fn fanout(args: &FanoutArgs) -> Result<FanoutReport, LoadError> {
    let server = &args.server;
    let before = usage(server)?;
    let yardstick = Yardstick::connect(args).await?;
    let stage = Stage::open(server, &args.crowd, &args.generic).await?;
    let (up, up_at) = (usage(server)?, Instant::now());
    sleep(Duration::from_secs_f64(args.settle_secs)).await;
    let (idle, idle_secs) = (usage(server)?, up_at.elapsed().as_secs_f64());

    let mut publishers = stage.publishers(&args.load).await?;
    let _ = stage.meter.lock().next_phase();
    let (server_start, store_start, client_start) =
        (usage(server)?, usage_of(&args.store_pids)?, Usage::own()?);
    let load_start = Instant::now();
    let (behind, bare_timings) = load(args, &stage, &mut publishers, yardstick).await?;
    let load_secs = load_start.elapsed().as_secs_f64();
    stage.quiet(&publishers, &args.load).await;
    let (server_end, store_end, client_end) = (usage(server)?, usage_of(&args.store_pids)?, Usage::own()?);
    let mut shortfall = stage.shortfall(&publishers).await?;
    if let Some(url) = &args.load.select_at {
        shortfall.wrong_views += stage.differing_views(url).await?;
    }

    let unanswered = publishers.unanswered();
    let is_slotcast = stage.dialect.is_slotcast();
    let answers = publishers.take_answers();
    let meter = stage.meter.lock();
    let (ready, lost) = meter.presence();
    let tally = &meter.tally;
    let mut refused = answers.refused;
    for (code, count) in &tally.refused {
        *refused.entry(format!("subscriber_{code}")).or_default() += count;
    }
    if tally.resyncs > 0 {
        refused.insert("new_epoch".to_owned(), tally.resyncs);
    }
    Ok(FanoutReport {
        title: server.title.clone(),
        label: server.label.clone(),
        subscribers: args.crowd.subscribers,
        rooms: args.crowd.rooms,
        ready,
        connect_secs: stage.arrival.as_secs_f64(),
        lost,
        first_loss: meter.first_loss().map(str::to_owned),
        memory: before
            .zip(idle)
            .zip(server_end)
            .map(|((before, idle), end)| [before, idle, end].map(Memory::from)),
        idle_cpu_percent: up.zip(idle).map(|(up, idle)| cpu_secs(up, idle) / idle_secs * 100.0),
        server_cpu_secs: server_start.zip(server_end).map(|(start, end)| cpu_secs(start, end)),
        store_cpu_secs: store_start.zip(store_end).map(|(start, end)| cpu_secs(start, end)),
        client_cpu_secs: cpu_secs(client_start, client_end),
        load_secs,
        changes: args.load.changes,
        rate: args.load.rate,
        behind_ms: behind.as_secs_f64() * 1e3,
        accepted: answers.accepted,
        refused,
        unanswered,
        overtaken: if is_slotcast { answers.accepted.saturating_sub(meter.changes_seen()) } else { 0 },
        deliveries: tally.deliveries,
        missed: shortfall.missed,
        repeated: tally.repeated,
        conflated: tally.conflated,
        wrong_views: shortfall.wrong_views,
        delivery: tally.latency.latency(),
        last: meter.last_receipts().latency(),
        answer: answers.latency.latency(),
        across: args.load.select_at.is_some(),
        bare: bare_timings.and_then(|timings| timings.latency()),
    })
}

/// Makes the changes, and calls the bare store at the same pace between them.
async fn load(
    args: &FanoutArgs,
    stage: &Stage,
    publishers: &mut Publishers,
    yardstick: Option<Yardstick>,
) -> Result<(Duration, Option<Timings>), LoadError> {
    let (changes, rate) = (args.load.changes, args.load.rate);
    let until = Instant::now() + Duration::from_secs_f64(changes as f64 / rate);
    match yardstick {
        None => Ok((publishers.publish(changes, rate).await, None)),
        Some(yardstick) => {
            let (behind, timings) =
                tokio::join!(publishers.publish(changes, rate), yardstick.run(rate, until, stage.clock));
            Ok((behind, Some(timings?)))
        }
    }
}
