//! Reports of the keeper.

use ostler_core::lifecycle::{Event, ExitReport, ProcessEnding, SpawnFailure};
use ostler_keeper::{FromKeeper, ToKeeper};
use ostler_sys::ProcRef;
use ostler_sys::process::signal::{CONT, KILL};

use crate::control::Control;
use crate::engine::{ChildEvent, Work};
use crate::state::slots::{Slot, split_key};

impl Control {
    /// Handles all reports of the keeper.
    pub(crate) fn on_keeper(&mut self, writable: bool) {
        if writable {
            self.ctx.io.keeper.flush(&self.ctx.io.reactor);
        }
        let mut messages = Vec::new();
        let lost = loop {
            match self.ctx.io.keeper.receive() {
                Ok(Some((FromKeeper::Keep { name }, fds))) => self.ctx.io.anchor = fds.into_iter().next().map(|fd| (name, fd)),
                Ok(Some((message, _))) => messages.push(message),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        // Process data from before these exits does not show what they left behind. Data read from
        // now on does, for all of them.
        self.ctx.forget_processes();
        messages.into_iter().for_each(|message| self.take_message(message));
        if let Some(error) = lost {
            self.lost_keeper(&error);
        }
    }

    /// Handles starts that could not even be requested: they have failed. Returns true if there
    /// were any.
    pub(crate) fn on_unsent(&mut self) -> bool {
        let unsent = self.ctx.io.keeper.take_unsent();
        let any = !unsent.is_empty();
        for (key, errno) in unsent {
            self.take_message(FromKeeper::SpawnFailed { key, step: "send".to_owned(), errno });
        }
        any
    }

    fn take_message(&mut self, message: FromKeeper) {
        self.features.on_keeper(&mut self.ctx, &message);
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
                let step = self.ctx.state.slots.get(id).map_or_else(|| step.clone(), |slot| slot.explain(&step, errno));
                self.process_is_gone(id, inc);
                let failure = self.ctx.io.fds.explain(SpawnFailure { step, errno });
                self.dispatch_event(id, Event::SpawnFailed { inc, failure });
            }
            FromKeeper::Exited { key, pid, ending, .. } => {
                let ending = self.ctx.io.keeper.known_ending(key, ending);
                // This applies to every exit: a process killed for lack of memory is not counted
                // again with the next exit.
                let exit = self.ctx.exit_report(ending);
                if self.is_of_feature(key, ChildEvent::Exited(ending)) {
                    return;
                }
                let (id, inc) = split_key(key);
                // The process may have handed over before it exited.
                self.read_to_the_end(id);
                if self.ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.is_former(inc, pid)) {
                    return;
                }
                self.exited(id, inc, exit);
                self.ctx.outbox.effects.push(Work::Ack(key));
            }
            FromKeeper::Signal { signal } => self.on_signal(signal),
            FromKeeper::Retire => {
                self.ctx.outbox.shutdown.ending = Some(crate::engine::ShutdownKind::Retire);
            }
            FromKeeper::HoldFailed { name, errno } => {
                let why = std::io::Error::from_raw_os_error(errno);
                self.ctx.io.log.error_once("hold", format_args!("the keeper cannot hold {name}: {why}; if the daemon exits, it is lost"));
            }
            FromKeeper::Ping => self.ctx.io.keeper.send(ToKeeper::Pong),
            FromKeeper::Pong
            | FromKeeper::UpgradeFailed { .. }
            | FromKeeper::OrphanExited { .. }
            | FromKeeper::Keep { .. }
            | FromKeeper::Inventory { .. }
            | FromKeeper::InventoryPart(_) => {}
        }
    }

    /// Reads the messages that a process has sent until now. They are handled before its exit, and
    /// the exit before anything that follows.
    pub(crate) fn read_to_the_end(&mut self, id: u32) {
        while self.features.on_end(&mut self.ctx, id) {
            self.dispatch();
            self.write_journal();
        }
        self.dispatch();
    }

    fn spawned(&mut self, key: u64, pid: i32, start_ticks: u64) {
        let (id, inc) = split_key(key);
        let Some(slot) = self.ctx.state.slots.get_mut(id) else { return };
        if slot.durable.instance.is_former(inc, pid) {
            // The process was faster than this message, and has handed over already.
            return self.ctx.state.slots.note_former_leader(id, ProcRef { pid, start_ticks });
        }
        slot.durable.start_ticks = start_ticks;
        self.dispatch_event(id, Event::Spawned { inc, pid });
    }

    /// Passes the event to the feature that requested the process. Returns false if the process is
    /// an instance.
    pub(super) fn is_of_feature(&mut self, key: u64, event: ChildEvent<'_>) -> bool {
        self.features.on_child(&mut self.ctx, key, event)
    }

    /// Releases resources that were made for a process.
    fn process_is_gone(&mut self, id: u32, inc: u32) {
        // An exit can be reported twice. If a new process was requested in between, the second
        // report must not affect that process.
        if self.ctx.state.slots.get(id).is_some_and(|slot| slot.is_newest(inc)) {
            self.features.on_process_gone(&mut self.ctx, id, inc);
        }
        self.dispatch();
    }

    /// Handles the exit of the main process of an instance.
    pub(crate) fn exited(&mut self, id: u32, inc: u32, mut exit: ExitReport) {
        let killed = matches!(exit.ending, ProcessEnding::Signal { signal: KILL, .. });
        exit.oom |= killed && self.ctx.state.slots.get(id).is_some_and(Slot::was_short_of_memory);
        self.process_is_gone(id, inc);
        self.dispatch_event(id, Event::Exited { inc, exit });
        self.ctx.state.slots.hand_down_exit(id, inc);
    }

    /// Handles SIGTERM and similar signals, sent to the keeper or to the daemon itself.
    pub(crate) fn on_signal(&mut self, signal: i32) {
        self.features.on_signal(&mut self.ctx, signal);
    }

    /// Handles signals to the daemon itself.
    pub(crate) fn on_signals(&mut self) {
        while let Some(received) = self.signals.next() {
            match received.signal {
                CONT => self.features.on_continued(&mut self.ctx),
                signal => self.on_signal(signal),
            }
        }
    }
}
