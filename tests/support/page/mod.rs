//! A browser with the push client: sends frames, answers pings, and keeps a strict live view of its rooms.
//! A frame that breaks the protocol fails the test, at the next look at the page or at its end.

mod glance;
mod seen;
mod socket;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use self::seen::Seen;
use self::socket::Order;
pub use self::socket::PageBuilder;
use crate::{Gateway, LiveView, PATIENCE, Room, View};

/// An open push connection.
#[derive(Debug)]
pub struct Page {
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<u64>,
    orders: mpsc::UnboundedSender<Order>,
    next_id: AtomicU64,
    socket: JoinHandle<()>,
}

/// The frame that answered a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply(pub Value);

impl Page {
    /// How to connect, where the defaults do not do.
    pub fn builder(gateway: &Gateway) -> PageBuilder {
        PageBuilder::at(gateway.addr())
    }

    /// Connects and says nothing.
    pub async fn open(gateway: &Gateway) -> Self {
        Self::builder(gateway).open().await
    }

    /// Connects and says hello as this client.
    pub async fn of(gateway: &Gateway, client_id: &str) -> Self {
        let page = Self::open(gateway).await;
        page.hello(client_id).await;
        page
    }

    /// Connects as this client and subscribes to the room.
    pub async fn watching(gateway: &Gateway, client_id: &str, room: &Room) -> Self {
        let page = Self::of(gateway, client_id).await;
        page.subscribe(room).await;
        page
    }

    /// Says hello and returns the welcome.
    pub async fn hello(&self, client_id: &str) -> Reply {
        self.ask(json!({"type": "hello", "client_id": client_id})).await.assert_kind("welcome")
    }

    /// Subscribes and returns the snapshot.
    pub async fn subscribe(&self, room: &Room) -> Reply {
        self.ask(room.frame("subscribe")).await.assert_kind("snapshot")
    }

    /// Unsubscribes; a diff of the room after the answer is a breach.
    pub async fn unsubscribe(&self, room: &Room) -> Reply {
        let id = self.fresh_id();
        self.seen().leaving.insert(id.clone(), room.clone());
        self.send_with_id(room.frame("unsubscribe"), &id);
        self.reply(&id).await
    }

    /// Asks for a fresh snapshot.
    pub async fn sync(&self, room: &Room) -> Reply {
        self.ask(room.frame("sync")).await
    }

    /// Selects a slot.
    pub async fn select(&self, room: &Room, time: &str) -> Reply {
        self.ask(room.slot_frame("select", time)).await
    }

    /// Lets a selection go.
    pub async fn deselect(&self, room: &Room, time: &str) -> Reply {
        self.ask(room.slot_frame("deselect", time)).await
    }

    /// Locks a slot.
    pub async fn lock(&self, room: &Room, time: &str) -> Reply {
        self.ask(room.slot_frame("lock", time)).await
    }

    /// Lets a lock go.
    pub async fn unlock(&self, room: &Room, time: &str) -> Reply {
        self.ask(room.slot_frame("unlock", time)).await
    }

    /// Sends a frame under a new id and waits for its answer.
    pub async fn ask(&self, frame: Value) -> Reply {
        let id = self.send(frame);
        self.reply(&id).await
    }

    /// Sends a frame under a new id and returns that, without waiting.
    pub fn send(&self, frame: Value) -> String {
        let id = self.fresh_id();
        self.send_with_id(frame, &id);
        id
    }

    /// Sends this text as it is.
    pub fn send_raw(&self, text: impl Into<String>) {
        self.send_message(Message::text(text.into()));
    }

    /// Sends any WebSocket message.
    pub fn send_message(&self, message: Message) {
        self.order(Order::Send(message));
    }

    /// Waits for the frame that answers the request with this id.
    pub async fn reply(&self, id: &str) -> Reply {
        self.wait_for(&format!("an answer to request {id}"), |seen| seen.replies.get(id).cloned().map(Reply))
            .await
    }

