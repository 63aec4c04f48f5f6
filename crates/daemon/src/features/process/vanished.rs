//! Main processes that are gone without a report.
//!
//! Every end is reported by the keeper, once and kept until acknowledged, so this finds nothing as long as all is well. Should a report be lost
//! all the same, the instance would be `online` with a pid that does not exist, for ever, and whoever stops it would wait for ever. So
//! whoever checks an instance and does not find its process has the keeper asked ([`Ctx::look_if_vanished`]): a list, a signal, a deadline;
//! and after each start of a daemon and each new keeper all are checked, once. Where a list or a signal has just seen the process, nothing
//! checks a second time. The keeper reports the end that it knows of or none, and its answer is taken like any other: an end that is on its way
//! is not counted twice.

use ostler_sys::ProcRef;

use crate::engine::{Ctx, Key};

/// Time in which what is on its way arrives.
const SETTLE_MS: u64 = 1000;

/// Check for vanished processes. It has no state but its deadline.
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
            ctx.look_if_vanished(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Played, reacts};

    #[test]
    fn all_are_looked_at_once_after_each_start_of_a_daemon_and_each_new_keeper() {
        let mut played = Played::new(&[]);
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
