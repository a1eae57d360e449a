//! Who looks at which room, and up to which revision each has seen it. Sessions subscribe here; the fan-out of each
//! live room runs as one task. Lock order: a room's `updating`, the picture's, the hub's map, a room's state, a
//! connection's.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::Mutex;
use serde_json::Value;
use slab::Slab;
use slot_state::{AppointmentRef, Picture, Room, RoomView, SlotTime, Storage};
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};

use super::fan_out::{self, Round};
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
    /// One at a time brings `state` up to the picture, so that no older view replaces a newer one.
    pub(super) updating: Mutex<()>,
    /// The picture may show something else than `state.view`.
    pub(super) may_differ: AtomicBool,
    /// The fan-out has something to look at.
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
    /// What the fan-out has to send to reach this revision, oldest first.
    pub(super) due: SmallVec<[Round; 1]>,
    /// Nobody looks any more, and the room is out of the map.
    pub(super) ended: bool,
}

pub(super) struct Subscriber {
    pub(super) connection: Arc<Connection>,
    pub(super) has: Has,
    /// Its subscription leaves an appointment's slot out of `booked`: what says which slots are booked is made for it alone.
    pub(super) has_own_booked: bool,
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
#[derive(Debug)]
pub struct Subscription {
    /// The room.
    pub room: Room,
    /// The appointment whose slot is not booked to this subscriber.
    pub exclude: Option<Box<AppointmentRef>>,
    pub(super) key: usize,
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
        exclude: Option<Box<AppointmentRef>>,
        connection: &Arc<Connection>,
        id: Option<&Value>,
    ) -> Subscription {
        loop {
            let live = self.live_room(room);
            // Who was told that a change is done finds it in what it subscribes to afterwards.
            let _up_to_date = fan_out::bring_up_to_date(self, &live);
            let own = self.own_booking(room, exclude.as_deref());
            let mut state = live.state.lock();
            // Between the map and this lock the last subscriber may have left.
            if !state.ended {
                let subscriber =
                    Subscriber { connection: connection.clone(), has: Has::Nothing, has_own_booked: false };
                let key = state.subscribers.insert(subscriber);
                let subscription = Subscription { room, exclude, key };
                self.send_snapshot(&live, &mut state, &subscription, own, id);
                self.metrics.subscriptions.inc();
                return subscription;
            }
        }
    }

    pub(super) fn live_room(self: &Arc<Self>, room: Room) -> Arc<LiveRoom> {
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
            live.look_again();
            tokio::spawn(fan_out::run(self.clone(), live.clone()));
        }
        live
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
    pub fn sync(&self, subscription: &Subscription, id: Option<&Value>) {
        let Some(live) = self.rooms.get(&subscription.room).map(|live| live.clone()) else { return };
        let _up_to_date = fan_out::bring_up_to_date(self, &live);
        let own = self.own_booking(subscription.room, subscription.exclude.as_deref());
        self.send_snapshot(&live, &mut live.state.lock(), subscription, own, id);
    }

    /// Asked before the room's state is locked: the picture's lock comes first. What is booked since then, a round will tell.
    fn own_booking(&self, room: Room, exclude: Option<&AppointmentRef>) -> Option<SlotTime> {
        self.picture.own_booking(room, exclude?)
    }

    /// The room may look different now. Called under the picture's lock.
    pub fn room_changed(&self, room: Room) {
        if let Some(live) = self.rooms.get(&room) {
            live.look_again();
        }
    }

    /// Everything was read anew: every live room gets a snapshot under a new epoch.
    pub fn read_anew(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        for live in &self.rooms {
            live.read_anew.store(true, Ordering::Release);
            live.look_again();
        }
    }

    /// All rooms with subscribers.
    pub fn live_rooms(&self) -> Vec<Room> {
        self.rooms.iter().map(|live| *live.key()).collect()
    }

    /// Whether a room has subscribers. Called under the picture's lock.
    pub fn is_live(&self, room: Room) -> bool {
        self.rooms.contains_key(&room)
    }

    pub(super) fn current_epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn send_snapshot(
        &self,
        live: &LiveRoom,
        state: &mut RoomState,
        subscription: &Subscription,
        own: Option<SlotTime>,
        id: Option<&Value>,
    ) {
        let frame = match (id, own) {
            (None, None) => self.snapshot(live, state),
            _ => self.encode_snapshot(live, state, own, id),
        };
        let rev = state.rev;
        if let Some(subscriber) = state.subscribers.get_mut(subscription.key) {
            subscriber.connection.send(&frame);
            subscriber.has = Has::Rev(rev);
            subscriber.has_own_booked = subscription.exclude.is_some();
            self.metrics.snapshots.inc();
        }
    }

    /// The snapshot that all who need one now share.
    pub(super) fn snapshot(&self, live: &LiveRoom, state: &mut RoomState) -> Bytes {
        if let Some(snapshot) = &state.snapshot {
            return snapshot.clone();
        }
        let frame = self.encode_snapshot(live, state, None, None);
        state.snapshot = Some(frame.clone());
        frame
    }

    fn encode_snapshot(
        &self,
        live: &LiveRoom,
        state: &RoomState,
        own: Option<SlotTime>,
        id: Option<&Value>,
    ) -> Bytes {
        // Only what the room shows as booked can be left out of it.
        let own_booking = own.filter(|own| state.view.booked.contains(own));
        let view = match own_booking {
            None => Cow::Borrowed(&state.view),
            Some(own) => {
                let mut view = state.view.clone();
                view.booked.retain(|time| *time != own);
                Cow::Owned(view)
            }
        };
        ServerFrame::Snapshot {
            id,
            room: live.room.into(),
            epoch: state.epoch,
            rev: state.rev,
            view: &view,
            storage: (*self.storage.borrow()).into(),
            own_booking,
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
        let state = RoomState {
            view,
            epoch,
            rev: 0,
            subscribers: Slab::new(),
            snapshot: None,
            due: SmallVec::new(),
            ended: false,
        };
        LiveRoom {
            room,
            state: Mutex::new(state),
            updating: Mutex::new(()),
            may_differ: AtomicBool::new(false),
            changed: Notify::new(),
            read_anew: AtomicBool::new(false),
        }
    }

    fn look_again(&self) {
        self.may_differ.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}
