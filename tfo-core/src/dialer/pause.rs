//! The pause of a destination: when its SYNs may use fast open again after one failed. No clock: the caller brings the
//! time.
//!
//! A path that loses or resets a SYN with data fails the connection, and the kernel does not learn from it. After such
//! a failure the destination gets regular SYNs for a while, the pause.
//!
//! Invariants:
//!
//! 1. During a pause no connection uses fast open.
//! 2. After the pause one connection at a time does: the trial. All others use regular SYNs until the trial has an
//!    outcome.
//! 3. Only a trial whose SYN data was acknowledged ends the pause. A trial that fails starts a pause of twice the
//!    length, at most [`MAX_PAUSE`].
//! 4. Each trial has an outcome: its owner reports one, or gives the trial back on drop.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Maximum length of a pause.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);
/// More doublings than the shortest pause needs to reach [`MAX_PAUSE`].
const MAX_DOUBLINGS: u32 = 20;

/// The pause of one destination, shared by threads. Times are milliseconds on the caller's clock.
#[derive(Debug)]
pub(super) struct Pause {
    /// A packed [`PauseState`], so that each transition is one atomic operation.
    state: AtomicU64,
    shortest: u64,
}

/// Whether a connection's SYN may use fast open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
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
struct PauseState {
    phase: PausePhase,
    /// How many times the pause was doubled.
    doublings: u32,
    /// `Paused`: the end of the pause. `Open`: until this time a failure doubles the last pause, because a path that
    /// loses some SYNs lets a trial pass now and then.
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PausePhase {
    Open,
    Paused,
    Trial,
}

impl Pause {
    pub(super) fn new(shortest: Duration) -> Self {
        let open = PauseState { phase: PausePhase::Open, doublings: 0, at: 0 };
        Self { state: AtomicU64::new(open.pack()), shortest: millis(shortest) }
    }

    /// Returns whether the SYN of the next connection may use fast open. The owner of a trial must report its outcome.
    pub(super) fn permit(&self, now: impl FnOnce() -> u64) -> Permission {
        let packed = self.state.load(Relaxed);
        let state = PauseState::unpack(packed);
        match state.phase {
            PausePhase::Open => Permission::Yes,
            PausePhase::Trial => Permission::No,
            PausePhase::Paused if now() < state.at => Permission::No,
            PausePhase::Paused => {
                let trial = PauseState { phase: PausePhase::Trial, ..state }.pack();
                match self.state.compare_exchange(packed, trial, Relaxed, Relaxed) {
                    Ok(_) => Permission::Trial,
                    // Another connection was faster.
                    Err(_) => Permission::No,
                }
            }
        }
    }

    /// Records that a SYN with data was lost or reset. Returns the length of the pause if one starts. Connections that
    /// began before the pause change nothing.
    pub(super) fn failed(&self, now: u64, permit: Permission) -> Option<Duration> {
        let mut length = 0;
        let paused = |state: PauseState| {
            let doublings = match (permit, state.phase) {
                (Permission::Trial, PausePhase::Trial) => state.doublings + 1,
                (Permission::Yes, PausePhase::Open) if now < state.at => state.doublings + 1,
                (Permission::Yes, PausePhase::Open) => 0,
                _ => return None,
            };
            let doublings = doublings.min(MAX_DOUBLINGS);
            length = self.length(doublings);
            Some(PauseState {
                phase: PausePhase::Paused,
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
                TrialOutcome::Acknowledged => (PausePhase::Open, again),
                TrialOutcome::Unknown => (PausePhase::Paused, again),
                TrialOutcome::NotSent => (PausePhase::Paused, now),
            };
            (state.phase == PausePhase::Trial).then_some(PauseState { phase, at, ..state })
        });
    }

    /// Returns when the pause ends, or has ended without a trial since, and how many times it was doubled. `None`: no
    /// pause.
    pub(super) fn paused(&self) -> Option<(u64, u32)> {
        let state = PauseState::unpack(self.state.load(Relaxed));
        (state.phase != PausePhase::Open).then_some((state.at, state.doublings))
    }

    /// Starts a pause that ends at `at`, as one that was [`paused`](Self::paused) before.
    pub(super) fn restore(&self, at: u64, doublings: u32) {
        let doublings = doublings.min(MAX_DOUBLINGS);
        self.update(|_| Some(PauseState { phase: PausePhase::Paused, doublings, at }));
    }

    /// Forgets all failures.
    pub(super) fn reset(&self) {
        self.update(|_| Some(PauseState { phase: PausePhase::Open, doublings: 0, at: 0 }));
    }

    fn update(&self, mut change: impl FnMut(PauseState) -> Option<PauseState>) -> bool {
        let change = |packed| change(PauseState::unpack(packed)).map(PauseState::pack);
        self.state.fetch_update(Relaxed, Relaxed, change).is_ok()
    }

    fn length(&self, doublings: u32) -> u64 {
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.shortest.saturating_mul(factor).min(millis(MAX_PAUSE))
    }
}

impl PauseState {
    fn pack(self) -> u64 {
        let phase = match self.phase {
            PausePhase::Open => 0,
            PausePhase::Paused => 1,
            PausePhase::Trial => 2,
        };
        // 56 bits of milliseconds are two million years.
        (self.at << 8) | (u64::from(self.doublings & 0x3f) << 2) | phase
    }

