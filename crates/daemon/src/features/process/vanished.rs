//! Main processes that are gone without a report.
//!
//! The keeper reports each exit once, and keeps it until it is acknowledged. In normal operation
//! this check therefore finds nothing. If a report were lost all the same, the instance would stay
//! `online` with a pid that does not exist. A stop of it would never complete. If a check of an
//! instance does not find its process, the daemon therefore asks the keeper
//! ([`Ctx::check_vanished`]). A list, a signal and a deadline make that check. All instances are
//! also checked once after each start of a daemon and for each new keeper. If a list or a signal
//! has just found the process, there is no second check. The keeper reports the exit that it knows,
//! or that it knows none. Its answer is handled like any other report, so an exit is not counted
//! twice.

use ostler_sys::ProcRef;

use crate::engine::{Ctx, Key};

/// Time in which reports in transit arrive.
const SETTLE_MS: u64 = 1000;

/// Check for vanished processes. Its only state is its deadline.
#[derive(Debug, Default)]
pub(crate) struct Vanished;

impl Vanished {
    pub(crate) const NAME: &str = "vanished";
    const LOOK: Key = (Self::NAME, 0);
}

impl Vanished {
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        ctx.outbox.timers.set(Self::LOOK, Some(ctx.now.mono_ms + SETTLE_MS));
    }

    pub(crate) fn on_new_keeper(&mut self, ctx: &mut Ctx, _survivors: &[(u64, ProcRef)]) {
        ctx.outbox.timers.set(Self::LOOK, Some(ctx.now.mono_ms + SETTLE_MS));
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        let ids: Vec<u32> = ctx.state.slots.iter().map(|slot| slot.durable.id).collect();
        for id in ids {
            ctx.check_vanished(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};

    #[test]
    fn processes_are_verified_once_after_boot_and_each_new_keeper() {
        let mut played = TestContext::new(&[]);
        let mut vanished = Vanished;
        vanished.on_boot(&mut played.ctx);
        played.pass(&mut vanished, SETTLE_MS - 1);
        assert_eq!(played.ctx.outbox.timers.next_ms(), Some(played.ctx.now.mono_ms + 1));
        vanished.on_new_keeper(&mut played.ctx, &[]);
        assert_eq!(
            played.ctx.outbox.timers.next_ms(),
            Some(played.ctx.now.mono_ms + SETTLE_MS),
            "what is on its way from the new one has its time, too"
        );
        played.pass(&mut vanished, SETTLE_MS);
        assert_eq!(played.ctx.outbox.timers.next_ms(), None);
    }

    reacts!(Vanished: on_timer);
}
