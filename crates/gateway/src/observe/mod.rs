//! What operators see of a running gateway.

mod log_line;
mod log_writer;
pub mod logging;
pub mod metrics;
pub mod operations;
pub mod window;
