//! What the readers of foreign text promise of any bytes, as functions that panic where it does not hold.
//! Called by the tests with what stands in `tests/corpus`, and by `crates/fuzz`; not there in the program.

use crate::{mysql, redis};

/// A name, which is that of its folder of inputs, and what must hold for each of them.
pub type Target = (&'static str, fn(&[u8]));

/// Every reader here.
pub const TARGETS: [Target; 5] = [
    ("php", mysql::fuzz::php),
    ("site_options", mysql::fuzz::site_options),
    ("redis_keys", redis::fuzz::keys),
    ("redis_answers", redis::fuzz::answers),
    ("redis_messages", redis::fuzz::messages),
];

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_found_once_stays_mended() {
        for (name, target) in super::TARGETS {
            support::replay(name, target);
        }
    }
}
