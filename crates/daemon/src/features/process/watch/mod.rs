//! Restarts when files change: watched apps, and the effects of a change.
//!
//! # Theory of operation
//!
//! Apps with the same settings and the same name are one [`Group`]. A thread ([`engine`]) follows
//! the files of all groups and reports the changes that count by the app's rules
//! ([`ostler_core::watch`]). This module decides what to do. If a process was started after a
//! change, it has read the changed file already, so the change causes nothing. Otherwise each
//! instance that has to be restarted is marked in the journal. When the burst is over and no reload
//! of the app is in progress, the marked instances are reloaded if that loses no request, or else
//! restarted. A start removes the mark.
//!
//! The keeper holds the kernel's queue of changes. The next daemon reads the changes that happen
//! while no daemon runs.

mod act;
mod engine;
mod follow;
mod kernel;
mod resolved_path;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;
mod tree;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};

use ostler_core::lifecycle::{DesiredState, Event};
use ostler_core::watch::{Burst, Guard, Pace, WatchSpec};
use ostler_sys::fs::inotify::Inotify;

use crate::engine::{Ctx, InstanceStep};
use crate::platform::keeper_connection::KeeperConnection;
use crate::platform::reactor::{Reactor, Source};
use crate::platform::waker::Waker;
use crate::state::slots::Slot;
use crate::state::store::WatchMark;
use engine::{Thread, ThreadChannels, WatchCommand, WatchReport};
use watched::WatchSettings;

/// Name of the queue that the keeper holds.
const HELD: &str = "watch";

/// Number of deaths by a bug after which the thread is not started again.
const MOST_DEATHS: u32 = 3;

/// State of the watch.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    groups: BTreeMap<u32, Group>,
    /// Group of each slot, and the number of the description that put it there.
    members: BTreeMap<u32, (u64, u32)>,
    next: u32,
    queue: Option<Inotify>,
    engine: Option<Engine>,
    /// Orders before there is a thread. When a daemon starts, all orders come before the first
    /// event.
    waiting: Vec<WatchCommand>,
    booted: bool,
    /// Deaths of the thread.
    deaths: u32,
}

/// Daemon's side of the thread.
#[derive(Debug)]
struct Engine {
    orders: mpsc::Sender<WatchCommand>,
    /// Waker of the thread.
    thread_waker: Arc<Waker>,
    reports: mpsc::Receiver<WatchReport>,
    /// Waker of the daemon.
    daemon_waker: Arc<Waker>,
}

impl Engine {
    fn order(&self, order: WatchCommand) {
        // The thread lives as long as this sender exists.
        let _ = self.orders.send(order);
        self.thread_waker.wake();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The thread exits when it finds the channel closed.
        self.orders = mpsc::channel().0;
        self.thread_waker.wake();
    }
}

/// Instances that are watched in the same way.
#[derive(Debug)]
struct Group {
    name: String,
    key: Key,
    members: BTreeSet<u32>,
    pace: Pace,
    guard: Guard,
    burst: Option<Burst>,
    /// Time before which the burst is not handled, because a reload is in progress.
    not_before_ms: u64,
}

/// Key of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    watch: WatchSpec,
    cwd: String,
    script: String,
    own: Vec<String>,
}

impl Group {
    fn due_ms(&self) -> Option<u64> {
        self.burst.as_ref().map(|burst| burst.due_ms(self.pace).max(self.not_before_ms))
    }
}

impl Watches {
    /// Starts the thread if there is something to watch. The orders already contain all groups that
    /// the former daemon watched.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.booted = true;
        self.settle(ctx);
        self.recall_changes(ctx);
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if let Some(slot) = ctx.state.slots.get_mut(step.id) {
            // This is journaled with the step.
            slot.durable.watch = mark_after(slot, step);
        }
        self.follow(ctx, step.id);
    }

    /// Handles a new process, which has read all earlier changes.
    pub(crate) fn on_spawn(&mut self, ctx: &mut Ctx, id: u32) {
        if let Some(slot) = ctx.state.slots.get_mut(id).filter(|slot| slot.durable.watch.changed) {
            // The mark was set after the step, so it is in the journal by now. The next daemon
            // would restart the instance once more. A stop since then counts.
            slot.durable.watch.changed = false;
            ctx.state.slots.changed(id);
        }
    }

    pub(crate) fn on_described(&mut self, ctx: &mut Ctx, id: u32) {
        self.follow(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.follow(ctx, id);
    }

    /// Handles the end of a burst.
    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        self.on_burst_end(ctx, key as u32);
    }

    /// Handles reports of the thread.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, _key: u64, _writable: bool) {
        self.on_reports(ctx);
    }

    pub(crate) fn held<'a>(&'a self, _ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        self.queue.iter().map(|fd| (HELD.to_owned(), fd.as_fd())).collect()
    }

    /// Takes the queue of the former daemon.
    pub(crate) fn adopt_fd(&mut self, _ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        if name != HELD {
            return Some(fd);
        }
        self.queue = Some(fd.into());
        None
    }
}

impl Watches {
    pub(crate) const NAME: &str = "watch";

    /// Starts or stops the thread, and reports the reason if that is impossible.
    fn settle(&mut self, ctx: &mut Ctx) {
        if let Err(trouble) = self.settle_thread(&ctx.io.reactor, &mut ctx.io.keeper) {
            ctx.io.log.error(format_args!("{trouble}"));
        }
    }

