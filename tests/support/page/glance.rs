//! What a long run with many pages asks of each: nothing here waits, and nothing here fails the test.

use tokio::time::Instant;

use super::Page;
use crate::{Room, View};

impl Page {
    /// The text frames from number `first` on, as they came, with when they came.
    pub fn frames_from(&self, first: usize) -> Vec<(Instant, String)> {
        self.seen().frames.get(first..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Takes the breaches of the protocol found so far; they no longer fail the test by themselves.
    pub fn take_breaches(&self) -> Vec<String> {
        self.seen().take_breaches()
    }

    /// How the connection ended, if it has: with which close code, if with any.
    pub fn closed(&self) -> Option<Option<u16>> {
        self.seen().closed
    }

    /// What the page shows of a room; `None` where it has no snapshot of it.
    pub fn shown(&self, room: &Room) -> Option<View> {
        self.seen().rooms.get(room).map(|live| live.view.clone())
    }
}
