//! The cgroup of an instance: from its first process until nothing runs and nothing is wanted (`crate::slots::groups`).

use ostler_core::lifecycle::SpawnFailure;
use ostler_keeper::CGROUP_TARGET;

use crate::engine::{Beside, Ctx, Feature, Transition};

/// Which groups there are is the context's to know: others have processes in them, too.
#[derive(Debug, Default)]
pub(crate) struct Cgroups;

impl Cgroups {
    pub(crate) const NAME: &str = "cgroups";
}

impl Feature for Cgroups {
    fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut Beside) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.slots.get_mut(id) else { return Ok(()) };
        let folder = ctx.groups.prepare(slot).unwrap_or_else(|why| {
            ctx.log.line(format_args!("no cgroups here ({why}): apps are told apart by other signs"));
            None
        });
        beside.fds.extend(folder.map(|folder| (folder, CGROUP_TARGET)));
        Ok(())
    }

    fn on_transition(&mut self, ctx: &mut Ctx, transition: &Transition<'_>) {
        if let Some(slot) = ctx.slots.get_mut(transition.id) {
            ctx.groups.tidy(slot);
        }
    }
}
