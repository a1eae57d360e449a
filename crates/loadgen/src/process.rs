//! Memory and CPU of processes, from /proc. Several processes of one server (nginx and its workers) are added up.

use std::fs;

use crate::LoadError;

/// `/proc` counts CPU in hundredths of a second on every Linux this runs on (USER_HZ).
const MICROS_PER_TICK: u64 = 10_000;
/// Fields of `/proc/PID/stat` after the command's closing bracket: state is the first.
const UTIME_AFTER_COMMAND: usize = 11;

/// What processes have used at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time since the start, microseconds.
    pub(crate) cpu_us: u64,
    /// Private anonymous memory resident (heap and stacks), KiB.
    pub(crate) anon_kib: u64,
    /// Everything resident, KiB.
    pub(crate) rss_kib: u64,
}

impl Usage {
    /// The processes' sum; an error where one of them is gone.
    pub(crate) fn of(pids: &[u32]) -> Result<Usage, LoadError> {
        let mut sum = Usage::default();
        for pid in pids {
            let one = Usage::read(&pid.to_string())?;
            sum.cpu_us += one.cpu_us;
            sum.anon_kib += one.anon_kib;
            sum.rss_kib += one.rss_kib;
        }
        Ok(sum)
    }

    /// This process.
    pub(crate) fn own() -> Result<Usage, LoadError> {
        Usage::read("self")
    }

    fn read(pid: &str) -> Result<Usage, LoadError> {
        let text = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).map_err(LoadError::io(path))
        };
        let (stat, status) = (text("stat")?, text("status")?);
        Ok(Usage {
            cpu_us: ticks(&stat) * MICROS_PER_TICK,
            anon_kib: field(&status, "RssAnon:"),
            rss_kib: field(&status, "VmRSS:"),
        })
    }
}

/// A command's name may hold spaces and brackets, so fields are counted from the last bracket.
fn ticks(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, tail)| tail);
    fields
        .split_whitespace()
        .skip(UTIME_AFTER_COMMAND)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Usage, field, ticks};

    #[test]
    fn stat_is_read_past_a_command_with_brackets_and_spaces() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 120 30 7 8 20 0 1";
        assert_eq!(ticks(stat), 150);
        assert_eq!(field("VmRSS:\t  300 kB\nRssAnon:\t 120 kB\n", "RssAnon:"), 120);
    }

    #[test]
    fn this_process_has_memory() {
        let usage = Usage::own().expect("own usage");
        assert!(usage.rss_kib > usage.anon_kib && usage.anon_kib > 0);
    }
}
