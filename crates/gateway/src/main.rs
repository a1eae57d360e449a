//! The `slotcast` binary.
fn main() {}