    /// As [`Page::reply`]; `None` where the connection ended before the answer came.
    pub async fn reply_or_end(&self, id: &str) -> Option<Reply> {
        let what = format!("an answer to request {id}, or the end");
        let look = |seen: &Seen| {
            let reply = seen.replies.get(id).cloned().map(Reply);
            if reply.is_some() || seen.closed.is_some() { Some(reply) } else { None }
        };
        self.wait_for(&what, look).await
    }

    /// Stops reading: pings stay unanswered and the kernel's buffers fill.
    pub fn stop_reading(&self) {
        self.order(Order::Reading(false));
    }

    /// Reads again.
    pub fn read_again(&self) {
        self.order(Order::Reading(true));
    }

    /// What the page shows of a room it subscribed to.
    pub fn view(&self, room: &Room) -> View {
        self.live(room).view
    }

    /// The view with its version.
    pub fn live(&self, room: &Room) -> LiveView {
        let seen = self.seen();
        seen.assert_no_breach();
        seen.rooms.get(room).cloned().unwrap_or_else(|| panic!("{room:?} is not subscribed"))
    }

    /// Waits until exactly these times are active in the room.
    pub async fn eventually_active(&self, room: &Room, times: &[&str]) {
        let what = format!("active is {times:?}");
        self.eventually_shows(room, &what, |view| view.active.iter().eq(times)).await;
    }

    /// Waits until exactly these times are locked in the room.
    pub async fn eventually_locked(&self, room: &Room, times: &[&str]) {
        let what = format!("locked is {times:?}");
        self.eventually_shows(room, &what, |view| view.locked.iter().eq(times)).await;
    }

    /// Waits until the room's view is as wanted, and returns it.
    pub async fn eventually_shows(&self, room: &Room, what: &str, wanted: impl Fn(&View) -> bool) -> View {
        self.shows_within(PATIENCE, room, what, wanted).await
    }

    /// As [`Page::eventually_shows`] with another patience.
    pub async fn shows_within(
        &self,
        deadline: Duration,
        room: &Room,
        what: &str,
        wanted: impl Fn(&View) -> bool,
    ) -> View {
        let shown =
            |seen: &Seen| seen.rooms.get(room).map(|live| live.view.clone()).filter(|view| wanted(view));
        self.wait_within(deadline, &format!("{what}, in {room:?}"), shown).await
    }

    /// Waits for a `released` frame about this slot and returns its `(hold, reason)`.
    pub async fn eventually_released(&self, room: &Room, time: &str) -> (String, String) {
        self.wait_for(&format!("released {time} of {room:?}"), |seen| {
            let of_slot =
                |frame: &&Value| Room::of_frame(frame).as_ref() == Some(room) && frame["time"] == time;
            let frame = seen.released.iter().find(of_slot)?;
            Some((frame["hold"].as_str()?.to_owned(), frame["reason"].as_str()?.to_owned()))
        })
        .await
    }

