//! When a thread starts its next connection. Times are nanoseconds since the run began.

use super::settings::{End, LoadSettings, Pace};

const SECOND: u64 = 1_000_000_000;

/// One thread's part of the run.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// The time between two starts, in nanoseconds times the rate; `None` starts at once.
    pace: Option<Grid>,
    /// No more are started then.
    until: Option<u64>,
    count: Option<u64>,
    started: u64,
    /// The most that are open at once.
    pub(super) room: usize,
    /// After a failure of this host's own, nothing is tried before then.
    held_until: u64,
}

/// The starts of all threads lie evenly on one grid; each thread has every n-th of them.
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

    /// How many are due before this time.
    fn before(self, time: u64) -> u64 {
        let places = (u128::from(time) * u128::from(self.rate)).div_ceil(u128::from(SECOND));
        let own = places.saturating_sub(u128::from(self.first)).div_ceil(u128::from(self.every));
        u64::try_from(own).unwrap_or(u64::MAX)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Start one that was due at this time.
    Start(u64),
    /// Wait until this time.
    Wait(u64),
    /// All have been started.
    Over,
}

/// The part of one of the threads, counted from 0.
pub(super) fn of_thread(load: &LoadSettings, number: u32) -> Schedule {
    let (threads, number) = (u64::from(load.threads), u64::from(number));
    // The first threads take what is left over.
    let part = |whole: u64| whole / threads + u64::from(number < whole % threads);
    let room = part(load.concurrency as u64);
    Schedule {
        pace: match load.pace {
            Pace::Fast => None,
            Pace::Rate(rate) => Some(Grid { rate: rate.into(), first: number, every: threads }),
        },
        until: match load.end {
            End::After(time) => Some(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            End::Count(_) => None,
        },
        count: match load.end {
            End::After(_) => None,
            End::Count(count) => Some(part(count)),
        },
        started: 0,
        room: usize::try_from(room).unwrap_or(usize::MAX),
        held_until: 0,
    }
}

impl Schedule {
    pub(super) fn next(&self, now: u64) -> Next {
        if self.is_over(now) {
            return Next::Over;
        }
        let due = self.pace.map_or(now, |grid| grid.due(self.started));
        let due_or_held = due.max(self.held_until);
        if due_or_held <= now {
            Next::Start(due)
        } else if self.until.is_some_and(|until| due_or_held >= until) {
            Next::Over
        } else {
            Next::Wait(due_or_held)
        }
    }

    pub(super) fn started(&mut self) {
        self.started += 1;
    }

    /// Puts off the next try of a thread that goes as fast as it can. At a rate each is tried once, and in time.
    pub(super) fn hold(&mut self, until: u64) {
        if self.pace.is_none() {
            self.held_until = until;
        }
    }

    /// How many were due by now, or by the end, and have not been started.
    pub(super) fn behind(&self, now: u64) -> u64 {
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
            room: 1,
            held_until: 0,
        }
    }

    /// The times of all starts of a thread that is never late.
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
                Next::Over => return starts,
            }
        }
    }

    #[test]
    fn the_starts_of_all_threads_lie_evenly_and_make_the_rate() {
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
    fn a_late_start_keeps_the_time_when_it_was_due_and_what_is_left_is_known() {
        let mut schedule = schedule(Some(10), 1, 0);
        assert_eq!(schedule.next(SECOND / 2), Next::Start(0), "five are due, the first at 0");
        schedule.started();
        assert_eq!(schedule.next(SECOND / 2), Next::Start(SECOND / 10));
        assert_eq!(schedule.behind(SECOND / 2), 4);
        assert_eq!(schedule.next(2 * SECOND), Next::Over);
        assert_eq!(schedule.behind(2 * SECOND), 9, "those due after the end don't count");
    }

    #[test]
    fn a_thread_without_a_rate_starts_at_once_until_it_is_held() {
        let mut schedule = schedule(None, 1, 0);
        assert_eq!(schedule.next(5), Next::Start(5));
        schedule.hold(9);
        assert_eq!(schedule.next(5), Next::Wait(9));
        assert_eq!(schedule.next(9), Next::Start(9));
        assert_eq!(schedule.behind(9), 0);
        schedule.count = Some(1);
        schedule.started();
        assert_eq!(schedule.next(9), Next::Over);
    }
}
