//! The one place a request about a slot is carried out, whoever sent it: WebSocket, heartbeat form or REST.
//! Checks the rates, asks the store, keeps presence informed, counts and logs. Here holds, in `booking` bookings.

mod booking;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use slot_state::{
    ActorId, Bookings, Chosen, ClientId, DeselectAsk, HoldError, HoldStore, LockAsk, Locked, Picture,
    Refusal, Releaser, Room, RoomView, SelectAsk, Selected, Selection, Slot, SlotTime, Storage, StorageMode,
    Writer,
};
use tokio::time::Instant;

use crate::observe::logging::ClientTag;
use crate::observe::metrics::Metrics;
use crate::observe::operations::{Operation, POLL, Recent};
use crate::presence::Presence;
use crate::protocol::error::RequestError;
use crate::protocol::legacy::Poll;
use crate::security::address::ClientAddress;
use crate::security::holds::{Asking, TooMany, Wanted};
use crate::security::limits::Limits;

/// What a poll does for the time that its page has selected, where it is refused.
const POLL_SELECT: &str = "poll_select";

/// Carries out requests.
pub struct Commands {
    /// Takes the changes.
    pub store: Arc<dyn HoldStore>,
    /// Serves the reads.
    pub picture: Arc<Picture>,
    /// Serves the reads of what can be booked.
    pub bookings: Arc<Bookings>,
    /// Knows who is connected.
    pub presence: Arc<Presence>,
    /// Rates and counts.
    pub limits: Limits,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Remembers what was done lately.
    pub recent: Arc<Recent>,
    /// Where bookings are kept.
    pub bookings_in: StorageMode,
    /// How long a selection lives without renewal.
    pub selection_ttl: Duration,
}

/// Whole seconds left, begun ones included.
pub fn seconds_left(left: Duration) -> u64 {
    left.as_millis().div_ceil(1000) as u64
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The client's address, as far as known.
    pub address: ClientAddress,
    /// The connection, if it has one that lasts.
    pub actor: Option<ActorId>,
}

impl Commands {
    /// The deciding store, and how it is.
    pub fn storage(&self) -> Storage {
        *self.store.storage().borrow()
    }

