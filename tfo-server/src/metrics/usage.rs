//! The resource usage of this process, from `/proc/self`.

use std::fs;
use std::time::Duration;

/// A field is `None` if it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) descriptors: Option<u64>,
    pub(crate) max_descriptors: Option<u64>,
    /// CPU time of all living threads.
    pub(crate) cpu: Option<Duration>,
}

impl Usage {
    pub(crate) fn read() -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        Self {
            resident_bytes: text("status").and_then(|status| kibibytes(&status, "VmRSS:")),
            descriptors: descriptors(),
            max_descriptors: text("limits").and_then(|limits| soft(&limits, "Max open files")),
            cpu: cpu(),
        }
    }
}

/// Returns the number of open descriptors.
pub(crate) fn descriptors() -> Option<u64> {
    // The directory listing itself uses one.
    fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1))
}

/// Parses `VmRSS:      1234 kB`.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Parses `Max open files            1024                 524288               files`.
fn soft(limits: &str, name: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Sums up `schedstat`, which has nanoseconds; `stat` has only hundredths of a second.
fn cpu() -> Option<Duration> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanos.sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_name() {
        let status = "VmHWM:\t    9000 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(kibibytes("VmRSS:\n", "VmRSS:"), None);
        let limits = "Limit  Soft Limit  Hard Limit\nMax open files   1024   524288   files\n";
        assert_eq!(soft(limits, "Max open files"), Some(1024));
        assert_eq!(soft("Max open files   unlimited\n", "Max open files"), None);
    }

    #[test]
    fn usage_of_this_process_is_plausible() {
        let facts = Usage::read();
        assert!(facts.resident_bytes > Some(100_000), "{facts:?}");
        assert!(facts.descriptors >= Some(3) && facts.descriptors < facts.max_descriptors);
        assert!(facts.cpu > Some(Duration::ZERO), "{facts:?}");
    }
}
