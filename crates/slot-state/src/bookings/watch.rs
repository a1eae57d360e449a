//! Keeping the picture's bookings up to date: one task reads the rooms that somebody looks at, all of them every
//! `sweep_ms`, single ones at once when they are new or a hint says that they changed. One reading at a time, so that
//! what is read later is newer; each of so few rooms that it takes no long time, however many are watched.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Bookings, Database};
use crate::hold::{DeselectAsk, HoldError, HoldKind, LockAsk, Releaser};
use crate::mysql::SiteSettings;
use crate::picture::DeadHold;
use crate::slot::Room;
use crate::store::StoreError;

/// How long a room is watched after the last look at it.
const LATELY: Duration = Duration::from_secs(30);
/// How often the site's settings are read.
const SETTINGS_EVERY: Duration = Duration::from_secs(30);

/// Rooms read in one statement, whose text then is below 64 KiB.
const MOST_AT_ONCE: usize = 500;

/// What the site's settings were read to be.
#[derive(Default)]
struct Settings {
    tried_at: Option<Instant>,
    /// Once they were read, they hold until they are read again.
    known: bool,
    complaints: Vec<String>,
}

impl Settings {
    fn is_due(&self) -> bool {
        self.tried_at.is_none_or(|at| at.elapsed() >= SETTINGS_EVERY)
    }
}

fn next_piece(rooms: &mut Vec<Room>) -> Vec<Room> {
    rooms.split_off(rooms.len().saturating_sub(MOST_AT_ONCE))
}

impl Bookings {
    /// Reads for ever.
    pub(super) async fn keep_reading(self: Arc<Self>) {
        let Some(database) = &self.database else { return };
        let mut settings = Settings::default();
        let mut ticks = interval(database.sweep_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Of the sweep under way; new rooms come between.
        let mut swept = Vec::new();
        loop {
            let rooms = tokio::select! {
                _ = ticks.tick(), if swept.is_empty() => {
                    let live = self.picture.watcher().map(|watcher| watcher.live_rooms()).unwrap_or_default();
                    self.give_back_the_dead();
                    self.cache.forget_old();
                    swept = self.picture.watched_rooms(&live, LATELY);
                    // Rooms of one day make a shorter statement.
                    swept.sort_unstable();
                    next_piece(&mut swept)
                }
                () = ready(()), if !swept.is_empty() => next_piece(&mut swept),
                rooms = self.picture.booked_wanted() => rooms,
            };
            let mut readable = Ok(());
            if !settings.known && (settings.is_due() || !rooms.is_empty()) {
                // Before the first room: nobody is to see a closed day open.
                readable = self.read_settings(database, &mut settings).await;
            }
            for piece in rooms.chunks(MOST_AT_ONCE) {
                if readable.is_ok() {
                    readable = self.read(database, piece).await;
                }
                database.note(&readable);
                self.picture.booked_were_read(piece, readable.is_ok());
            }
            if readable.is_err() {
                swept.clear();
            }
            if settings.known && settings.is_due() {
                // What was read before still holds.
                let _ = self.read_settings(database, &mut settings).await;
            }
        }
    }

    async fn read(self: &Arc<Self>, database: &Database, rooms: &[Room]) -> Result<(), StoreError> {
        let begun = self.picture.before_reading_booked();
        let mut booked = database.mysql.read_booked(rooms).await?;
        let mut dead = Vec::new();
        for room in rooms {
            let slots = booked.remove(room).unwrap_or_default();
            dead.extend(self.picture.set_booked(*room, begun, slots));
        }
        if !dead.is_empty() {
            database.dead.lock().append(&mut dead);
            self.give_back_the_dead();
        }
        Ok(())
    }

    async fn read_settings(&self, database: &Database, settings: &mut Settings) -> Result<(), StoreError> {
        settings.tried_at = Some(Instant::now());
        let before = self.calendar();
        let read = database.mysql.read_settings(&database.otherwise, &before, database.fixed_zone).await;
        let SiteSettings { calendar, complaints } = read?;
        settings.known = true;
        if **self.calendar.read() != calendar {
            *self.calendar.write() = Arc::new(calendar);
        }
        if complaints != settings.complaints {
            for complaint in &complaints {
                tracing::warn!(event = "site_settings_unreadable", storage = "mysql", "{complaint}");
            }
            settings.complaints = complaints;
        }
        Ok(())
    }

    /// Gives holds on what is booked back in their holders' name: they are worth nothing, and count.
    fn give_back_the_dead(self: &Arc<Self>) {
        let Some(database) = &self.database else { return };
        let dead = std::mem::take(&mut *database.dead.lock());
        if dead.is_empty() {
            return;
        }
        let bookings = self.clone();
        tokio::spawn(async move {
            let Some(database) = &bookings.database else { return };
            for hold in dead {
                // Refused: it is gone already. Not answered: the next sweep tries again.
                if let Err(HoldError::Store(_)) = database.give_back(&hold).await {
                    database.dead.lock().push(hold);
                }
            }
        });
    }
}

impl Database {
    /// Says once that bookings cannot be read, and once that they can again.
    fn note(&self, read: &Result<(), StoreError>) {
        let error = read.as_ref().err();
        self.mysql.note_booked(error);
        if error.is_none() && self.error.read().is_none() {
            return;
        }
        let before = std::mem::replace(&mut *self.error.write(), error.cloned());
        match (before, error) {
            (None, Some(error)) => {
                tracing::warn!(event = "bookings_unreadable", storage = "mysql", error = %error);
            }
            (Some(_), None) => tracing::info!(event = "bookings_readable", storage = "mysql"),
            _ => {}
        }
    }

    async fn give_back(&self, hold: &DeadHold) -> Result<(), HoldError> {
        let DeadHold { slot, client, kind } = hold.clone();
        match kind {
            HoldKind::Selection => {
                self.store.deselect(DeselectAsk { slot, by: Releaser::Client(client), actor: None }).await
            }
            HoldKind::Lock => self.store.unlock(LockAsk { slot, client, actor: None }).await,
        }
    }
}
