//! Jumps of the wall clock, and the promises about their events.

use ostler_core::time::ReportedClock;
use ostler_proto::event::{Event, EventKind};

use super::machine::Machine;
use super::verdict::Verdict;

/// Smallest jump that is reported.
const JUMP_MS: u64 = 2_000;
/// Shortest time between two reports.
pub(super) const APART_MS: u64 = 60_000;
/// Some jumps, most of them large enough.
pub(super) const JUMPS_MS: [i64; 8] = [1_999, -1_999, 2_000, -2_000, 5_000, -300_000, 3_600_000, -86_400_000];

/// Reported jumps.
#[derive(Default)]
pub(super) struct ClockJumps {
    /// Lead of the wall clock over the boot clock, by the first record and all events since.
    ahead_ms: Option<i64>,
    /// Boot clock of the last event.
    last_ms: Option<u64>,
}

impl ClockJumps {
    /// Checks that an event reports a jump that is large enough, and not too early.
    pub(super) fn take(&mut self, event: &Event) -> Verdict {
        let EventKind::ClockMoved { by_ms } = event.kind else { return Ok(()) };
        let Some(former_ms) = self.ahead_ms else { return Err(format!("a jump by {by_ms} ms from an unknown time is reported")) };
        let ahead_ms = former_ms + by_ms;
        let at_ms = event.at_ms.saturating_add_signed(-ahead_ms);
        let last_ms = self.last_ms.replace(at_ms);
        self.ahead_ms = Some(ahead_ms);
        ensure!(by_ms.unsigned_abs() >= JUMP_MS, "a jump by only {by_ms} ms is reported");
        ensure!(last_ms.is_none_or(|last| at_ms >= last + APART_MS), "jumps are reported at {last_ms:?} and {at_ms}");
        Ok(())
    }

    /// Checks that events have reported each jump that the journal has as reported.
    pub(super) fn are_told(&mut self, record: Option<ReportedClock>) -> Verdict {
        let recorded = record.map(|clock| clock.ahead_ms);
        self.ahead_ms = self.ahead_ms.or(recorded);
        ensure!(self.ahead_ms == recorded, "events lead to a clock {:?} ms ahead, the journal to {recorded:?}", self.ahead_ms);
        Ok(())
    }

    /// Checks that no jump is missing.
    pub(super) fn at_rest(&self, machine: &Machine) -> Verdict {
        let real_ms = machine.ahead_ms();
        let is_told = self.ahead_ms.is_some_and(|told| told.abs_diff(real_ms) < JUMP_MS);
        ensure!(is_told, "events lead to a clock {:?} ms ahead, it is {real_ms} ms ahead", self.ahead_ms);
        Ok(())
    }
}
