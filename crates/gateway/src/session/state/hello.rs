//! Who is at the other end: what it says at hello, what its token proves, and what it may do until then and after.
//! Called by `state` for each frame. Invariant: in token mode nothing is done for a connection whose token does not count.

use std::mem;

use serde_json::Value;
use slot_state::{ClientId, InvalidValue};

use super::Session;
use crate::config::SecurityMode;
use crate::protocol::client_frame::Request;
use crate::protocol::error::RequestError;
use crate::protocol::server_frame::ServerFrame;
use crate::security::TOKEN_CLIENTS;
use crate::security::token::{Grant, Scope};

impl Session {
    /// Whether the connection may ask for this now.
    pub(super) fn check_allowed(&self, request: &Request) -> Result<(), RequestError> {
        let within = match request {
            Request::Hello(..) => return Ok(()),
            // An old page's frame may name any room.
            Request::Legacy(_) => self.scope.is_everything(),
            request => request.room().is_none_or(|room| self.scope.has(room)),
        };
        let known = self.services.security.load().mode == SecurityMode::Open || self.client.is_some();
        if known && within && self.connection.is_allowed() { Ok(()) } else { Err(RequestError::Unauthorized) }
    }

    pub(super) fn hello(
        &mut self,
        id: Option<&Value>,
        named: Option<ClientId>,
        token: Option<&str>,
    ) -> Result<(), RequestError> {
        let grant = self.check_token(token)?;
        let named = match (&grant, named) {
            (Some(grant), Some(named)) if grant.client != named => return Err(RequestError::Unauthorized),
            (Some(grant), _) => Some(grant.client.clone()),
            (None, Some(named)) if named.as_str().starts_with(TOKEN_CLIENTS) => {
                return Err(InvalidValue::Client.into());
            }
            (None, named) => named,
        };
        let client = match (&self.client, named) {
            (Some(known), Some(named)) if *known != named => {
                return Err(RequestError::BadRequest("this connection is another client's; open a new one"));
            }
            (Some(known), _) => known.clone(),
            (None, Some(named)) => self.arrive(named),
            (None, None) => self.arrive(new_client()),
        };
        if let Some(grant) = grant {
            self.connection.allow_for(grant.left);
            self.narrow(grant.scope);
        }
        let services = &self.services;
        let storage = services.commands.storage();
        self.answer(&ServerFrame::Welcome {
            id,
            client_id: client.as_str(),
            storage_mode: storage.mode.as_str(),
            redis_status: storage.redis_status(),
            selection_ttl: services.commands.selection_ttl.as_secs(),
            lock_ttl: services.lock_ttl.as_secs(),
            server_time: jiff::Timestamp::now().as_second(),
            version: env!("CARGO_PKG_VERSION"),
        });
        Ok(())
    }

    /// What the token grants; `None` where none is needed and none was shown.
    fn check_token(&self, token: Option<&str>) -> Result<Option<Grant>, RequestError> {
        match self.services.grant(token)? {
            None if self.services.security.load().mode == SecurityMode::Token => {
                Err(RequestError::Unauthorized)
            }
            grant => Ok(grant),
        }
    }

    /// What the new token does not allow any more ends.
    fn narrow(&mut self, scope: Scope) {
        for subscription in mem::take(&mut self.subscriptions) {
            if scope.has(subscription.room) {
                self.subscriptions.push(subscription);
            } else {
                self.services.hub.unsubscribe(subscription);
            }
        }
        self.scope = scope;
    }

    pub(super) fn arrive(&mut self, client: ClientId) -> ClientId {
        self.services.commands.presence.arrive(&client, &self.connection, self.from.countable());
        self.client = Some(client.clone());
        client
    }
}

/// A name for a browser that gave none.
pub(super) fn new_client() -> ClientId {
    let name = format!("c_{:032x}", rand::random::<u128>());
    name.parse().unwrap_or_else(|_| unreachable!("hexadecimal digits are allowed in a client_id"))
}
