//! What the keeper says.

use ostler_core::error_lines;
use ostler_core::lifecycle::{Ending, Event, ExitReport, SpawnFailure};
use ostler_keeper::{FromKeeper, ToKeeper};
use ostler_sys::signal::KILL;
use ostler_sys::{ProcRef, listening};

use crate::control::Control;
use crate::engine::{ChildEvent, Work};
use crate::slots::{Slot, ending_of, split_key};
use crate::store::Role;

impl Control {
    /// Takes everything that the keeper has to say.
    pub(crate) fn hear_keeper(&mut self, writable: bool) {
        if writable {
            self.ctx.keeper.drain(&self.ctx.reactor);
        }
        loop {
            match self.ctx.keeper.hear() {
                Ok(Some((FromKeeper::Keep { name }, fds))) => self.ctx.anchor = fds.into_iter().next().map(|fd| (name, fd)),
                Ok(Some((message, _))) => self.take_message(message),
                Ok(None) => return,
                Err(error) => return self.lost_keeper(&error),
            }
        }
    }

    /// Starts that could not even be asked for have failed. True when there were any.
    pub(crate) fn hear_unsent(&mut self) -> bool {
        let unsent = self.ctx.keeper.take_unsent();
        let any = !unsent.is_empty();
        for (key, errno) in unsent {
            self.take_message(FromKeeper::SpawnFailed { key, step: "send".to_owned(), errno });
        }
        any
    }

    fn take_message(&mut self, message: FromKeeper) {
        self.features.each().for_each(|feature| feature.on_keeper(&mut self.ctx, &message));
        match message {
            FromKeeper::Spawned { key, pid, start_ticks } => {
                if !self.is_of_feature(key, ChildEvent::Spawned { pid, start_ticks }) {
                    self.spawned(key, pid, start_ticks);
                }
            }
            FromKeeper::SpawnFailed { key, step, errno } => {
                if self.is_of_feature(key, ChildEvent::NotSpawned { step: &step, errno }) {
                    return;
                }
                let (id, inc) = split_key(key);
                let step = self.explain(id, &step, errno);
                self.process_is_gone(id, inc);
                let failure = self.room.explain(SpawnFailure { step, errno });
                self.feed(id, Event::SpawnFailed { inc, failure });
            }
            FromKeeper::Exited { key, pid, ending, .. } => {
                // Whoever it was: what the kernel killed for its memory is not counted again with the next end.
                let exit = self.exit_report(ending);
                if self.is_of_feature(key, ChildEvent::Exited(ending)) {
                    return;
                }
                let (id, inc) = split_key(key);
                // It may have handed over before it ended.
                self.hear_to_the_end(id);
                if self.ctx.slots.get(id).is_some_and(|slot| slot.instance.is_former(inc, pid)) {
                    return;
                }
                self.exited(id, inc, exit);
                self.ctx.effects.push(Work::Ack(key));
            }
            FromKeeper::Signal { signal } => self.told_by_signal(signal),
            FromKeeper::Retire => {
                self.ctx.ending = Some(crate::engine::Ending::Retire);
            }
            FromKeeper::HoldFailed { name, errno } => {
                let why = std::io::Error::from_raw_os_error(errno);
                self.ctx.log.error_once("hold", format_args!("the keeper cannot hold {name}: {why}; it would be lost with the daemon"));
            }
            FromKeeper::Ping => self.ctx.keeper.say(ToKeeper::Pong),
            FromKeeper::Pong
            | FromKeeper::UpgradeFailed { .. }
            | FromKeeper::OrphanExited { .. }
            | FromKeeper::Keep { .. }
            | FromKeeper::Inventory { .. }
            | FromKeeper::InventoryPart(_) => {}
        }
    }

    /// What a process said until now counts before its end does, and its end before anything that follows.
    pub(crate) fn hear_to_the_end(&mut self, id: u32) {
        while self.features.each().any(|feature| feature.on_end(&mut self.ctx, id)) {
            self.dispatch();
            self.write_journal();
        }
        self.dispatch();
    }

    fn spawned(&mut self, key: u64, pid: i32, start_ticks: u64) {
        let (id, inc) = split_key(key);
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        if slot.instance.is_former(inc, pid) {
            // It was faster than this message, and has handed over already.
            return self.note_kin(id, ProcRef { pid, start_ticks });
        }
        slot.start_ticks = start_ticks;
        self.write_pid_file(id, pid);
        self.feed(id, Event::Spawned { inc, pid });
    }

    /// It is no instance: a feature asked for it.
    pub(super) fn is_of_feature(&mut self, key: u64, event: ChildEvent<'_>) -> bool {
        self.features.each().any(|feature| feature.on_child(&mut self.ctx, key, event))
    }

    /// What was made for a process is of no use any more.
    fn process_is_gone(&mut self, id: u32, inc: u32) {
        self.features.each().for_each(|feature| feature.on_process_gone(&mut self.ctx, id, inc));
        self.dispatch();
    }

