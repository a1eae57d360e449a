//! `slotcast token`: prints a token for a client, signed with the first of `security.token_keys`.
//! Called by `run`. Invariant: the token alone goes to standard output, so that a shell can take it.

use std::time::Duration;

use clap::Args;
use slot_state::{ClientId, InvalidValue};

use crate::config::Config;
use crate::security::PHP_CLIENTS;
use crate::security::token::Tokens;

/// Whose token, and for how long.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The client that may use it; it may begin with u_, as those of a site's users do.
    #[arg(long, value_parser = parse_client)]
    client_id: ClientId,
    /// How long it counts, in seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    ttl_secs: u32,
}

impl Token {
    /// The token; `None` where there is no key.
    pub(super) fn made(&self, config: &Config) -> Option<String> {
        let ttl = Duration::from_secs(self.ttl_secs.into());
        Tokens::new(&config.security.token_keys).mint(&self.client_id, ttl)
    }
}

fn parse_client(text: &str) -> Result<ClientId, String> {
    let client: ClientId = text.parse().map_err(|error: InvalidValue| error.to_string())?;
    if client.as_str().starts_with(PHP_CLIENTS) {
        return Err(format!("names that begin with {PHP_CLIENTS} are PHP's own"));
    }
    Ok(client)
}
