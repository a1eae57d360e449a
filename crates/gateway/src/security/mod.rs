//! Who may connect, and how much of it: origins, addresses behind proxies, limits; and who may see inside.
//! Used by `http` before the upgrade and by `session` per frame. Invariant: decisions only, no sockets here.

pub mod address;
pub mod asker;
pub mod certificate;
pub mod frames;
pub mod handshakes;
pub mod holds;
pub mod limits;
pub mod operators;
pub mod origin;
mod rates;
pub mod token;

pub(crate) use rates::{BURST_SECS, Every};

/// Clients whose names begin like this prove it with a token.
pub const TOKEN_CLIENTS: &str = "u_";
/// Names of PHP's own, which nobody may use.
pub const PHP_CLIENTS: &str = "reschedule_";
