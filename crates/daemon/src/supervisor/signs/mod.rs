//! Signs of readiness that are not said on the IPC channel, and signs of life.
//!
//! # Theory of operation
//!
//! What an app needs to speak (a socket for sd_notify, a pipe for a newline) is made before its process and held by the keeper, so that what
//! it says reaches the next daemon too. What has to be looked for (a port, an answer, a line, the time) is looked for only while the process
//! is starting and has to prove that: [`Control::follow_signs`] compares after every step what is to be watched with what is. Nothing of it
//! is there for apps that declare nothing, and nothing wakes the daemon when nothing happens.

mod door;
mod log_line;
mod newline;
mod notify;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ostler_core::app::AppSpec;
use ostler_core::files::own_stream;
use ostler_core::lifecycle::{Event, Origin, SpawnFailure, State};
use ostler_core::probe::Question;
use ostler_core::serving::{HttpProbe, ReadyBy};
use ostler_proto::sd_notify::Notification;
use ostler_sys::Credentials;
use ostler_sys::cstrings::OWN_PID;
use rustix::io::Errno;

use super::readiness::Sign;
use super::spawn::failure;
use crate::control::Control;
use crate::engine::Beside;
use crate::probe::{Answer, Probes};
use crate::reactor::Source;
use crate::rights::Rights;
use crate::slots::complaints::Topic;
use crate::slots::{Slot, split_key};
use log_line::{LogLines, Look};
use newline::{Newline, Read};
use notify::{Notify, PER_TURN, TO_THE_END, Watchdog};

/// Time until a log that was not looked at as a whole, or that cannot be watched, is looked at again.
const LOOK_AGAIN_MS: u64 = 50;
/// A watchdog that is noticed so late tells of our own absence (the machine slept, we stood still), not of the app's.
const NOTICED_LATE_MS: u64 = 1000;

/// Everything that is watched.
#[derive(Debug)]
pub(crate) struct Signs {
    notify: BTreeMap<u32, Notify>,
    newlines: BTreeMap<u32, Newline>,
    /// Which incarnations are being looked at.
    looked_at: BTreeMap<u32, u32>,
    pub(crate) probes: Probes,
    logs: LogLines,
    /// By time; and when each is due, to find it here.
    timers: BTreeSet<(u64, u32, Timer)>,
    due: BTreeMap<(u32, Timer), u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Uptime,
    Log,
    Watchdog,
    /// Too much was said: it is heard again.
    Hear,
}

impl Default for Signs {
    fn default() -> Self {
        Self {
            notify: BTreeMap::new(),
            newlines: BTreeMap::new(),
            looked_at: BTreeMap::new(),
            probes: Probes::new(Source::Probe),
            logs: LogLines::default(),
            timers: BTreeSet::new(),
            due: BTreeMap::new(),
        }
    }
}

impl Signs {
    /// When the clock has something to say.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        [self.timers.first().map(|(at, ..)| *at), self.probes.deadline_ms()].into_iter().flatten().min()
    }

    /// For a new keeper.
    pub(crate) fn held(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let notify = self.notify.values().map(|notify| (Notify::held_name(notify.key), notify.as_fd()));
        notify.chain(self.newlines.values().map(|newline| (Newline::held_name(newline.key), newline.as_fd())))
    }

    /// Sets or ends a timer.
    fn set_timer(&mut self, id: u32, timer: Timer, due_ms: Option<u64>) {
        let former = match due_ms {
            Some(at) => self.due.insert((id, timer), at),
            None => self.due.remove(&(id, timer)),
        };
        if let Some(at) = former {
            self.timers.remove(&(at, id, timer));
        }
        self.timers.extend(due_ms.map(|at| (at, id, timer)));
    }
}

/// Does the app speak sd_notify? Only then it gets a socket: Node apps say `ready` on their channel.
fn speaks(spec: &AppSpec, proof: Option<&ReadyBy>) -> bool {
    spec.ready.watchdog_ms.is_some()
        || proof == Some(&ReadyBy::Notify)
        || spec.ready.by.as_deref() == Some(&ReadyBy::Notify)
        || (proof == Some(&ReadyBy::Message) && !spec.runs_in_node())
}

