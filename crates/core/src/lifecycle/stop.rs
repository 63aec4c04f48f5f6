//! The stop plan: polite request, grace period, SIGKILL; first for the main process, then for the
//! rest of its tree.
//!
//! ```text
//! signal or message ──► main process ends ──► sweep politely ──► nothing left: done
//!        │ kill_timeout            │ kill_timeout
//!        ▼                         ▼
//!     SIGKILL to the tree     sweep with SIGKILL, again after each further timeout
//! ```
//!
//! With [`KillMode::Mixed`] only the main process gets the polite request, and the first sweep
//! already uses SIGKILL. A program stops its own children as it needs to, so the processes that it
//! leaves are unwanted.
//!
//! The daemon polls nothing. The kernel reports the exit of the main process, the owner reports
//! that the tree is gone, and there is always a deadline for the next, harder step.

use crate::app::{AppSpec, KillMode};
use crate::lifecycle::signal;
use crate::lifecycle::{Effect, Policy, Scope};

/// Assumed grace period of an app that sets none. The daemon's environment may set a default, so
/// this value is above the usual defaults.
const DEFAULT_GRACE_MS: u64 = 5_000;

/// Shortest time between two SIGKILLs. A process that does not exit after SIGKILL hangs in the
/// kernel.
const REKILL_MIN_MS: u64 = 1000;

/// Returns the processes that get the polite request.
fn request_scope(policy: &Policy) -> Scope {
    match policy.kill_mode {
        KillMode::Tree => Scope::Tree,
        KillMode::Mixed | KillMode::Process => Scope::Leader,
    }
}

/// Returns the processes that get SIGKILL.
fn killed(policy: &Policy) -> Scope {
    match policy.kill_mode {
        KillMode::Tree | KillMode::Mixed => Scope::Tree,
        KillMode::Process => Scope::Leader,
    }
}

/// Returns the polite request to a running process.
pub fn stop_request(policy: &Policy, inc: u32) -> Effect {
    let (signal, scope) = (policy.kill_signal, request_scope(policy));
    if policy.shutdown_with_message {
        Effect::ShutdownMessage { inc, fallback_signal: signal, scope }
    } else {
        Effect::Signal { inc, signal, scope }
    }
}

/// Returns SIGKILL to a running process.
pub fn kill(policy: &Policy, inc: u32) -> Effect {
    Effect::Signal { inc, signal: signal::KILL, scope: killed(policy) }
}

/// Returns true if the processes that the main process left get no polite request, although the
/// main process was asked and obeyed.
pub fn sweeps_with_kill(policy: &Policy) -> bool {
    policy.kill_mode == KillMode::Mixed
}

/// Returns the sweep of the processes that the main process left.
pub fn sweep(policy: &Policy, inc: u32, kill: bool) -> Effect {
    Effect::Sweep { inc, kill, signal: policy.kill_signal }
}

/// State of a process that a sweep has just found and signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweptProcess {
    /// The kernel will report its exit.
    Watched,
    /// It exited after the process table was read: its exit will not be reported.
    Gone,
    /// It is alive and cannot be watched.
    Unwatched,
}

/// Time until the next scan. A scan after SIGKILL finds processes that were forked during the kill.
/// Processes that cannot be watched need a scan, too.
const LOOK_AGAIN_MS: u64 = 20;

/// Returns the time of the next scan of a tree in which a process was found; `None` = scan when one
/// of its processes exits.
pub fn next_scan(kill: bool, met: &[SweptProcess], now_ms: u64) -> Option<u64> {
    if kill || met.contains(&SweptProcess::Unwatched) {
        Some(now_ms + LOOK_AGAIN_MS)
    } else {
        // The exited process may have been the last.
        met.contains(&SweptProcess::Gone).then_some(now_ms)
    }
}

/// Returns the end of the grace period.
pub fn grace_deadline(policy: &Policy, now_ms: u64) -> u64 {
    now_ms.saturating_add(policy.kill_timeout_ms)
}

/// Returns the time of the next SIGKILL.
pub fn rekill_deadline(policy: &Policy, now_ms: u64) -> u64 {
    now_ms.saturating_add(policy.kill_timeout_ms.max(REKILL_MIN_MS))
}

