//! What operators see live: one look at everything a second, kept for ten minutes, shared by all who watch.
//! `app` runs it, `http::dashboard` serves it, `slotcast status` prints it. Invariant: nobody's name, address
//! or id is in it; without viewers nothing is encoded, and a viewer that reads slowly misses looks instead of
//! queueing them.

mod gather;
mod history;
pub mod status;
mod words;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::gather::Memory;
use self::history::Row;
use self::status::Status;
pub(crate) use self::words::Lacking;
use crate::app::Services;
use crate::observe::window::SLICE;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Watching at the same time.
pub const MOST_VIEWERS: usize = 64;

/// The state of the dashboard.
pub struct Dashboard {
    memory: Mutex<Memory>,
    /// The latest look, encoded; `None` once it is over.
    latest: watch::Sender<Option<Bytes>>,
    seats: Arc<Semaphore>,
}

impl Default for Dashboard {
    fn default() -> Self {
        Dashboard {
            memory: Mutex::default(),
            latest: watch::Sender::new(Some(Bytes::new())),
            seats: Arc::new(Semaphore::new(MOST_VIEWERS)),
        }
    }
}

/// A look, as viewers get it.
#[derive(Serialize)]
struct Look<'a> {
    status: &'a Status,
    row: &'a Row,
}

/// Looks once a second, for as long as the gateway runs.
pub async fn run(services: Arc<Services>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turned = Instant::now();
    loop {
        looks.tick().await;
        if turned.elapsed() >= SLICE {
            turned = Instant::now();
            services.recent.turn();
        }
        services.dashboard.look(&services);
    }
}

impl Dashboard {
    fn look(&self, services: &Services) {
        let mut memory = self.memory.lock();
        memory.measure(services);
        let status = memory.status(services);
        let row = memory.remember(&status, services);
        if self.latest.receiver_count() == 0 || services.draining.load(Ordering::Relaxed) {
            return;
        }
        let frame = event("look", &Look { status: &status, row: &row });
        drop(memory);
        self.latest.send_if_modified(|latest| {
            // What is over stays over.
            latest.as_mut().map(|latest| *latest = frame).is_some()
        });
    }

    /// How it is now; rates are those of the last look.
    pub fn status(&self, services: &Services) -> Status {
        self.memory.lock().status(services)
    }

    /// Server-sent events: what was in the last minutes and how it is, then a look a second, at the end that
    /// it is over. `None` where too many watch already.
    pub fn watch(
        &self,
        services: &Services,
    ) -> Option<impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static> {
        let seat = self.seats.clone().try_acquire_owned().ok()?;
        let viewer =
            Viewer { latest: self.latest.subscribe(), _seat: seat, opening: Some(self.opening(services)) };
        Some(stream::unfold(Some(viewer), async |viewer| viewer?.next().await))
    }

    fn opening(&self, services: &Services) -> Bytes {
        let mut memory = self.memory.lock();
        if let Some(opening) = memory.opening() {
            return opening;
        }
        let status = memory.status(services);
        let opening = [event("history", memory.history()), event("status", &status)].concat();
        memory.keep_opening(opening.into())
    }

    /// Ends every viewer's stream: the gateway is on its way out.
    pub fn close(&self) {
        self.latest.send_replace(None);
    }
}

struct Viewer {
    latest: watch::Receiver<Option<Bytes>>,
    opening: Option<Bytes>,
    _seat: OwnedSemaphorePermit,
}

type Frame = Result<Bytes, std::convert::Infallible>;

impl Viewer {
    async fn next(mut self) -> Option<(Frame, Option<Self>)> {
        if let Some(opening) = self.opening.take() {
            return Some((Ok(opening), Some(self)));
        }
        // Over already before it began to wait, or while it waited.
        if self.latest.borrow().is_some() {
            self.latest.changed().await.ok()?;
        }
        let frame = self.latest.borrow_and_update().clone();
        match frame {
            Some(frame) => Some((Ok(frame), Some(self))),
            None => Some((Ok(Bytes::from_static(b"event: stopping\ndata: {}\n\n")), None)),
        }
    }
}

/// One event; JSON has no bare line breaks.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    // Numbers and texts alone, which are always JSON.
    let _ = serde_json::to_writer(&mut text, data);
    text.extend_from_slice(b"\n\n");
    text.into()
}
