//! The restart policy: turns an unrequested exit and the history into a verdict.
//!
//! A run is *unstable* if it was shorter than `min_uptime` or never became ready. A stable run
//! clears the count. After `max_restarts` unstable runs in a row the policy gives up. With a
//! growing delay and no `max_restarts` it never gives up, because the delay protects.
//!
//! A run that was ready and exited with code 0 has finished its work, regardless of its length. It
//! does not change the count. The policy starts it again, but not more often than every
//! [`FINISHED_EVERY_MS`].
//!
//! PM2 differs. It treats a short run with code 0 as a crash, unless booting alone takes longer
//! than `min_uptime`. It counts only within `min_uptime × max_restarts` of the app's creation. An
//! app that ran for 16 s without a crash, or an app with a `restart_delay`, may therefore crash
//! without limit. It also treats a death by signal as exit code 0. In ostler the protection always
//! holds, and `stop_exit_codes` match codes only.

use crate::lifecycle::backoff;
use crate::lifecycle::{Policy, ProcessEnding};

/// First delay between attempts to execute a program that cannot be executed, unless the policy has
/// its own growing delay.
const SPAWN_RETRY_MS: u64 = 100;

/// Time between the starts of a program that exits with code 0 within `min_uptime`.
pub const FINISHED_EVERY_MS: u64 = 2000;

/// History between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Unstable runs in a row so far.
    pub unstable: u32,
    /// The last growing delay, 0 = none.
    pub last_delay_ms: u64,
}

/// A run that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its duration.
    pub uptime_ms: u64,
    /// Whether it was ready (or did not have to report it).
    pub was_ready: bool,
    /// How it ended.
    pub ending: ProcessEnding,
}

/// Verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start a new process after this delay.
    Restart {
        /// 0 = immediately.
        delay_ms: u64,
    },
    /// Stay stopped: the app is done.
    Stay,
    /// Give up: errored.
    GiveUp,
}

