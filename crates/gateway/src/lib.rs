//! slotcast gateway

pub mod config;
pub mod observe;
pub mod security;
