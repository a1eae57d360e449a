//! Everything that comes over HTTP. `router` lists the paths; `server` accepts; `upgrade` hands over to sessions.

mod dashboard;
mod legacy;
mod operators;
mod rest;
mod router;
mod server;
mod upgrade;

pub(crate) use server::Server;
