//! The end: signals, the goodbye, and waiting for everybody to have left.
//!
//! First the gateway says it is not ready, and serves on while load balancers notice. Then those who only look leave, a few
//! at a time, so that the other gateways are not overrun; those with a selection leave last and come back first.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use slot_state::ActorId;
use tokio::signal::unix::{Signal, SignalKind, signal as on_signal};
use tokio::time::{Instant, sleep, timeout};

use crate::app::Services;
use crate::http::Server;
use crate::protocol::server_frame::ServerFrame;
use crate::session::{CloseCode, Connection};

/// How often it is looked who is to leave, and who has left.
const PASS: Duration = Duration::from_millis(20);
/// What part of the time is left to load balancers for seeing that this gateway is not ready.
const LEAD_SHARE: u32 = 10;
/// What part of the time those who only look may take to leave.
const LOOKERS_SHARE: u32 = 2;
/// How many are sent away in a second, as long as the time allows: another gateway has to take them.
const RETURNS_PER_SECOND: u32 = 500;
/// Between the goodbye and the close: answers that are under way arrive.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Everybody takes some time to return, each another.
const RETURN_WITHIN: Duration = Duration::from_secs(2);
/// A selection lives longer than this without its client, with some time to spare for getting through.
const HOLDERS_RETURN_WITHIN: Duration = Duration::from_secs(4);
/// Who only looks is not kept waiting longer than this, however many there are.
const LOOKERS_RETURN_WITHIN: Duration = Duration::from_secs(10);

/// Ends when the process is asked to stop.
pub(crate) fn signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = on_signal(SignalKind::terminate())?;
    let mut interrupt = on_signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Asks for the configuration to be read anew.
pub(crate) fn hangups() -> io::Result<Signal> {
    on_signal(SignalKind::hangup())
}

/// Tells every browser to come back elsewhere or later, and has left after `patience` at the latest.
pub(crate) async fn drain(services: &Arc<Services>, server: Server, patience: Duration) {
    let end = Instant::now() + patience;
    services.draining.store(true, Ordering::Relaxed);
    if services.connections.count() > 0 {
        sleep(patience / LEAD_SHARE).await;
    }
    services.leaving.store(true, Ordering::Relaxed);
    services.commands.presence.drain();
    let mut departure = Departure::new(services);
    departure.of_lookers(end.saturating_duration_since(Instant::now()) / LOOKERS_SHARE).await;
    let served = tokio::spawn(server.stop());
    departure.of_all(end).await;
    let left = end.saturating_duration_since(Instant::now());
    if timeout(left, served).await.is_err() || services.connections.count() > 0 {
        tracing::warn!(event = "drain_incomplete", connections = services.connections.count());
    }
}

/// Who has been told to go, and whose connection is to be closed when.
struct Departure<'a> {
    services: &'a Services,
    told: HashSet<ActorId>,
    closing: VecDeque<(Instant, Arc<Connection>)>,
}

impl<'a> Departure<'a> {
    fn new(services: &'a Services) -> Self {
        Self { services, told: HashSet::new(), closing: VecDeque::new() }
    }

    /// Those without a selection, evenly over a time that their number asks for, within `most`.
    async fn of_lookers(&mut self, most: Duration) {
        let mut lookers = self.services.connections.all();
        lookers.retain(|connection| !has_selection(connection));
        let wanted = Duration::from_secs(1) * count(&lookers) / RETURNS_PER_SECOND;
        let (takes, began) = (wanted.min(most), Instant::now());
        let within = (RETURN_WITHIN + wanted - takes).min(LOOKERS_RETURN_WITHIN);
        let mut gone = 0;
        while gone < lookers.len() {
            let part = began.elapsed().as_secs_f64() / takes.as_secs_f64().max(f64::MIN_POSITIVE);
            let due = (lookers.len() as f64 * part.min(1.0)).ceil() as usize;
            for connection in &lookers[gone..due.max(gone)] {
                // One that has taken a selection meanwhile stays for the end.
                if !has_selection(connection) {
                    self.tell(connection, within);
                }
            }
            gone = due.max(gone);
            self.close(Instant::now());
            sleep(PASS).await;
        }
    }

    /// All the others, at once: a gateway that is started in this one's place is there the sooner.
    async fn of_all(&mut self, end: Instant) {
        loop {
            // Again each time: a handshake may have been under way.
            let mut left = self.services.connections.all();
            left.retain(|connection| !self.told.contains(&connection.id));
            let wanted = Duration::from_secs(1) * count(&left) / RETURNS_PER_SECOND;
            let within = wanted.clamp(RETURN_WITHIN, HOLDERS_RETURN_WITHIN);
            left.iter().for_each(|connection| self.tell(connection, within));
            let now = Instant::now();
            self.close(now);
            if now >= end {
                break;
            }
            if self.services.connections.count() == 0 {
                return;
            }
            sleep(PASS.min(end - now)).await;
        }
        self.close(Instant::now() + LAST_WORDS);
    }

    fn tell(&mut self, connection: &Arc<Connection>, within: Duration) {
        self.told.insert(connection.id);
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
        let reconnect_in_ms = rand::random_range(0..within);
        connection.send(&ServerFrame::Goodbye { reconnect_in_ms }.encode());
        self.closing.push_back((Instant::now() + LAST_WORDS, connection.clone()));
    }

    /// Ends the connections whose time has come at `now`.
    fn close(&mut self, now: Instant) {
        let due = self.closing.partition_point(|(at, _)| *at <= now);
        for (_, connection) in self.closing.drain(..due) {
            connection.close(CloseCode::Shutdown);
        }
    }
}

fn has_selection(connection: &Connection) -> bool {
    connection.holds_selection.load(Ordering::Relaxed)
}

fn count(connections: &[Arc<Connection>]) -> u32 {
    u32::try_from(connections.len()).unwrap_or(u32::MAX)
}
