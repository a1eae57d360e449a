//! Signals to servers that the tests started.

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::Instant;

use crate::PATIENCE;

/// Sends a signal to a running child.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let id = child.id().expect("it runs");
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("our child can be signalled");
}

/// Freezes a child: its connections stay open, new ones are accepted by the kernel, nothing is answered. Returns when it
/// is so: on a busy machine some of its threads run on for a while after the signal.
pub(crate) fn freeze(child: &Child) {
    signal(child, Signal::STOP);
    let threads = format!("/proc/{}/task", child.id().expect("it runs"));
    let begun = Instant::now();
    while !all_are_stopped(&threads) {
        assert!(begun.elapsed() < PATIENCE, "it does not stop");
        std::thread::yield_now();
    }
}

fn all_are_stopped(threads: &str) -> bool {
    let is_stopped = |stat: String| {
        // The name before it may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    let mut threads = std::fs::read_dir(threads).expect("its threads").flatten();
    threads.all(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(is_stopped))
}

/// Ends a freeze.
pub(crate) fn thaw(child: &Child) {
    signal(child, Signal::CONT);
}
