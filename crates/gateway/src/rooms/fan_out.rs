//! From a changed picture to every subscriber's socket: one task a live room. The first change after a quiet time
//! leaves at once; those within the coalescing window after it share the next diff.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::MutexGuard;
use slot_state::RoomView;

use super::hub::{Has, Hub, LiveRoom, RoomState};
use crate::protocol::server_frame::ServerFrame;
use crate::session::Offered;

/// Subscribers served without letting go of the room and the thread: about a millisecond of writing.
const CHUNK: usize = 128;

/// What a round sends, and whom to.
pub(super) struct Round {
    frame: Bytes,
    epoch: u64,
    rev: u64,
    /// Who has what this frame continues.
    to: Has,
    /// It says which slots are booked.
    is_of_booked: bool,
}

/// Serves the room until nobody looks at it.
pub(super) async fn run(hub: Arc<Hub>, live: Arc<LiveRoom>) {
    loop {
        live.changed.notified().await;
        drop(bring_up_to_date(&hub, &live));
        let due = std::mem::take(&mut live.state.lock().due);
        for round in &due {
            send(&hub, &live, round).await;
        }
        if !due.is_empty() {
            tokio::time::sleep(hub.coalesce).await;
        }
        if live.state.lock().ended {
            return;
        }
    }
}

/// Takes into the room what the picture shows, and leaves what that is to its subscribers for the fan-out to send.
/// While the guard lives, nobody goes on from there.
pub(super) fn bring_up_to_date<'a>(hub: &Hub, live: &'a LiveRoom) -> MutexGuard<'a, ()> {
    let updating = live.updating.lock();
    if live.may_differ.swap(false, Ordering::AcqRel) {
        let view = hub.picture.view(live.room);
        let mut state = live.state.lock();
        let round = advance(hub, live, &mut state, view);
        state.due.extend(round);
    }
    updating
}

fn advance(hub: &Hub, live: &LiveRoom, state: &mut RoomState, view: RoomView) -> Option<Round> {
    if live.read_anew.swap(false, Ordering::AcqRel) {
        state.view = view;
        state.epoch = hub.current_epoch();
        state.rev = 0;
        state.snapshot = None;
        state.subscribers.iter_mut().for_each(|(_, subscriber)| subscriber.has = Has::Nothing);
        // Nobody has what these would continue.
        state.due.clear();
        let frame = hub.snapshot(live, state);
        return Some(Round { frame, epoch: state.epoch, rev: 0, to: Has::Nothing, is_of_booked: true });
    }
    let diff = state.view.diff(&view)?;
    state.view = view;
    state.rev += 1;
    state.snapshot = None;
    let (epoch, rev) = (state.epoch, state.rev);
    let frame = ServerFrame::Diff { room: live.room.into(), epoch, rev, diff: &diff }.encode();
    hub.metrics.diffs.inc();
    Some(Round { frame, epoch, rev, to: Has::Rev(rev - 1), is_of_booked: diff.booked.is_some() })
}

/// Slab keys stay where they are while subscribers come and go between chunks.
async fn send(hub: &Hub, live: &LiveRoom, round: &Round) {
    let mut next = 0;
    loop {
        let (mut sent, mut conflated) = (0, 0);
        let done = {
            let mut state = live.state.lock();
            if state.epoch != round.epoch {
                // Everything was read anew meanwhile: whoever needs this gets more than this.
                return;
            }
            let end = state.subscribers.capacity().min(next + CHUNK);
            for key in next..end {
                let Some(subscriber) = state.subscribers.get_mut(key) else { continue };
                if round.is_of_booked && subscriber.has_own_booked {
                    // Whatever it has: a snapshot made in between may not know yet which slot is the appointment's.
                    subscriber.connection.miss(live.room);
                    subscriber.has = Has::Nothing;
                    continue;
                }
                if subscriber.has != round.to {
                    continue;
                }
                match subscriber.connection.offer(&round.frame, live.room) {
                    Offered::Sent => {
                        subscriber.has = Has::Rev(round.rev);
                        sent += 1;
                    }
                    Offered::Behind => {
                        subscriber.has = Has::Nothing;
                        conflated += 1;
                    }
                }
            }
            next = end;
            next >= state.subscribers.capacity()
        };
        hub.metrics.deliveries.inc_by(sent);
        hub.metrics.conflated.inc_by(conflated);
        if done {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use slot_state::{ActorId, EmployeeId, Room, Storage, StorageMode};
    use tokio::net::UnixStream;
    use tokio::sync::watch;

    use super::*;
    use crate::config::Security;
    use crate::security::address::ClientAddress;
    use crate::security::limits::Limits;
    use crate::session::Connection;

    #[tokio::test]
    async fn what_was_about_to_be_sent_when_all_was_read_anew_reaches_nobody_who_has_newer() {
        let storage = Storage { mode: StorageMode::Memory, writable: true, flowing: true };
        let (_storage, storage) = watch::channel(storage);
        let hub = Hub::new(Arc::default(), storage, Duration::from_millis(10), Arc::default());
        let permit = Limits::new(&Security::default()).admit(ClientAddress::None).expect("a place");
        let (socket, _browser) = UnixStream::pair().expect("a pair");
        let connection = Connection::new(ActorId(1), socket, permit);
        let room =
            Room { date: jiff::civil::date(2026, 12, 1), employee_id: "3".parse::<EmployeeId>().unwrap() };

        let subscription = hub.subscribe(room, None, &connection, None);
        let live = hub.live_room(room);
        let has = || live.state.lock().subscribers[subscription.key].has;
        let of_this = |to, rev| {
            let epoch = live.state.lock().epoch;
            Round { frame: Bytes::from_static(b"a frame"), epoch, rev, to, is_of_booked: false }
        };
        let diff = of_this(Has::Rev(0), 1);
        hub.read_anew();
        hub.sync(&subscription, None);
        send(&hub, &live, &diff).await;
        assert_eq!(has(), Has::Rev(0), "a diff of the old epoch");

        let snapshot = of_this(Has::Nothing, 7);
        hub.read_anew();
        drop(bring_up_to_date(&hub, &live));
        send(&hub, &live, &snapshot).await;
        assert_eq!(has(), Has::Nothing, "it is to get the newer snapshot");
    }
}
