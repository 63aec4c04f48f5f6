//! The stop plan: polite request, grace period, SIGKILL, for the main process first and then for the rest of its tree.
//!
//! ```text
//! signal or message ──► main process ends ──► sweep politely ──► nothing left: done
//!        │ kill_timeout            │ kill_timeout
//!        ▼                         ▼
//!     SIGKILL to the tree     sweep with SIGKILL, again after each further timeout
//! ```
//!
//! Nothing is polled: the kernel says when the main process ends, the owner says when the tree is gone, and there is always a
//! deadline at which the next, harder step is due.

use crate::lifecycle::{Effect, Policy, Scope};

/// `SIGKILL` on every platform.
pub const SIGKILL: i32 = 9;

/// SIGKILL is repeated at most this often: a process that does not even obey that hangs in the kernel.
const REKILL_MIN_MS: u64 = 1000;

/// Whom a signal of this policy reaches.
pub fn scope(policy: &Policy) -> Scope {
    if policy.treekill { Scope::Tree } else { Scope::Leader }
}

/// The polite request to a running process.
pub fn ask(policy: &Policy, inc: u32) -> Effect {
    let (signal, scope) = (policy.kill_signal, scope(policy));
    if policy.shutdown_with_message {
        Effect::ShutdownMessage { inc, fallback_signal: signal, scope }
    } else {
        Effect::Signal { inc, signal, scope }
    }
}

/// SIGKILL to a running process.
pub fn kill(policy: &Policy, inc: u32) -> Effect {
    Effect::Signal { inc, signal: SIGKILL, scope: scope(policy) }
}

/// Removes what the main process left behind.
pub fn sweep(policy: &Policy, inc: u32, kill: bool) -> Effect {
    Effect::Sweep { inc, kill, signal: policy.kill_signal }
}

/// When the grace period ends.
pub fn grace_deadline(policy: &Policy, now_ms: u64) -> u64 {
    now_ms.saturating_add(policy.kill_timeout_ms)
}

/// When SIGKILL is due again.
pub fn rekill_deadline(policy: &Policy, now_ms: u64) -> u64 {
    now_ms.saturating_add(policy.kill_timeout_ms.max(REKILL_MIN_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::AppSpec;

    #[test]
    fn plans() {
        let base = Policy::from_spec(&AppSpec::default(), 15, 1600, 3000, 30_000);
        let leader = Policy { treekill: false, ..base.clone() };
        let message = Policy { shutdown_with_message: true, ..base.clone() };
        for (policy, expected) in [
            (&base, Effect::Signal { inc: 3, signal: 15, scope: Scope::Tree }),
            (&leader, Effect::Signal { inc: 3, signal: 15, scope: Scope::Leader }),
            (&message, Effect::ShutdownMessage { inc: 3, fallback_signal: 15, scope: Scope::Tree }),
        ] {
            assert_eq!(ask(policy, 3), expected);
        }
        assert_eq!(kill(&base, 3), Effect::Signal { inc: 3, signal: 9, scope: Scope::Tree });
        assert_eq!(kill(&leader, 3), Effect::Signal { inc: 3, signal: 9, scope: Scope::Leader });
    }

    #[test]
    fn deadlines_never_make_a_busy_loop() {
        let mut policy = Policy::from_spec(&AppSpec::default(), 2, 0, 3000, 30_000);
        assert_eq!((grace_deadline(&policy, 50), rekill_deadline(&policy, 50)), (50, 1050));
        policy.kill_timeout_ms = u64::MAX;
        assert_eq!((grace_deadline(&policy, 50), rekill_deadline(&policy, 50)), (u64::MAX, u64::MAX));
    }
}