/// User of the app's processes, if that is not us: they may speak.
fn other_user(spec: &AppSpec) -> Option<Credentials> {
    let account = crate::users::account(spec).ok().flatten();
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

/// Files in which a line can be found, with their sizes when the process started.
fn log_files(slot: &Slot) -> Vec<(PathBuf, u64)> {
    let (error, out) = slot.log_start;
    let files = [(&slot.files.out, out), (&slot.files.error, error)];
    let mut found: Vec<(PathBuf, u64)> = Vec::new();
    for (path, size) in files {
        if let Some(path) = path.as_deref().filter(|path| own_stream(path).is_none() && !crate::logs::is_nowhere(path.as_ref()))
            && found.iter().all(|(known, _)| known.as_os_str() != path)
        {
            found.push((path.into(), size));
        }
    }
    found
}

impl Control {
    /// What a new process needs to speak with us.
    pub(super) fn prepare_signs(&mut self, id: u32, inc: u32, beside: &mut Beside) -> Result<(), SpawnFailure> {
        self.drop_signs(id);
        let Some(slot) = self.ctx.slots.get_mut(id) else { return Ok(()) };
        slot.trouble = None;
        if let Some(learned) = slot.learned.own_mut() {
            learned.status = None;
        }
        let (key, proof) = (slot.key(inc), slot.proof.clone());
        let spec = std::rc::Rc::clone(&slot.app.spec);
        let failed = |errno: Errno| failure("prepare for signs of readiness", errno.raw_os_error());
        if speaks(&spec, proof.as_deref()) {
            let watchdog = watchdog_of(&spec);
            let other = other_user(&spec);
            let owner = door::Owner { key, unique_id: &slot.unique_id, other: other.as_ref() };
            let (fd, name) = door::open(&self.ctx.settings.home, &owner).map_err(failed)?;
            let user = other.map_or_else(own_user, |user| user.uid);
            let made = Notify::watch(fd, id, key, user, watchdog, &self.ctx.reactor).ok_or(Errno::MFILE).map_err(failed)?;
            self.ctx.keeper.hold(&Notify::held_name(key), made.as_fd());
            self.signs.notify.insert(id, made);
            beside.vars.push(("NOTIFY_SOCKET", name));
            if let Some(watchdog) = watchdog {
                beside.vars.push(("WATCHDOG_USEC", watchdog.period_ms.saturating_mul(1000).to_string()));
                beside.vars.push(("WATCHDOG_PID", OWN_PID.to_owned()));
            }
        }
        if let Some(&ReadyBy::Descriptor(number)) = proof.as_deref() {
            let (made, theirs) = Newline::make(id, key, &self.ctx.reactor).map_err(failed)?;
            self.ctx.keeper.hold(&Newline::held_name(key), made.as_fd());
            self.signs.newlines.insert(id, made);
            beside.fds.push((theirs, number));
        }
        Ok(())
    }

    /// A descriptor that the keeper held while there was no daemon. False: it is none of these.
    pub(crate) fn take_back_sign(&mut self, name: &str, fd: OwnedFd) -> Option<OwnedFd> {
        let Some((kind, key)) = name.split_once(':').and_then(|(kind, key)| Some((kind, key.parse::<u64>().ok()?))) else {
            return Some(fd);
        };
        let (id, inc) = split_key(key);
        let slot = self.ctx.slots.get(id).filter(|slot| slot.instance.inc == inc);
        match (kind, slot) {
            ("notify", Some(slot)) => {
                let spec = slot.spec();
                let watched = Notify::watch(fd, id, key, user_of(spec), watchdog_of(spec), &self.ctx.reactor);
                self.signs.notify.extend(watched.map(|notify| (id, notify)));
            }
            ("newline", Some(_)) => {
                let watched = Newline::watch(fd, id, key, &self.ctx.reactor);
                self.signs.newlines.extend(watched.map(|newline| (id, newline)));
            }
            ("notify" | "newline", None) => self.ctx.keeper.drop_held(name),
            _ => return Some(fd),
        }
        None
    }

    /// Nothing more is expected of the process of this slot: it has ended, or there never was one.
    pub(crate) fn drop_signs(&mut self, id: u32) {
        self.look_no_more(id);
        self.signs.set_timer(id, Timer::Watchdog, None);
        self.signs.set_timer(id, Timer::Hear, None);
        if let Some(notify) = self.signs.notify.remove(&id) {
            self.ctx.keeper.drop_held(&Notify::held_name(notify.key));
            notify.close(&self.ctx.reactor);
        }
        self.drop_newline(id);
    }

    fn drop_newline(&mut self, id: u32) {
        if let Some(newline) = self.signs.newlines.remove(&id) {
            self.ctx.keeper.drop_held(&Newline::held_name(newline.key));
            newline.close(&self.ctx.reactor);
        }
    }

    /// An instance made a step: what is watched follows.
    pub(super) fn follow_signs(&mut self, id: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        if slot.proof.is_none() && self.signs.notify.is_empty() && self.signs.looked_at.is_empty() {
            return;
        }
        let (starting, running) = match slot.instance.state {
            State::Starting { inc, since, .. } => (Some((inc, since.mono_ms)), None),
            State::Running { inc, .. } => (None, Some(inc)),
            _ => (None, None),
        };
        if let Some((inc, since_ms)) = starting {
            if self.signs.looked_at.get(&id) != Some(&inc) {
                self.look_no_more(id);
                self.signs.looked_at.insert(id, inc);
                self.begin_to_look(id, since_ms);
                let extended = self.signs.notify.get_mut(&id).and_then(|notify| notify.extended_ms.take());
                if let Some(until_ms) = extended {
                    self.feed(id, Event::Extend { inc, until_ms });
                }
            }
        } else {
            self.look_no_more(id);
        }
        self.follow_watchdog(id, running);
    }

    fn follow_watchdog(&mut self, id: u32, running: Option<u32>) {
        let Some(notify) = self.signs.notify.get_mut(&id) else { return };
        let armed = running.is_some_and(|inc| split_key(notify.key).1 == inc);
        let Some(watchdog) = notify.watchdog.as_mut().filter(|watchdog| watchdog.due_ms.is_some() != armed) else { return };
        watchdog.due_ms = armed.then(|| self.ctx.now.mono_ms.saturating_add(watchdog.period_ms));
        let due = watchdog.due_ms;
        self.signs.set_timer(id, Timer::Watchdog, due);
    }

    fn begin_to_look(&mut self, id: u32, since_ms: u64) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let begun = match slot.proof.as_deref() {
            Some(ReadyBy::Uptime { ms }) => {
                self.signs.set_timer(id, Timer::Uptime, Some(since_ms.saturating_add(*ms)));
                Ok(())
            }
            Some(ReadyBy::Log(pattern)) => {
                let begun = self.signs.logs.begin(id, pattern, Rights::of(slot.spec()), log_files(slot), &self.ctx.reactor);
                // It may be there already.
                self.signs.set_timer(id, Timer::Log, Some(0));
                begun
            }
            Some(by) => match Question::of(by, port_shift(slot, by)) {
                Some(question) => self.signs.probes.begin(id, id, question, self.ctx.now.mono_ms),
                None => Ok(()),
            },
            None => Ok(()),
        };
        if let Err(trouble) = begun {
            self.note_trouble(id, trouble);
        }
    }

    pub(super) fn look_no_more(&mut self, id: u32) {
        if self.signs.looked_at.remove(&id).is_none() {
            return;
        }
        self.signs.probes.end(id);
        self.signs.logs.end(id);
        self.signs.set_timer(id, Timer::Uptime, None);
        self.signs.set_timer(id, Timer::Log, None);
        self.drop_newline(id);
    }

    fn note_trouble(&mut self, id: u32, trouble: String) {
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            slot.trouble = Some(trouble.into());
        }
    }

    /// What only the clock says.
    pub(crate) fn tick_signs(&mut self) {
        let now_ms = self.ctx.now.mono_ms;
        for (id, answer) in self.signs.probes.tick(&self.ctx.reactor, now_ms) {
            self.take_answer(id, answer);
        }
        while let Some(&(at, id, timer)) = self.signs.timers.first().filter(|(at, ..)| *at <= now_ms) {
            self.signs.set_timer(id, timer, None);
            match timer {
                Timer::Uptime => self.seen_ready(id, Sign::Uptime),
                Timer::Log => self.look_at_log(id),
                Timer::Watchdog => self.watchdog_due(id, at, now_ms),
                Timer::Hear => {
                    let again = self.signs.notify.get(&id).is_none_or(|notify| notify.watch_again(&self.ctx.reactor));
                    // As much as is free may be so again soon.
                    let later = (!again).then(|| now_ms.saturating_add(LOOK_AGAIN_MS));
                    self.signs.set_timer(id, Timer::Hear, later);
                }
            }
        }
    }

    /// The socket of a probe is ready.
    pub(crate) fn hear_probe(&mut self, id: u32) {
        if let Some(answer) = self.signs.probes.hear(id, &self.ctx.reactor, self.ctx.now.mono_ms) {
            self.take_answer(id, answer);
        }
    }

    fn take_answer(&mut self, id: u32, answer: Answer) {
        match answer {
            Answer::Good => self.seen_ready(id, Sign::Answer),
            Answer::Bad(trouble) => self.note_trouble(id, trouble),
        }
    }

    /// A sign that was looked for.
    fn seen_ready(&mut self, id: u32, sign: Sign) {
        if let Some(&inc) = self.signs.looked_at.get(&id) {
            self.told_ready(id, inc, sign);
        }
    }

    /// A log file changed.
    pub(crate) fn hear_logs(&mut self) {
        for id in self.signs.logs.changed() {
            self.look_at_log(id);
        }
    }

    fn look_at_log(&mut self, id: u32) {
        match self.signs.logs.look(id) {
            Look::Found => self.seen_ready(id, Sign::Log),
            Look::Later => {}
            Look::Soon => self.signs.set_timer(id, Timer::Log, Some(self.ctx.now.mono_ms + LOOK_AGAIN_MS)),
        }
    }

    /// The pipe of a process is readable.
    pub(crate) fn hear_newline(&mut self, id: u32) {
        let Some(newline) = self.signs.newlines.get(&id) else { return };
        let inc = split_key(newline.key).1;
        match newline.read() {
            Read::Nothing => {}
            Read::Newline => {
                self.drop_newline(id);
                self.told_ready(id, inc, Sign::Newline);
            }
            Read::End => {
                self.drop_newline(id);
                self.note_trouble(id, "the descriptor was closed without a newline".into());
            }
        }
    }

    /// A process says how it is.
    pub(crate) fn hear_notify(&mut self, id: u32) {
        let heard = self.hear_notifications(id, PER_TURN);
        let now_ms = self.ctx.now.mono_ms;
        let until_ms = self.signs.notify.get_mut(&id).and_then(|notify| notify.spend(heard, now_ms, &self.ctx.reactor));
        if until_ms.is_some() {
            self.signs.set_timer(id, Timer::Hear, until_ms);
            self.ctx.complain(id, Topic::Notify, format_args!("says more by sd_notify than is heard: what it says has to wait"));
        }
    }

    /// Sockets of processes that are no more, left by daemons that were killed.
    pub(crate) fn remove_left_sockets(&self) {
        door::remove_left(&self.ctx.settings.home, self.signs.notify.values().map(Notify::as_fd));
    }

    /// What a process said until now counts before its end does.
    pub(crate) fn hear_notify_to_the_end(&mut self, id: u32) {
        self.hear_notifications(id, TO_THE_END);
    }

    /// How many there were.
    fn hear_notifications(&mut self, id: u32, at_most: usize) -> usize {
        for heard in 0..at_most {
            let Some(notify) = self.signs.notify.get(&id) else { return heard };
            let inc = split_key(notify.key).1;
            let Some(said) = notify.next() else { return heard };
            if let Some(pid) = said.main_pid {
                self.told_main_pid(id, inc, pid);
            }
            self.take_notification(id, inc, said);
            if let Some(notify) = self.signs.notify.get(&id) {
                notify.take();
            }
        }
        at_most
    }

    /// A line about a change of the main process. False when there were too many of them lately.
    pub(super) fn say_of_handover(&mut self, id: u32, line: std::fmt::Arguments<'_>) -> bool {
        let may_be_told = self.signs.notify.get_mut(&id).is_some_and(|notify| notify.may_be_told(self.ctx.now.mono_ms));
        if may_be_told {
            self.ctx.log.line(line);
        }
        may_be_told
    }

    fn take_notification(&mut self, id: u32, inc: u32, said: Notification) {
        let now_ms = self.ctx.now.mono_ms;
        if let Some(ms) = said.extend_ms {
            let until_ms = now_ms.saturating_add(ms);
            let spawning = self.ctx.slots.get(id).is_some_and(|slot| matches!(slot.instance.state, State::Spawning { .. }));
            match self.signs.notify.get_mut(&id) {
                // The process was faster than the keeper's word that it runs.
                Some(notify) if spawning => notify.extended_ms = Some(until_ms),
                _ => self.feed(id, Event::Extend { inc, until_ms }),
            }
        }
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            // Not worth a record of its own: an app may say so a thousand times a second.
            let status = status_after(slot.learned.status.take(), &said);
            slot.learned.status = status.filter(|status| !status.is_empty());
        }
        if said.ready {
            self.told_ready(id, inc, Sign::Notify);
        }
        let Some(watchdog) = self.signs.notify.get_mut(&id).and_then(|notify| notify.watchdog.as_mut()) else { return };
        if let Some(ms) = said.watchdog_ms {
            *watchdog = Watchdog { due_ms: watchdog.due_ms, ..Watchdog::new(ms) };
        }
        if watchdog.due_ms.is_none() {
            return;
        }
        if said.trigger {
            return self.bark(id, "it asked for it");
        }
        // On its way out it need not say so any more: the time for stopping counts then.
        if said.alive || said.ready || said.watchdog_ms.is_some() || said.stopping {
            watchdog.due_ms = Some(if said.stopping { u64::MAX } else { now_ms.saturating_add(watchdog.period_ms) });
            let due = watchdog.due_ms;
            self.signs.set_timer(id, Timer::Watchdog, due);
        }
    }

    fn watchdog_due(&mut self, id: u32, at: u64, now_ms: u64) {
        let Some(watchdog) = self.signs.notify.get_mut(&id).and_then(|notify| notify.watchdog.as_mut()) else { return };
        if now_ms.saturating_sub(at) > NOTICED_LATE_MS {
            watchdog.due_ms = Some(now_ms.saturating_add(watchdog.period_ms));
            let due = watchdog.due_ms;
            return self.signs.set_timer(id, Timer::Watchdog, due);
        }
        let period = watchdog.period_ms;
        self.bark(id, &format!("no sign of life for {period} ms"));
    }

    /// The process is restarted; `why` names the watchdog.
    fn bark(&mut self, id: u32, why: &str) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let (name, pm_id) = (slot.spec().name.clone(), slot.pm_id);
        self.ctx.log.error(format_args!("App [{name}:{pm_id}] watchdog: {why}, restarting it"));
        self.feed(id, Event::Restart(Origin::Policy("watchdog".into())));
    }
}

