//! Actions after a change.

use ostler_core::lifecycle::{Event, InstanceState, Origin, PolicyName};
use ostler_core::watch::{Burst, ChangeOrigin, Exactness, Outcome, StartupWrite};
use ostler_proto::control::Action;

use super::Watches;
use super::engine::WatchReport;
use super::watched::{Change, WatchEvent};
use crate::engine::{Ctx, FeatureRequest};
use crate::state::slots::Slot;
use crate::state::store::Role;

/// `USER_HZ` is 100 on every supported architecture.
const MS_PER_TICK: u64 = 10;
/// Number of folders from which a warning is logged, because so many are hardly intended.
const MANY_FOLDERS: usize = 10_000;
/// Delay until the next check, while a reload is in progress.
pub(super) const AGAIN_MS: u64 = 150;

impl Watches {
    /// Handles reports of the thread.
    pub(super) fn on_reports(&mut self, ctx: &mut Ctx) {
        let Some(engine) = &self.engine else { return };
        // This only clears the waker.
        engine.daemon_waker.clear();
        let reports: Vec<WatchReport> = engine.reports.try_iter().collect();
        for WatchReport { group, news } in reports {
            if let WatchEvent::Died(text) = &news {
                ctx.io.log.error(format_args!("bug in the thread that watches files, which restarts: {text}"));
                let home = ctx.io.settings.home.to_string_lossy().into_owned();
                self.replace_thread(&ctx.io.reactor, &home);
                return self.settle(ctx);
            }
            let Some(name) = self.groups.get(&group).map(|group| group.name.clone()) else { continue };
            match news {
                WatchEvent::Watching { folders: 1 } => ctx.io.log.line(format_args!("Watching 1 folder for app {name}")),
                WatchEvent::Watching { folders } => {
                    ctx.io.log.line(format_args!("Watching {folders} folders for app {name}"));
                    if folders >= MANY_FOLDERS {
                        ctx.io.log.error(format_args!(
                            "App [{name}] watches {folders} folders: list the folders that matter in watch, or exclude others in \
                             ignore_watch"
                        ));
                    }
                }
                WatchEvent::Trouble(text) => ctx.io.log.error(format_args!("App [{name}] {text}")),
                WatchEvent::Changed { changes, more } => self.files_changed(ctx, group, &changes, more),
                WatchEvent::Died(_) => {}
            }
        }
    }

    fn files_changed(&mut self, ctx: &mut Ctx, group: u32, changes: &[Change], more: bool) {
        let mut counted = None;
        for change in changes {
            if self.file_changed(ctx, group, change) {
                counted = Some(change);
            }
        }
        // Changes without a name are handled like the last change that counted.
        if let Some(last) = counted.filter(|_| more) {
            self.file_changed(ctx, group, &Change { path: last.path.clone(), wall_ms: None });
        }
    }

    /// Handles a changed file. Returns true if the change counts.
    pub(super) fn file_changed(&mut self, ctx: &mut Ctx, id: u32, change: &Change) -> bool {
        let now = ctx.now;
        // File times use the wall clock, which can be set.
        let ago = change.wall_ms.map_or(0, |at| now.wall_ms.saturating_sub(at));
        let at_ms = now.mono_ms.saturating_sub(ago);
        let Some(group) = self.groups.get_mut(&id) else { return false };
        let started = |slot: &u32| ctx.state.slots.get(*slot).filter(|slot| slot.durable.role != Role::Retiring).map(started_ms);
        let newest = group.members.iter().filter_map(started).max();
        let running = newest.flatten();
        let age_ms = running.filter(|started| *started < u64::MAX).map(|started| at_ms.saturating_sub(started));
        if group.guard.judge(&change.path, age_ms) == ChangeOrigin::Own {
            return false;
        }
        let members: Vec<u32> = group.members.iter().copied().filter(|slot| started(slot).is_some()).collect();
        let tick_ms = ostler_sys::time::clock::file_tick_ms();
        let mut counts = false;
        for id in members {
            let Some(slot) = ctx.state.slots.get_mut(id) else { continue };
            let exactness = Exactness { tick_ms, built_by_hook: slot.spec().hooks.pre_start.is_some() };
            if started_ms(slot).is_some_and(|started| exactness.is_known(at_ms, started)) {
                continue;
            }
            counts = true;
            if !slot.durable.watch.changed {
                slot.durable.watch.changed = true;
                ctx.state.slots.changed(id);
            }
        }
        if counts {
            let Some(group) = self.groups.get_mut(&id) else { return false };
            match &mut group.burst {
                Some(burst) => burst.last_ms = now.mono_ms,
                None => group.burst = Some(Burst::begin(change.path.clone(), age_ms, now.mono_ms)),
            }
            self.set_timer(ctx, id);
        }
        counts
    }

    /// Restores changes that the former daemon received but had not acted on yet.
    pub(super) fn recall_changes(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        let mut recalled = Vec::new();
        for (id, group) in &mut self.groups {
            let is_marked = |slot: &u32| ctx.state.slots.get(*slot).is_some_and(|slot| slot.durable.watch.changed);
            if group.burst.is_none() && group.members.iter().any(is_marked) {
                group.burst = Some(Burst::begin(group.key.cwd.clone(), None, now_ms));
                recalled.push(*id);
            }
        }
        recalled.into_iter().for_each(|id| self.set_timer(ctx, id));
    }

