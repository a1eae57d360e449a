//! Every open connection, for what concerns all of them: pings, news of the storage, the end.
//! One pass a second pings those whose turn it is and ends those whose token has; no connection has a timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use slot_state::ActorId;
use tokio::time::MissedTickBehavior;

use super::connection::{CloseCode, Connection};

const PASS_EVERY: Duration = Duration::from_secs(1);
/// Passes between two pings of a connection.
const PING_PASSES: u64 = 25;
/// The same where its client has a selection, which lives by the answers.
const PING_PASSES_HOLDING: u64 = 5;
/// A ping without any sign of life since, for this long, ends the connection.
const NO_ANSWER: Duration = Duration::from_secs(20);
/// The open connections.
#[derive(Default)]
pub struct Registry {
    open: DashMap<ActorId, Arc<Connection>>,
    next: AtomicU64,
}

impl Registry {
    /// A name that no other connection of this process has or had.
    pub fn next_id(&self) -> ActorId {
        ActorId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts a connection among the open ones.
    pub fn add(&self, connection: Arc<Connection>) {
        self.open.insert(connection.id, connection);
    }

    /// The connection is over.
    pub fn remove(&self, id: ActorId) {
        self.open.remove(&id);
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Sends a frame to all.
    pub fn send_to_all(&self, frame: &Bytes) {
        for connection in &self.open {
            connection.send(frame);
        }
    }

    /// All that are open and not being closed.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        let open = self.open.iter().filter(|connection| connection.closing().is_none());
        open.map(|connection| connection.clone()).collect()
    }

    /// Pings, and looks for tokens that have ended, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut passes = tokio::time::interval(PASS_EVERY);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for pass in 0u64.. {
            passes.tick().await;
            let open: Vec<ActorId> = self.open.iter().map(|connection| connection.id).collect();
            for id in open {
                // There may be thousands: others are let in between, and some may be gone then.
                tokio::task::coop::consume_budget().await;
                if let Some(connection) = self.open.get(&id) {
                    look_after(&connection, pass);
                }
            }
        }
    }
}

fn look_after(connection: &Connection, pass: u64) {
    if !connection.is_allowed() {
        connection.close(CloseCode::Unauthorized);
        return;
    }
    if connection.unanswered().is_some_and(|silence| silence > NO_ANSWER) {
        connection.close(CloseCode::NoAnswer);
        return;
    }
    let holding = connection.holds_selection.load(Ordering::Relaxed);
    let every = if holding { PING_PASSES_HOLDING } else { PING_PASSES };
    if (pass + connection.id.0).is_multiple_of(every) {
        connection.ping();
    }
}
