//! slotcast gateway
