//! From a changed picture to every subscriber's socket: one task a live room. The first change after a quiet time
//! leaves at once; those within the coalescing window after it share the next diff.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use slot_state::RoomView;

use super::hub::{Has, Hub, LiveRoom, RoomState};
use crate::protocol::server_frame::ServerFrame;
use crate::session::Offered;

/// Subscribers served without letting go of the room and the thread: about a millisecond of writing.
const CHUNK: usize = 128;

/// What a round sends, and whom to.
pub(super) struct Round {
    frame: Bytes,
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
        bring_up_to_date(&hub, &live);
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
pub(super) fn bring_up_to_date(hub: &Hub, live: &LiveRoom) {
    let _updating = live.updating.lock();
    if live.may_differ.swap(false, Ordering::AcqRel) {
        let view = hub.picture.view(live.room);
        let mut state = live.state.lock();
        let round = advance(hub, live, &mut state, view);
        state.due.extend(round);
    }
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
        return Some(Round { frame, rev: 0, to: Has::Nothing, is_of_booked: true });
    }
    let diff = state.view.diff(&view)?;
    state.view = view;
    state.rev += 1;
    state.snapshot = None;
    let (epoch, rev) = (state.epoch, state.rev);
    let frame = ServerFrame::Diff { room: live.room.into(), epoch, rev, diff: &diff }.encode();
    hub.metrics.diffs.inc();
    Some(Round { frame, rev, to: Has::Rev(rev - 1), is_of_booked: diff.booked.is_some() })
}

/// Slab keys stay where they are while subscribers come and go between chunks.
async fn send(hub: &Hub, live: &LiveRoom, round: &Round) {
    let mut next = 0;
    loop {
        let (mut sent, mut conflated) = (0, 0);
        let done = {
            let mut state = live.state.lock();
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
