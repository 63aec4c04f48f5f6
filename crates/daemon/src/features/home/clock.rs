//! Jumps of the wall clock, as events of ostler itself. They explain times in the event list and in
//! logs that do not fit together.
//!
//! Each turn compares the wall clock with the boot clock, so no timer and no descriptor wakes the
//! daemon. An event has the time of the first turn after the jump.

use ostler_core::time::ReportedClock;
use ostler_proto::event::{EventCause, EventKind};

use crate::engine::Ctx;
use crate::state::store::{Record, Snapshot};

/// Wall clock as events reported it last; `None` before the first look.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    reported: Option<ReportedClock>,
}

impl Clock {
    pub(crate) const NAME: &str = "clock";

    pub(crate) fn restore(&mut self, snapshot: &mut Snapshot) {
        self.reported = snapshot.clock;
    }

    /// Checks whether the clock jumped while no daemon ran.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.on_turn(ctx);
    }

    pub(crate) fn on_turn(&mut self, ctx: &mut Ctx) {
        let before = self.reported;
        let reported = self.reported.get_or_insert(ReportedClock::at(ctx.now));
        if let Some(by_ms) = reported.observe(ctx.now) {
            ctx.emit_for_manager(EventKind::ClockMoved { by_ms }, EventCause::System);
        }
        // The same write as the event, so the next daemon does not report the jump again.
        if self.reported != before {
            self.records().for_each(|record| ctx.state.journal.push(&record));
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.reported.map(Record::Clock).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TestContext;

    const HOUR: i64 = 3_600_000;

    /// Takes a turn after this time and this jump. Returns the distances of the new events.
    fn turn(played: &mut TestContext, clock: &mut Clock, after_ms: u64, jump_ms: i64) -> Vec<i64> {
        let now = &mut played.ctx.now;
        now.mono_ms += after_ms;
        now.wall_ms = (now.wall_ms + after_ms).saturating_add_signed(jump_ms);
        clock.on_turn(&mut played.ctx);
        let of = |event: ostler_proto::event::Event| match (event.kind, event.cause, event.app) {
            (EventKind::ClockMoved { by_ms }, EventCause::System, None) => by_ms,
            other => panic!("{other:?}"),
        };
        played.events().into_iter().map(of).collect()
    }

    #[test]
    fn jump_is_an_event_and_sets_no_timer() {
        let (mut played, mut clock) = (TestContext::new(&[]), Clock::default());
        clock.on_boot(&mut played.ctx);
        assert!(turn(&mut played, &mut clock, 86_400_000, 0).is_empty());
        assert_eq!(turn(&mut played, &mut clock, 5, 3 * HOUR), [3 * HOUR]);
        assert!(turn(&mut played, &mut clock, 59_999, -HOUR).is_empty());
        assert_eq!(turn(&mut played, &mut clock, 1, 0), [-HOUR]);
        assert!(played.ctx.is_idle());
        assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    }

    #[test]
    fn next_daemon_reports_only_new_jumps() {
        let (mut played, mut clock) = (TestContext::new(&[]), Clock::default());
        clock.on_boot(&mut played.ctx);
        assert_eq!(turn(&mut played, &mut clock, 5, HOUR), [HOUR]);
        let next = || {
            let (_, mut snapshot) =
                crate::state::store::Journal::open(played.ctx.state.journal.fd().try_clone_to_owned().unwrap()).unwrap();
            let mut next = Clock::default();
            next.restore(&mut snapshot);
            next
        };
        let (mut idle, mut late) = (next(), next());
        idle.on_boot(&mut played.ctx);
        assert!(played.events().is_empty());
        assert_eq!(turn(&mut played, &mut late, 60_000, -HOUR), [-HOUR]);
    }
}
