//! Which clients are here, on which connections, and the selections that live because they are. One loop renews
//! all of them in batches; what vanished with the store is put back; a holder is told what it lost.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::one::RefMut;
use parking_lot::Mutex;
use slot_state::{
    ActorId, ClientId, DeselectAsk, EndReason, HoldEnded, HoldKind, HoldStore, Picture, RENEWALS_AT_ONCE,
    Releaser, Renewal, Renewed, Selection, Slot, Writer,
};
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use crate::protocol::server_frame::ServerFrame;
use crate::session::Connection;

/// How often selections are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// A client has shown life if one of its connections has within this.
const ALIVE_WITHIN: Duration = Duration::from_secs(10);
/// What is left of a selection when its client's last connection closes.
const GRACE: Duration = Duration::from_secs(3);
/// What is new here and has less left than two rounds take does not wait for one.
const SOON: Duration = Duration::from_secs(4);

/// The clients connected here.
pub struct Presence {
    clients: DashMap<ClientId, Client>,
    store: Arc<dyn HoldStore>,
    picture: Arc<Picture>,
    selection_ttl: Duration,
    /// Whose selections cannot wait for the next round: their clients have just come, or they vanished or end soon.
    due: Mutex<HashSet<ClientId>>,
    renew_now: Notify,
    /// The process is going: clients come back within a selection's lifetime, so nothing is shortened.
    draining: AtomicBool,
}

#[derive(Default)]
struct Client {
    connections: SmallVec<[Arc<Connection>; 1]>,
    held: SmallVec<[Held; 1]>,
    /// From where it came last.
    address: Option<IpAddr>,
}

struct Held {
    slot: Slot,
    address: Option<IpAddr>,
    /// It went with the store, or could not be renewed: put it back if it is gone.
    put_back: bool,
    /// When its client chose it through this gateway; `None`: taken over.
    chosen: Option<Instant>,
}

impl Client {
    fn is_alive(&self) -> bool {
        self.connections.iter().any(|connection| connection.silence() < ALIVE_WITHIN)
    }

    /// Holds these too; what PHP wrote lives as long as PHP said.
    fn adopt(&mut self, selections: Vec<(Slot, Selection)>) {
        for (slot, selection) in selections {
            if !self.knows(slot) && selection.writer != Writer::Php {
                self.held.push(Held { slot, address: self.address, put_back: false, chosen: None });
            }
        }
        self.mark_connections();
    }

    fn knows(&self, slot: Slot) -> bool {
        self.held.iter().any(|held| held.slot == slot)
    }

    fn drop_held(&mut self, slot: Slot) -> Option<Held> {
        let at = self.held.iter().position(|held| held.slot == slot)?;
        let held = self.held.remove(at);
        self.mark_connections();
        Some(held)
    }

    /// Asks for all it holds to be renewed, if it shows life.
    fn ask_for_all(&self, client: &ClientId, renewals: &mut Vec<Renewal>) {
        if self.held.is_empty() || !self.is_alive() {
            return;
        }
        renewals.extend(self.held.iter().map(|held| Renewal {
            slot: held.slot,
            client: client.clone(),
            put_back: held.put_back,
            address: held.address,
        }));
    }

    /// Connections of a client with a selection are pinged more often.
    fn mark_connections(&self) {
        let holds = !self.held.is_empty();
        self.connections
            .iter()
            .for_each(|connection| connection.holds_selection.store(holds, Ordering::Relaxed));
    }

    fn tell_released(&self, slot: Slot, kind: HoldKind, reason: &'static str, except: Option<ActorId>) {
        let mut others =
            self.connections.iter().filter(|connection| Some(connection.id) != except).peekable();
        if others.peek().is_some() {
            let hold = kind.as_str();
            let frame =
                ServerFrame::Released { room: slot.room.into(), time: slot.time, hold, reason }.encode();
            others.for_each(|connection| connection.send(&frame));
        }
    }
}

impl Presence {
    /// Nobody is here yet. `selection_ttl` is what a renewal gives.
    pub fn new(store: Arc<dyn HoldStore>, picture: Arc<Picture>, selection_ttl: Duration) -> Arc<Self> {
        Arc::new(Presence {
            clients: DashMap::new(),
            store,
            picture,
            selection_ttl,
            due: Mutex::default(),
            renew_now: Notify::new(),
            draining: AtomicBool::new(false),
        })
    }