    /// Sets the timer of a group after a burst has started, continued or was handled.
    fn set_timer(&self, ctx: &mut Ctx, group: u32) {
        ctx.outbox.timers.set((Self::NAME, u64::from(group)), self.groups.get(&group).and_then(Group::due_ms));
    }

    fn order(&mut self, order: WatchCommand) {
        match &self.engine {
            Some(engine) => engine.order(order),
            None if self.deaths < MOST_DEATHS => self.waiting.push(order),
            None => {}
        }
    }

    /// Prepares another thread after one has died, up to [`MOST_DEATHS`] times.
    fn replace_thread(&mut self, reactor: &Reactor, home: &str) {
        if let Some(engine) = self.engine.take() {
            reactor.remove(&*engine.daemon_waker);
        }
        self.deaths += 1;
        let plans = self.groups.iter().filter_map(|(id, group)| Some(WatchCommand::Watch(*id, Arc::new(Self::plan(&group.key, home)?))));
        self.waiting = plans.collect();
        self.booted = self.deaths < MOST_DEATHS;
    }

    /// Starts the thread if it has work, and stops it otherwise.
    ///
    /// # Errors
    /// Returns an error, worded for users, if the thread cannot be started.
    fn settle_thread(&mut self, reactor: &Reactor, keeper: &mut KeeperConnection) -> Result<(), String> {
        if !self.booted {
            return Ok(());
        }
        if self.groups.is_empty() {
            self.waiting.clear();
            if let Some(engine) = self.engine.take() {
                reactor.remove(&*engine.daemon_waker);
            }
            if self.queue.take().is_some() {
                keeper.drop_held(HELD);
            }
            return Ok(());
        }
        if self.engine.is_none() {
            let refused = self.open_queue(keeper).err();
            self.start(reactor).map_err(|error| format!("cannot watch files: {error}"))?;
            return refused.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// # Errors
    /// Returns an error if the kernel gives no queue. All files are then polled.
    fn open_queue(&mut self, keeper: &mut KeeperConnection) -> Result<(), String> {
        if self.queue.is_some() {
            return Ok(());
        }
        match Inotify::new() {
            Ok(queue) => {
                keeper.hold(HELD, queue.as_fd());
                self.queue = Some(queue);
                Ok(())
            }
            Err(errno) => Err(format!(
                "no inotify instance is available ({}; raise `sysctl fs.inotify.max_user_instances`): files are polled, at most every \
                 second",
                std::io::Error::from(errno)
            )),
        }
    }

    fn start(&mut self, reactor: &Reactor) -> std::io::Result<()> {
        let (of_thread, ours) = (Arc::new(Waker::new()?), Arc::new(Waker::new()?));
        let queue = self.queue.as_ref().map(Inotify::try_clone).transpose()?;
        let (orders, received) = mpsc::channel();
        let (sender, reports) = mpsc::channel();
        for order in std::mem::take(&mut self.waiting) {
            let _ = orders.send(order);
        }
        reactor.add(&*ours, Source::Feature(Self::NAME, 0))?;
        let (its_own, back) = (Arc::clone(&of_thread), Arc::clone(&ours));
        let report: engine::ReportFn = Box::new(move |report| {
            // If the daemon is exiting, nothing receives the report.
            let _ = sender.send(report);
            back.wake();
        });
        begin(ThreadChannels { inotify: queue, orders: received, waker: its_own, report })?;
        self.engine = Some(Engine { orders, thread_waker: of_thread, reports, daemon_waker: ours });
        Ok(())
    }

    fn plan(key: &Key, home: &str) -> Option<WatchSettings> {
        let own = key.own.iter().map(String::as_str).collect();
        let rules = ostler_core::watch::Rules::new(&key.watch, &ostler_core::watch::Surroundings { cwd: &key.cwd, home, own }).ok()?;
        let watch = &key.watch;
        Some(WatchSettings {
            rules,
            script: key.script.clone().into(),
            gitignore: !watch.no_gitignore,
            follow: !watch.no_follow,
            polling: watch.polling,
            interval_ms: watch.interval_ms,
        })
    }
}

/// Returns the mark of an instance after this step, which records whether its files have changed.
fn mark_after(slot: &Slot, step: &InstanceStep<'_>) -> WatchMark {
    let mark = slot.durable.watch;
    match step.event {
        // A changed file does not start an instance that a user stopped.
        Event::Stop(origin) | Event::StopGently(origin) if origin.is_user() => WatchMark { stopped: true, changed: false },
        // A start watches again, and its process has read all earlier changes.
        _ if step.spawns => WatchMark::default(),
        // The instance was stopped before its process was there; it keeps that process.
        Event::Start(_) | Event::Restart(_) if slot.durable.instance.wanted == DesiredState::Up => WatchMark { stopped: false, ..mark },
        _ => mark,
    }
}

fn begin(ends: ThreadChannels) -> std::io::Result<()> {
    const STACK_BYTES: usize = 256 << 10;
    #[cfg(test)]
    let Some(ends) = simulated::take(ends) else { return Ok(()) };
    std::thread::Builder::new().name("watch".into()).stack_size(STACK_BYTES).spawn(move || Thread::new(ends).run())?;
    Ok(())
}
