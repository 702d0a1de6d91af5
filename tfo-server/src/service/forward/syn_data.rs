//! Decides which connections to an upstream carry data in their SYN.
//!
//! A path that loses or resets a SYN with data fails the connection, and the kernel does not learn from it.
//! After such a failure the upstream gets regular SYNs for a while. Invariants:
//!
//! 1. During a pause no connection carries data in its SYN.
//! 2. When the pause is over, one connection at a time does: the trial. All others use regular SYNs until
//!    the trial has an outcome.
//! 3. Only a trial whose SYN data was acknowledged ends the pause. A trial that fails starts a pause of
//!    twice the length, at most [`LONGEST`].
//! 4. Each trial has an outcome: its owner reports one, or gives the trial back when it is dropped.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// More doublings than the shortest pause needs to reach the longest.
const MOST_DOUBLINGS: u32 = 20;

/// The state of one upstream, shared by all workers. Times are milliseconds on the caller's clock.
#[derive(Debug)]
pub(super) struct SynData {
    /// A packed [`State`], so that each transition is one atomic operation.
    state: AtomicU64,
    shortest: u64,
}

/// Whether a connection's SYN carries data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    No,
    Yes,
    /// This connection is the trial after a pause.
    Trial,
}

/// What became of a trial that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The SYN-ACK acknowledged the data.
    Acknowledged,
    /// The data left and nothing is known of it. The pause starts again.
    Unknown,
    /// The SYN carried no data after all. The next connection is the trial.
    NotSent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    phase: Phase,
    /// How often the pause was doubled.
    doublings: u32,
    /// `Paused`: the end of the pause. `Open`: until then a failure doubles the last pause, because a path
    /// that loses some SYNs lets a trial through now and then.
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Paused,
    Trial,
}

impl SynData {
    pub(super) fn new(shortest: Duration) -> Self {
        let open = State { phase: Phase::Open, doublings: 0, at: 0 };
        Self { state: AtomicU64::new(open.pack()), shortest: millis(shortest) }
    }

    /// Returns whether the SYN of the next connection carries data. The owner of a trial reports its
    /// outcome.
    pub(super) fn permit(&self, now: impl FnOnce() -> u64) -> Permit {
        let packed = self.state.load(Relaxed);
        let state = State::unpack(packed);
        match state.phase {
            Phase::Open => Permit::Yes,
            Phase::Trial => Permit::No,
            Phase::Paused if now() < state.at => Permit::No,
            Phase::Paused => {
                let trial = State { phase: Phase::Trial, ..state }.pack();
                match self.state.compare_exchange(packed, trial, Relaxed, Relaxed) {
                    Ok(_) => Permit::Trial,
                    // Another connection was faster.
                    Err(_) => Permit::No,
                }
            }
        }
    }

    /// Records that a SYN with data was lost or reset. Returns the length of the pause if one starts:
    /// connections that began before the pause change nothing.
    pub(super) fn failed(&self, now: u64, permit: Permit) -> Option<Duration> {
        let mut length = 0;
        let paused = |state: State| {
            let doublings = match (permit, state.phase) {
                (Permit::Trial, Phase::Trial) => state.doublings + 1,
                (Permit::Yes, Phase::Open) if now < state.at => state.doublings + 1,
                (Permit::Yes, Phase::Open) => 0,
                _ => return None,
            };
            let doublings = doublings.min(MOST_DOUBLINGS);
            length = self.length(doublings);
            Some(State { phase: Phase::Paused, doublings, at: now.saturating_add(length) })
        };
        self.update(paused).then(|| Duration::from_millis(length))
    }

    /// Records the outcome of the trial that the caller owns.
    pub(super) fn trial_ended(&self, now: u64, outcome: Outcome) {
        self.update(|state| {
            let again = now.saturating_add(self.length(state.doublings));
            let (phase, at) = match outcome {
                Outcome::Acknowledged => (Phase::Open, again),
                Outcome::Unknown => (Phase::Paused, again),
                Outcome::NotSent => (Phase::Paused, now),
            };
            (state.phase == Phase::Trial).then_some(State { phase, at, ..state })
        });
    }

    /// Lets the pause end now.
    #[cfg(test)]
    pub(super) fn end_pause(&self, now: u64) {
        self.update(|state| Some(State { at: now, ..state }));
    }

    fn update(&self, mut change: impl FnMut(State) -> Option<State>) -> bool {
        let change = |packed| change(State::unpack(packed)).map(State::pack);
        self.state.fetch_update(Relaxed, Relaxed, change).is_ok()
    }

    fn length(&self, doublings: u32) -> u64 {
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.shortest.saturating_mul(factor).min(millis(LONGEST))
    }
}

impl State {
    fn pack(self) -> u64 {
        let phase = match self.phase {
            Phase::Open => 0,
            Phase::Paused => 1,
            Phase::Trial => 2,
        };
        // 56 bits of milliseconds are two million years.
        (self.at << 8) | (u64::from(self.doublings & 0x3f) << 2) | phase
    }

