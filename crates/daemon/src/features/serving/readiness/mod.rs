//! Readiness signals and heartbeats: messages of a process on its channel, by sd_notify or with a
//! newline, and active checks.
//!
//! # Theory of operation
//!
//! An app may need a socket for sd_notify, or a pipe for a newline. It is made before the process
//! and held by the keeper, so the app's messages also reach the next daemon. Other signals need an
//! active check (a port, an answer, a line, the time). The daemon checks only while the process
//! starts and has to prove that signal. After every step, [`Readiness::follow`] compares the wanted
//! checks with the present ones. Apps that declare nothing cost nothing, and nothing wakes the
//! daemon without an event.

mod checks;
mod log_line;
mod newline;
mod notifications;
mod notify;
mod notify_path;
mod proof;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::{Event, InstanceState, SpawnFailure};
use ostler_core::serving::ReadyBy;
use ostler_proto::node::Message;
use ostler_sys::Credentials;
use ostler_sys::process::cstrings::OWN_PID;
use rustix::io::Errno;

use crate::engine::{Ctx, InstanceStep, Key, SpawnExtras};
use crate::platform::probe::Probes;
use crate::platform::reactor::Source;
use crate::state::slots::split_key;
use log_line::LogLines;
use newline::{Newline, NewlineRead};
use notify::{Notify, PER_TURN, Watchdog};
use proof::Signal;

/// Starting processes, their proofs, and their channels.
#[derive(Debug)]
pub(crate) struct Readiness {
    notify: BTreeMap<u32, Notify>,
    newlines: BTreeMap<u32, Newline>,
    /// Incarnations that are being checked.
    checked: BTreeMap<u32, u32>,
    /// Incarnations that have proved readiness and have not made the next step.
    proved: BTreeMap<u32, u32>,
    probes: Probes,
    logs: LogLines,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            notify: BTreeMap::new(),
            newlines: BTreeMap::new(),
            checked: BTreeMap::new(),
            proved: BTreeMap::new(),
            probes: Probes::new(|id| FdKind::Probe.source(id)),
            logs: LogLines::default(),
        }
    }
}

/// Descriptors of this feature: a kind beside the number of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FdKind {
    Notify = 0,
    Newline = 1,
    Probe = 2,
    /// Of no particular instance.
    LogLines = 3,
}

impl FdKind {
    fn source(self, id: u32) -> Source {
        Source::Feature(Readiness::NAME, (self as u64) << 32 | u64::from(id))
    }
}

/// Deadlines of this feature, as [`FdKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadinessTimer {
    Uptime = 0,
    Log = 1,
    Watchdog = 2,
    /// Resumes reception after too much was sent.
    ReceiveAgain = 3,
    /// Of no particular instance: the next attempt of a probe.
    Probes = 4,
}

impl ReadinessTimer {
    fn of(self, id: u32) -> Key {
        (Readiness::NAME, (self as u64) << 32 | u64::from(id))
    }
}

/// Returns true if the app uses sd_notify. Only then it gets a socket, because Node apps send
/// `ready` on their channel.
fn uses_notify(spec: &AppSpec, proof: Option<&ReadyBy>) -> bool {
    spec.ready.watchdog_ms.is_some()
        || proof == Some(&ReadyBy::Notify)
        || spec.ready.by.as_deref() == Some(&ReadyBy::Notify)
        || (proof == Some(&ReadyBy::Message) && !spec.runs_in_node())
}

