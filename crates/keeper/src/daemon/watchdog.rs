//! Watchdog of the daemon: one that lives and does nothing (stopped, in an endless loop, blocked in a system call) is noticed, killed and replaced.
//! The daemon judges the keeper by the same [`Watchdog`].
//!
//! Nothing is asked while all is well, so that nobody wakes up at rest. The keeper asks (`Ping`) when the daemon has not acknowledged an exit
//! in time, and when a client that got no answer reports that ([`DOUBT_SIGNAL`]). Then it looks at the daemon's first thread until the answer
//! is there or the verdict is clear: time alone proves nothing on a busy machine, where a daemon that may not run is not the daemon's fault.

use ostler_sys::process::Activity;

/// Signal by which a client reports to the keeper that the daemon does not answer. SIGURG: whoever does not know it ignores it, so a pid that is
/// another's by now comes to no harm.
pub const DOUBT_SIGNAL: i32 = ostler_sys::process::signal::URG;

/// Time for an exit to be acknowledged (it takes milliseconds); after this the daemon is asked.
const EXPECT_MS: u64 = 1_000;
/// Time between two looks: short at first.
const LOOK_MS: u64 = 500;
const SHORT_LOOKS: u32 = 20;
const LATER_LOOK_MS: u64 = 4_000;
/// Longest stop by a signal: nobody does that for a moment.
const STOPPED_MS: u64 = 2_000;
/// Longest wait for something inside the kernel, or for another thread.
const STILL_MS: u64 = 10_000;
/// Longest wait for a disk or a file system: a slow disk ends that by itself.
const BLOCKED_MS: u64 = 30_000;
/// Most CPU time without coming back to its loop; the start with 10,000 apps takes a tenth.
const BUSY_MS: u64 = 10_000;
/// Time for SIGKILL: it works at once, except on who is blocked in the kernel.
const DIES_WITHIN_MS: u64 = 2_000;

/// Way in which a process hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// Stopped by a signal.
    Stopped,
    /// In a loop that does not end.
    Busy,
    /// In a system call, or waiting for a thread.
    Still,
    /// Blocked in the kernel.
    Blocked,
}

impl Hang {
    /// The reason in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Stopped => "it was stopped by a signal",
            Self::Busy => "its event loop has used 10 s of CPU time without returning",
            Self::Still => "it has waited for 10 s in a system call or for a thread of its own",
            Self::Blocked => "it has been blocked in the kernel for 30 s: a disk or a network file system does not answer",
        }
    }
}

/// Watch over a process that owes answers; pure.
#[derive(Debug, Default)]
pub struct Watchdog {
    pub(super) phase: Phase,
    /// Time of SIGKILL.
    pub(super) killed_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) enum Phase {
    /// Nothing is expected.
    #[default]
    Calm,
    /// An acknowledgement is expected by this time.
    Expecting { until_ms: u64 },
    /// The answer to a question is expected.
    Asked(Asked),
}

#[derive(Debug)]
pub(super) struct Asked {
    looks: u32,
    last_ms: u64,
    next_ms: u64,
    cpu_ms: u64,
    /// CPU time since the question.
    busy_ms: u64,
    /// State without any CPU time, and how long it has lasted.
    idle: (Option<Hang>, u64),
}

