//! Everything that comes over HTTP. `router` lists the paths; `server` accepts; `upgrade` hands over to sessions.

mod legacy;
mod operators;
mod pages;
mod rest;
mod router;
mod server;
mod upgrade;

pub(crate) use server::Server;
