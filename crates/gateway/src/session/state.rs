//! What one connection has said so far: who it is, which rooms it watches, how often it spoke nonsense.
//! Frames come in as text; answers go out through the connection.

mod hello;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use slot_state::{AppointmentRef, Booking, ClientId, ClosedDay, Locked, Room, Selected, Slot};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::connection::{CloseCode, Connection};
use crate::app::Services;
use crate::commands::{Origin, seconds_left};
use crate::heartbeat;
use crate::protocol::booking;
use crate::protocol::client_frame::{BadFrame, ClientFrame, HoldVerb, Request};
use crate::protocol::error::RequestError;
use crate::protocol::frame;
use crate::protocol::server_frame::ServerFrame;
use crate::rooms::Subscription;
use crate::security::address::ClientAddress;
use crate::security::frames::{FrameLimiter, Verdict};
use crate::security::token::Scope;

/// The third malformed frame within this ends the connection.
const MALFORMED_WITHIN: Duration = Duration::from_secs(60);

/// One connection's state.
pub(crate) struct Session {
    services: Arc<Services>,
    connection: Arc<Connection>,
    from: ClientAddress,
    client: Option<ClientId>,
    /// Of its token.
    scope: Scope,
    subscriptions: SmallVec<[Subscription; 1]>,
    limiter: FrameLimiter,
    malformed: [Option<Instant>; 2],
}

impl Session {
    pub(crate) fn new(services: Arc<Services>, connection: Arc<Connection>, from: ClientAddress) -> Self {
        let limiter = services.commands.limits.frame_limiter();
        Session {
            services,
            connection,
            from,
            client: None,
            scope: Scope::default(),
            subscriptions: SmallVec::new(),
            limiter,
            malformed: [None; 2],
        }
    }

    /// Judges a text frame; what is left to do, if anything.
    pub(crate) fn on_text(&mut self, text: &str) -> Option<ClientFrame> {
        let verdict = self.limiter.check(text.len());
        if verdict == Verdict::FarTooFast {
            self.connection.close(CloseCode::Policy);
            return None;
        }
        let (id, error) = match ClientFrame::parse(text, self.services.window) {
            Ok(frame) if verdict == Verdict::Ok => return Some(frame),
            Ok(frame) => (frame.id, RequestError::RateLimited),
            Err(BadFrame { id, error }) => (id, error),
        };
        self.services.metrics.count_request("frame", error.code());
        self.refuse(id.as_ref(), &error);
        if error.is_malformed() {
            self.on_malformed();
        }
        None
    }

    /// A ping or pong of so many bytes: tungstenite has answered it. It counts as a frame.
    pub(crate) fn on_control(&mut self, bytes: usize) {
        if self.limiter.check(bytes) == Verdict::FarTooFast {
            self.connection.close(CloseCode::Policy);
        }
    }

    /// Pieces of a message that is not whole yet; each counts as a frame. Their bytes count once it is, and until then
    /// are no more than a message may have.
    pub(crate) fn on_fragments(&mut self, count: u32) {
        if (0..count).any(|_| self.limiter.check(0) == Verdict::FarTooFast) {
            self.connection.close(CloseCode::Policy);
        }
    }

    fn on_malformed(&mut self) {
        let now = Instant::now();
        let [oldest, newest] = self.malformed;
        if oldest.is_some_and(|oldest| now.duration_since(oldest) < MALFORMED_WITHIN) {
            self.connection.close(CloseCode::Policy);
        }
        self.malformed = [newest, Some(now)];
    }

    /// Carries out a request and answers it.
    pub(crate) async fn carry_out(&mut self, frame: ClientFrame) {
        let id = frame.id.as_ref();
        if let Err(error) = self.check_allowed(&frame.request) {
            self.services.metrics.count_request("frame", error.code());
            return self.refuse(id, &error);
        }
        let outcome = match frame.request {
            Request::Hello(client, token) => self.hello(id, client, token.as_deref()),
            Request::Subscribe(room, exclude) => self.subscribe(id, room, exclude.map(Box::new)).await,
            Request::Unsubscribe(room) => self.unsubscribe(id, room),
            Request::Sync(room) => self.sync(id, room),
            Request::Availability(room) => self.availability(id, room).await,
            Request::Confirm(slot, fields) => {
                Box::pin(self.confirm(id, slot, &fields)).await;
                Ok(())
            }
            Request::Hold(verb, slot) => {
                self.hold(id, verb, slot).await;
                Ok(())
            }
            Request::Ping => {
                self.answer(&ServerFrame::Pong { id });
                Ok(())
            }
            Request::Legacy(_) if !self.services.legacy_enabled => Err(RequestError::Unsupported),
            Request::Legacy(fields) => {
                let answering = heartbeat::answer(&self.services, &fields, self.origin(), None);
                let mut reply = Box::pin(answering).await;
                if let Some(id) = frame.id.clone() {
                    reply.insert("id".into(), id);
                }
                self.connection.send(&frame::text(Value::Object(reply).to_string().as_bytes()));
                Ok(())
            }
        };
        if let Err(error) = outcome {
            self.refuse(id, &error);
        }
    }

    fn origin(&self) -> Origin {
        Origin { address: self.from, actor: Some(self.connection.id) }
    }