/// Returns the longest time that an app has to exit, at most a day: the time to finish its requests
/// plus the time after the signal.
pub fn longest_ms(spec: &AppSpec) -> u64 {
    let grace = spec.stop.kill_timeout_ms.unwrap_or(DEFAULT_GRACE_MS);
    grace.saturating_add(spec.stop.drain_timeout_ms.unwrap_or(0)).min(24 * 60 * 60 * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::AppSpec;

    #[test]
    fn tree_is_polled_again_unless_its_exit_is_watched() {
        for (kill, met, next) in [
            (false, &[SweptProcess::Watched, SweptProcess::Watched][..], None),
            (false, &[SweptProcess::Gone], Some(1_000)),
            (false, &[SweptProcess::Watched, SweptProcess::Gone], Some(1_000)),
            (false, &[SweptProcess::Gone, SweptProcess::Unwatched], Some(1_020)),
            (false, &[SweptProcess::Unwatched, SweptProcess::Watched], Some(1_020)),
            (true, &[SweptProcess::Watched], Some(1_020)),
            (true, &[SweptProcess::Gone], Some(1_020)),
        ] {
            assert_eq!(next_scan(kill, met, 1_000), next, "{kill} {met:?}");
        }
    }

    #[test]
    fn stop_effect_depends_on_kill_mode_and_message() {
        let base = Policy::from_spec(&AppSpec::default(), 15, 1600, 3000, 30_000);
        let leader = Policy { kill_mode: KillMode::Process, ..base.clone() };
        let mixed = Policy { kill_mode: KillMode::Mixed, ..base.clone() };
        let message = Policy { shutdown_with_message: true, ..base.clone() };
        for (policy, expected) in [
            (&base, Effect::Signal { inc: 3, signal: 15, scope: Scope::Tree }),
            (&leader, Effect::Signal { inc: 3, signal: 15, scope: Scope::Leader }),
            (&mixed, Effect::Signal { inc: 3, signal: 15, scope: Scope::Leader }),
            (&message, Effect::ShutdownMessage { inc: 3, fallback_signal: 15, scope: Scope::Tree }),
        ] {
            assert_eq!(stop_request(policy, 3), expected);
        }
        assert_eq!(kill(&base, 3), Effect::Signal { inc: 3, signal: 9, scope: Scope::Tree });
        assert_eq!(kill(&mixed, 3), Effect::Signal { inc: 3, signal: 9, scope: Scope::Tree });
        assert_eq!([&base, &mixed, &leader].map(sweeps_with_kill), [false, true, false]);
        assert_eq!(kill(&leader, 3), Effect::Signal { inc: 3, signal: 9, scope: Scope::Leader });
    }

    #[test]
    fn default_kill_mode_depends_on_the_program() {
        let of = |interpreter: Option<&str>, script: &str| {
            KillMode::usual(&AppSpec { interpreter: interpreter.map(str::to_owned), script: script.into(), ..AppSpec::default() })
        };
        for (interpreter, script, mode) in [
            (Some("node"), "/srv/app.js", KillMode::Tree),
            (Some("/opt/node-22/bin/node"), "/srv/app.js", KillMode::Tree),
            (Some("bash"), "/srv/run.sh", KillMode::Tree),
            (None, "/bin/sh", KillMode::Tree),
            (Some("python3"), "/srv/app.py", KillMode::Mixed),
            (Some("/srv/venv/bin/python"), "/srv/venv/bin/gunicorn", KillMode::Mixed),
            (None, "/usr/sbin/nginx", KillMode::Mixed),
            (Some("ruby"), "sh", KillMode::Mixed),
        ] {
            assert_eq!(of(interpreter, script), mode, "{interpreter:?} {script}");
        }
        assert_eq!(KillMode::usual(&AppSpec { shell: true, script: "/x".into(), ..AppSpec::default() }), KillMode::Tree);
        for mode in [KillMode::Tree, KillMode::Mixed, KillMode::Process] {
            assert_eq!(KillMode::named(mode.name()), Some(mode));
        }
    }

    #[test]
    fn deadlines_never_make_a_busy_loop() {
        let mut policy = Policy::from_spec(&AppSpec::default(), 2, 0, 3000, 30_000);
        assert_eq!((grace_deadline(&policy, 50), rekill_deadline(&policy, 50)), (50, 1050));
        policy.kill_timeout_ms = u64::MAX;
        assert_eq!((grace_deadline(&policy, 50), rekill_deadline(&policy, 50)), (u64::MAX, u64::MAX));
    }
}
