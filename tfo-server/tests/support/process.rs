//! Runs the program as a process, and reads its state from the kernel.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tfo_core::lab::Program;

/// Returns the resident memory in bytes.
pub(crate) fn memory(program: &Program) -> u64 {
    status(program, "VmRSS:")
}

/// Returns the peak resident memory in bytes.
pub(crate) fn peak_memory(program: &Program) -> u64 {
    status(program, "VmHWM:")
}

fn status(program: &Program, name: &str) -> u64 {
    let path = format!("/proc/{}/status", program.id());
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = text.lines().find(|line| line.starts_with(name)).expect("the field exists");
    let kilobytes: u64 = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// Returns the number of open descriptors.
pub(crate) fn descriptors(program: &Program) -> usize {
    let path = format!("/proc/{}/fd", program.id());
    fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")).count()
}

/// Raises the soft limit of descriptors of this process and its children to the hard limit.
pub(crate) fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// Waits until the condition is true.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "timeout: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