    async fn subscribe(
        &mut self,
        id: Option<&Value>,
        room: Room,
        exclude: Option<Box<AppointmentRef>>,
    ) -> Result<(), RequestError> {
        if let Some(known) = self.subscriptions.iter_mut().find(|known| known.room == room) {
            known.exclude = exclude;
            self.services.hub.sync(known, id);
            return Ok(());
        }
        let most = self.services.security.load().max_rooms_per_connection as usize;
        if most > 0 && self.subscriptions.len() >= most {
            return Err(RequestError::TooManyRooms);
        }
        let commands = &self.services.commands;
        let looked = commands.look_at(self.origin(), room).await;
        let _look =
            looked.inspect_err(|error| self.services.metrics.count_request("subscribe", error.code()))?;
        let subscription = self.services.hub.subscribe(room, exclude, &self.connection, id);
        self.subscriptions.push(subscription);
        Ok(())
    }

    fn unsubscribe(&mut self, id: Option<&Value>, room: Room) -> Result<(), RequestError> {
        let at = self
            .subscriptions
            .iter()
            .position(|known| known.room == room)
            .ok_or(RequestError::NotSubscribed)?;
        self.services.hub.unsubscribe(self.subscriptions.swap_remove(at));
        self.answer(&ok(id, "unsubscribed"));
        Ok(())
    }

    fn sync(&self, id: Option<&Value>, room: Room) -> Result<(), RequestError> {
        let known = self.subscription(room).ok_or(RequestError::NotSubscribed)?;
        self.services.hub.sync(known, id);
        Ok(())
    }

    fn subscription(&self, room: Room) -> Option<&Subscription> {
        self.subscriptions.iter().find(|known| known.room == room)
    }

    async fn availability(&self, id: Option<&Value>, room: Room) -> Result<(), RequestError> {
        let commands = &self.services.commands;
        let availability = commands.availability(self.origin(), room).await?;
        self.answer(&ServerFrame::Availability {
            id,
            room: room.into(),
            unavailable: (&availability).into(),
            reason: availability.closed.map(ClosedDay::as_str),
            booked: &availability.booked,
            locked: &availability.locked,
            storage: commands.storage().mode.as_str(),
            cached: availability.cached,
        });
        Ok(())
    }

    /// The room's diffs did not fit; now there is space again.
    pub(crate) fn catch_up(&self, room: Room) {
        if let Some(known) = self.subscription(room) {
            self.services.hub.sync(known, None);
        }
    }

    /// Whose connection this is, from the first time it matters.
    fn client(&mut self) -> ClientId {
        self.client.clone().unwrap_or_else(|| self.arrive(hello::new_client()))
    }

    async fn confirm(&mut self, id: Option<&Value>, slot: Slot, fields: &Map<String, Value>) {
        let client = self.client();
        let form = booking::read(fields);
        let done = self.services.commands.confirm(self.origin(), &client, slot, form).await;
        done.answer(|outcome| match outcome {
            Ok(Booking { appointment_id, strong_id }) => {
                let (status, strong_id) = ("confirmed", strong_id.as_str());
                self.answer(&ServerFrame::Booked { id, status, appointment_id, strong_id });
            }
            Err(error) => self.refuse(id, &error),
        });
    }

    async fn hold(&mut self, id: Option<&Value>, verb: HoldVerb, slot: Slot) {
        let client = self.client();
        let (commands, origin) = (&self.services.commands, self.origin());
        // Asked when the answer is made: another store may have stepped in meanwhile.
        let storage = || Some(commands.storage().mode.as_str());
        let locked = |lock: Option<Locked>| ServerFrame::Ok {
            id,
            status: "locked",
            storage: storage(),
            ttl: lock.map(|lock| seconds_left(lock.ttl)),
            fence: lock.map(|lock| lock.fence),
        };
        let selected = |selected| match selected {
            Selected::Selection => {
                let ttl = Some(commands.selection_ttl.as_secs());
                ServerFrame::Ok { id, status: "selected", storage: storage(), ttl, fence: None }
            }
            Selected::OwnLock => locked(commands.lock_left(slot)),
        };
        match verb {
            HoldVerb::Select => {
                let done = commands.select(origin, &client, slot).await;
                done.answer(|outcome| self.conclude(id, outcome.map(selected)));
            }
            HoldVerb::Deselect => {
                let done = commands.deselect(origin, Some(&client), slot).await;
                done.answer(|outcome| self.conclude(id, outcome.map(|()| ok(id, "deselected"))));
            }
            HoldVerb::Lock => {
                let done = commands.lock(origin, &client, slot).await;
                done.answer(|outcome| self.conclude(id, outcome.map(|lock| locked(Some(lock)))));
            }
            HoldVerb::Unlock => {
                let done = commands.unlock(origin, &client, slot).await;
                done.answer(|outcome| self.conclude(id, outcome.map(|()| ok(id, "unlocked"))));
            }
        }
    }

    /// The connection is over.
    pub(crate) fn leave(&mut self) {
        for subscription in self.subscriptions.drain(..) {
            self.services.hub.unsubscribe(subscription);
        }
        if let Some(client) = &self.client {
            self.services.commands.presence.leave(client, self.connection.id);
        }
    }

    fn answer(&self, frame: &ServerFrame<'_>) {
        self.connection.send(&frame.encode());
    }

    fn conclude(&self, id: Option<&Value>, outcome: Result<ServerFrame<'_>, RequestError>) {
        match outcome {
            Ok(frame) => self.answer(&frame),
            Err(error) => self.refuse(id, &error),
        }
    }

    fn refuse(&self, id: Option<&Value>, error: &RequestError) {
        self.answer(&ServerFrame::Error {
            id,
            code: error.code(),
            message: &error.to_string(),
            suggested: error.suggested(),
            fields: error.fields(),
        });
    }
}

fn ok<'a>(id: Option<&'a Value>, status: &'static str) -> ServerFrame<'a> {
    ServerFrame::Ok { id, status, storage: None, ttl: None, fence: None }
}
