//! The process as the system sees it.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::{Metric, Registry};

const CPU: Metric =
    Metric::new("process_cpu_seconds_total", "User and system CPU time spent, in seconds.");
const RESIDENT: Metric =
    Metric::new("process_resident_memory_bytes", "Resident memory size in bytes.");
const VIRTUAL: Metric =
    Metric::new("process_virtual_memory_bytes", "Virtual memory size in bytes.");
const THREADS: Metric = Metric::new("process_threads", "Number of threads.");
const OPEN_FDS: Metric = Metric::new("process_open_fds", "Number of open file descriptors.");

/// Registers `flotilla_build_info` and `process_*`; the latter are read at every scrape. What the system does not tell
/// stays at its last value.
pub fn register_process_metrics(registry: &Registry) {
    crate::metrics::register_build_info(registry);
    let cpu = registry.sum(&CPU);
    let resident = registry.gauge(&RESIDENT);
    let virtual_size = registry.gauge(&VIRTUAL);
    let threads = registry.gauge(&THREADS);
    let open_fds = registry.gauge(&OPEN_FDS);
    registry.on_scrape(move || {
        cpu.inc_by((cpu_seconds() - cpu.get()).max(0.0));
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            for (gauge, field, unit) in [
                (&resident, "VmRSS:", 1024),
                (&virtual_size, "VmSize:", 1024),
                (&threads, "Threads:", 1),
            ] {
                if let Some(value) = status_field(&status, field) {
                    gauge.set(value.saturating_mul(unit));
                }
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            open_fds.set(i64::try_from(entries.count()).unwrap_or(i64::MAX) - 1);
        }
    });
}

fn cpu_seconds() -> f64 {
    std::time::Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))
        .unwrap_or_default()
        .as_secs_f64()
}

/// The number behind `field` in the text of `/proc/self/status`.
fn status_field(status: &str, field: &str) -> Option<i64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("the metric is shown").parse().expect("a number")
    }

    #[test]
    fn the_process_is_seen() {
        let registry = Registry::new();
        register_process_metrics(&registry);
        let first = render(&registry);
        let file = fs::File::open("/proc/self/status").expect("readable");
        let second = render(&registry);
        drop(file);
        for name in ["process_resident_memory_bytes", "process_virtual_memory_bytes"] {
            assert!(value(&first, name) > 100_000.0, "{name}");
        }
        assert!(value(&first, "process_threads") >= 1.0);
        assert!(value(&first, "process_open_fds") >= 3.0);
        let cpu = "process_cpu_seconds_total";
        assert!(value(&first, cpu) > 0.0 && value(&second, cpu) >= value(&first, cpu));
    }

    #[test]
    fn odd_status_text_is_survived() {
        assert_eq!(status_field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(status_field("VmRSS:\nThreads: x\n", "VmRSS:"), None);
        assert_eq!(status_field("Threads: x", "Threads:"), None);
    }
}
