//! Why a run could not be carried out. A server that loses messages is no error: that is a result, in the report.

use std::io;

/// What ended a run before it had a result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An option has a value that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A socket or a file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server answered something else than was asked for.
    #[error("{0}")]
    Refused(String),
    /// Something did not happen in time.
    #[error("timed out: {0}")]
    Late(String),
    /// Redis failed.
    #[error("redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// MySQL failed.
    #[error("mysql: {0}")]
    Mysql(#[from] mysql_async::Error),
}

impl LoadError {
    /// For `map_err`: wraps what the system said with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> LoadError {
        let what = what.into();
        move |source| LoadError::Io { what, source }
    }
}
