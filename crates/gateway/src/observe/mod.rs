//! What operators see of a running gateway.

mod log_line;
mod log_writer;
pub mod logging;
pub mod metrics;
pub mod operations;
mod process;
pub(crate) mod pulse;
pub(crate) mod sampling;
#[cfg(feature = "otel")]
pub(crate) mod traces;
pub mod window;
