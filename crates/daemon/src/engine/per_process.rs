//! State that a feature keeps for a process while the process runs and serves.

use super::Ctx;
use crate::state::slots::Slot;

/// Feature that opens something for a process when it is online in its instance, and closes it when
/// the process is about to exit.
pub(crate) trait PerProcess {
    /// Returns whether it is kept for this instance while the instance is online.
    fn is_wanted(slot: &Slot) -> bool;

    /// Returns the incarnation for which it is kept.
    fn kept_for(&self, id: u32) -> Option<u32>;

    /// Opens it for the process of this incarnation.
    fn begin(&mut self, ctx: &mut Ctx, id: u32, inc: u32);

    /// Closes it, if it is open.
    fn end(&mut self, ctx: &mut Ctx, id: u32);

    /// Opens or closes it after the instance made a step, or took the place of another one.
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
