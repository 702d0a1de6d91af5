//! What the kernel says of the server's process.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tfo_core::lab::Program;

/// Its resident memory in bytes.
pub(crate) fn memory(program: &Program) -> u64 {
    let path = format!("/proc/{}/status", program.id());
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells it");
    let kilobytes: u64 = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// How many descriptors it has open.
pub(crate) fn descriptors(program: &Program) -> usize {
    let path = format!("/proc/{}/fd", program.id());
    fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")).count()
}

/// Lets this process, and those that it starts, open as many as it may.
pub(crate) fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "it did not come about: {what}");
        sleep(Duration::from_millis(5));
    }
}
