//! The calling thread: the processor's time that it used, and how exactly it wakes up.

use std::ops::Sub;
use std::time::Duration;

use crate::sys::process;
use crate::{Error, Result};

/// What a thread cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuTime {
    /// In the program's own code.
    pub user: Duration,
    /// In the kernel, on the thread's behalf; also work of interrupts that happened meanwhile.
    pub system: Duration,
}

impl CpuTime {
    /// `getrusage(RUSAGE_THREAD)`: of the calling thread, since it began.
    ///
    /// # Errors
    /// No kernel since 2.6.26 refuses it.
    #[doc(alias = "getrusage")]
    pub fn of_this_thread() -> Result<Self> {
        let times = process::thread_times();
        let (user, system) = times.map_err(|e| Error::system("getrusage", "RUSAGE_THREAD", e))?;
        Ok(Self { user, system })
    }

    /// Both together.
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
    fn work_costs_time_of_the_thread_that_does_it() {
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