    /// Waits for a `storage` frame that the test is after.
    pub async fn eventually_storage(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, |seen| seen.storage.iter().find(|frame| wanted(frame)).cloned()).await
    }

    /// Waits for the `goodbye` frame.
    pub async fn eventually_goodbye(&self) -> Value {
        self.goodbye_within(PATIENCE).await
    }

    /// The same with another patience.
    pub async fn goodbye_within(&self, deadline: Duration) -> Value {
        self.wait_within(deadline, "goodbye", |seen| seen.goodbye.first().cloned()).await
    }

    /// Waits for a frame of the legacy protocol: one without a `type`; the first is number 0.
    pub async fn eventually_legacy(&self, number: usize) -> Value {
        self.wait_for("a legacy reply", |seen| seen.legacy.get(number).cloned()).await
    }

    /// Waits until the connection has ended; the close code where the server said one.
    pub async fn eventually_closed(&self) -> Option<u16> {
        self.wait_for("the connection ends", |seen| seen.closed).await
    }

    /// As [`Page::eventually_closed`] with more patience.
    pub async fn closed_within(&self, deadline: Duration) -> Option<u16> {
        self.wait_within(deadline, "the connection ends", |seen| seen.closed).await
    }

    /// Panics where the server has ended the connection.
    pub fn assert_open(&self) {
        let seen = self.seen();
        assert!(seen.closed.is_none(), "closed: {:?}\n{}", seen.closed, seen.tail());
    }

    /// Every `released` frame so far.
    pub fn released(&self) -> Vec<Value> {
        self.seen().released.clone()
    }

    /// Every `storage` frame so far.
    pub fn storage(&self) -> Vec<Value> {
        self.seen().storage.clone()
    }

    /// Every error that answered no id, as malformed frames get.
    pub fn errors_without_id(&self) -> Vec<Value> {
        self.seen().errors_without_id.clone()
    }

    /// Every text frame so far, as it came, with when it came.
    pub fn frames(&self) -> Vec<(Instant, String)> {
        self.seen().frames.clone()
    }

    /// Panics where any frame ever contained this text.
    pub fn assert_never_heard(&self, text: &str) {
        let told = self.frames().into_iter().find(|(_, frame)| frame.contains(text));
        assert!(told.is_none(), "{text} was told: {told:?}");
    }

    /// Waits for a `ping` to come back: all that was sent before it has been handled.
    pub async fn settle(&self) {
        self.ask(json!({"type": "ping"})).await.assert_kind("pong");
    }

    /// Closes as a browser does that leaves the page.
    pub async fn close(self) {
        self.order(Order::Close);
        self.eventually_closed().await;
    }

    /// Vanishes without a close frame, as a browser that crashed.
    pub async fn vanish(mut self) {
        self.socket.abort();
        // An aborted task ends with an error by design.
        drop(timeout(PATIENCE, &mut self.socket).await);
    }

    /// Waits until `look` finds something in what was received.
    async fn wait_for<T>(&self, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        self.wait_within(PATIENCE, what, look).await
    }

    async fn wait_within<T>(&self, deadline: Duration, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let end = Instant::now() + deadline;
        loop {
            changed.mark_unchanged();
            {
                let seen = self.seen();
                seen.assert_no_breach();
                if let Some(found) = look(&seen) {
                    return found;
                }
                assert!(seen.closed.is_none(), "closed {:?} before: {what}\n{}", seen.closed, seen.tail());
            }
            let waited = tokio::time::timeout_at(end, changed.changed()).await;
            assert!(waited.is_ok(), "not within {deadline:?}: {what}\n{}", self.seen().tail());
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("what the page saw")
    }

    fn order(&self, order: Order) {
        // A page whose connection has ended says so where the test looks.
        drop(self.orders.send(order));
    }

    fn fresh_id(&self) -> String {
        format!("r{}", self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    fn send_with_id(&self, mut frame: Value, id: &str) {
        frame["id"] = json!(id);
        self.send_raw(frame.to_string());
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.socket.abort();
        if !std::thread::panicking() {
            self.seen().assert_no_breach();
        }
    }
}

impl Reply {
    /// The `type` of the frame.
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// A field that holds a string, or the empty string.
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field that holds a whole number.
    pub fn number(&self, field: &str) -> u64 {
        self.0.get(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number {field} in {self:?}"))
    }

    /// Whether it is `ok` with this status.
    pub fn is_ok(&self, status: &str) -> bool {
        self.kind() == "ok" && self.text("status") == status
    }

    /// Panics unless it is `ok` with this status.
    #[track_caller]
    pub fn assert_ok(self, status: &str) -> Self {
        assert!(self.is_ok(status), "wanted ok {status}, got {}", self.0);
        self
    }

    /// Panics unless the frame is of this `type`.
    #[track_caller]
    pub fn assert_kind(self, kind: &str) -> Self {
        assert_eq!(self.kind(), kind, "{}", self.0);
        self
    }

    /// Panics unless it is an error with this code and a sentence.
    #[track_caller]
    pub fn assert_error(self, code: &str) -> Self {
        assert_eq!((self.kind(), self.text("code")), ("error", code), "{}", self.0);
        assert!(!self.text("message").is_empty(), "an error without a message: {}", self.0);
        self
    }
}
