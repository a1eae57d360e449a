//! The wire: text to types and back. No store, no socket.

pub mod booking;
pub mod client_frame;
pub mod error;
pub mod form;
pub(crate) mod frame;
pub mod legacy;
pub mod server_frame;