    /// Handles the end of a burst of this group. Its restart waits for the end of a reload that is
    /// in progress.
    pub(super) fn on_burst_end(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if ctx.state.slots.is_being_replaced(&group.name) {
            group.not_before_ms = ctx.now.mono_ms + AGAIN_MS;
        } else if let Some(burst) = group.burst.take() {
            self.end_burst(ctx, id, burst);
        }
        self.set_timer(ctx, id);
    }

    fn end_burst(&mut self, ctx: &mut Ctx, id: u32, burst: Burst) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let is_meant = |slot: &&Slot| slot.durable.watch.changed && slot.durable.role == Role::Serving;
        let marked: Vec<u32> =
            group.members.iter().filter_map(|slot| ctx.state.slots.get(*slot)).filter(is_meant).map(|slot| slot.durable.id).collect();
        if marked.is_empty() {
            return;
        }
        let name = group.name.clone();
        let path = shown(&burst.path, &group.key.cwd).escape_debug().to_string();
        let outcome = if burst.is_held { Outcome::Restart } else { group.guard.outcome(&burst.path, burst.age_ms) };
        match outcome {
            Outcome::Restart => {}
            Outcome::Later { delay_ms, is_first } => {
                group.not_before_ms = ctx.now.mono_ms + delay_ms;
                group.burst = Some(Burst { is_held: true, ..burst });
                if is_first {
                    ctx.io.log.error(format_args!(
                        "App {name} is restarted again and again by \"{path}\", which it may write itself: restarts are now delayed more \
                         and more; add it to ignore_watch"
                    ));
                }
                return;
            }
            Outcome::Nothing(habit) => {
                log_habit(ctx, &name, &habit);
                return unmark(ctx, &marked);
            }
        }
        ctx.io.log.line(format_args!("Change detected on path {path} for app {name} - restarting"));
        restart_changed(ctx, &name, &marked, Origin::found(PolicyName::Watch, path));
    }
}

fn log_habit(ctx: &mut Ctx, name: &str, habit: &StartupWrite) {
    let StartupWrite { path, is_folder, window_ms } = habit;
    let what = if *is_folder { "files in" } else { "" };
    let blank = if *is_folder { " " } else { "" };
    let seconds = *window_ms as f64 / 1000.0;
    ctx.io.log.error(format_args!(
        "App {name} writes {what}{blank}\"{}\" itself at each start: in its first {seconds:.1} s, this no longer restarts it; add it to \
         ignore_watch",
        path.escape_debug()
    ));
}

fn unmark(ctx: &mut Ctx, slots: &[u32]) {
    for id in slots {
        if let Some(slot) = ctx.state.slots.get_mut(*id) {
            slot.durable.watch.changed = false;
            ctx.state.slots.changed(*id);
        }
    }
}

/// Reloads the instances if all run and can serve beside their successors. Otherwise restarts them,
/// and starts those that have exited by themselves.
fn restart_changed(ctx: &mut Ctx, name: &str, marked: &[u32], origin: Origin) {
    let all = ctx.state.slots.of_app(name);
    let can_reload = |id: &u32| {
        let slot = ctx.state.slots.get(*id);
        slot.is_some_and(|slot| matches!(slot.durable.instance.state, InstanceState::Running { .. }) && slot.shares_its_ports())
    };
    let action = if all.iter().all(|id| marked.contains(id) && can_reload(id)) { Action::Reload } else { Action::Restart };
    let is_down = |id: &u32| {
        ctx.state.slots.get(*id).is_some_and(|slot| matches!(slot.durable.instance.state, InstanceState::Stopped | InstanceState::Errored))
    };
    let (down, up): (Vec<u32>, Vec<u32>) = marked.iter().copied().partition(is_down);
    if !up.is_empty() {
        ctx.request(FeatureRequest::Act { action, ids: up, origin: origin.clone() });
    }
    for id in down {
        ctx.event(id, Event::Start(origin.clone()));
    }
}

/// Returns the time when the instance's process was requested; it cannot have read anything before.
/// `None` if it has no process.
fn started_ms(slot: &Slot) -> Option<u64> {
    match slot.durable.instance.state {
        // Its process starts later, and will read the changed file.
        InstanceState::Waiting { .. } | InstanceState::Preparing { .. } => return Some(u64::MAX),
        InstanceState::Spawning { .. } => {}
        _ => drop(slot.durable.instance.pid()?),
    }
    // For a process that a former daemon started, only the kernel's ticks are known.
    slot.live.spawned_ms.or((slot.durable.start_ticks > 0).then_some(slot.durable.start_ticks.saturating_mul(MS_PER_TICK)))
}

/// Returns the path relative to the working directory, as PM2 shows it.
fn shown<'a>(path: &'a str, cwd: &str) -> &'a str {
    path.strip_prefix(cwd).and_then(|rest| rest.strip_prefix('/')).filter(|rest| !rest.is_empty()).unwrap_or(path)
}