    /// A connection says whose it is. Selections that the client has already, perhaps from another gateway or
    /// just before it lost its connection, live on with it.
    pub fn arrive(&self, client: &ClientId, connection: &Arc<Connection>, address: Option<IpAddr>) {
        let mut entry = self.clients.entry(client.clone()).or_default();
        entry.connections.push(connection.clone());
        entry.address = address;
        drop(entry);
        // Of what the picture learns from here on, this hears. It is never asked with an entry locked.
        let theirs = self.picture.selections_of(client);
        let Some(mut entry) = self.clients.get_mut(client) else { return };
        entry.adopt(theirs);
        if !entry.held.is_empty() {
            self.hurry(client);
        }
    }

    fn hurry(&self, client: &ClientId) {
        self.due.lock().insert(client.clone());
        self.renew_now.notify_one();
    }

    /// A connection is gone. With a client's last one its selections have a little while left.
    pub fn leave(&self, client: &ClientId, connection: ActorId) {
        let gone = self.clients.remove_if_mut(client, |_, entry| {
            entry.connections.retain(|other| other.id != connection);
            entry.connections.is_empty()
        });
        let Some((_, left)) = gone else { return };
        if left.held.is_empty() || self.draining.load(Ordering::Relaxed) {
            return;
        }
        let (store, client) = (self.store.clone(), client.clone());
        let holders: Vec<_> = left.held.iter().map(|held| (held.slot, client.clone())).collect();
        tokio::spawn(async move {
            // If the store is away the selection ends by its own deadline.
            let _ = store.shorten(holders, GRACE).await;
        });
    }

    /// A client was granted a selection: if it is here, it lives as long as the client does.
    pub fn holds(&self, client: &ClientId, slot: Slot, address: Option<IpAddr>) {
        if let Some(mut entry) = self.clients.get_mut(client) {
            entry.held.retain(|held| held.slot.room != slot.room);
            entry.held.push(Held { slot, address, put_back: false, chosen: Some(Instant::now()) });
            entry.mark_connections();
        }
    }

