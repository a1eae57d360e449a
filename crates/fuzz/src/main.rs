//! libFuzzer over one of the readers of foreign text: which, says `SLOTCAST_FUZZ_TARGET`. Built and started
//! by `tests/fuzz` with `--cfg fuzzing` and the coverage that libFuzzer goes by; a reader that panics ends it
//! with that input in a file.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("SLOTCAST_FUZZ_TARGET").unwrap_or_default();
    let all = || slot_state::fuzz::TARGETS.into_iter().chain(slotcast::fuzz::TARGETS);
    let found = all().find(|(name, _)| *name == wanted);
    found.map(|(_, target)| target).unwrap_or_else(|| {
        let names: Vec<_> = all().map(|(name, _)| name).collect();
        panic!("SLOTCAST_FUZZ_TARGET={wanted:?} is none of {}", names.join(", "))
    })
});

fuzz_target!(|input: &[u8]| (*TARGET)(input));
