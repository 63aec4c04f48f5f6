//! Cgroup of an instance: from its first process until the instance is down and no process runs in
//! it (`crate::state::slots::groups`).

use ostler_core::lifecycle::SpawnFailure;
use ostler_keeper::CGROUP_TARGET;

use crate::engine::{Ctx, InstanceStep, Key, SpawnExtras};

/// Delay of the removal of groups. The removal takes the kernel some time, and a user who stops an
/// app should not wait for it.
const REMOVED_AFTER_MS: u64 = 50;

/// Owner of instances' cgroups. The context has the list of all cgroups, because other features
/// have processes in them, too.
#[derive(Debug, Default)]
pub(crate) struct Cgroups;

impl Cgroups {
    pub(crate) const NAME: &str = "cgroups";
    /// Timer of the removal. If the daemon dies before it fires, the next daemon removes the unused
    /// groups when it starts.
    const REMOVAL: Key = (Self::NAME, 0);
}

impl Cgroups {
    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.state.slots.get_mut(id) else { return Ok(()) };
        let folder = ctx.state.groups.prepare(slot).unwrap_or_else(|why| {
            ctx.io.log.line(format_args!("cgroups are not available ({why}): processes are matched to their apps by other means"));
            None
        });
        beside.fds.extend(folder.map(|folder| (folder, CGROUP_TARGET)));
        Ok(())
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if ctx.state.slots.get_mut(step.id).is_some_and(|slot| ctx.state.groups.tidy(slot)) {
            ctx.outbox.timers.set(Self::REMOVAL, Some(ctx.now.mono_ms + REMOVED_AFTER_MS));
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        ctx.state.groups.remove_unused();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use ostler_core::app::AppSpec;
    use ostler_core::lifecycle::{Event, ExitReport, InstanceState, Origin, ProcessEnding};

    #[test]
    fn cgroup_is_kept_over_restarts_and_removed_at_rest() {
        let mut played = TestContext::new(&[]);
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api".into(), ..AppSpec::default() });
        played.start(&mut Cgroups, id, 4711);
        let slot = played.ctx.state.slots.get_mut(id).unwrap();
        (slot.durable.group, slot.live.group_fresh) = (Some("/sys/fs/cgroup/no-such-group".into()), true);
        let exit = ExitReport { ending: ProcessEnding::Code(1), oom: false };
        played.dispatch(&mut Cgroups, id, Event::Exited { inc: 1, exit });
        played.dispatch(&mut Cgroups, id, Event::TreeGone { inc: 1 });
        let slot = played.ctx.state.slots.get(id).unwrap();
        assert!(slot.durable.group.is_some(), "it comes again: {:?}", slot.durable.instance.state);
        played.dispatch(&mut Cgroups, id, Event::Stop(Origin::Shutdown));
        let failure = SpawnFailure::new("exec", 2);
        played.dispatch(&mut Cgroups, id, Event::SpawnFailed { inc: 2, failure });
        let slot = played.ctx.state.slots.get(id).unwrap();
        assert_eq!((&slot.durable.instance.state, &slot.durable.group, slot.live.group_fresh), (&InstanceState::Stopped, &None, false));
        assert_eq!(played.ctx.outbox.timers.next_ms(), Some(played.ctx.now.mono_ms + REMOVED_AFTER_MS), "nobody waits for its removal");
    }

    #[test]
    fn process_starts_without_cgroups() {
        let mut played = TestContext::new(&[]);
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api".into(), ..AppSpec::default() });
        let mut extras = SpawnExtras::default();
        Cgroups.on_prepare(&mut played.ctx, id, 1, &mut extras).unwrap();
        assert!(extras.fds.is_empty() && played.ctx.state.slots.get(id).unwrap().durable.group.is_none());
    }

    reacts!(Cgroups: on_step, on_timer);
}
