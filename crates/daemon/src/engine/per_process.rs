//! What a feature keeps for a process, for as long as that runs and serves.

use super::Ctx;
use crate::state::slots::Slot;

/// A feature that begins something with a process that is online in the place of its instance, and ends it when that process is on its way out.
pub(crate) trait PerProcess {
    /// It is to be kept for this instance while that is online.
    fn is_wanted(slot: &Slot) -> bool;

    /// The incarnation for which it is kept.
    fn kept_for(&self, id: u32) -> Option<u32>;

    /// Begins to keep it for the process of this incarnation.
    fn begin(&mut self, ctx: &mut Ctx, id: u32, inc: u32);

    /// Keeps it no more, if it did.
    fn end(&mut self, ctx: &mut Ctx, id: u32);

    /// The instance made a step, or is in the place of another one now: what is kept follows.
    fn follow(&mut self, ctx: &mut Ctx, id: u32) {
        let wanted = ctx.state.slots.get(id).filter(|slot| Self::is_wanted(slot)).and_then(Slot::serving_inc);
        if wanted != self.kept_for(id) {
            self.end(ctx, id);
            if let Some(inc) = wanted {
                self.begin(ctx, id, inc);
            }
        }
    }
}