    /// A client gave up a selection, or made a lock of it, as it asked for at this time. What another of its tabs
    /// chose since is its own.
    pub fn gave_up(&self, client: &ClientId, slot: Slot, asked: Instant) {
        let give_up = |mut entry: RefMut<'_, ClientId, Client>| {
            let since = |held: &Held| held.slot == slot && held.chosen.is_some_and(|chosen| chosen > asked);
            if entry.held.iter().any(since) { None } else { entry.drop_held(slot) }
        };
        let held = self.clients.get_mut(client).and_then(give_up);
        if held.is_some() && self.picture.selection(slot).is_some_and(|shown| shown.client == *client) {
            // Put back before this was heard.
            self.take_back(client, slot);
        }
    }

    /// How many clients are here.
    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// From now on leaving shortens nothing.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The picture shows this selection. Another gateway may have left it a little while, and its client is here
    /// already. Called under the picture's lock.
    pub fn on_selected(&self, slot: Slot, selection: &Selection) {
        let is_soon = selection.deadline.saturating_duration_since(Instant::now()) < SOON;
        if is_soon
            && selection.writer != Writer::Php
            // Once: a store that refuses to renew what it shows is asked in each round, not without a pause.
            && self.clients.get(&selection.client).is_some_and(|entry| !entry.knows(slot))
        {
            self.hurry(&selection.client);
        }
    }

    /// A hold ended. Called under the picture's lock.
    pub fn on_hold_ended(&self, ended: &HoldEnded) {
        let Some(mut entry) = self.clients.get_mut(&ended.client) else { return };
        let reason = match ended.why {
            EndReason::Vanished => EndReason::Lost.as_str(),
            why => why.as_str(),
        };
        if ended.kind == HoldKind::Selection {
            let alive = entry.is_alive();
            let held = entry.held.iter_mut().find(|held| held.slot == ended.slot);
            match (ended.why, held) {
                (EndReason::Vanished, Some(held)) if alive => {
                    held.put_back = true;
                    self.hurry(&ended.client);
                    return;
                }
                // It could not be renewed while the store was away; it is put back, or told lost then.
                (EndReason::Expired, Some(held)) if alive && held.put_back => return,
                _ => _ = entry.drop_held(ended.slot),
            }
        }
        entry.tell_released(ended.slot, ended.kind, reason, ended.actor);
    }

    /// Renews for ever.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_round = tokio::select! {
                // Whoever comes and goes does not keep the others waiting.
                biased;
                _ = ticks.tick() => true,
                () = self.renew_now.notified() => false,
            };
            self.renew(is_round).await;
        }
    }

    /// Whose turn it is: of those who cannot wait, and in a round then of everybody. What one client's coming and
    /// going costs is not to grow with how many are here.
    fn turn(&self, is_round: bool) -> Vec<ClientId> {
        let due = std::mem::take(&mut *self.due.lock());
        let mut turn: Vec<ClientId> = due.iter().cloned().collect();
        if is_round {
            let here = self.clients.iter().map(|entry| entry.key().clone());
            turn.extend(here.filter(|client| !due.contains(client)));
        }
        turn
    }

    /// What is to be renewed, with selections that were made elsewhere: on another gateway, over REST, or before the
    /// client came and not yet in the picture then.
    async fn renewals(&self, is_round: bool) -> Vec<Renewal> {
        let mut renewals = Vec::new();
        for client in self.turn(is_round) {
            // There may be thousands: others are let in between.
            tokio::task::coop::consume_budget().await;
            let theirs = self.picture.selections_of(&client);
            if let Some(mut entry) = self.clients.get_mut(&client) {
                entry.adopt(theirs);
                entry.ask_for_all(&client, &mut renewals);
            }
        }
        renewals
    }

    async fn renew(&self, is_round: bool) {
        let renewals = self.renewals(is_round).await;
        let mut left = renewals.as_slice();
        while !left.is_empty() {
            let (some, later) = left.split_at(left.len().min(RENEWALS_AT_ONCE));
            match self.store.renew(some.to_vec(), self.selection_ttl).await {
                Ok(outcomes) => {
                    some.iter()
                        .zip(outcomes)
                        .for_each(|(renewal, outcome)| self.on_renewed(renewal, outcome));
                }
                Err(error) => {
                    tracing::debug!(event = "renewal_failed", selections = some.len(), error = %error);
                    // Those whose turn comes later too: theirs may end before it.
                    for renewal in left {
                        self.with_held(renewal, |held| held.put_back = true);
                    }
                }
            }
            left = later;
        }
    }

    fn on_renewed(&self, renewal: &Renewal, outcome: Renewed) {
        match outcome {
            Renewed::Unknown => _ = self.with_held(renewal, |held| held.put_back = true),
            Renewed::Kept => _ = self.with_held(renewal, |held| held.put_back = false),
            Renewed::PutBack if self.with_held(renewal, |held| held.put_back = false) => {}
            Renewed::PutBack => self.take_back(&renewal.client, renewal.slot),
            // Selected anew since.
            _ if self.picture.selection(renewal.slot).is_some_and(|held| held.client == renewal.client) => {}
            Renewed::Lost | Renewed::Superseded => {
                let Some(mut entry) = self.clients.get_mut(&renewal.client) else { return };
                let vanished = |held: &Held| held.slot == renewal.slot && held.put_back;
                if outcome == Renewed::Lost && !renewal.put_back && entry.held.iter().any(vanished) {
                    // That was heard while the answer was on its way; it is asked again.
                    return;
                }
                // What the picture saw end is told and dropped by now. What vanished, or never showed, was kept from its
                // holder until this answer.
                if entry.drop_held(renewal.slot).is_some() {
                    let reason = if outcome == Renewed::Lost { "lost" } else { "superseded" };
                    entry.tell_released(renewal.slot, HoldKind::Selection, reason, None);
                }
            }
        }
    }

    /// Its client gave it up, or left, while it was being put back.
    fn take_back(&self, client: &ClientId, slot: Slot) {
        let store = self.store.clone();
        let ask = DeselectAsk { slot, by: Releaser::Client(client.clone()), actor: None };
        tokio::spawn(async move {
            // If the store is away again, the selection ends by its own deadline.
            let _ = store.deselect(ask).await;
        });
    }

    /// Changes what is held, if it still is.
    fn with_held(&self, renewal: &Renewal, change: impl FnOnce(&mut Held)) -> bool {
        let Some(mut entry) = self.clients.get_mut(&renewal.client) else { return false };
        let held = entry.held.iter_mut().find(|held| held.slot == renewal.slot);
        held.map(change).is_some()
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
