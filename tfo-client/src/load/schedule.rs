//! Decides when a thread starts its next connection. Times are nanoseconds since the run began.

use super::settings::{LoadSettings, Pace, RunLength};

const SECOND: u64 = 1_000_000_000;

/// The schedule of one thread.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// When connections are due; `None`: as soon as possible.
    pace: Option<Grid>,
    /// The time at which the thread stops starting connections.
    until: Option<u64>,
    count: Option<u64>,
    started: u64,
    /// The maximum number of open connections.
    pub(super) max_open: usize,
    /// The time of the next attempt, after this host refused to start a connection.
    retry_at: u64,
}

/// The starts of all threads are evenly spaced on one grid. Each thread takes every n-th of them.
#[derive(Debug, Clone, Copy)]
struct Grid {
    rate: u64,
    first: u64,
    every: u64,
}

impl Grid {
    fn due(self, number: u64) -> u64 {
        let place = u128::from(self.first) + u128::from(self.every) * u128::from(number);
        u64::try_from(place * u128::from(SECOND) / u128::from(self.rate)).unwrap_or(u64::MAX)
    }

    /// Returns how many connections are due before this time.
    fn before(self, time: u64) -> u64 {
        let places = (u128::from(time) * u128::from(self.rate)).div_ceil(u128::from(SECOND));
        let own = places.saturating_sub(u128::from(self.first)).div_ceil(u128::from(self.every));
        u64::try_from(own).unwrap_or(u64::MAX)
    }
}

/// The next action of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Start a connection that was due at this time.
    Start(u64),
    /// Wait until this time.
    Wait(u64),
    /// All connections have been started.
    Done,
}

/// Returns the schedule of one thread; `number` starts at 0.
pub(super) fn for_thread(load: &LoadSettings, number: u32) -> Schedule {
    let (threads, number) = (u64::from(load.threads), u64::from(number));
    // The first threads take the remainder.
    let part = |whole: u64| whole / threads + u64::from(number < whole % threads);
    let max_open = part(load.concurrency as u64);
    Schedule {
        pace: match load.pace {
            Pace::Fast => None,
            Pace::Rate(rate) => Some(Grid { rate: rate.into(), first: number, every: threads }),
        },
        until: match load.length {
            RunLength::Time(time) => Some(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            RunLength::Count(_) => None,
        },
        count: match load.length {
            RunLength::Time(_) => None,
            RunLength::Count(count) => Some(part(count)),
        },
        started: 0,
        max_open: usize::try_from(max_open).unwrap_or(usize::MAX),
        retry_at: 0,
    }
}

impl Schedule {
    pub(super) fn next(&self, now: u64) -> Next {
        if self.is_over(now) {
            return Next::Done;
        }
        let due = self.pace.map_or(now, |grid| grid.due(self.started));
        let due_or_retry = due.max(self.retry_at);
        if due_or_retry <= now {
            Next::Start(due)
        } else if self.until.is_some_and(|until| due_or_retry >= until) {
            Next::Done
        } else {
            Next::Wait(due_or_retry)
        }
    }

    pub(super) fn started(&mut self) {
        self.started += 1;
    }

    /// Delays the next attempt. Has no effect with a rate, at which each connection is attempted once, when due.
    pub(super) fn delay_retry(&mut self, until: u64) {
        if self.pace.is_none() {
            self.retry_at = until;
        }
    }

    /// Returns how many connections were due by now, or by the end of the run, but have not been started.
    pub(super) fn overdue(&self, now: u64) -> u64 {
        let end = self.until.map_or(now, |until| until.min(now));
        let due = self.pace.map_or(0, |grid| grid.before(end));
        self.count.map_or(due, |count| due.min(count)).saturating_sub(self.started)
    }

    fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| now >= until)
            || self.count.is_some_and(|count| self.started >= count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: Option<u64>, every: u64, first: u64) -> Schedule {
        Schedule {
            pace: rate.map(|rate| Grid { rate, first, every }),
            until: Some(SECOND),
            count: None,
            started: 0,
            max_open: 1,
            retry_at: 0,
        }
    }

    /// Returns the times of all starts of a thread that is never late.
    fn starts(mut schedule: Schedule) -> Vec<u64> {
        let (mut now, mut starts) = (0, Vec::new());
        loop {
            match schedule.next(now) {
                Next::Start(due) => {
                    starts.push(due);
                    schedule.started();
                }
                Next::Wait(until) => {
                    assert!(until > now);
                    now = until;
                }
                Next::Done => return starts,
            }
        }
    }

    #[test]
    fn starts_of_all_threads_are_evenly_spaced_at_the_rate() {
        for (rate, threads) in [(1, 1), (3, 2), (1000, 3), (7, 10), (999_983, 4)] {
            let mut all: Vec<u64> = (0..threads)
                .flat_map(|first| starts(schedule(Some(rate), threads, first)))
                .collect();
            all.sort_unstable();
            let grid: Vec<u64> = (0..rate).map(|place| place * SECOND / rate).collect();
            assert!(all == grid, "{rate} a second in {threads} threads");
        }
    }

    #[test]
    fn late_start_keeps_its_due_time_and_overdue_are_counted() {
        let mut schedule = schedule(Some(10), 1, 0);
        assert_eq!(schedule.next(SECOND / 2), Next::Start(0), "five are due, the first at 0");
        schedule.started();
        assert_eq!(schedule.next(SECOND / 2), Next::Start(SECOND / 10));
        assert_eq!(schedule.overdue(SECOND / 2), 4);
        assert_eq!(schedule.next(2 * SECOND), Next::Done);
        assert_eq!(schedule.overdue(2 * SECOND), 9, "those due after the end don't count");
    }

    #[test]
    fn schedule_without_rate_starts_at_once_unless_delayed() {
        let mut schedule = schedule(None, 1, 0);
        assert_eq!(schedule.next(5), Next::Start(5));
        schedule.delay_retry(9);
        assert_eq!(schedule.next(5), Next::Wait(9));
        assert_eq!(schedule.next(9), Next::Start(9));
        assert_eq!(schedule.overdue(9), 0);
        schedule.count = Some(1);
        schedule.started();
        assert_eq!(schedule.next(9), Next::Done);
    }
}
