//! Watch over the keeper. A keeper that lives but does nothing (stopped, in an endless loop,
//! blocked) is noticed, killed and replaced.
//!
//! At rest the daemon sends nothing, so nothing wakes up. It sends `Ping` a second after it sent
//! the keeper an order, or saw a main process exit by its descriptor. It sends `Ping` at once if a
//! client sends a request while the kernel shows the keeper as stopped. On a busy machine, time
//! alone proves nothing. Until the answer comes, the daemon therefore reads the keeper's activity,
//! and judges by the same rules as the keeper judges the daemon ([`Watchdog`]).
//!
//! A keeper that hangs gets SIGKILL. Its link then closes, and the daemon continues as for a keeper
//! that another process killed. A keeper that is process 1, or in the foreground of a container or
//! terminal, cannot be replaced. If it is stopped, it gets SIGCONT; otherwise the fault is only
//! reported.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use ostler_core::lifecycle::{Event, Recovered};
use ostler_keeper::{FromKeeper, HangKind, RUNTIME_VAR, ToKeeper, Watchdog};
use ostler_sys::ProcRef;
use ostler_sys::process::signal::{CONT, KILL};
use ostler_sys::process::{Activity, activity, ending_by_fd};

use crate::engine::{Ctx, InstanceStep, Key};
use crate::platform::reactor::Source;
use crate::state::slots::Slot;

/// Watch over the keeper.
#[derive(Debug, Default)]
pub(crate) struct KeeperWatch {
    watchdog: Watchdog,
    /// Whether an order was sent, or an exit was seen, after the last `Ping`.
    needs_ping: bool,
    /// Whether a `Ping` is unanswered.
    awaits_pong: bool,
    /// Main processes by instance.
    mains: BTreeMap<u32, MainProcess>,
}

/// Main process whose exit the daemon itself can see.
#[derive(Debug)]
struct MainProcess {
    key: u64,
    process: ProcRef,
    pidfd: OwnedFd,
}

impl KeeperWatch {
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if let Event::Spawned { .. } | Event::Followed { .. } | Event::Recovered(Recovered::Alive { .. }) = step.event {
            self.watch_main(ctx, step.id);
        }
    }

    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        self.forget_main(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.forget_main(ctx, id);
    }

    /// Handles the exit of a main process, which the keeper has to report, too.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        let Some(main) = u32::try_from(key).ok().and_then(|id| self.forget_main(ctx, id)) else { return };
        // If the keeper is killed before it reports, its successor is not the parent and does not
        // know how the process exited.
        ctx.io.keeper.note_ending(main.key, ending_by_fd(main.pidfd.as_fd(), main.process));
        self.needs_ping = true;
    }

    /// Handles a message, which proves that the keeper works. Only `Pong` proves that it has read
    /// all earlier orders.
    pub(crate) fn on_keeper(&mut self, ctx: &mut Ctx, message: &FromKeeper) {
        self.watchdog.on_answer();
        self.awaits_pong &= *message != FromKeeper::Pong;
        if self.awaits_pong || self.needs_ping {
            self.watchdog.expect(ctx.now.mono_ms);
        }
    }

    pub(crate) fn on_new_keeper(&mut self, _ctx: &mut Ctx, _survivors: &[(u64, ProcRef)]) {
        (self.watchdog, self.needs_ping, self.awaits_pong) = (Watchdog::default(), false, false);
    }

    /// Checks the keeper when a client sends a request. This finds a keeper that was stopped at
    /// rest.
    pub(crate) fn on_replies(&mut self, ctx: &mut Ctx) {
        let Some(found) = ctx.io.keeper.process().and_then(|keeper| activity(keeper.pid).ok()) else { return };
        if matches!(found.state, b'T' | b't') {
            self.doubt(ctx, found);
        }
    }

    pub(crate) fn on_settled(&mut self, ctx: &mut Ctx) {
        // If processes are hidden (`hidepid`), a silence cannot be judged.
        self.needs_ping = ctx.io.keeper.process().is_some() && (self.needs_ping | ctx.io.keeper.take_sent());
        if self.needs_ping {
            self.watchdog.expect(ctx.now.mono_ms);
        }
        ctx.outbox.timers.set(Self::LOOK, self.watchdog.deadline_ms());
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        let Some(keeper) = ctx.io.keeper.process() else { return };
        // If the keeper is gone, the end of its link shows that.
        let found = activity(keeper.pid).unwrap_or(Activity { state: b'R', cpu_ms: 0 });
        if self.doubt(ctx, found) {
            return;
        }
        match self.watchdog.check(ctx.now.mono_ms, found) {
            Some(hang) => self.end_hang(ctx, keeper, hang),
            None if found.state == b't' => ctx.io.log.error_once(
                "keeper",
                format_args!(
                    "the keeper (pid {}) does not answer: it is stopped by a debugger; until it continues, no app is started or restarted",
                    keeper.pid
                ),
            ),
            None => {}
        }
    }
}

impl KeeperWatch {
    pub(crate) const NAME: &str = "keeper_watch";
    const LOOK: Key = (Self::NAME, 0);

