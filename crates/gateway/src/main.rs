//! The `slotcast` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    slotcast::cli::run()
}