    /// The main process of an instance ended.
    pub(crate) fn exited(&mut self, id: u32, inc: u32, mut exit: ExitReport) {
        let killed = matches!(exit.ending, Ending::Signal { signal: KILL, .. });
        exit.oom |= killed && self.ctx.slots.get(id).is_some_and(Slot::was_short_of_memory);
        self.process_is_gone(id, inc);
        self.feed(id, Event::Exited { inc, exit });
        self.hand_down_exit(id, inc);
    }

    /// The end of a process that was replaced belongs to the history of the instance, which its successor goes on with.
    fn hand_down_exit(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.ctx.slots.get(id).filter(|slot| slot.role == Role::Retiring) else { return };
        let pm_id = slot.pm_id;
        let Some(record) = slot.instance.exits.last().filter(|record| record.inc == inc).cloned() else { return };
        let Some(successor) = self.ctx.slots.serving().find(|slot| slot.pm_id == pm_id).map(|slot| slot.id) else { return };
        let Some(slot) = self.ctx.slots.get_mut(successor) else { return };
        let exits = &mut slot.instance.exits;
        // The successor may have ended first.
        let place = exits.iter().position(|later| later.inc > inc).unwrap_or(exits.len());
        exits.insert(place, record);
        let surplus = exits.len().saturating_sub(slot.policy.exits_kept);
        exits.drain(..surplus);
        self.ctx.slots.changed(successor);
    }

    /// In the core's words, with what the kernel's counters say about its out-of-memory killer.
    pub(crate) fn exit_report(&mut self, ending: ostler_sys::Ending) -> ExitReport {
        let ending = ending_of(ending);
        let killed = matches!(ending, Ending::Signal { signal: KILL, .. });
        let kills = if killed { ostler_sys::oom::kills().unwrap_or(self.oom_kills) } else { self.oom_kills };
        let oom = kills > self.oom_kills;
        self.oom_kills = kills;
        ExitReport { ending, oom }
    }

    /// The last lines of what it wrote, for `why`.
    pub(super) fn keep_last_lines(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(record) = slot.instance.exits.last().filter(|record| record.inc == inc && record.last_lines.is_empty()) else {
            return;
        };
        // An exit that was asked for explains itself.
        if matches!(record.cause, ostler_core::lifecycle::ExitCause::Asked(_)) {
            return;
        }
        let mut lines = slot.last_lines();
        self.name_port_holder(&mut lines);
        if let Some(record) = self.ctx.slots.get_mut(id).and_then(|slot| slot.instance.exits.last_mut()) {
            record.last_lines = lines;
        }
        self.ctx.slots.changed(id);
    }

    /// A port could not be had: who has it.
    pub(crate) fn name_port_holder(&self, lines: &mut Vec<String>) {
        let Some(port) = error_lines::taken_port(lines) else { return };
        let sockets = listening::sockets_at(port);
        if sockets.is_empty() {
            return lines.push(format!("port {port} is held by nobody any more"));
        }
        let ours = sockets.iter().find_map(|inode| self.ctx.listening.app_of(*inode));
        if let Some(app) = ours {
            return lines.push(format!("port {port} is held for app {app}, whose instances share it"));
        }
        // Others see no more than the socket.
        let Some(pid) = listening::processes_with(&sockets).into_iter().next() else {
            return lines.push(format!("port {port} is held by a process that cannot be seen from here, of another user or container"));
        };
        let program = listening::program(pid).unwrap_or_default();
        let app = self.app_of_process(pid).map(|app| format!(", app {app}")).unwrap_or_default();
        lines.push(format!("port {port} is held by process {pid} ({program}){app}"));
    }

    /// The app whose main process this is, or descends from.
    fn app_of_process(&self, pid: i32) -> Option<String> {
        let table = ostler_sys::ProcTable::with_ancestors(pid, []);
        let ancestors = std::iter::successors(Some(pid), |pid| table.get(*pid).map(|entry| entry.ppid).filter(|ppid| *ppid > 1));
        ancestors.take(64).find_map(|pid| {
            let slot = self.ctx.slots.iter().find(|slot| slot.instance.pid() == Some(pid))?;
            Some(format!("{} (id {})", slot.spec().name, slot.pm_id))
        })
    }

    /// A step of the kernel in words for the user.
    fn explain(&self, id: u32, step: &str, errno: i32) -> String {
        let Some(slot) = self.ctx.slots.get(id) else { return step.to_owned() };
        let spec = slot.spec();
        let program = spec.interpreter.as_deref().unwrap_or(&spec.script);
        match step {
            "exec" => match ostler_sys::exec::explain(program.as_ref(), errno) {
                Some(reason) => format!("exec {program} ({reason})"),
                None => format!("exec {program}"),
            },
            "chdir" => format!("chdir {}", spec.cwd),
            _ => step.to_owned(),
        }
    }

    /// SIGTERM and friends, sent to the keeper or to the daemon itself.
    pub(crate) fn told_by_signal(&mut self, signal: i32) {
        self.features.each().any(|feature| feature.on_signal(&mut self.ctx, signal));
    }

    /// A signal to the daemon itself.
    pub(crate) fn hear_signals(&mut self) {
        while let Some(received) = self.signals.next() {
            self.told_by_signal(received.signal);
        }
    }
}
