//! Decides which connections to an upstream carry data in their SYN.
//!
//! A path that loses or resets a SYN with data fails the connection, and the kernel does not learn from it. After such
//! a failure the upstream gets regular SYNs for a while, the pause.
//!
//! Invariants:
//!
//! 1. During a pause no connection carries data in its SYN.
//! 2. After the pause one connection at a time does: the trial. All others use regular SYNs until the trial has an
//!    outcome.
//! 3. Only a trial whose SYN data was acknowledged ends the pause. A trial that fails starts a pause of twice the
//!    length, at most [`MAX_PAUSE`].
//! 4. Each trial has an outcome: its owner reports one, or gives the trial back on drop.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Maximum length of a pause.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);
/// More doublings than the shortest pause needs to reach [`MAX_PAUSE`].
const MAX_DOUBLINGS: u32 = 20;

/// The state of one upstream, shared by all workers. Times are milliseconds on the caller's clock.
#[derive(Debug)]
pub(super) struct SynData {
    /// A packed [`SynDataState`], so that each transition is one atomic operation.
    state: AtomicU64,
    shortest: u64,
}

/// Whether a connection's SYN carries data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SynDataPermit {
    No,
    Yes,
    /// This connection is the trial after a pause.
    Trial,
}

/// The outcome of a trial that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrialOutcome {
    /// The SYN-ACK acknowledged the data.
    Acknowledged,
    /// The data was sent, and its delivery is unknown. The pause starts again.
    Unknown,
    /// The SYN carried no data. The next connection is the trial.
    NotSent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SynDataState {
    phase: SynDataPhase,
    /// How many times the pause was doubled.
    doublings: u32,
    /// `Paused`: the end of the pause. `Open`: until this time a failure doubles the last pause, because a path that
    /// loses some SYNs lets a trial pass now and then.
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SynDataPhase {
    Open,
    Paused,
    Trial,
}

impl SynData {
    pub(super) fn new(shortest: Duration) -> Self {
        let open = SynDataState { phase: SynDataPhase::Open, doublings: 0, at: 0 };
        Self { state: AtomicU64::new(open.pack()), shortest: millis(shortest) }
    }

    /// Returns whether the SYN of the next connection carries data. The owner of a trial must report its outcome.
    pub(super) fn permit(&self, now: impl FnOnce() -> u64) -> SynDataPermit {
        let packed = self.state.load(Relaxed);
        let state = SynDataState::unpack(packed);
        match state.phase {
            SynDataPhase::Open => SynDataPermit::Yes,
            SynDataPhase::Trial => SynDataPermit::No,
            SynDataPhase::Paused if now() < state.at => SynDataPermit::No,
            SynDataPhase::Paused => {
                let trial = SynDataState { phase: SynDataPhase::Trial, ..state }.pack();
                match self.state.compare_exchange(packed, trial, Relaxed, Relaxed) {
                    Ok(_) => SynDataPermit::Trial,
                    // Another connection was faster.
                    Err(_) => SynDataPermit::No,
                }
            }
        }
    }

    /// Records that a SYN with data was lost or reset. Returns the length of the pause if one starts. Connections that
    /// began before the pause change nothing.
    pub(super) fn failed(&self, now: u64, permit: SynDataPermit) -> Option<Duration> {
        let mut length = 0;
        let paused = |state: SynDataState| {
            let doublings = match (permit, state.phase) {
                (SynDataPermit::Trial, SynDataPhase::Trial) => state.doublings + 1,
                (SynDataPermit::Yes, SynDataPhase::Open) if now < state.at => state.doublings + 1,
                (SynDataPermit::Yes, SynDataPhase::Open) => 0,
                _ => return None,
            };
            let doublings = doublings.min(MAX_DOUBLINGS);
            length = self.length(doublings);
            Some(SynDataState {
                phase: SynDataPhase::Paused,
                doublings,
                at: now.saturating_add(length),
            })
        };
        self.update(paused).then(|| Duration::from_millis(length))
    }

    /// Records the outcome of the caller's trial.
    pub(super) fn trial_ended(&self, now: u64, outcome: TrialOutcome) {
        self.update(|state| {
            let again = now.saturating_add(self.length(state.doublings));
            let (phase, at) = match outcome {
                TrialOutcome::Acknowledged => (SynDataPhase::Open, again),
                TrialOutcome::Unknown => (SynDataPhase::Paused, again),
                TrialOutcome::NotSent => (SynDataPhase::Paused, now),
            };
            (state.phase == SynDataPhase::Trial).then_some(SynDataState { phase, at, ..state })
        });
    }

    /// Ends the pause.
    #[cfg(test)]
    pub(super) fn end_pause(&self, now: u64) {
        self.update(|state| Some(SynDataState { at: now, ..state }));
    }

    fn update(&self, mut change: impl FnMut(SynDataState) -> Option<SynDataState>) -> bool {
        let change = |packed| change(SynDataState::unpack(packed)).map(SynDataState::pack);
        self.state.fetch_update(Relaxed, Relaxed, change).is_ok()
    }

    fn length(&self, doublings: u32) -> u64 {
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.shortest.saturating_mul(factor).min(millis(MAX_PAUSE))
    }
}

impl SynDataState {
    fn pack(self) -> u64 {
        let phase = match self.phase {
            SynDataPhase::Open => 0,
            SynDataPhase::Paused => 1,
            SynDataPhase::Trial => 2,
        };
        // 56 bits of milliseconds are two million years.
        (self.at << 8) | (u64::from(self.doublings & 0x3f) << 2) | phase
    }

    fn unpack(packed: u64) -> Self {
        let phase = match packed & 0x3 {
            0 => SynDataPhase::Open,
            1 => SynDataPhase::Paused,
            _ => SynDataPhase::Trial,
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

    /// Returns a state whose first connection failed at time 0.
    fn paused() -> SynData {
        let syn_data = syn_data();
        assert_eq!(syn_data.permit(|| 0), SynDataPermit::Yes);
        assert_eq!(syn_data.failed(0, SynDataPermit::Yes), Some(Duration::from_secs(60)));
        syn_data
    }

    fn permits(syn_data: &SynData, now: u64, count: usize) -> Vec<SynDataPermit> {
        (0..count).map(|_| syn_data.permit(|| now)).collect()
    }

    #[test]
    fn pause_ends_with_one_trial() {
        let syn_data = paused();
        assert_eq!(permits(&syn_data, MINUTE - 1, 3), [SynDataPermit::No; 3]);
        assert_eq!(
            permits(&syn_data, MINUTE, 3),
            [SynDataPermit::Trial, SynDataPermit::No, SynDataPermit::No]
        );
        assert_eq!(
            permits(&syn_data, 100 * MINUTE, 3),
            [SynDataPermit::No; 3],
            "the trial has no outcome yet"
        );
        syn_data.trial_ended(100 * MINUTE, TrialOutcome::Acknowledged);
        assert_eq!(permits(&syn_data, 100 * MINUTE, 3), [SynDataPermit::Yes; 3]);
    }

    #[test]
    fn failed_trial_doubles_the_pause_up_to_an_hour() {
        let syn_data = paused();
        let mut now = MINUTE;
        for minutes in [2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(syn_data.permit(|| now), SynDataPermit::Trial, "{minutes}");
            let pause = syn_data.failed(now, SynDataPermit::Trial).unwrap();
            assert_eq!(pause, Duration::from_secs(60 * minutes));
            now += minutes * MINUTE;
            assert_eq!(syn_data.permit(|| now - 1), SynDataPermit::No, "{minutes}");
        }
        for _ in 0..100 {
            assert_eq!(syn_data.permit(|| now), SynDataPermit::Trial);
            assert_eq!(syn_data.failed(now, SynDataPermit::Trial), Some(MAX_PAUSE));
            now += 60 * MINUTE;
        }
    }

    #[test]
    fn connections_older_than_the_pause_do_not_extend_it() {
        let syn_data = paused();
        assert_eq!(syn_data.failed(30_000, SynDataPermit::Yes), None);
        assert_eq!(syn_data.permit(|| MINUTE), SynDataPermit::Trial);
        assert_eq!(
            syn_data.failed(MINUTE, SynDataPermit::Yes),
            None,
            "an older connection's outcome is not the trial's"
        );
        assert_eq!(syn_data.permit(|| MINUTE), SynDataPermit::No);
        assert_eq!(syn_data.failed(MINUTE, SynDataPermit::Trial), Some(Duration::from_secs(120)));
    }

    #[test]
    fn trial_without_an_outcome_does_not_block_the_next() {
        let syn_data = paused();
        assert_eq!(syn_data.permit(|| MINUTE), SynDataPermit::Trial);
        syn_data.trial_ended(MINUTE, TrialOutcome::NotSent);
        assert_eq!(syn_data.permit(|| MINUTE), SynDataPermit::Trial, "at once");
        syn_data.trial_ended(MINUTE, TrialOutcome::Unknown);
        assert_eq!(syn_data.permit(|| 2 * MINUTE - 1), SynDataPermit::No);
        assert_eq!(syn_data.permit(|| 2 * MINUTE), SynDataPermit::Trial, "after the same pause");
    }

    #[test]
    fn failure_soon_after_a_trial_doubles_the_pause() {
        let syn_data = paused();
        assert_eq!(syn_data.permit(|| MINUTE), SynDataPermit::Trial);
        syn_data.trial_ended(MINUTE, TrialOutcome::Acknowledged);
        let pause = syn_data.failed(MINUTE + 1, SynDataPermit::Yes);
        assert_eq!(pause, Some(Duration::from_secs(120)), "the path loses some SYNs");

        let syn_data = paused();
        assert_eq!(syn_data.permit(|| MINUTE), SynDataPermit::Trial);
        syn_data.trial_ended(MINUTE, TrialOutcome::Acknowledged);
        let pause = syn_data.failed(2 * MINUTE, SynDataPermit::Yes);
        assert_eq!(
            pause,
            Some(Duration::from_secs(60)),
            "the path worked for the length of the pause"
        );
    }

    #[test]
    fn concurrent_connections_share_one_trial() {
        let syn_data = paused();
        for round in 1..=200 {
            let trials = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if syn_data.permit(|| round * MINUTE) == SynDataPermit::Trial {
                            trials.fetch_add(1, Relaxed);
                        }
                    });
                }
            });
            assert_eq!(trials.into_inner(), 1, "round {round}");
            syn_data.trial_ended(round * MINUTE, TrialOutcome::NotSent);
        }
    }

    #[test]
    fn state_survives_packing() {
        for phase in [SynDataPhase::Open, SynDataPhase::Paused, SynDataPhase::Trial] {
            for (doublings, at) in [(0, 0), (MAX_DOUBLINGS, 1), (3, (1 << 56) - 1)] {
                let state = SynDataState { phase, doublings, at };
                assert_eq!(SynDataState::unpack(state.pack()), state);
            }
        }
    }
}
