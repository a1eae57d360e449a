//! What one gateway knows of one store: does it answer, and since when on end. Kept by the switch.

use std::time::Duration;

use tokio::time::Instant;

use super::{Failure, Limits};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// Not configured.
    Absent,
    /// Neither answer nor failure yet.
    Unknown,
    /// It answered last.
    Up,
    /// It failed last.
    Down,
}

/// One store, seen from one gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) reach: Reach,
    /// A request timed out then. A good probe does not clear this: a store that answers small questions and no real
    /// ones is of no use.
    pub(super) doubted: Option<Instant>,
    /// Nothing has failed since, and no probe was missing.
    pub(super) healthy_since: Option<Instant>,
    /// The last good probe.
    pub(super) heard: Option<Instant>,
}

impl Link {
    pub(super) fn new(configured: bool) -> Link {
        let reach = if configured { Reach::Unknown } else { Reach::Absent };
        Link { reach, doubted: None, healthy_since: None, heard: None }
    }

    pub(super) fn is_up(&self) -> bool {
        self.reach == Reach::Up
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.reach == Reach::Unknown
    }

    /// A probe was answered.
    pub(super) fn answered(&mut self, now: Instant, limits: &Limits) {
        // Nothing is proven about a time in which this gateway itself stood still.
        let on_end = self.heard.is_some_and(|heard| now.duration_since(heard) <= limits.probe_gap);
        if !self.is_up() {
            self.doubted = None;
        }
        if !on_end || self.healthy_since.is_none() {
            self.healthy_since = Some(now);
        }
        self.heard = Some(now);
        self.reach = Reach::Up;
    }

    /// A request failed. Whether that alone is proof is in `failure`; two doubts in a row are.
    pub(super) fn failed(&mut self, now: Instant, failure: Failure, limits: &Limits) {
        let doubted = self.doubted.is_some_and(|since| now.duration_since(since) <= limits.doubt);
        if failure == Failure::Away || doubted {
            self.down();
        } else {
            self.doubted = Some(now);
            self.healthy_since = None;
        }
    }

    /// It is away, for certain.
    pub(super) fn down(&mut self) {
        if self.reach != Reach::Absent {
            self.reach = Reach::Down;
        }
        self.healthy_since = None;
    }

    /// Its health is to be proven anew.
    pub(super) fn prove_again(&mut self, now: Instant) {
        if self.healthy_since.is_some() {
            self.healthy_since = Some(now);
        }
    }

    /// How long it has been healthy on end.
    pub(super) fn healthy_for(&self, now: Instant, limits: &Limits) -> Option<Duration> {
        let heard = self.heard?;
        if !self.is_up() || now.duration_since(heard) > limits.probe_gap {
            return None;
        }
        self.healthy_since.map(|since| now.duration_since(since))
    }
}
