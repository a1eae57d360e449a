//! Who looks at which room, and up to which revision each has seen it. Sessions subscribe here; the fan-out of each
//! live room runs as one task. Lock order: the picture's, then the hub's map, then a room's, then a connection's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::Mutex;
use serde_json::Value;
use slab::Slab;
use slot_state::{Picture, Room, RoomView, Storage};
use tokio::sync::{Notify, watch};

use super::fan_out;
use crate::observe::metrics::Metrics;
use crate::protocol::server_frame::ServerFrame;
use crate::session::Connection;

/// All live rooms of this gateway.
pub struct Hub {
    rooms: DashMap<Room, Arc<LiveRoom>>,
    pub(super) picture: Arc<Picture>,
    pub(super) storage: watch::Receiver<Storage>,
    pub(super) coalesce: Duration,
    pub(super) metrics: Arc<Metrics>,
    epoch: AtomicU64,
}

/// A room somebody looks at.
pub(super) struct LiveRoom {
    pub(super) room: Room,
    pub(super) state: Mutex<RoomState>,
    /// The picture may show something else than `state.view`.
    pub(super) changed: Notify,
    /// Everybody needs a snapshot.
    pub(super) read_anew: AtomicBool,
}

pub(super) struct RoomState {
    pub(super) view: RoomView,
    pub(super) epoch: u64,
    pub(super) rev: u64,
    pub(super) subscribers: Slab<Subscriber>,
    /// The encoding of the view at this revision, made when first needed.
    pub(super) snapshot: Option<Bytes>,
    /// Nobody looks any more, and the room is out of the map.
    pub(super) ended: bool,
}

pub(super) struct Subscriber {
    pub(super) connection: Arc<Connection>,
    pub(super) has: Has,
}

/// What a subscriber was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    /// Everything up to this revision.
    Rev(u64),
    /// Something older; the next must be a snapshot.
    Nothing,
}

/// A session's place in a room; given back to [`Hub::unsubscribe`].
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// The room.
    pub room: Room,
    key: usize,
}

impl Hub {
    /// A hub over a picture. Changes within `coalesce` of each other may share a diff.
    pub fn new(
        picture: Arc<Picture>,
        storage: watch::Receiver<Storage>,
        coalesce: Duration,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        // Epochs of one process rise, and those of the next begin above them.
        let epoch = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(1);
        Arc::new(Hub { rooms: DashMap::new(), picture, storage, coalesce, metrics, epoch: epoch.into() })
    }

    /// Adds a subscriber and sends it the snapshot that its diffs will continue.
    pub fn subscribe(
        self: &Arc<Self>,
        room: Room,
        connection: &Arc<Connection>,
        id: Option<&Value>,
    ) -> Subscription {
        loop {
            let live = self.live_room(room);
            let mut state = live.state.lock();
            // Between the map and this lock the last subscriber may have left.
            if !state.ended {
                return self.add(&live, &mut state, connection, id);
            }
        }
    }

    fn live_room(self: &Arc<Self>, room: Room) -> Arc<LiveRoom> {
        if let Some(live) = self.rooms.get(&room) {
            return live.clone();
        }
        // Read before the map is locked: the picture's lock comes first.
        let view = self.picture.view(room);
        let mut created = false;
        let live = self.rooms.entry(room).or_insert_with(|| {
            created = true;
            Arc::new(LiveRoom::new(room, view, self.current_epoch()))
        });
        let live = live.clone();
        if created {
            self.metrics.rooms.inc();
            // What changed between the view and the map entry was told to nobody.
            live.changed.notify_one();
            tokio::spawn(fan_out::run(self.clone(), live.clone()));
        }
        live
    }

    fn add(
        &self,
        live: &LiveRoom,
        state: &mut RoomState,
        connection: &Arc<Connection>,
        id: Option<&Value>,
    ) -> Subscription {
        let has = Has::Rev(state.rev);
        let key = state.subscribers.insert(Subscriber { connection: connection.clone(), has });
        self.send_snapshot(live, state, key, id);
        self.metrics.subscriptions.inc();
        Subscription { room: live.room, key }
    }

    /// Removes a subscriber; a room that nobody looks at any more ends.
    pub fn unsubscribe(&self, subscription: Subscription) {
        self.metrics.subscriptions.dec();
        let Some(live) = self.rooms.get(&subscription.room).map(|live| live.clone()) else { return };
        live.state.lock().subscribers.remove(subscription.key);
        let ended = self.rooms.remove_if(&subscription.room, |_, live| {
            let mut state = live.state.lock();
            state.ended = state.subscribers.is_empty();
            state.ended
        });
        if let Some((_, live)) = ended {
            self.metrics.rooms.dec();
            live.changed.notify_one();
        }
    }

    /// Sends a subscriber the room as it is now: it asked, or it fell behind.
    pub fn sync(&self, subscription: Subscription, id: Option<&Value>) {
        let Some(live) = self.rooms.get(&subscription.room).map(|live| live.clone()) else { return };
        self.send_snapshot(&live, &mut live.state.lock(), subscription.key, id);
    }

    /// The room may look different now. Called under the picture's lock.
    pub fn room_changed(&self, room: Room) {
        if let Some(live) = self.rooms.get(&room) {
            live.changed.notify_one();
        }
    }

    /// Everything was read anew: every live room gets a snapshot under a new epoch.
    pub fn read_anew(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        for live in &self.rooms {
            live.read_anew.store(true, Ordering::Release);
            live.changed.notify_one();
        }
    }

    pub(super) fn current_epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn send_snapshot(&self, live: &LiveRoom, state: &mut RoomState, key: usize, id: Option<&Value>) {
        let frame = match id {
            None => self.snapshot(live, state),
            Some(id) => self.encode_snapshot(live, state, Some(id)),
        };
        let rev = state.rev;
        if let Some(subscriber) = state.subscribers.get_mut(key) {
            subscriber.connection.send(&frame);
            subscriber.has = Has::Rev(rev);
            self.metrics.snapshots.inc();
        }
    }

    /// The snapshot that all who need one now share.
    pub(super) fn snapshot(&self, live: &LiveRoom, state: &mut RoomState) -> Bytes {
        if let Some(snapshot) = &state.snapshot {
            return snapshot.clone();
        }
        let frame = self.encode_snapshot(live, state, None);
        state.snapshot = Some(frame.clone());
        frame
    }

    fn encode_snapshot(&self, live: &LiveRoom, state: &RoomState, id: Option<&Value>) -> Bytes {
        ServerFrame::Snapshot {
            id,
            room: live.room.into(),
            epoch: state.epoch,
            rev: state.rev,
            view: &state.view,
            storage: (*self.storage.borrow()).into(),
        }
        .encode()
    }

    /// Encoded snapshots name the storage state too.
    pub fn storage_changed(&self) {
        for live in &self.rooms {
            live.state.lock().snapshot = None;
        }
    }
}

impl LiveRoom {
    fn new(room: Room, view: RoomView, epoch: u64) -> Self {
        let state = RoomState { view, epoch, rev: 0, subscribers: Slab::new(), snapshot: None, ended: false };
        LiveRoom { room, state: Mutex::new(state), changed: Notify::new(), read_anew: AtomicBool::new(false) }
    }
}
