//! What a booking slot is, who holds it, and for how long.
//!
//! A [`Room`] is one date and employee; a [`Slot`] one time in it. A slot is *selected* by a client for seconds
//! (renewed while its client is there), *locked* for minutes during checkout, or booked. A [`HoldStore`] keeps
//! selections and locks and decides who gets them; the [`Picture`] shows all of them, at once and without asking the
//! store, and tells its [`Watcher`] when a room looks different.
//!
//! Invariants: a slot has one holder at most, but for what foreign writers overwrite; a client has one selection a
//! room at most; the picture never shows an older fact after a newer one, and nothing past its deadline.

mod booking;
mod bookings;
mod clock;
mod due;
mod event;
mod fail_point;
mod failover;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hold;
mod memory;
mod mysql;
mod open;
mod pen;
mod picture;
mod redis;
mod slot;
mod store;
mod view;

pub use booking::{
    AppointmentRef, BookError, BookRefusal, Booking, Customer, IdempotencyKey, InvalidKey, NewBooking,
};
pub use bookings::{Availability, Bookings, Calendar, ClosedDay, Grid};
pub use clock::ClockOffset;
pub use event::{EndReason, HoldEnded, Observation, Watcher};
pub use hold::{
    ActorId, AddressTag, Chosen, DeselectAsk, HoldError, HoldKind, Lock, LockAsk, Locked,
    MAX_LOCKS_PER_CLIENT, Refusal, Releaser, Renewal, Renewed, SelectAsk, Selected, Selection, Writer,
};
pub use mysql::{
    Backlog, ChangeOutcome, MigrateError, Migration, MigrationReport, MySqlConfig, MySqlReport, Outbox,
    TableChange, Untold, Warning, check_mysql_url, examine_mysql, migrate,
};
pub use open::{OpenStore, StoreConfig, open};
pub use picture::{Look, Picture};
pub use redis::{Feed, NotifyFlags, RedisReport, RedisTrouble, examine_redis};
pub use slot::{ClientId, DateWindow, EmployeeId, InvalidValue, Room, Slot, SlotTime, parse_date};
pub use store::{HoldStore, RENEWALS_AT_ONCE, Storage, StorageMode, StoreError};
pub use view::{ListDiff, RoomView, ViewDiff};
