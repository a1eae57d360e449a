//! When everything was last read from Redis, and how to have it read again. The supervisor reads; whoever doubts the
//! picture, or wants proof that it is true, says so here.

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::store::StoreError;

/// What is asked of the supervisor, and how far it has come.
#[derive(Default)]
pub(super) struct Readings {
    doubted: Notify,
    probe_wanted: Notify,
    times: Mutex<Times>,
    /// When the last attempt to read everything began, and what became of it.
    last: watch::Sender<Option<(Instant, Result<(), StoreError>)>>,
}

/// How far the picture can be trusted.
#[derive(Default)]
struct Times {
    /// When the last complete reading of everything began.
    read: Option<Instant>,
    /// When the store was last found to take no writes, or not to be the one that decides.
    outage: Option<Instant>,
    /// When events may last have been missed.
    gap: Option<Instant>,
}

impl Times {
    fn read_after(&self, trouble: Option<Instant>) -> bool {
        self.read.is_some_and(|read| trouble.is_none_or(|at| read > at))
    }
}

impl Readings {
    /// Has everything read soon: the picture may have gaps.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Has the state of the store found out soon, rather than at the next second.
    pub(super) fn want_probe(&self) {
        self.probe_wanted.notify_one();
    }

    pub(super) async fn probe_wanted(&self) {
        self.probe_wanted.notified().await;
    }

    pub(super) fn on_outage(&self) {
        self.times.lock().outage = Some(Instant::now());
    }

    /// Events may have been missed: everything must be read.
    pub(super) fn on_gap(&self) {
        self.times.lock().gap = Some(Instant::now());
        self.doubt();
    }

    /// An attempt to read everything that began then has ended.
    pub(super) fn on_read(&self, began: Instant, outcome: Result<(), StoreError>) {
        if outcome.is_ok() {
            self.times.lock().read = Some(began);
        }
        self.last.send_replace(Some((began, outcome)));
    }

    /// When the last complete reading began.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.times.lock().read
    }

    /// Everything was read since the last outage.
    pub(super) fn since_outage(&self) -> bool {
        let times = self.times.lock();
        times.read_after(times.outage)
    }

    /// Everything was read since events may last have been missed.
    pub(super) fn since_gap(&self) -> bool {
        let times = self.times.lock();
        times.read_after(times.gap)
    }

    /// Has everything read, and waits until it was, or could not be.
    pub(super) async fn read_anew(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let mut last = self.last.subscribe();
        self.doubt();
        let reading = last.wait_for(|last| last.as_ref().is_some_and(|(began, _)| *began >= asked)).await;
        match reading.as_deref() {
            Ok(Some((_, outcome))) => outcome.clone(),
            _ => Err(StoreError::Away("shutting down".into())),
        }
    }
}
