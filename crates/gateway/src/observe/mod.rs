//! What operators see of a running gateway.

mod log_line;
pub mod logging;
pub mod metrics;
