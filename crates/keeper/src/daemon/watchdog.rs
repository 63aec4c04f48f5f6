//! Watchdog of the daemon. It detects a daemon that is alive but makes no progress (stopped, in an
//! endless loop, blocked in a system call), kills it and replaces it. The daemon judges the keeper
//! with the same [`Watchdog`].
//!
//! While everything works, the keeper asks nothing, so no process wakes up at rest. The keeper asks
//! (`Ping`) if the daemon has not acknowledged an exit in time, or if a client reports that it got
//! no answer ([`DOUBT_SIGNAL`]). Then it examines the daemon's first thread until the answer
//! arrives or the verdict is clear. Elapsed time alone proves nothing: on a busy machine, the
//! daemon may simply not get the CPU.

use ostler_sys::process::Activity;

/// Signal by which a client reports to the keeper that the daemon does not answer. It is SIGURG,
/// which processes ignore by default: if the pid belongs to another process by now, the signal does
/// no harm.
pub const DOUBT_SIGNAL: i32 = ostler_sys::process::signal::URG;

/// Time within which the daemon must acknowledge an exit (it takes milliseconds). After this the
/// keeper asks the daemon.
const EXPECT_MS: u64 = 1_000;
/// Time between two checks; the first checks follow faster.
const LOOK_MS: u64 = 500;
const SHORT_LOOKS: u32 = 20;
const LATER_LOOK_MS: u64 = 4_000;
/// Maximum time stopped by a signal. A longer stop is no accident.
const STOPPED_MS: u64 = 2_000;
/// Maximum wait inside the kernel, or for another thread.
const STILL_MS: u64 = 10_000;
/// Maximum wait for a disk or a file system. A slow disk recovers by itself within this time.
const BLOCKED_MS: u64 = 30_000;
/// Maximum CPU time until the daemon returns to its loop. A start with 10,000 apps needs a tenth of
/// that.
const BUSY_MS: u64 = 10_000;
/// Time for SIGKILL to take effect: immediate, unless the process is blocked in the kernel.
const DIES_WITHIN_MS: u64 = 2_000;

/// Way in which a process hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangKind {
    /// Stopped by a signal.
    Stopped,
    /// In an endless loop.
    Busy,
    /// In a system call, or waiting for a thread.
    Still,
    /// Blocked in the kernel.
    Blocked,
}

impl HangKind {
    /// Returns the reason in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Stopped => "it was stopped by a signal",
            Self::Busy => "its event loop has used 10 s of CPU time without returning",
            Self::Still => "it has waited for 10 s in a system call or for one of its threads",
            Self::Blocked => "it has been blocked in the kernel for 30 s: a disk or a network file system does not answer",
        }
    }
}

/// Watchdog for a process that owes answers; pure.
#[derive(Debug, Default)]
pub struct Watchdog {
    pub(super) phase: WatchdogPhase,
    /// Time at which SIGKILL was sent.
    pub(super) killed_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) enum WatchdogPhase {
    /// No answer is expected.
    #[default]
    Idle,
    /// An acknowledgement is expected by this time.
    Expecting { until_ms: u64 },
    /// The answer to a question is expected.
    Questioned(PendingQuestion),
}

#[derive(Debug)]
pub(super) struct PendingQuestion {
    checks: u32,
    last_ms: u64,
    next_ms: u64,
    cpu_ms: u64,
    /// CPU time used since the question.
    busy_ms: u64,
    /// State without any CPU use, and its duration.
    idle: (Option<HangKind>, u64),
}

impl Watchdog {
    /// Expects an answer, because a message that needs one was sent.
    pub fn expect(&mut self, now_ms: u64) {
        if matches!(self.phase, WatchdogPhase::Idle) {
            self.phase = WatchdogPhase::Expecting { until_ms: now_ms + EXPECT_MS };
        }
    }

    /// Notes that the process responds.
    pub fn on_answer(&mut self) {
        self.phase = WatchdogPhase::Idle;
    }

    /// Returns true if the keeper must ask the process now. It returns false if a question is
    /// already pending.
    pub fn doubt(&mut self, now_ms: u64, activity: Activity) -> bool {
        if matches!(self.phase, WatchdogPhase::Questioned(_)) {
            return false;
        }
        let question =
            PendingQuestion { checks: 0, last_ms: now_ms, next_ms: now_ms + LOOK_MS, cpu_ms: activity.cpu_ms, busy_ms: 0, idle: (None, 0) };
        self.phase = WatchdogPhase::Questioned(question);
        true
    }

    pub(crate) fn killed(&mut self, now_ms: u64) {
        self.killed_ms.get_or_insert(now_ms);
    }