    fn unpack(packed: u64) -> Self {
        let phase = match packed & 0x3 {
            0 => Phase::Open,
            1 => Phase::Paused,
            _ => Phase::Trial,
        };
        let [low, ..] = packed.to_le_bytes();
        Self { phase, doublings: u32::from(low >> 2), at: packed >> 8 }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn syn_data() -> SynData {
        SynData::new(Duration::from_secs(60))
    }

    /// Fails the first connection at 0.
    fn paused() -> SynData {
        let syn_data = syn_data();
        assert_eq!(syn_data.permit(|| 0), Permit::Yes);
        assert_eq!(syn_data.failed(0, Permit::Yes), Some(Duration::from_secs(60)));
        syn_data
    }

    fn permits(syn_data: &SynData, now: u64, count: usize) -> Vec<Permit> {
        (0..count).map(|_| syn_data.permit(|| now)).collect()
    }

    #[test]
    fn pause_ends_with_one_trial() {
        let syn_data = paused();
        assert_eq!(permits(&syn_data, MINUTE - 1, 3), [Permit::No; 3]);
        assert_eq!(permits(&syn_data, MINUTE, 3), [Permit::Trial, Permit::No, Permit::No]);
        assert_eq!(permits(&syn_data, 100 * MINUTE, 3), [Permit::No; 3], "it has no outcome yet");
        syn_data.trial_ended(100 * MINUTE, Outcome::Acknowledged);
        assert_eq!(permits(&syn_data, 100 * MINUTE, 3), [Permit::Yes; 3]);
    }

    #[test]
    fn failed_trial_doubles_the_pause_up_to_an_hour() {
        let syn_data = paused();
        let mut now = MINUTE;
        for minutes in [2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(syn_data.permit(|| now), Permit::Trial, "{minutes}");
            let pause = syn_data.failed(now, Permit::Trial).unwrap();
            assert_eq!(pause, Duration::from_secs(60 * minutes));
            now += minutes * MINUTE;
            assert_eq!(syn_data.permit(|| now - 1), Permit::No, "{minutes}");
        }
        for _ in 0..100 {
            assert_eq!(syn_data.permit(|| now), Permit::Trial);
            assert_eq!(syn_data.failed(now, Permit::Trial), Some(LONGEST));
            now += 60 * MINUTE;
        }
    }

    #[test]
    fn connections_from_before_the_pause_do_not_prolong_it() {
        let syn_data = paused();
        assert_eq!(syn_data.failed(30_000, Permit::Yes), None);
        assert_eq!(syn_data.permit(|| MINUTE), Permit::Trial);
        assert_eq!(syn_data.failed(MINUTE, Permit::Yes), None, "nor is theirs the trial's outcome");
        assert_eq!(syn_data.permit(|| MINUTE), Permit::No);
        assert_eq!(syn_data.failed(MINUTE, Permit::Trial), Some(Duration::from_secs(120)));
    }

    #[test]
    fn trial_without_an_outcome_does_not_block_the_next() {
        let syn_data = paused();
        assert_eq!(syn_data.permit(|| MINUTE), Permit::Trial);
        syn_data.trial_ended(MINUTE, Outcome::NotSent);
        assert_eq!(syn_data.permit(|| MINUTE), Permit::Trial, "at once");
        syn_data.trial_ended(MINUTE, Outcome::Unknown);
        assert_eq!(syn_data.permit(|| 2 * MINUTE - 1), Permit::No);
        assert_eq!(syn_data.permit(|| 2 * MINUTE), Permit::Trial, "after the same pause");
    }

    #[test]
    fn failure_soon_after_a_trial_doubles_the_pause() {
        let syn_data = paused();
        assert_eq!(syn_data.permit(|| MINUTE), Permit::Trial);
        syn_data.trial_ended(MINUTE, Outcome::Acknowledged);
        let pause = syn_data.failed(MINUTE + 1, Permit::Yes);
        assert_eq!(pause, Some(Duration::from_secs(120)), "the path loses some of them");

        let syn_data = paused();
        assert_eq!(syn_data.permit(|| MINUTE), Permit::Trial);
        syn_data.trial_ended(MINUTE, Outcome::Acknowledged);
        let pause = syn_data.failed(2 * MINUTE, Permit::Yes);
        assert_eq!(pause, Some(Duration::from_secs(60)), "it was good for as long as the pause");
    }

    #[test]
    fn concurrent_connections_share_one_trial() {
        let syn_data = paused();
        for round in 1..=200 {
            let trials = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if syn_data.permit(|| round * MINUTE) == Permit::Trial {
                            trials.fetch_add(1, Relaxed);
                        }
                    });
                }
            });
            assert_eq!(trials.into_inner(), 1, "round {round}");
            syn_data.trial_ended(round * MINUTE, Outcome::NotSent);
        }
    }

    #[test]
    fn state_survives_packing() {
        for phase in [Phase::Open, Phase::Paused, Phase::Trial] {
            for (doublings, at) in [(0, 0), (MOST_DOUBLINGS, 1), (3, (1 << 56) - 1)] {
                let state = State { phase, doublings, at };
                assert_eq!(State::unpack(state.pack()), state);
            }
        }
    }
}
