//! Exits of processes in the terms of the core.

use ostler_core::lifecycle::{ExitReport, ProcessEnding};
use ostler_sys::process::signal::KILL;

use super::Ctx;
use crate::state::slots::ending_of;

impl Ctx {
    /// Returns the exit of a process, and whether the kernel's out-of-memory counter has grown
    /// since the last one.
    pub(crate) fn exit_report(&mut self, ending: ostler_sys::WaitStatus) -> ExitReport {
        let ending = ending_of(ending);
        let killed = matches!(ending, ProcessEnding::Signal { signal: KILL, .. });
        let kills =
            if killed { ostler_sys::process::oom::kills().unwrap_or(self.io.processes.oom_kills) } else { self.io.processes.oom_kills };
        let oom = kills > self.io.processes.oom_kills;
        self.io.processes.oom_kills = kills;
        ExitReport { ending, oom }
    }
}