impl Watchdog {
    /// Expects an answer: something was sent that needs one.
    pub fn expect(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Calm) {
            self.phase = Phase::Expecting { until_ms: now_ms + EXPECT_MS };
        }
    }

    /// Notes that it turns.
    pub fn on_answer(&mut self) {
        self.phase = Phase::Calm;
    }

    /// Says whether it is to be asked: not while it is asked already.
    pub fn doubt(&mut self, now_ms: u64, activity: Activity) -> bool {
        if matches!(self.phase, Phase::Asked(_)) {
            return false;
        }
        let asked = Asked { looks: 0, last_ms: now_ms, next_ms: now_ms + LOOK_MS, cpu_ms: activity.cpu_ms, busy_ms: 0, idle: (None, 0) };
        self.phase = Phase::Asked(asked);
        true
    }

    pub(crate) fn killed(&mut self, now_ms: u64) {
        self.killed_ms.get_or_insert(now_ms);
    }

    /// The time of the next look.
    pub fn deadline_ms(&self) -> Option<u64> {
        if let Some(killed) = self.killed_ms {
            return Some(killed + DIES_WITHIN_MS);
        }
        match &self.phase {
            Phase::Calm => None,
            Phase::Expecting { until_ms } => Some(*until_ms),
            Phase::Asked(asked) => Some(asked.next_ms),
        }
    }

    /// Takes one more look; `None` = wait.
    pub fn look(&mut self, now_ms: u64, activity: Activity) -> Option<Hang> {
        let Phase::Asked(asked) = &mut self.phase else { return None };
        let interval = if asked.looks < SHORT_LOOKS { LOOK_MS } else { LATER_LOOK_MS };
        // We may have been held up as well: what happened meanwhile, nobody saw.
        let passed = now_ms.saturating_sub(asked.last_ms).min(2 * interval);
        let used = activity.cpu_ms.saturating_sub(asked.cpu_ms);
        asked.looks = asked.looks.saturating_add(1);
        (asked.last_ms, asked.next_ms, asked.cpu_ms) = (now_ms, now_ms + interval, activity.cpu_ms);
        asked.busy_ms += used;
        let state = match activity.state {
            _ if used > 0 => None,
            b'T' => Some(Hang::Stopped),
            b'D' => Some(Hang::Blocked),
            // Ready to run, and not let; or a debugger has it.
            b'R' | b't' => None,
            _ => Some(Hang::Still),
        };
        asked.idle = match state {
            Some(_) if asked.idle.0 == state => (state, asked.idle.1 + passed),
            Some(_) => (state, passed),
            None => (None, 0),
        };
        let limit = match asked.idle.0 {
            Some(Hang::Stopped) => STOPPED_MS,
            Some(Hang::Still) => STILL_MS,
            Some(Hang::Blocked) => BLOCKED_MS,
            Some(Hang::Busy) | None => u64::MAX,
        };
        if asked.busy_ms >= BUSY_MS { Some(Hang::Busy) } else { asked.idle.0.filter(|_| asked.idle.1 >= limit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on a daemon that shows these states, one at each look, using so much CPU time in between; and when it comes.
    fn verdict(states: &[u8], cpu_per_look: u64, looks: usize) -> Option<(Hang, u64)> {
        let mut watchdog = Watchdog::default();
        let mut cpu_ms = 70;
        assert!(watchdog.doubt(1_000, Activity { state: b'R', cpu_ms }));
        assert!(!watchdog.doubt(1_001, Activity { state: b'R', cpu_ms }), "asked once");
        (0..looks).find_map(|look| {
            cpu_ms += cpu_per_look;
            let now = watchdog.deadline_ms().unwrap();
            let state = states[look % states.len()];
            watchdog.look(now, Activity { state, cpu_ms }).map(|hang| (hang, now - 1_000))
        })
    }

    #[test]
    fn who_does_not_turn_is_told_from_who_may_not_run() {
        for (states, cpu, expected) in [
            (&b"T"[..], 0, Some((Hang::Stopped, 2_000))),
            (b"S", 0, Some((Hang::Still, 10_000))),
            (b"D", 0, Some((Hang::Blocked, 30_000))),
            (b"R", 500, Some((Hang::Busy, 10_000))),
            // A busy machine: it runs now and then.
            (b"R", 0, None),
            (b"SR", 0, None),
            // Somebody looks at it with a debugger.
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
    fn time_in_which_nobody_looked_proves_nothing() {
        let mut watchdog = Watchdog::default();
        watchdog.doubt(0, Activity { state: b'S', cpu_ms: 0 });
        // A laptop was asleep.
        assert_eq!(watchdog.look(3_600_000, Activity { state: b'S', cpu_ms: 0 }), None);
    }

    #[test]
    fn nothing_is_due_while_nothing_is_owed() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.deadline_ms(), None);
        watchdog.expect(10);
        watchdog.expect(500);
        assert_eq!(watchdog.deadline_ms(), Some(10 + EXPECT_MS));
        watchdog.on_answer();
        assert_eq!(watchdog.deadline_ms(), None);
    }
}
