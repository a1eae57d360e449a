//! slotcast: shows everybody looking at a booking page, at once and truthfully, which slots are free.
//!
//! Arrows point one way: `http` and `session` → `commands` → `slot-state`, and back out through `rooms` to `session`.

pub mod app;
pub mod cli;
/// The one place a request is carried out.
pub mod commands;
pub mod config;
pub mod dashboard;
mod heartbeat;
mod http;
pub mod observe;
pub mod outbox;
pub mod presence;
/// The wire: text to types and back.
pub mod protocol;
pub mod reload;
pub mod rooms;
pub mod security;
mod service_manager;
pub mod session;
mod shutdown;
mod wordpress;
