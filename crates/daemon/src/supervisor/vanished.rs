//! Main processes that are gone without a word.
//!
//! Every end is told by the keeper, once and kept until acknowledged, so this finds nothing as long as all is well. Should a word be lost
//! all the same, the instance would be `online` with a pid that does not exist, for ever, and whoever stops it would wait for ever. So
//! whoever looks at an instance and does not find its process has the keeper asked: a list, a signal, a deadline; and after each start of
//! a daemon and each new keeper all are looked at, once. Where a list or a signal has just seen the process, nothing looks a second time. The keeper tells the end that it knows of or none, and its answer is taken like
//! any other: an end that is on its way is not counted twice.

use crate::control::Control;

/// What is on its way shall have arrived by then.
const SETTLE_MS: u64 = 1000;

impl Control {
    /// There is a new daemon or a new keeper: all are looked at when that has settled.
    pub(crate) fn look_for_vanished_soon(&mut self) {
        self.look_for_vanished_ms = Some(self.ctx.now.mono_ms + SETTLE_MS);
    }

    /// Looks at all instances, if that is due.
    pub(crate) fn tick_vanished(&mut self, now_ms: u64) {
        if self.look_for_vanished_ms.take_if(|due_ms| *due_ms <= now_ms).is_some() {
            let ids: Vec<u32> = self.ctx.slots.iter().map(|slot| slot.id).collect();
            for id in ids {
                self.ctx.look_if_vanished(id);
            }
        }
    }
}