/// Returns the user of the app's processes, who may send, if it is another user.
fn other_user(spec: &AppSpec) -> Option<Credentials> {
    let account = crate::platform::users::account(spec).ok().flatten();
    account.map(|account| account.credentials).filter(|user| user.uid != own_user())
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn user_of(spec: &AppSpec) -> u32 {
    other_user(spec).map_or_else(own_user, |user| user.uid)
}

fn watchdog_of(spec: &AppSpec) -> Option<Watchdog> {
    spec.ready.watchdog_ms.map(Watchdog::new)
}

impl Readiness {
    pub(crate) const NAME: &str = "readiness";

    /// Prepares the channels of a new process.
    fn prepare(&mut self, ctx: &mut Ctx, id: u32, inc: u32, beside: &mut SpawnExtras) -> Result<(), Errno> {
        self.expect_nothing(ctx, id);
        withdraw_status(ctx, id);
        let Some(slot) = ctx.state.slots.get_mut(id) else { return Ok(()) };
        slot.live.trouble = None;
        let (key, proof, spec) = (slot.key(inc), slot.live.proof.clone(), Rc::clone(&slot.app().spec));
        if uses_notify(&spec, proof.as_deref()) {
            self.make_socket(ctx, id, key, &spec, beside)?;
        }
        if let Some(&ReadyBy::Descriptor(number)) = proof.as_deref() {
            let (made, theirs) = Newline::make(id, key, &ctx.io.reactor)?;
            ctx.io.keeper.hold(&Newline::held_name(key), made.as_fd());
            self.newlines.insert(id, made);
            beside.fds.push((theirs, number));
        }
        Ok(())
    }

    fn make_socket(&mut self, ctx: &mut Ctx, id: u32, key: u64, spec: &AppSpec, beside: &mut SpawnExtras) -> Result<(), Errno> {
        let Some(slot) = ctx.state.slots.get(id) else { return Ok(()) };
        let (watchdog, other) = (watchdog_of(spec), other_user(spec));
        let owner = notify_path::NotifyOwner { key, unique_id: &slot.durable.unique_id, other: other.as_ref() };
        let (fd, name) = notify_path::open(&ctx.io.settings.home, &owner)?;
        let user = other.map_or_else(own_user, |user| user.uid);
        let made = Notify::watch(fd, id, key, user, watchdog, &ctx.io.reactor).ok_or(Errno::MFILE)?;
        ctx.io.keeper.hold(&Notify::held_name(key), made.as_fd());
        self.notify.insert(id, made);
        beside.vars.push(("NOTIFY_SOCKET", name));
        if let Some(watchdog) = watchdog {
            beside.vars.push(("WATCHDOG_USEC", watchdog.period_ms.saturating_mul(1000).to_string()));
            beside.vars.push(("WATCHDOG_PID", OWN_PID.to_owned()));
        }
        Ok(())
    }

    /// Stops all checks of a slot's process, which has exited or never existed.
    fn expect_nothing(&mut self, ctx: &mut Ctx, id: u32) {
        self.stop_checks(ctx, id);
        self.proved.remove(&id);
        if let Some(notify) = self.notify.remove(&id) {
            ctx.outbox.timers.set(ReadinessTimer::Watchdog.of(id), None);
            ctx.outbox.timers.set(ReadinessTimer::ReceiveAgain.of(id), None);
            ctx.io.keeper.drop_held(&Notify::held_name(notify.key));
            notify.close(&ctx.io.reactor);
        }
        self.drop_newline(ctx, id);
    }

    fn drop_newline(&mut self, ctx: &mut Ctx, id: u32) {
        if let Some(newline) = self.newlines.remove(&id) {
            ctx.io.keeper.drop_held(&Newline::held_name(newline.key));
            newline.close(&ctx.io.reactor);
        }
    }

    /// Updates the checks from the state of an instance.
    fn follow(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        if slot.live.proof.is_none() && self.notify.is_empty() && self.checked.is_empty() {
            return;
        }
        let (starting, running) = match slot.durable.instance.state {
            InstanceState::Starting { inc, since, .. } => (Some((inc, since.mono_ms)), None),
            InstanceState::Running { inc, .. } => (None, Some(inc)),
            _ => (None, None),
        };
        if let Some((inc, since_ms)) = starting {
            if self.checked.get(&id) != Some(&inc) {
                self.stop_checks(ctx, id);
                self.checked.insert(id, inc);
                self.start_checks(ctx, id, since_ms);
                let extended = self.notify.get_mut(&id).and_then(|notify| notify.extended_ms.take());
                if let Some(until_ms) = extended {
                    ctx.event(id, Event::Extend { inc, until_ms });
                }
            }
        } else {
            self.stop_checks(ctx, id);
        }
        self.follow_watchdog(ctx, id, running);
    }

    /// Handles input on the pipe of a process.
    fn on_newline(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(newline) = self.newlines.get(&id) else { return };
        let inc = split_key(newline.key).1;
        match newline.read() {
            NewlineRead::Nothing => {}
            NewlineRead::Newline => {
                self.drop_newline(ctx, id);
                self.take_signal(ctx, id, inc, Signal::Newline);
            }
            NewlineRead::End => {
                self.drop_newline(ctx, id);
                note_trouble(ctx, id, "the descriptor was closed without a newline".into());
            }
        }
    }
}

/// Records why an instance is not ready yet.
fn note_trouble(ctx: &mut Ctx, id: u32, trouble: String) {
    if let Some(slot) = ctx.state.slots.get_mut(id) {
        slot.live.trouble = Some(trouble.into());
    }
}

/// Withdraws the status text that a process reported by sd_notify, because the process has exited.
fn withdraw_status(ctx: &mut Ctx, id: u32) {
    if let Some(learned) = ctx.state.slots.get_mut(id).and_then(|slot| slot.durable.learned.own_mut()) {
        learned.status = None;
    }
}

/// Withdraws the reason why an instance was not ready, if it is ready, was online before this step,
/// or is stopped.
///
/// If the start times out in this step, the reason stays, because the message about that step
/// contains it.
fn withdraw_trouble(ctx: &mut Ctx, step: &InstanceStep<'_>) {
    let Some(slot) = ctx.state.slots.get_mut(step.id).filter(|slot| slot.live.trouble.is_some()) else { return };
    let is_ready = matches!(step.event, Event::Ready { .. }) || step.before == "online";
    if is_ready || slot.durable.instance.state == InstanceState::Stopped {
        slot.live.trouble = None;
    }
}

impl Readiness {
    /// Removes sockets that killed daemons may have left.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        notify_path::remove_leftovers(&ctx.io.settings.home, self.notify.values().map(Notify::as_fd));
    }

    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        let failed = |errno: Errno| SpawnFailure { step: "prepare for readiness signals".into(), errno: errno.raw_os_error() };
        self.prepare(ctx, id, inc, beside).map_err(failed)
    }

    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if !self.proved.is_empty() && matches!(step.event, Event::Ready { .. }) {
            self.proved.remove(&step.id);
        }
        self.follow(ctx, step.id);
        withdraw_trouble(ctx, step);
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, inc: u32, message: &Message) {
        if let Some(signal) = Signal::of(ctx, id, message) {
            self.take_signal(ctx, id, inc, signal);
        }
    }

    pub(crate) fn on_listening(&mut self, ctx: &mut Ctx, id: u32) {
        self.begins_to_listen(ctx, id);
        // A cluster worker sends a message itself.
        if let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.spec().shares_opened_port()) {
            let inc = slot.durable.instance.inc;
            self.take_signal(ctx, id, inc, Signal::Listening);
        }
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        let (kind, id) = split_key(key);
        match kind {
            0 => self.on_notify(ctx, id),
            1 => self.on_newline(ctx, id),
            2 => self.on_probe(ctx, id),
            _ => self.check_logs(ctx),
        }
    }

    pub(crate) fn on_effect(&mut self, ctx: &mut Ctx, key: u64) {
        self.on_notify_rest(ctx, split_key(key).1);
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        let (kind, id) = split_key(key);
        match kind {
            0 => self.on_signal(ctx, id, Signal::Uptime),
            1 => self.check_log(ctx, id),
            2 => self.watchdog_is_due(ctx, id),
            3 => self.receive_again(ctx, id),
            _ => self.run_probes(ctx),
        }
    }

    pub(crate) fn on_end(&mut self, ctx: &mut Ctx, id: u32) -> bool {
        self.receive_to_the_end(ctx, id)
    }

    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        self.expect_nothing(ctx, id);
        withdraw_status(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.expect_nothing(ctx, id);
    }

    pub(crate) fn held<'a>(&'a self, _ctx: &'a Ctx) -> Vec<(String, BorrowedFd<'a>)> {
        let notify = self.notify.values().map(|notify| (Notify::held_name(notify.key), notify.as_fd()));
        notify.chain(self.newlines.values().map(|newline| (Newline::held_name(newline.key), newline.as_fd()))).collect()
    }

    pub(crate) fn adopt_fd(&mut self, ctx: &mut Ctx, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        let Some((kind, key)) = name.split_once(':').and_then(|(kind, key)| Some((kind, key.parse::<u64>().ok()?))) else {
            return Some(fd);
        };
        let (id, inc) = split_key(key);
        let slot = ctx.state.slots.get(id).filter(|slot| slot.durable.instance.inc == inc);
        match (kind, slot) {
            ("notify", Some(slot)) => {
                let spec = slot.spec();
                let watched = Notify::watch(fd, id, key, user_of(spec), watchdog_of(spec), &ctx.io.reactor);
                self.notify.extend(watched.map(|notify| (id, notify)));
            }
            ("newline", Some(_)) => {
                let watched = Newline::watch(fd, id, key, &ctx.io.reactor);
                self.newlines.extend(watched.map(|newline| (id, newline)));
            }
            ("notify" | "newline", None) => ctx.io.keeper.drop_held(name),
            _ => return Some(fd),
        }
        None
    }
}
