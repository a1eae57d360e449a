//! Everything that comes over HTTP. `router` lists the paths; `server` accepts; `upgrade` hands over to sessions.

mod dashboard;
mod legacy;
mod listener;
mod operators;
mod pages;
mod rest;
mod router;
mod server;
mod taken;
mod tls;
mod upgrade;

pub(crate) use listener::Listener;
pub(crate) use server::Server;
pub(crate) use tls::Tls;
pub(crate) use tls::TlsFailure;
