//! The stop plan: polite request, grace period, SIGKILL, for the main process first and then for the rest of its tree.
//!
//! ```text
//! signal or message ──► main process ends ──► sweep politely ──► nothing left: done
//!        │ kill_timeout            │ kill_timeout
//!        ▼                         ▼
//!     SIGKILL to the tree     sweep with SIGKILL, again after each further timeout
//! ```
//!
//! With [`KillMode::Mixed`] only the main process is asked, and the first sweep is the one with SIGKILL: a program ends its own children
//! as it thinks best, and what it leaves then is not wanted.
//!
//! Nothing is polled: the kernel says when the main process ends, the owner says when the tree is gone, and there is always a
//! deadline at which the next, harder step is due.

use crate::app::{AppSpec, KillMode};
use crate::lifecycle::signal;
use crate::lifecycle::{Effect, Policy, Scope};

/// Grace period of an app that names none, as far as the daemon's environment may name one: more than anybody's default.
const DEFAULT_GRACE_MS: u64 = 5_000;

/// Shortest time between two SIGKILLs: a process that does not even obey that hangs in the kernel.
const REKILL_MIN_MS: u64 = 1000;

/// Processes that the polite request reaches.
fn asked(policy: &Policy) -> Scope {
    match policy.kill_mode {
        KillMode::Tree => Scope::Tree,
        KillMode::Mixed | KillMode::Process => Scope::Leader,
    }
}

/// Processes that SIGKILL reaches.
fn killed(policy: &Policy) -> Scope {
    match policy.kill_mode {
        KillMode::Tree | KillMode::Mixed => Scope::Tree,
        KillMode::Process => Scope::Leader,
    }
}

/// The polite request to a running process.
pub fn ask(policy: &Policy, inc: u32) -> Effect {
    let (signal, scope) = (policy.kill_signal, asked(policy));
    if policy.shutdown_with_message {
        Effect::ShutdownMessage { inc, fallback_signal: signal, scope }
    } else {
        Effect::Signal { inc, signal, scope }
    }
}

/// SIGKILL to a running process.
pub fn kill(policy: &Policy, inc: u32) -> Effect {
    Effect::Signal { inc, signal: signal::KILL, scope: killed(policy) }
}

/// True if what the main process left behind gets no polite request, even though the main process itself was asked and obeyed.
pub fn sweeps_with_kill(policy: &Policy) -> bool {
    policy.kill_mode == KillMode::Mixed
}

/// The removal of what the main process left behind.
pub fn sweep(policy: &Policy, inc: u32, kill: bool) -> Effect {
    Effect::Sweep { inc, kill, signal: policy.kill_signal }
}

/// State of a process that a sweep has just found and signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// Its end will be reported.
    Watched,
    /// It ended between the look at the process table and now: nobody will report that.
    Gone,
    /// It lives, and cannot be watched.
    Unwatched,
}

/// Time until another look after SIGKILL, because a process may have forked while it was being killed, and at what cannot be watched.
const LOOK_AGAIN_MS: u64 = 20;

/// The time of the next look at a tree in which something was found; `None` = when something of it ends.
pub fn next_look(kill: bool, met: &[Met], now_ms: u64) -> Option<u64> {
    if kill || met.contains(&Met::Unwatched) {
        Some(now_ms + LOOK_AGAIN_MS)
    } else {
        // That one may have been the last.
        met.contains(&Met::Gone).then_some(now_ms)
    }
}

/// The end of the grace period.
pub fn grace_deadline(policy: &Policy, now_ms: u64) -> u64 {
    now_ms.saturating_add(policy.kill_timeout_ms)
}

/// The time of the next SIGKILL.
pub fn rekill_deadline(policy: &Policy, now_ms: u64) -> u64 {
    now_ms.saturating_add(policy.kill_timeout_ms.max(REKILL_MIN_MS))
}

/// The longest time that an app has to end, at most a day: to finish its requests, then after the signal.
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
            (false, &[Met::Watched, Met::Watched][..], None),
            (false, &[Met::Gone], Some(1_000)),
            (false, &[Met::Watched, Met::Gone], Some(1_000)),
            (false, &[Met::Gone, Met::Unwatched], Some(1_020)),
            (false, &[Met::Unwatched, Met::Watched], Some(1_020)),
            (true, &[Met::Watched], Some(1_020)),
            (true, &[Met::Gone], Some(1_020)),
        ] {
            assert_eq!(next_look(kill, met, 1_000), next, "{kill} {met:?}");
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
            assert_eq!(ask(policy, 3), expected);
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
