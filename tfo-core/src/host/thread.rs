//! The CPU time of the calling thread.

use std::ops::Sub;
use std::time::Duration;

use crate::sys::process;
use crate::{Error, Result};

/// The CPU time of a thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuTime {
    /// In user space.
    pub user: Duration,
    /// In the kernel on behalf of the thread, including interrupts that occurred meanwhile.
    pub system: Duration,
}

impl CpuTime {
    /// Returns the CPU time of the calling thread since it started (`getrusage(RUSAGE_THREAD)`).
    ///
    /// # Errors
    /// No kernel since 2.6.26 refuses it.
    #[doc(alias = "getrusage")]
    pub fn of_this_thread() -> Result<Self> {
        let times = process::thread_times();
        let (user, system) = times.map_err(|e| Error::system("getrusage", "RUSAGE_THREAD", e))?;
        Ok(Self { user, system })
    }

    /// Returns the sum of both.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.user + self.system
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn cpu_time_is_counted_for_the_working_thread() {
        let before = CpuTime::of_this_thread().unwrap();
        let worker = std::thread::spawn(|| {
            let mut rounds = 0_u64;
            while CpuTime::of_this_thread().unwrap().total() < Duration::from_millis(20) {
                rounds = black_box(rounds.wrapping_mul(3) + 1);
            }
        });
        worker.join().unwrap();
        let own = CpuTime::of_this_thread().unwrap() - before;
        assert!(own.total() < Duration::from_millis(20), "another thread's work: {own:?}");
    }
}
