//! Who looks at what, and how a change reaches them: one encoding, however many subscribers.

mod fan_out;
mod hub;

pub use hub::{Hub, Subscription};