    /// Selects a slot because somebody clicked it.
    #[cfg_attr(feature = "otel", tracing::instrument(skip_all, fields(time = %slot.time, outcome)))]
    pub async fn select<'a>(&self, origin: Origin, client: &'a ClientId, slot: Slot) -> Done<'a, Selected> {
        let started = Instant::now();
        let outcome = match self.check_rate(Some(client), origin) {
            Ok(()) => self.select_for(origin, client, slot, Chosen::Explicitly, self.selection_ttl).await,
            Err(error) => Err(error),
        };
        self.metrics.select_time.observe(started.elapsed().as_secs_f64());
        self.finish("select", "slot_selected", started, client.as_str(), slot, outcome)
    }

    async fn select_for(
        &self,
        origin: Origin,
        client: &ClientId,
        slot: Slot,
        chosen: Chosen,
        ttl: Duration,
    ) -> Result<Selected, RequestError> {
        self.check_open(slot).await?;
        let _place = self.ask_for_place(origin, client, slot, Wanted::Selection)?;
        let address = origin.address.countable();
        let ask = SelectAsk { slot, client: client.clone(), ttl, chosen, address, actor: origin.actor };
        let selected = self.store.select(ask).await?;
        if selected == Selected::Selection {
            self.presence.holds(client, slot, address);
        }
        Ok(selected)
    }

    /// Keeps what a poll's page has selected, for `ttl`, and says what the room looks like then.
    pub async fn poll(&self, origin: Origin, poll: &Poll, ttl: Duration) -> Result<RoomView, RequestError> {
        let started = Instant::now();
        if let Some(time) = poll.time {
            Box::pin(self.keep_by_poll(origin, poll.client.as_ref(), poll.room.slot(time), ttl)).await;
        }
        let view = self.view(origin, poll.room, poll.exclude.as_ref()).await;
        let outcome = view.as_ref().map_or_else(RequestError::code, |_| "ok");
        self.metrics.count_request(POLL, outcome);
        // Only where the page named a time was a store asked.
        let store = poll.time.map(|_| self.storage().mode.as_str());
        self.note(POLL, poll.room, poll.time, store, started.elapsed(), outcome);
        view
    }

    /// A poll names the time its page has selected: renews it, or takes it where it is free and the client chose
    /// nothing else in the room by an explicit select since. Polls are not writes to the rate limits.
    #[cfg_attr(feature = "otel", tracing::instrument(skip_all, fields(time = %slot.time)))]
    async fn keep_by_poll(&self, origin: Origin, client: Option<&ClientId>, slot: Slot, ttl: Duration) {
        let held = self.picture.selection(slot);
        let address = origin.address.countable();
        let owner = match (client, &held) {
            (Some(client), Some(held)) if held.client != *client => return,
            (Some(client), _) => client.clone(),
            // Nameless: only what was selected from this address is renewed.
            (None, Some(held)) => match held.writer {
                Writer::Gateway { address: Some(tag), .. }
                    if address.and_then(|address| self.store.address_tag(address)) == Some(tag) =>
                {
                    held.client.clone()
                }
                _ => return,
            },
            (None, None) => return,
        };
        if self.picture.lock(slot).is_some() {
            return;
        }
        let own = self.picture.selections_of(&owner);
        let newer = |chosen: &(Slot, Selection)| {
            chosen.0.room == slot.room
                && chosen.0.time != slot.time
                && matches!(chosen.1.writer, Writer::Gateway { chosen: Chosen::Explicitly, .. })
        };
        if own.iter().any(newer) {
            return;
        }
        let chosen = match held.map(|held| held.writer) {
            // What PHP wrote lives as long as PHP said.
            Some(Writer::Php) => return,
            Some(Writer::Gateway { chosen, .. }) => chosen,
            // Taking a free slot is a write; renewing is none.
            None if self.check_rate(Some(&owner), origin).is_err() => {
                return self.metrics.count_request(POLL_SELECT, RequestError::RateLimited.code());
            }
            None => Chosen::ByPoll,
        };
        if let Err(error) = self.select_for(origin, &owner, slot, chosen, ttl).await {
            self.metrics.count_request(POLL_SELECT, error.code());
            tracing::debug!(event = "poll_not_renewed", error = %error);
        }
    }

    /// Releases a selection.
    #[cfg_attr(feature = "otel", tracing::instrument(skip_all, fields(time = %slot.time, outcome)))]
    pub async fn deselect<'a>(
        &self,
        origin: Origin,
        client: Option<&'a ClientId>,
        slot: Slot,
    ) -> Done<'a, ()> {
        let started = Instant::now();
        let named = client.map_or("", ClientId::as_str);
        let by = match client {
            Some(client) => Releaser::Client(client.clone()),
            None => Releaser::Address(origin.address.countable()),
        };
        let outcome = match self.check_rate(client, origin) {
            Ok(()) => self.deselect_by(by, slot, origin).await,
            Err(error) => Err(error),
        };
        if let (Ok(()), Some(client)) = (&outcome, client) {
            self.presence.gave_up(client, slot, started);
        }
        self.finish("deselect", "slot_deselected", started, named, slot, outcome)
    }

    async fn deselect_by(&self, by: Releaser, slot: Slot, origin: Origin) -> Result<(), RequestError> {
        match self.store.deselect(DeselectAsk { slot, by, actor: origin.actor }).await {
            // Whatever the store has there still, nobody sees it any more.
            Err(HoldError::Refused(_)) if self.picture.is_booked(slot) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Locks a slot for the checkout.
    #[cfg_attr(feature = "otel", tracing::instrument(skip_all, fields(time = %slot.time, outcome)))]
    pub async fn lock<'a>(&self, origin: Origin, client: &'a ClientId, slot: Slot) -> Done<'a, Locked> {
        let started = Instant::now();
        let ask = LockAsk { slot, client: client.clone(), actor: origin.actor };
        let outcome = match self.check_rate(Some(client), origin) {
            Ok(()) => self.lock_if_open(origin, ask).await,
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            self.presence.gave_up(client, slot, started);
        }
        self.finish("lock", "slot_lock_granted", started, client.as_str(), slot, outcome)
    }

    async fn lock_if_open(&self, origin: Origin, ask: LockAsk) -> Result<Locked, RequestError> {
        self.check_open(ask.slot).await?;
        let _place = self.ask_for_place(origin, &ask.client, ask.slot, Wanted::Lock)?;
        Ok(self.store.lock(ask).await?)
    }

    /// Gives a lock back.
    #[cfg_attr(feature = "otel", tracing::instrument(skip_all, fields(time = %slot.time, outcome)))]
    pub async fn unlock<'a>(&self, origin: Origin, client: &'a ClientId, slot: Slot) -> Done<'a, ()> {
        let started = Instant::now();
        let ask = LockAsk { slot, client: client.clone(), actor: origin.actor };
        let outcome = match self.check_rate(Some(client), origin) {
            // A booking ended it, even where its row is still there.
            Ok(()) => match self.store.unlock(ask).await {
                Ok(()) | Err(HoldError::Refused(_)) if self.picture.is_booked(slot) => {
                    Err(Refusal::LockLost.into())
                }
                outcome => outcome.map_err(RequestError::from),
            },
            Err(error) => Err(error),
        };
        self.finish("unlock", "slot_unlocked", started, client.as_str(), slot, outcome)
    }

    /// The times in a room that this client has locked itself.
    pub fn own_locks(&self, client: &ClientId, room: Room) -> Vec<SlotTime> {
        let slots = self.picture.slots_of(client);
        let own = |slot: &&Slot| self.picture.lock(**slot).is_some_and(|lock| lock.client == *client);
        slots.iter().filter(|slot| slot.room == room).filter(own).map(|slot| slot.time).collect()
    }

    /// What is left of the lock on a slot, and its fence.
    pub fn lock_left(&self, slot: Slot) -> Option<Locked> {
        let lock = self.picture.lock(slot)?;
        Some(Locked { ttl: lock.deadline.saturating_duration_since(Instant::now()), fence: lock.fence })
    }

    /// The times in a room that this client has selected.
    pub fn own_selections(&self, client: &ClientId, room: Room) -> Vec<SlotTime> {
        let selections = self.picture.selections_of(client);
        selections.into_iter().filter(|(slot, _)| slot.room == room).map(|(slot, _)| slot.time).collect()
    }

    fn ask_for_place(
        &self,
        origin: Origin,
        client: &ClientId,
        slot: Slot,
        wanted: Wanted,
    ) -> Result<Asking<'_>, RequestError> {
        let asking = self.limits.holds().ask(origin.address, client, slot, wanted, &self.picture);
        asking.map_err(|TooMany| RequestError::AddressHoldsFull)
    }

    fn check_rate(&self, client: Option<&ClientId>, origin: Origin) -> Result<(), RequestError> {
        let within = self.limits.check_write(client.map(ClientId::as_str), origin.address);
        if within { Ok(()) } else { Err(RequestError::RateLimited) }
    }

    fn finish<'a, T>(
        &self,
        request: &'static str,
        event: &'static str,
        started: Instant,
        client: &'a str,
        slot: Slot,
        outcome: Result<T, RequestError>,
    ) -> Done<'a, T> {
        let said = outcome.as_ref().map_or_else(RequestError::code, |_| "ok");
        let storage = self.storage().mode.as_str();
        let elapsed = started.elapsed();
        #[cfg(feature = "otel")]
        tracing::Span::current().record("outcome", said);
        self.metrics.count_request(request, said);
        let store = if request == "confirm" { self.bookings_in.as_str() } else { storage };
        self.note(request, slot.room, Some(slot.time), Some(store), elapsed, said);
        Done { request, event, elapsed, client, slot, storage, outcome }
    }

    fn note(
        &self,
        what: &'static str,
        room: Room,
        time: Option<SlotTime>,
        store: Option<&'static str>,
        took: Duration,
        outcome: &'static str,
    ) {
        let at = Timestamp::now();
        self.recent.operations.note(Operation { at, what, room, time, store, took, outcome });
    }
}