    fn unpack(packed: u64) -> Self {
        let phase = match packed & 0x3 {
            0 => PausePhase::Open,
            1 => PausePhase::Paused,
            _ => PausePhase::Trial,
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

    fn pause() -> Pause {
        Pause::new(Duration::from_secs(60))
    }

    /// Returns a state whose first connection failed at time 0.
    fn paused() -> Pause {
        let pause = pause();
        assert_eq!(pause.permit(|| 0), Permission::Yes);
        assert_eq!(pause.failed(0, Permission::Yes), Some(Duration::from_secs(60)));
        pause
    }

    fn permits(pause: &Pause, now: u64, count: usize) -> Vec<Permission> {
        (0..count).map(|_| pause.permit(|| now)).collect()
    }

    #[test]
    fn pause_ends_with_one_trial() {
        let pause = paused();
        assert_eq!(permits(&pause, MINUTE - 1, 3), [Permission::No; 3]);
        assert_eq!(permits(&pause, MINUTE, 3), [Permission::Trial, Permission::No, Permission::No]);
        assert_eq!(
            permits(&pause, 100 * MINUTE, 3),
            [Permission::No; 3],
            "the trial has no outcome yet"
        );
        pause.trial_ended(100 * MINUTE, TrialOutcome::Acknowledged);
        assert_eq!(permits(&pause, 100 * MINUTE, 3), [Permission::Yes; 3]);
    }

    #[test]
    fn failed_trial_doubles_the_pause_up_to_an_hour() {
        let pause = paused();
        let mut now = MINUTE;
        for minutes in [2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(pause.permit(|| now), Permission::Trial, "{minutes}");
            let length = pause.failed(now, Permission::Trial).unwrap();
            assert_eq!(length, Duration::from_secs(60 * minutes));
            now += minutes * MINUTE;
            assert_eq!(pause.permit(|| now - 1), Permission::No, "{minutes}");
        }
        for _ in 0..100 {
            assert_eq!(pause.permit(|| now), Permission::Trial);
            assert_eq!(pause.failed(now, Permission::Trial), Some(MAX_PAUSE));
            now += 60 * MINUTE;
        }
    }

    #[test]
    fn connections_older_than_the_pause_do_not_extend_it() {
        let pause = paused();
        assert_eq!(pause.failed(30_000, Permission::Yes), None);
        assert_eq!(pause.permit(|| MINUTE), Permission::Trial);
        assert_eq!(
            pause.failed(MINUTE, Permission::Yes),
            None,
            "an older connection's outcome is not the trial's"
        );
        assert_eq!(pause.permit(|| MINUTE), Permission::No);
        assert_eq!(pause.failed(MINUTE, Permission::Trial), Some(Duration::from_secs(120)));
    }

    #[test]
    fn trial_without_an_outcome_does_not_block_the_next() {
        let pause = paused();
        assert_eq!(pause.permit(|| MINUTE), Permission::Trial);
        pause.trial_ended(MINUTE, TrialOutcome::NotSent);
        assert_eq!(pause.permit(|| MINUTE), Permission::Trial, "at once");
        pause.trial_ended(MINUTE, TrialOutcome::Unknown);
        assert_eq!(pause.permit(|| 2 * MINUTE - 1), Permission::No);
        assert_eq!(pause.permit(|| 2 * MINUTE), Permission::Trial, "after the same pause");
    }

    #[test]
    fn failure_soon_after_a_trial_doubles_the_pause() {
        let pause = paused();
        assert_eq!(pause.permit(|| MINUTE), Permission::Trial);
        pause.trial_ended(MINUTE, TrialOutcome::Acknowledged);
        let length = pause.failed(MINUTE + 1, Permission::Yes);
        assert_eq!(length, Some(Duration::from_secs(120)), "the path loses some SYNs");

        let pause = paused();
        assert_eq!(pause.permit(|| MINUTE), Permission::Trial);
        pause.trial_ended(MINUTE, TrialOutcome::Acknowledged);
        let length = pause.failed(2 * MINUTE, Permission::Yes);
        assert_eq!(
            length,
            Some(Duration::from_secs(60)),
            "the path worked for the length of the pause"
        );
    }

    #[test]
    fn concurrent_connections_share_one_trial() {
        let pause = paused();
        for round in 1..=200 {
            let trials = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if pause.permit(|| round * MINUTE) == Permission::Trial {
                            trials.fetch_add(1, Relaxed);
                        }
                    });
                }
            });
            assert_eq!(trials.into_inner(), 1, "round {round}");
            pause.trial_ended(round * MINUTE, TrialOutcome::NotSent);
        }
    }

    #[test]
    fn restored_pause_continues_where_it_was() {
        let saved = paused();
        assert_eq!(saved.permit(|| MINUTE), Permission::Trial);
        saved.failed(MINUTE, Permission::Trial);
        let (until, doublings) = saved.paused().expect("a pause");
        assert_eq!((until, doublings), (3 * MINUTE, 1));
        let restored = pause();
        assert_eq!(restored.paused(), None);
        restored.restore(until, doublings);
        assert_eq!(restored.permit(|| 3 * MINUTE - 1), Permission::No);
        assert_eq!(restored.permit(|| 3 * MINUTE), Permission::Trial);
        let next = restored.failed(3 * MINUTE, Permission::Trial);
        assert_eq!(next, Some(Duration::from_secs(240)), "it grows on");
        restored.reset();
        assert_eq!((restored.paused(), restored.permit(|| 0)), (None, Permission::Yes));
    }

    #[test]
    fn state_survives_packing() {
        for phase in [PausePhase::Open, PausePhase::Paused, PausePhase::Trial] {
            for (doublings, at) in [(0, 0), (MAX_DOUBLINGS, 1), (3, (1 << 56) - 1)] {
                let state = PauseState { phase, doublings, at };
                assert_eq!(PauseState::unpack(state.pack()), state);
            }
        }
    }
}
