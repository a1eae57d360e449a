//! Deadlines of all holds in one heap, served by one timer: who is due, and when to look next.
//! The picture schedules; its expiry task waits here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::slot::Slot;

/// A heap of deadlines. An entry is never taken out early: whoever pops one compares it with the slot.
#[derive(Default)]
pub(crate) struct DueQueue {
    heap: Mutex<BinaryHeap<Reverse<(Instant, Slot)>>>,
    sooner: Notify,
}

impl DueQueue {
    /// Has `slot` come up at `at`.
    pub(crate) fn schedule(&self, at: Instant, slot: Slot) {
        let mut heap = self.heap.lock();
        let first = heap.peek().is_none_or(|Reverse((earliest, _))| at < *earliest);
        heap.push(Reverse((at, slot)));
        drop(heap);
        if first {
            self.sooner.notify_one();
        }
    }

    /// Waits until something is due, and takes all that is.
    pub(crate) async fn due(&self) -> Vec<(Instant, Slot)> {
        loop {
            let next = self.heap.lock().peek().map(|Reverse((at, _))| *at);
            let now = Instant::now();
            match next {
                Some(at) if at <= now => return self.take(now),
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }

    fn take(&self, now: Instant) -> Vec<(Instant, Slot)> {
        let mut heap = self.heap.lock();
        let mut due = Vec::new();
        while heap.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse(entry)) = heap.pop() {
                due.push(entry);
            }
        }
        due
    }
}
