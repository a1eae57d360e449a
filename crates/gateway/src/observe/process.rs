//! What the process itself uses, under the names that Prometheus' own clients give it. Read from /proc at each scrape, on
//! behalf of `metrics`. Invariant: what cannot be read is left out, never zero.

use std::fmt;
use std::fs;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Collects them.
#[derive(Debug)]
pub(super) struct Process {
    started: Timestamp,
}

impl Default for Process {
    /// To be made at the start.
    fn default() -> Self {
        Process { started: Timestamp::now() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let to = &mut encoder;
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = ConstCounter::new(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
        tell(to, "process_cpu", "Processor time used since the start.", seconds, &cpu)?;
        let started = ConstGauge::new(self.started.as_millisecond() as f64 / 1e3);
        tell(to, "process_start_time", "When the process started, in Unix time.", seconds, &started)?;
        if let Some(resident) = resident_bytes() {
            let help = "Memory of the process that is in RAM.";
            tell(to, "process_resident_memory", help, bytes, &ConstGauge::new(resident))?;
        }
        if let Some(open) = open_files() {
            let help = "Number of open files: one for each browser, and some.";
            tell(to, "process_open_fds", help, None, &ConstGauge::new(open))?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            let help = "Number of files that may be open; with that many no browser gets in any more.";
            tell(to, "process_max_fds", help, None, &ConstGauge::new(most))?;
        }
        Ok(())
    }
}

fn tell(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    // The folder's size is the number, since Linux 6.2; before it is 0, and each entry is to be counted.
    match fs::metadata(folder).ok()?.len() {
        0 => Some(fs::read_dir(folder).ok()?.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_finds_itself() {
        let before = open_files().unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process open and close files meanwhile.
        assert!(open_files().unwrap() > before + 25, "{before}");
        drop(files);
        assert!(resident_bytes().unwrap() > 1024 * 1024);
    }
}