/// What became of a request, to be answered and then logged: nobody waits for a line of the log.
#[must_use = "it is to be answered, and logged after that"]
pub struct Done<'a, T> {
    request: &'static str,
    event: &'static str,
    elapsed: Duration,
    client: &'a str,
    slot: Slot,
    storage: &'static str,
    outcome: Result<T, RequestError>,
}

impl<T> Done<'_, T> {
    /// Logs it after `answer`.
    pub fn answer<R>(self, answer: impl FnOnce(Result<T, RequestError>) -> R) -> R {
        let Done { request, event, slot: Slot { room, time }, storage, .. } = self;
        let refused = self.outcome.as_ref().err().map(RequestError::code);
        let answered = answer(self.outcome);
        let client = ClientTag::of(self.client);
        let elapsed_ms = self.elapsed.as_secs_f64() * 1000.0;
        let employee_id = room.employee_id.get();
        match refused {
            None => tracing::info!(
                event, date = %room.date, employee_id, time = %time, %client, storage, elapsed_ms
            ),
            Some(code) => tracing::info!(
                event = "request_refused", request, code, date = %room.date, employee_id, time = %time, %client,
                storage, elapsed_ms
            ),
        }
        answered
    }

    /// Logs it, where the answer goes out later.
    pub fn outcome(self) -> Result<T, RequestError> {
        self.answer(|outcome| outcome)
    }
}