/// What is shown of it: its own words, else what it is doing.
fn status_after(before: Option<String>, said: &Notification) -> Option<String> {
    const RELOADING: &str = "reloading";
    match said {
        Notification { status: Some(status), .. } => Some(status.clone()),
        Notification { stopping: true, .. } => Some("stopping".into()),
        Notification { reloading: true, .. } => Some(RELOADING.into()),
        Notification { ready: true, .. } => before.filter(|status| status != RELOADING),
        _ => before,
    }
}

/// Where the variable that grows from instance to instance is the port that is asked, the port grows with it.
fn port_shift(slot: &Slot, by: &ReadyBy) -> u16 {
    match by {
        ReadyBy::Tcp { port, .. } | ReadyBy::Http(HttpProbe { port, .. }) => shift_of(slot, *port),
        _ => 0,
    }
}

/// What this instance has to add to that port.
pub(crate) fn shift_of(slot: &Slot, port: u16) -> u16 {
    let env = &slot.spec().env;
    let Some(variable) = env.increment_var.as_deref() else { return 0 };
    let own = env.layers().filter_map(|layer| layer.get(variable)).last();
    let first = own.or_else(|| slot.base.vars.get(variable)).and_then(|value| value.trim().parse::<u16>().ok());
    if first == Some(port) { u16::try_from(slot.index).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_proto::sd_notify::parse;

    #[test]
    fn its_own_words_are_shown_else_what_it_does() {
        let mut shown = None;
        for (said, expected) in [
            ("READY=1", None),
            ("STATUS=warm", Some("warm")),
            ("WATCHDOG=1", Some("warm")),
            ("READY=1", Some("warm")),
            ("RELOADING=1", Some("reloading")),
            ("WATCHDOG=1", Some("reloading")),
            ("READY=1", None),
            ("STOPPING=1\nSTATUS=bye", Some("bye")),
            ("STOPPING=1", Some("stopping")),
        ] {
            shown = status_after(shown, &parse(said.as_bytes()));
            assert_eq!(shown.as_deref(), expected, "{said}");
        }
    }
}
