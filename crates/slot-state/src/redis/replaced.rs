//! Whether the database was emptied or replaced since everything was last read: then what is gone, went with it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts replacements, and how far they have been dealt with.
#[derive(Default)]
pub(super) struct Replaced {
    count: AtomicU64,
    dealt_with: AtomicU64,
    happened: Notify,
}

impl Replaced {
    /// Another run of the server, or another storage record, has answered.
    pub(super) fn report(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.happened.notify_one();
    }

    /// Waits for a report.
    pub(super) async fn happened(&self) {
        self.happened.notified().await;
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Everything was read after the `count`-th report.
    pub(super) fn dealt_with(&self, count: u64) {
        self.dealt_with.fetch_max(count, Ordering::AcqRel);
    }

    /// Up to which report everything was read. An answer that came while [`Replaced::count`] was another may be about
    /// an emptied database, even if everything was read by the time the answer is looked at.
    pub(super) fn dealt_with_so_far(&self) -> u64 {
        self.dealt_with.load(Ordering::Acquire)
    }

    pub(super) fn pending(&self) -> bool {
        self.count() != self.dealt_with_so_far()
    }
}
