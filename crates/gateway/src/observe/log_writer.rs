//! Writes the log's lines in bundles, from a thread that comes for them by itself: logging costs a copy, not a system
//! call, and wakes no thread while a browser waits for its answer.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

/// How long a line may wait for those after it.
const BUNDLE: Duration = Duration::from_millis(20);
/// In vain the thread comes so many times, then it sleeps until it is woken.
const VAIN_LOOKS: u32 = 50;
/// Bytes that may wait while nobody reads the log; beyond it new lines are dropped and counted.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// What an unusual crowd of lines took is not kept.
const KEPT_BUFFER: usize = 64 * 1024;

/// Lines of this process that were dropped since nobody read the log fast enough.
pub(super) static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Where lines are left for the thread.
pub(super) struct LogWriter {
    waiting: Arc<Waiting>,
    thread: Thread,
}

#[derive(Default)]
struct Waiting {
    lines: Mutex<Vec<u8>>,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// Keeps the log's writing thread; dropping it writes what waits, so `main` must let it go out of scope, not exit.
pub struct LogGuard {
    waiting: Arc<Waiting>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread that writes to `out`.
pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<(LogWriter, LogGuard)> {
    let waiting = Arc::new(Waiting::default());
    let theirs = waiting.clone();
    let join = thread::Builder::new().name("log".to_owned()).spawn(move || theirs.write_all(&mut out))?;
    let writer = LogWriter { waiting: waiting.clone(), thread: join.thread().clone() };
    Ok((writer, LogGuard { waiting, thread: Some(join) }))
}

impl LogWriter {
    pub(super) fn write(&self, line: &str) {
        let mut lines = self.waiting.lines.lock();
        if lines.len() + line.len() > MOST_WAITING {
            DROPPED.inc();
            return;
        }
        lines.extend_from_slice(line.as_bytes());
        // Under the lock, as the thread falls asleep under it: no line is left to a sleeper.
        if self.waiting.asleep.swap(false, Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}

impl Waiting {
    fn write_all(&self, out: &mut impl Write) {
        let mut bundle = Vec::new();
        let mut vain = 0;
        loop {
            let ended = self.ended.load(Ordering::Acquire);
            {
                let mut lines = self.lines.lock();
                std::mem::swap(&mut *lines, &mut bundle);
                vain = if bundle.is_empty() { vain + 1 } else { 0 };
                self.asleep.store(vain > VAIN_LOOKS, Ordering::Relaxed);
            }
            // A log that cannot be written has nowhere to say so.
            let _ = out.write_all(&bundle).and_then(|()| out.flush());
            bundle.clear();
            bundle.shrink_to(KEPT_BUFFER);
            match () {
                () if ended => return,
                () if vain > VAIN_LOOKS => thread::park(),
                () => thread::park_timeout(BUNDLE),
            }
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.waiting.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Sink(mpsc::Sender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Never reads until it is dropped.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_arrives_by_itself_also_after_the_thread_fell_asleep() {
        let (sender, written) = mpsc::channel();
        let (writer, _guard) = start(Sink(sender)).expect("starts");
        for _ in 0..2 {
            writer.write("line\n");
            assert_eq!(written.recv().expect("written"), b"line\n");
            while !writer.waiting.asleep.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn what_waits_is_written_in_order_when_the_log_ends() {
        let (sender, written) = mpsc::channel();
        let (writer, guard) = start(Sink(sender)).expect("starts");
        (0..1000).for_each(|number| writer.write(&format!("{number}\n")));
        drop(guard);
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let all: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(all, expected.as_bytes());
    }

    #[test]
    fn a_log_nobody_reads_stops_nobody_and_counts_what_it_drops() {
        let (unread, stuck) = mpsc::channel();
        let (writer, _guard) = start(Stuck(stuck)).expect("starts");
        let line = "x".repeat(MOST_WAITING / 8);
        let before = DROPPED.get();
        (0..20).for_each(|_| writer.write(&line));
        let dropped = DROPPED.get() - before;
        drop(unread);
        assert!(dropped >= 4, "of 20, 8 wait, and at most 8 are being written");
    }
}
