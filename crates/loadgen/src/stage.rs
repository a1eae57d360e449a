//! What scenarios with subscribers have in common: bringing everybody up, waiting until all is quiet, and finding out
//! what did not arrive.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::{CrowdArgs, GenericArgs, LoadArgs, ServerArgs};
use crate::connect::Target;
use crate::crowd::{Crowd, CrowdPlan};
use crate::dialect::{Change, Dialect};
use crate::inserter::Inserter;
use crate::meter::{Meter, SharedMeter};
use crate::outlet::Outlet;
use crate::process::Usage;
use crate::publisher::Publishers;
use crate::report::Memory;
use crate::timing::{Clock, Stamps};
use crate::view::View;
use crate::{LoadError, audit};

/// How long all subscribers may take to come up.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(180);
/// How long to wait for quiet.
const QUIET_PATIENCE: Duration = Duration::from_secs(20);
const QUIET_POLL: Duration = Duration::from_millis(50);

/// A server with its subscribers.
pub(crate) struct Stage {
    pub(crate) dialect: Dialect,
    pub(crate) clock: Clock,
    pub(crate) meter: SharedMeter,
    /// Until all subscribers were up.
    pub(crate) arrival: Duration,
    target: Target,
    outlet: Outlet,
    stamps: Arc<Stamps>,
    rooms: usize,
    /// Dropped last: its drop closes the connections.
    _crowd: Crowd,
}

/// What the subscribers should have and do not.
pub(crate) struct Shortfall {
    pub(crate) missed: u64,
    pub(crate) wrong_views: u64,
}

impl Stage {
    /// Brings the subscribers up.
    pub(crate) async fn open(
        server: &ServerArgs,
        crowd: &CrowdArgs,
        generic: &GenericArgs,
    ) -> Result<Stage, LoadError> {
        let target = Target::parse(&server.url)?;
        let (dialect, outlet) = generic.dialect(crowd.rooms()?, &target)?;
        let (clock, stamps) = (Clock::start(), Stamps::new(crowd.rooms));
        let meter = Meter::new(dialect.clone(), stamps.clone(), crowd.subscribers, crowd.rooms);
        let plan = CrowdPlan {
            target: target.clone(),
            dialect: dialect.clone(),
            subscribers: crowd.subscribers,
            per_address: crowd.per_address,
            connecting: crowd.connecting,
        };
        let everybody = Crowd::start(plan, meter.clone(), clock)?;
        let arrival = everybody.arrival(ARRIVAL_PATIENCE).await;
        let rooms = crowd.rooms;
        Ok(Stage { dialect, clock, meter, arrival, target, outlet, stamps, rooms, _crowd: everybody })
    }

    /// Connects those who make the changes.
    pub(crate) async fn publishers(&self, load: &LoadArgs) -> Result<Publishers, LoadError> {
        let count = load.publishers(self.rooms)?;
        let stamps = self.stamps.clone();
        let change = load.change();
        let elsewhere = match (&load.select_at, &load.insert_by) {
            (None, None) if change == Change::Select => None,
            _ if !self.dialect.is_slotcast() => {
                let options = "--select-at, --insert-by and --confirm are for slotcast alone";
                return Err(LoadError::Usage(options.to_owned()));
            }
            (_, Some(command)) => Some(Outlet::Inserts(Inserter::new(command))),
            (Some(url), None) => Some(Outlet::Frames(Target::parse(url)?)),
            (None, None) => None,
        };
        Publishers::connect(
            elsewhere.as_ref().unwrap_or(&self.outlet),
            &self.dialect,
            change,
            count,
            self.rooms,
            self.clock,
            stamps,
        )
        .await
    }

    /// Waits until nothing is on its way any more, as far as that shows.
    pub(crate) async fn quiet(&self, publishers: &Publishers, load: &LoadArgs) {
        let quiet = Duration::from_secs_f64(load.quiet_secs);
        let (start, mut seen, mut since) = (Instant::now(), 0, Instant::now());
        while start.elapsed() < QUIET_PATIENCE {
            let deliveries = self.meter.lock().tally.deliveries;
            if deliveries != seen || publishers.unanswered() > 0 {
                (seen, since) = (deliveries, Instant::now());
            }
            if since.elapsed() > quiet {
                return;
            }
            sleep(QUIET_POLL).await;
        }
    }

    /// Compares what the subscribers have with what was published and, on slotcast, with a fresh look at every room.
    pub(crate) async fn shortfall(&self, publishers: &Publishers) -> Result<Shortfall, LoadError> {
        if !self.dialect.is_slotcast() {
            let missed = self.meter.lock().missed(publishers.sent_per_room());
            return Ok(Shortfall { missed, wrong_views: self.inner_contradictions() });
        }
        let fresh = audit::snapshots(&self.target, &self.dialect, self.rooms).await?;
        let meter = self.meter.lock();
        let ends: Vec<u64> = fresh.iter().map(|snapshot| snapshot.rev).collect();
        let is_wrong = |(room, snapshot): &(usize, &crate::dialect::Snapshot)| {
            let log = meter.log(*room);
            let view = log.view_at(snapshot.rev);
            !log.is_of(&snapshot.epoch) || view.is_some_and(|view| view != snapshot.view)
        };
        let wrong = fresh.iter().enumerate().filter(is_wrong).count() as u64;
        let missed = meter.missed(&ends);
        drop(meter);
        Ok(Shortfall { missed, wrong_views: wrong + self.inner_contradictions() })
    }

    /// What a new subscriber is shown of every room now.
    pub(crate) async fn fresh_views(&self) -> Result<Vec<View>, LoadError> {
        let fresh = audit::snapshots(&self.target, &self.dialect, self.rooms).await?;
        Ok(fresh.into_iter().map(|snapshot| snapshot.view).collect())
    }

    /// Rooms that another gateway shows otherwise.
    pub(crate) async fn differing_views(&self, url: &str) -> Result<u64, LoadError> {
        let (here, target) = (self.fresh_views().await?, Target::parse(url)?);
        let there = audit::snapshots(&target, &self.dialect, self.rooms).await?;
        Ok(here.iter().zip(&there).filter(|(here, there)| **here != there.view).count() as u64)
    }

    fn inner_contradictions(&self) -> u64 {
        let meter = self.meter.lock();
        meter.wrong_snapshots() as u64 + meter.tally.disagreeing
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

/// The server's memory now; `None` where no process was named.
pub(crate) fn usage(server: &ServerArgs) -> Result<Option<Usage>, LoadError> {
    usage_of(&server.pids)
}

/// The same of any processes.
pub(crate) fn usage_of(pids: &[u32]) -> Result<Option<Usage>, LoadError> {
    if pids.is_empty() { Ok(None) } else { Usage::of(pids).map(Some) }
}

/// Seconds of CPU between two looks.
pub(crate) fn cpu_secs(from: Usage, to: Usage) -> f64 {
    to.cpu_us.saturating_sub(from.cpu_us) as f64 / 1e6
}

impl From<Usage> for Memory {
    fn from(usage: Usage) -> Memory {
        Memory { anon_kib: usage.anon_kib, rss_kib: usage.rss_kib }
    }
}
