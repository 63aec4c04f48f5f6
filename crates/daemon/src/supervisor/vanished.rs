//! Main processes that are gone without a word.
//!
//! Every end is told by the keeper, once and kept until acknowledged, so this finds nothing as long as all is well. Should a word be lost
//! all the same, the instance would be `online` with a pid that does not exist, for ever, and whoever stops it would wait for ever. So
//! whoever looks at an instance and does not find its process has the keeper asked: a list, a signal, a deadline; and after each start of
//! a daemon and each new keeper all are looked at, once. Where a list or a signal has just seen the process, nothing looks a second time. The keeper tells the end that it knows of or none, and its answer is taken like
//! any other: an end that is on its way is not counted twice.

use ostler_keeper::ToKeeper;

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
                self.look_if_vanished(id);
            }
        }
    }

    /// Asks the keeper what became of a main process that the kernel does not know. True when it is so.
    pub(crate) fn look_if_vanished(&mut self, id: u32) -> bool {
        let Some(slot) = self.ctx.slots.get(id) else { return false };
        let Some((inc, process)) = slot.process().filter(|(_, process)| process.is_gone()) else { return false };
        self.ctx.keeper.say(ToKeeper::Verify { key: slot.key(inc), pid: process.pid, start_ticks: process.start_ticks });
        true
    }
}
