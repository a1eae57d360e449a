//! `slotcast healthcheck`: asks the gateway of this configuration, on this machine, whether it is ready.
//! Called by `run`; for containers, which have no other client. Ends with 0 for ready, 1 otherwise.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::timeout;

use super::here::{self, NoAnswer};
use crate::config::{Listen, Server};

/// Docker and others wait longer than this.
const DEADLINE: Duration = Duration::from_secs(4);

/// Why it is not ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReady {
    #[error("{0} {1}")]
    NoAnswer(Listen, NoAnswer),
    #[error("{0}")]
    Says(String),
}

/// Asks once.
pub(super) async fn ask(server: &Server) -> Result<(), NotReady> {
    let late = |_| Err(NoAnswer::Silent(format!("not within {} s", DEADLINE.as_secs())));
    let answer = timeout(DEADLINE, Box::pin(here::get(server, "/readyz", None))).await.unwrap_or_else(late);
    let (status, text) = answer.map_err(|why| NotReady::NoAnswer(server.listen.clone(), why))?;
    if status == StatusCode::OK { Ok(()) } else { Err(NotReady::Says(text.trim().to_owned())) }
}
