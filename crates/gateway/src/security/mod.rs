//! Who may connect, and how much of it: origins, addresses behind proxies, limits.
//! Used by `http` before the upgrade and by `session` per frame. Invariant: decisions only, no sockets here.

pub mod address;
pub mod certificate;
pub mod limits;
pub mod origin;
mod rates;