/// Returns the verdict and the history to remember.
pub fn decide(policy: &Policy, history: History, run: Run) -> (RestartDecision, History) {
    let (never_ran, done) = match run.ending {
        ProcessEnding::Code(code) => (false, policy.stop_exit_codes.contains(&code)),
        ProcessEnding::Signal { .. } | ProcessEnding::Unknown => (false, false),
        ProcessEnding::SpawnFailed { .. } => (true, false),
    };
    if done || !policy.autorestart {
        return (if never_ran { RestartDecision::GiveUp } else { RestartDecision::Stay }, history);
    }
    let is_short = never_ran || !run.was_ready || run.uptime_ms < policy.min_uptime_ms;
    let finished = is_short && run.was_ready && run.ending == ProcessEnding::Code(0);
    let is_unstable = is_short && !finished;
    let unstable = match (is_unstable, finished) {
        (true, _) => history.unstable.saturating_add(1),
        (false, true) => history.unstable,
        (false, false) => 0,
    };
    if is_unstable && unstable >= policy.max_restarts {
        return (RestartDecision::GiveUp, History { unstable, ..history });
    }
    let reset = !is_short && run.uptime_ms >= policy.backoff_reset_ms;
    let previous = if reset { 0 } else { history.last_delay_ms };
    let (delay_ms, last_delay_ms) = if policy.exp_backoff_ms > 0 {
        let delay = backoff::next_up_to(previous, policy.exp_backoff_ms, policy.backoff_cap_ms);
        (delay, delay)
    } else if never_ran {
        // A binary that is being replaced, or a machine without free processes, needs time.
        let delay = backoff::next(previous, SPAWN_RETRY_MS);
        (delay.max(policy.restart_delay_ms), delay)
    } else {
        (policy.restart_delay_ms, 0)
    };
    let pause_ms = if finished { FINISHED_EVERY_MS.saturating_sub(run.uptime_ms) } else { 0 };
    (RestartDecision::Restart { delay_ms: delay_ms.max(pause_ms) }, History { unstable, last_delay_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{AppSpec, RestartSpec};

    fn policy() -> Policy {
        Policy::from_spec(&AppSpec::default(), 2, 1600, 3000, 30_000)
    }

    fn run(uptime_ms: u64, ending: ProcessEnding) -> Run {
        Run { uptime_ms, was_ready: true, ending }
    }

    /// Feeds the same run until the policy gives up, at most `limit` times. Returns the delays.
    fn repeat(policy: &Policy, run: Run, limit: usize) -> (Vec<u64>, Option<RestartDecision>) {
        let mut history = History::default();
        let mut delays = Vec::new();
        while delays.len() < limit {
            let (verdict, next) = decide(policy, history, run);
            history = next;
            match verdict {
                RestartDecision::Restart { delay_ms } => delays.push(delay_ms),
                RestartDecision::Stay | RestartDecision::GiveUp => return (delays, Some(verdict)),
            }
        }
        (delays, None)
    }

    #[test]
    fn sixteenth_crash_in_a_row_gives_up() {
        let (delays, end) = repeat(&policy(), run(50, ProcessEnding::Code(1)), 100);
        assert_eq!((delays, end), (vec![0; 15], Some(RestartDecision::GiveUp)));
    }

    #[test]
    fn max_restarts_bounds_the_restarts() {
        let crash = run(0, ProcessEnding::Code(1));
        for (max, restarts) in [(0, 0), (1, 0), (2, 1), (5, 4)] {
            let (delays, end) = repeat(&Policy { max_restarts: max, ..policy() }, crash, 100);
            assert_eq!((delays.len(), end), (restarts, Some(RestartDecision::GiveUp)), "max_restarts {max}");
        }
    }

    #[test]
    fn restart_delay_keeps_the_crash_loop_protection() {
        let slow = Policy { restart_delay_ms: 700, ..policy() };
        let (delays, end) = repeat(&slow, run(50, ProcessEnding::Code(1)), 100);
        assert_eq!((delays, end), (vec![700; 15], Some(RestartDecision::GiveUp)));
        let growing = Policy { exp_backoff_ms: 100, restart_delay_ms: 9, ..policy() };
        let (delays, end) = repeat(&growing, run(50, ProcessEnding::Code(1)), 100);
        assert_eq!((delays.len(), delays[..4].to_vec(), end), (15, vec![100, 150, 225, 337], Some(RestartDecision::GiveUp)));
    }

    #[test]
    fn backoff_gives_up_only_if_max_restarts_is_set() {
        let spec = |max_restarts| AppSpec {
            restart: RestartSpec { exp_backoff_ms: 100, max_restarts, ..RestartSpec::default() },
            ..AppSpec::default()
        };
        let policy = |max_restarts| Policy::from_spec(&spec(max_restarts), 2, 1600, 3000, 30_000);
        let (delays, end) = repeat(&policy(None), run(50, ProcessEnding::Code(1)), 1000);
        assert_eq!((delays.len(), delays[999], end), (1000, 15_000, None));
        let (delays, end) = repeat(&policy(Some(5)), run(50, ProcessEnding::Code(1)), 1000);
        assert_eq!((delays.len(), end), (4, Some(RestartDecision::GiveUp)));
    }

    #[test]
    fn exit_with_code_0_restarts_after_a_pause() {
        let slow = Policy { restart_delay_ms: 5000, ..policy() };
        let growing = Policy { exp_backoff_ms: 1500, ..policy() };
        let patient = Policy { min_uptime_ms: 60_000, ..policy() };
        let not_at_all = Policy { max_restarts: 0, ..policy() };
        for (policy, uptime_ms, delays) in [
            (&policy(), 50, [1950, 1950, 1950]),
            (&policy(), 999, [1001, 1001, 1001]),
            (&policy(), 1000, [0, 0, 0]),
            (&slow, 50, [5000, 5000, 5000]),
            (&growing, 50, [1950, 2250, 3375]),
            (&patient, 30_000, [0, 0, 0]),
            (&not_at_all, 50, [1950, 1950, 1950]),
        ] {
            let (seen, end) = repeat(policy, run(uptime_ms, ProcessEnding::Code(0)), 1000);
            assert_eq!((seen.len(), &seen[..3], end), (1000, &delays[..], None), "after {uptime_ms} ms");
        }
        // It is no failure, and it does not prove that the earlier crashes are over.
        let (_, history) = decide(&policy(), History { unstable: 15, last_delay_ms: 0 }, run(50, ProcessEnding::Code(0)));
        assert_eq!(history.unstable, 15);
        assert_eq!(decide(&policy(), history, run(50, ProcessEnding::Code(1))).0, RestartDecision::GiveUp);
        // A process that was never ready has not finished anything.
        let (delays, end) = repeat(&policy(), Run { was_ready: false, ..run(50, ProcessEnding::Code(0)) }, 100);
        assert_eq!((delays.len(), end), (15, Some(RestartDecision::GiveUp)));
    }

    #[test]
    fn stable_run_resets_the_count_but_keeps_the_protection() {
        let policy = policy();
        let (verdict, history) = decide(&policy, History { unstable: 15, last_delay_ms: 0 }, run(1000, ProcessEnding::Code(1)));
        assert_eq!((verdict, history.unstable), (RestartDecision::Restart { delay_ms: 0 }, 0));
        let mut history = decide(&policy, history, run(86_400_000, ProcessEnding::Code(1))).1;
        for crash in 1..=16 {
            let (verdict, next) = decide(&policy, history, run(999, ProcessEnding::Signal { signal: 11, core: true }));
            assert_eq!(verdict == RestartDecision::GiveUp, crash == 16, "crash {crash}");
            history = next;
        }
    }

    #[test]
    fn backoff_resets_after_a_long_run() {
        let policy = Policy { exp_backoff_ms: 100, ..policy() };
        let at = |last_delay_ms| History { unstable: 3, last_delay_ms };
        for (uptime, last, delay) in [(10, 0, 100), (10, 337, 505), (29_999, 337, 505), (30_000, 337, 100), (10, 15_000, 15_000)] {
            assert_eq!(
                decide(&policy, at(last), run(uptime, ProcessEnding::Code(1))).0,
                RestartDecision::Restart { delay_ms: delay },
                "{uptime} {last}"
            );
        }
    }

    #[test]
    fn stop_exit_codes_and_autorestart_false_prevent_a_restart() {
        let zero = Policy { stop_exit_codes: vec![0, 7], ..policy() };
        let never = Policy { autorestart: false, ..policy() };
        let sigkill = ProcessEnding::Signal { signal: 9, core: false };
        let again = RestartDecision::Restart { delay_ms: 0 };
        for (policy, ending, verdict) in [
            (&zero, ProcessEnding::Code(0), RestartDecision::Stay),
            (&zero, ProcessEnding::Code(7), RestartDecision::Stay),
            (&zero, ProcessEnding::Code(1), again),
            (&zero, sigkill, again),
            (&zero, ProcessEnding::Unknown, again),
            (&never, ProcessEnding::Code(1), RestartDecision::Stay),
            (&never, sigkill, RestartDecision::Stay),
            (&never, ProcessEnding::SpawnFailed { errno: 2 }, RestartDecision::GiveUp),
        ] {
            assert_eq!(decide(policy, History::default(), run(5000, ending)).0, verdict, "{ending:?}");
        }
    }

    #[test]
    fn never_ready_run_is_unstable_regardless_of_uptime() {
        let late = Run { uptime_ms: 60_000, was_ready: false, ending: ProcessEnding::Signal { signal: 2, core: false } };
        let (delays, end) = repeat(&Policy { exp_backoff_ms: 10, ..policy() }, late, 100);
        assert_eq!((delays.len(), end), (15, Some(RestartDecision::GiveUp)));
        assert!(delays.windows(2).all(|pair| pair[0] < pair[1]), "no reset: it was never up");
    }

    #[test]
    fn spawn_failure_is_retried_with_backoff() {
        let failed = run(0, ProcessEnding::SpawnFailed { errno: 11 });
        let (delays, end) = repeat(&policy(), failed, 100);
        assert_eq!((delays[..3].to_vec(), delays.len(), end), (vec![100, 150, 225], 15, Some(RestartDecision::GiveUp)));
        let slow = Policy { restart_delay_ms: 200, ..policy() };
        assert_eq!(repeat(&slow, failed, 3).0, [200, 200, 225]);
        // It does not affect the next real run.
        let (verdict, history) = decide(&policy(), History { unstable: 2, last_delay_ms: 225 }, run(5000, ProcessEnding::Code(1)));
        assert_eq!((verdict, history), (RestartDecision::Restart { delay_ms: 0 }, History::default()));
    }
}
