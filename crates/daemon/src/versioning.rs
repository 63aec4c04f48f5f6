//! `versioning`: the commit that an app was started from. It is looked for when a process is started, and noted when somebody asks for it.

use crate::engine::{Ctx, Feature};
use crate::rights::Rights;
use crate::slots::Slot;
use crate::working_trees::Question;

/// Questions about folders; what was answered is in the slots.
#[derive(Debug, Default)]
pub(crate) struct Versioning;

impl Versioning {
    pub(crate) const NAME: &str = "versioning";

    fn ask(ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.slots.get(id) else { return };
        if !is_wanted(slot) {
            if slot.durable.learned.working_tree.is_some() {
                ctx.slots.set_working_tree(id, None);
            }
            return;
        }
        let user = Rights::of(slot.spec()).user().cloned();
        let of = (id, slot.newest_inc());
        ctx.working_trees.ask(Question { of, folder: slot.spec().cwd.clone().into(), user });
    }
}

/// `vizion: false` wants none of it.
fn is_wanted(slot: &Slot) -> bool {
    slot.spec().given.get("vizion") != Some(&false.into())
}

impl Feature for Versioning {
    /// Asks for what runs and was not answered before the death of the former daemon.
    fn on_boot(&mut self, ctx: &mut Ctx) {
        let is_open = |slot: &&Slot| slot.durable.instance.pid().is_some() && slot.durable.learned.working_tree.is_none();
        let open: Vec<u32> = ctx.slots.iter().filter(is_open).map(|slot| slot.durable.id).collect();
        open.into_iter().for_each(|id| Self::ask(ctx, id));
    }

    /// The process is on its way already: nobody waits for this.
    fn on_spawn(&mut self, ctx: &mut Ctx, id: u32) {
        Self::ask(ctx, id);
    }
}