    /// Returns the time of the next check.
    pub fn deadline_ms(&self) -> Option<u64> {
        if let Some(killed) = self.killed_ms {
            return Some(killed + DIES_WITHIN_MS);
        }
        match &self.phase {
            WatchdogPhase::Idle => None,
            WatchdogPhase::Expecting { until_ms } => Some(*until_ms),
            WatchdogPhase::Questioned(asked) => Some(asked.next_ms),
        }
    }

    /// Performs one more check. `None` means: keep waiting.
    pub fn check(&mut self, now_ms: u64, activity: Activity) -> Option<HangKind> {
        let WatchdogPhase::Questioned(asked) = &mut self.phase else { return None };
        let interval = if asked.checks < SHORT_LOOKS { LOOK_MS } else { LATER_LOOK_MS };
        // This process may have been suspended as well; nothing is known about that time.
        let passed = now_ms.saturating_sub(asked.last_ms).min(2 * interval);
        let used = activity.cpu_ms.saturating_sub(asked.cpu_ms);
        asked.checks = asked.checks.saturating_add(1);
        (asked.last_ms, asked.next_ms, asked.cpu_ms) = (now_ms, now_ms + interval, activity.cpu_ms);
        asked.busy_ms += used;
        let state = match activity.state {
            _ if used > 0 => None,
            b'T' => Some(HangKind::Stopped),
            b'D' => Some(HangKind::Blocked),
            // The thread can run but does not get the CPU, or a debugger has stopped it.
            b'R' | b't' => None,
            _ => Some(HangKind::Still),
        };
        asked.idle = match state {
            Some(_) if asked.idle.0 == state => (state, asked.idle.1 + passed),
            Some(_) => (state, passed),
            None => (None, 0),
        };
        let limit = match asked.idle.0 {
            Some(HangKind::Stopped) => STOPPED_MS,
            Some(HangKind::Still) => STILL_MS,
            Some(HangKind::Blocked) => BLOCKED_MS,
            Some(HangKind::Busy) | None => u64::MAX,
        };
        if asked.busy_ms >= BUSY_MS { Some(HangKind::Busy) } else { asked.idle.0.filter(|_| asked.idle.1 >= limit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the verdict on a daemon that shows these states, one per check, with this CPU use in
    /// between, and the time of the verdict.
    fn verdict(states: &[u8], cpu_per_look: u64, looks: usize) -> Option<(HangKind, u64)> {
        let mut watchdog = Watchdog::default();
        let mut cpu_ms = 70;
        assert!(watchdog.doubt(1_000, Activity { state: b'R', cpu_ms }));
        assert!(!watchdog.doubt(1_001, Activity { state: b'R', cpu_ms }), "asked once");
        (0..looks).find_map(|look| {
            cpu_ms += cpu_per_look;
            let now = watchdog.deadline_ms().unwrap();
            let state = states[look % states.len()];
            watchdog.check(now, Activity { state, cpu_ms }).map(|hang| (hang, now - 1_000))
        })
    }

    #[test]
    fn hung_daemon_is_distinguished_from_a_starved_one() {
        for (states, cpu, expected) in [
            (&b"T"[..], 0, Some((HangKind::Stopped, 2_000))),
            (b"S", 0, Some((HangKind::Still, 10_000))),
            (b"D", 0, Some((HangKind::Blocked, 30_000))),
            (b"R", 500, Some((HangKind::Busy, 10_000))),
            // A busy machine: the daemon runs now and then.
            (b"R", 0, None),
            (b"SR", 0, None),
            // A developer has attached a debugger.
            (b"t", 0, None),
            // It works, with waits in between.
            (b"SD", 10, None),
        ] {
            let found = verdict(states, cpu, 40);
            let late = |ms: u64| found.is_some_and(|(_, at)| at >= ms && at <= ms + LATER_LOOK_MS);
            assert_eq!(found.map(|(hang, _)| hang), expected.map(|(hang, _)| hang), "{states:?}");
            assert!(expected.is_none_or(|(_, ms)| late(ms)), "{states:?} {found:?}");
        }
    }

    #[test]
    fn suspended_time_is_not_a_hang() {
        let mut watchdog = Watchdog::default();
        watchdog.doubt(0, Activity { state: b'S', cpu_ms: 0 });
        // A laptop was suspended.
        assert_eq!(watchdog.check(3_600_000, Activity { state: b'S', cpu_ms: 0 }), None);
    }

    #[test]
    fn deadline_exists_only_while_an_answer_is_expected() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.deadline_ms(), None);
        watchdog.expect(10);
        watchdog.expect(500);
        assert_eq!(watchdog.deadline_ms(), Some(10 + EXPECT_MS));
        watchdog.on_answer();
        assert_eq!(watchdog.deadline_ms(), None);
    }
}
