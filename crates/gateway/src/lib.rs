//! slotcast: shows everybody looking at a booking page, at once and truthfully, which slots are free.
//!
//! Arrows point one way: `http` and `session` → `commands` → `slot-state`, and back out through `rooms` to `session`.
//!
//! | module | job |
//! | --- | --- |
//! | `cli`, `config`, `app`, `shutdown`, `reload`, `service_manager` | from arguments to a gateway, and to its end |
//! | `http`, `session` | sockets: what comes in, what goes out |
//! | `protocol` | text to types and back |
//! | `security` | who may connect and do what, how often, and who may see inside |
//! | `commands`, `heartbeat` | requests, carried out in one place whoever sent them |
//! | `presence` | selections live as long as their clients do |
//! | `rooms` | who looks at what, and one frame for all of them |
//! | `outbox`, `wordpress` | what WordPress is told and asked |
//! | `observe`, `dashboard` | log, metrics, and what operators see live |

pub mod app;
pub mod cli;
/// The one place a request is carried out.
pub mod commands;
pub mod config;
pub mod dashboard;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
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
