//! Random worlds: whether what verdicts state had acted on the connection, on paths and hosts that a seed draws.
//!
//! `TFO_WORLDS=10000` plays more worlds than the fixed ones, `TFO_WORLDS_FROM` is the first seed. `TFO_WORLDS=1` prints all
//! that was seen.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "what a test in its namespace saw, and its figures")]

mod hold;
#[path = "../lab/packets.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod packets;
mod play;
mod report;
#[path = "../lab/service.rs"]
mod service;
mod truth;
mod world;

use std::collections::VecDeque;
use std::env;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::lab::isolated;

use report::Report;
use world::World;

/// The worlds of each run of the tests, and the first seed.
const WORLDS: u64 = 300;
const FIRST: u64 = 1;
/// How many worlds run at the same time: most of them wait most of the time.
const AT_ONCE: usize = 32;
/// Half the shortest retransmission timeout.
const TOO_LATE: Duration = Duration::from_millis(100);

#[test]
fn verdicts_state_what_acted() {
    isolated(|| {
        let number =
            |name, default| env::var(name).map_or(default, |text| text.parse().expect("a number"));
        let (count, first) = (number("TFO_WORLDS", WORLDS), number("TFO_WORLDS_FROM", FIRST));
        let at_once = usize::try_from(number("TFO_WORLDS_AT_ONCE", AT_ONCE as u64)).unwrap();
        let start = Instant::now();
        let left: Mutex<VecDeque<u64>> = Mutex::new((first..first + count).collect());
        let report = Mutex::new(Report::default());
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        let Some(seed) = left.lock().unwrap().pop_front() else { return };
                        let world = play_in_time(seed, count == 1);
                        report.lock().unwrap().add(world);
                    }
                });
            }
        });
        let report = report.into_inner().unwrap();
        report.print(start.elapsed());
        report.check(count >= WORLDS && first == FIRST);
    });
}

/// Plays a world on a machine that keeps the path's times: where packets were so late that a host may have
/// retransmitted, it is played again.
fn play_in_time(seed: u64, tell: bool) -> report::Seen {
    let world = World::draw(seed);
    for again in 0..10 {
        if let Some(played) = play::play(&world).filter(|played| played.lateness < TOO_LATE) {
            return report::Seen::new(&world, &played, tell).after(again);
        }
    }
    report::Seen::too_late()
}