    /// Opens a descriptor of the main process of an instance. If that fails (a sandbox refuses it,
    /// or descriptors are short), the next order shows its exit.
    fn watch_main(&mut self, ctx: &mut Ctx, id: u32) {
        self.forget_main(ctx, id);
        if ctx.io.keeper.process().is_none() || !ctx.io.fds.has_plenty() {
            return;
        }
        let Some((key, process)) =
            ctx.state.slots.get(id).and_then(|slot: &Slot| slot.process().map(|(inc, process)| (slot.key(inc), process)))
        else {
            return;
        };
        let Ok(pidfd) = process.open() else { return };
        if ctx.io.reactor.add(&pidfd, Source::Feature(Self::NAME, id.into())).is_ok() {
            self.mains.insert(id, MainProcess { key, process, pidfd });
        }
    }

    fn forget_main(&mut self, ctx: &mut Ctx, id: u32) -> Option<MainProcess> {
        let main = self.mains.remove(&id)?;
        ctx.io.reactor.remove(&main.pidfd);
        Some(main)
    }

    /// Starts to observe the keeper, and sends it a `Ping`. Returns false if it is observed
    /// already.
    fn doubt(&mut self, ctx: &mut Ctx, found: Activity) -> bool {
        let begins = self.watchdog.doubt(ctx.now.mono_ms, found);
        if begins && !self.awaits_pong {
            ctx.io.keeper.send(ToKeeper::Ping);
            (self.awaits_pong, self.needs_ping) = (true, false);
        }
        begins
    }

    /// Handles a hang. If the kernel blocks the process, that does not help, and the same verdict
    /// comes again.
    fn end_hang(&mut self, ctx: &mut Ctx, keeper: ProcRef, hang: HangKind) {
        self.watchdog.on_answer();
        self.watchdog.expect(ctx.now.mono_ms);
        let (pid, why) = (keeper.pid, hang.describe());
        let (signal, what) = match (is_replaceable(pid), hang) {
            (true, _) => (KILL, "replacing it; apps keep running"),
            (false, HangKind::Stopped) => (CONT, "it cannot be replaced; sending SIGCONT"),
            (false, _) => {
                let what = "it cannot be replaced here; no app is started or restarted until it runs again";
                return ctx.io.log.error_once("keeper", format_args!("the keeper (pid {pid}) does not answer: {why}; {what}"));
            }
        };
        ctx.io.log.error(format_args!("the keeper (pid {pid}) does not answer: {why}; {what}"));
        ctx.io.keeper.fault = Some(why.to_owned());
        if let Err(errno) = keeper.signal(signal) {
            ctx.io.log.error_once("keeper signal", format_args!("cannot signal the keeper (pid {pid}): {}", std::io::Error::from(errno)));
        }
    }
}

/// Returns true if another keeper can replace this one. Process 1 cannot be killed from inside. If
/// a keeper in the foreground of a container or terminal exits, everything exits.
fn is_replaceable(pid: i32) -> bool {
    pid != 1 && std::env::var_os(RUNTIME_VAR).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};

    const NAMES: &[&str] = &[KeeperWatch::NAME];
    const PONG: FromKeeper = FromKeeper::Pong;

    fn due(played: &TestContext) -> Option<u64> {
        played.ctx.outbox.timers.get(KeeperWatch::LOOK)
    }

    #[test]
    fn timer_is_set_only_while_the_keeper_owes_an_answer() {
        let (mut played, mut watch) = (TestContext::new(NAMES), KeeperWatch::default());
        watch.on_settled(&mut played.ctx);
        assert_eq!(due(&played), None, "at rest");
        played.ctx.io.keeper.send(ToKeeper::Pong);
        watch.on_settled(&mut played.ctx);
        assert_eq!(due(&played), None, "an answer needs none");
        played.ctx.io.keeper.kill(1, 15, false);
        watch.on_settled(&mut played.ctx);
        assert_eq!(due(&played), Some(played.ctx.now.mono_ms + 1000));
        played.pass(&mut watch, 1000);
        assert!(watch.awaits_pong && !watch.needs_ping);
        // A message before the answer proves nothing about the order.
        watch.on_keeper(&mut played.ctx, &FromKeeper::OrphanExited { pid: 7 });
        watch.on_settled(&mut played.ctx);
        assert!(due(&played).is_some());
        watch.on_keeper(&mut played.ctx, &PONG);
        watch.on_settled(&mut played.ctx);
        assert_eq!(due(&played), None);
    }

    #[test]
    fn keeper_that_is_not_visible_is_not_judged() {
        let (mut played, mut watch) = (TestContext::new(NAMES), KeeperWatch::default());
        let link = ostler_keeper::Link::new(ostler_sys::net::socket::packet_pair().unwrap().0);
        played.ctx.io.keeper.replace(link, i32::MAX);
        played.ctx.io.keeper.kill(1, 15, false);
        watch.on_settled(&mut played.ctx);
        watch.on_keeper(&mut played.ctx, &FromKeeper::OrphanExited { pid: 7 });
        watch.on_settled(&mut played.ctx);
        assert_eq!(due(&played), None);
    }

    #[test]
    fn request_after_a_ping_needs_another_ping() {
        let (mut played, mut watch) = (TestContext::new(NAMES), KeeperWatch::default());
        played.ctx.io.keeper.kill(1, 15, false);
        watch.on_settled(&mut played.ctx);
        played.pass(&mut watch, 1000);
        played.ctx.io.keeper.kill(2, 15, false);
        watch.on_settled(&mut played.ctx);
        watch.on_keeper(&mut played.ctx, &PONG);
        watch.on_settled(&mut played.ctx);
        assert_eq!(due(&played), Some(played.ctx.now.mono_ms + 1000));
    }

    reacts!(KeeperWatch: on_step, on_forgotten, on_ready, on_timer);
}
