//! One turn of the loop.

use std::io;
use std::time::Duration;

use ostler_core::lifecycle::{Effect, Event};

use super::Control;
use crate::engine::{ClientRequest, FeatureAnswer, Input, ShutdownKind, Work, clock};
use crate::features::Features;
use crate::platform::reactor::{Ready, Source};
use crate::state::marked::marked;
use crate::state::slots::Slots;
use crate::state::store::{Record, Written, state_copy};
use ostler_keeper::ToKeeper;
use ostler_sys::process::signal::KILL;

/// Number of spawns and signals after which the loop flushes messages to the keeper. The first
/// flush follows the first one, so the keeper works while the loop prepares the next.
const ORDERS_PER_FLUSH: usize = 4;

/// Idle time after which the daemon returns memory to the system.
const REST_AFTER: Duration = Duration::from_millis(1500);

/// Returns the records that a fresh journal must have.
pub(crate) fn all_records<'a>(slots: &'a Slots, boot_id: &str, features: &'a Features) -> impl Iterator<Item = Record<'a>> {
    slots.records(boot_id).chain(features.records())
}

impl Control {
    /// Runs until the daemon is to exit.
    ///
    /// # Errors
    ///
    /// Returns an error only if waiting itself fails; the keeper then starts another daemon.
    pub(crate) fn run(mut self) -> io::Result<ShutdownKind> {
        self.open();
        loop {
            if let Some(ending) = self.ctx.outbox.shutdown.ending {
                self.leave(ending);
                return Ok(ending);
            }
            let ready = self.wait()?;
            self.turn(ready)?;
        }
    }

    /// Prepares the loop before the first turn.
    pub(crate) fn open(&mut self) {
        self.ctx.io.keeper.send(ToKeeper::Ready);
        self.settle();
    }

    /// Runs one turn: first the ready descriptors, then the due deadlines.
    pub(crate) fn turn(&mut self, ready: Vec<Ready>) -> io::Result<()> {
        self.ctx.now = clock();
        self.take_all(ready);
        // Events that already happened come before deadlines, and get their own journal write. A
        // deadline must not be judged by an outdated state.
        if self.next_deadline_ms().is_some_and(|at| at <= self.ctx.now.mono_ms) {
            let more = self.ctx.io.reactor.wait(Some(Duration::ZERO))?;
            self.take_all(more);
            self.tick();
            self.settle();
        }
        Ok(())
    }

    fn take_all(&mut self, ready: Vec<Ready>) {
        for ready in ready {
            self.take(ready);
            // The requests of one client are handled before the next client is read.
            self.dispatch();
        }
        self.features.on_turn(&mut self.ctx);
        self.settle();
    }

    /// Waits for the next event. After an idle time it returns memory once, then waits for the next
    /// deadline.
    fn wait(&mut self) -> io::Result<Vec<Ready>> {
        let timeout = self.time_left();
        if timeout.is_some_and(|timeout| timeout <= REST_AFTER) {
            return self.ctx.io.reactor.wait(timeout);
        }
        let ready = self.ctx.io.reactor.wait(Some(REST_AFTER))?;
        if !ready.is_empty() {
            return Ok(ready);
        }
        // Computed before memory is released, because asking all features would load their code
        // again.
        let timeout = self.time_left();
        self.ctx.outbox.queue.shrink_to_fit();
        ostler_sys::memory::rest();
        self.ctx.io.reactor.wait(timeout)
    }

    /// Returns the time until the next deadline. It uses the clock, not the time of the turn,
    /// because the turn may have taken long.
    fn time_left(&self) -> Option<Duration> {
        self.next_deadline_ms().map(|at| Duration::from_millis(at.saturating_sub(clock().mono_ms)))
    }

    /// Returns the time of the next deadline.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let next = [self.ctx.state.slots.next_deadline_ms(), self.ctx.state.state_file.deadline_ms(), self.ctx.outbox.timers.next_ms()];
        next.into_iter().flatten().min()
    }

    fn take(&mut self, ready: Ready) {
        match ready.source {
            Source::Keeper => self.on_keeper(ready.writable),
            Source::Signals => self.on_signals(),
            Source::Feature(name, key) => {
                self.features.on_ready(name, &mut self.ctx, key, ready.writable);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.ctx.now;
        for id in self.ctx.state.slots.due(now.mono_ms) {
            self.ctx.check_vanished(id);
            if !self.features.on_due(&mut self.ctx, id) {
                self.dispatch_event(id, Event::Tick);
            }
        }
        for (owner, key) in self.ctx.outbox.timers.due(now.mono_ms) {
            if !self.ctx.outbox.timers.take((owner, key), now.mono_ms) {
                continue;
            }
            self.features.on_timer(owner, &mut self.ctx, key);
        }
        if self.ctx.state.state_file.deadline_ms().is_some_and(|at| at <= now.mono_ms) {
            self.write_state_file();
        }
    }

    /// Writes the journal and does the work, until nothing is left to do. Then it sends everything
    /// that is queued for others.
    pub(crate) fn settle(&mut self) {
        loop {
            let all_done = self.do_work();
            // Process data from before these signals is no longer valid.
            self.ctx.forget_processes();
            if self.on_unsent() {
                continue;
            }
            if !all_done {
                break;
            }
            if !self.features.on_idle(&mut self.ctx) {
                break;
            }
        }
        self.features.on_settled(&mut self.ctx);
        self.write_journal();
        self.flush_keeper();
        // No process waits for the daemon now.
        if self.ctx.state.journal.wants_compaction() && !self.ctx.io.keeper.is_behind() {
            self.compact();
        }
        self.ctx.io.log.flush();
        if self.ctx.state.state_file.deadline_ms() == Some(0) {
            self.write_state_file();
        }
        // Otherwise the turn that finds room in the link informs the features.
        if self.ctx.state.journal.is_held() {
            self.features.on_turn_end(&mut self.ctx);
        }
    }

    /// Dispatches queued inputs.
    pub(crate) fn dispatch(&mut self) {
        while let Some(input) = self.ctx.outbox.queue.pop_front() {
            match input {
                Input::Event(id, event) => self.dispatch_event(id, event),
                Input::Message(id, inc, message) => self.features.on_message(&mut self.ctx, id, inc, &message),
                Input::Capacity(id) => self.features.on_capacity(&mut self.ctx, id),
                Input::ChannelEnded(id) => self.features.on_channel_ended(&mut self.ctx, id),
                Input::Listens(id) => self.features.on_listening(&mut self.ctx, id),
                Input::Described(id) => self.features.on_described(&mut self.ctx, id),
                Input::Serving(id) => self.features.on_serving(&mut self.ctx, id),
                Input::Request(request) => {
                    let _ = self.features.on_request(&mut self.ctx, request);
                }
                Input::Ask(ask) => self.handle_request(ask),
                Input::Answer(answer) => self.answered(&answer),
                Input::Settings => self.features.on_settings(&mut self.ctx),
            }
        }
    }

    /// Dispatches a request of a client. Inputs that follow from it are handled before those that
    /// were queued already.
    fn handle_request(&mut self, ask: ClientRequest) {
        let mut later = std::mem::take(&mut self.ctx.outbox.queue);
        let _ = self.features.on_client_request(&mut self.ctx, ask);
        self.features.on_replies(&mut self.ctx);
        self.ctx.outbox.queue.append(&mut later);
    }

    /// Dispatches an answer. Inputs that follow from it are handled before those that were queued
    /// already.
    fn answered(&mut self, answer: &FeatureAnswer) {
        let mut later = std::mem::take(&mut self.ctx.outbox.queue);
        self.features.on_answer(&mut self.ctx, answer);
        self.ctx.outbox.queue.append(&mut later);
    }

    /// Dispatches queued inputs, writes the journal and does the work, as often as that creates new
    /// work. Returns false if the keeper is behind. A waiting start keeps all its descriptors open
    /// in the daemon, so the number of waiting starts is limited. The rest is done in order when
    /// the link has room.
    fn do_work(&mut self) -> bool {
        loop {
            self.dispatch();
            if self.ctx.outbox.effects.is_empty() {
                return true;
            }
            let written = self.write_journal();
            let mut batch = self.ctx.outbox.effects.take(written);
            let mut orders = 0;
            while let Some(work) = batch.pop_front() {
                if matches!(work, Work::Effect(_, Effect::Spawn { .. })) && self.ctx.io.keeper.waiting_fds() > self.ctx.io.fds.queue_limit()
                {
                    batch.push_front(work);
                    self.ctx.outbox.effects.put_back(batch);
                    return false;
                }
                match work {
                    Work::Ack(key) => self.ctx.io.keeper.send(ToKeeper::Ack { key }),
                    Work::Feature(name, key) => {
                        self.features.on_effect(name, &mut self.ctx, key);
                        self.ask_for_children();
                    }
                    Work::Effect(id, effect) => {
                        let signals = matches!(effect, Effect::Signal { .. });
                        let spawns = self.perform(id, effect);
                        if spawns || signals {
                            orders += 1;
                            if orders == 1 || orders % ORDERS_PER_FLUSH == 0 {
                                self.ctx.io.keeper.flush(&self.ctx.io.reactor);
                            }
                        }
                        if spawns {
                            if orders > 1 {
                                // A keeper that wakes on our processor would otherwise wait until
                                // all spawns are prepared.
                                rustix::thread::sched_yield();
                            }
                            self.features.on_spawn(&mut self.ctx, id);
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn write_journal(&mut self) -> Written {
        // Queued inputs belong to the steps that are written now.
        self.dispatch();
        while let Some(slot) = self.ctx.state.slots.next_changed() {
            self.ctx.state.journal.push(&slot.record());
        }
        self.ctx.state.events.write_to(&mut self.ctx.state.journal);
        let (written, bytes) = self.ctx.state.journal.flush();
        match bytes {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => {
                let now_ms = self.ctx.now.mono_ms;
                self.ctx.state.state_file.append(&bytes, now_ms);
                let events = self.ctx.state.events.written();
                self.features.on_journaled(&mut self.ctx, &events);
            }
            Err(error) => self.ctx.io.log.error(format_args!("cannot write the journal: {error}")),
        }
        // A request needs the state copy on disk before the next step.
        if self.ctx.state.state_file.deadline_ms() == Some(0) {
            self.write_state_file();
        }
        written
    }

    /// Sends the keeper its queued messages. When the queue is empty, the keeper has the current
    /// journal.
    fn flush_keeper(&mut self) {
        self.ctx.io.keeper.flush(&self.ctx.io.reactor);
        if !self.ctx.io.keeper.is_behind() {
            self.ctx.state.journal.is_held_now();
        }
    }

    /// Compacts the journal, unless the keeper is behind: the next records would go to a journal
    /// that the keeper does not have.
    fn compact(&mut self) {
        let records = all_records(&self.ctx.state.slots, &self.ctx.state.boot_id, &self.features);
        let records: Vec<_> = records.chain(self.ctx.state.events.records()).collect();
        let replaced = ostler_sys::fd::memfd::create("ostler-journal")
            .map_err(io::Error::from)
            .and_then(|memfd| self.ctx.state.journal.replace(memfd, records.into_iter()));
        match replaced {
            Ok(_) => {
                self.ctx.io.keeper.hold(ostler_keeper::HELD_JOURNAL, self.ctx.state.journal.fd());
                self.flush_keeper();
                self.ctx.state.state_file.distrust();
            }
            Err(error) => self.ctx.io.log.error(format_args!("cannot compact the journal: {error}")),
        }
    }

    /// Updates the state copy on disk.
    pub(crate) fn write_state_file(&mut self) {
        let result = if self.ctx.state.state_file.needs_rewrite() {
            let mut bytes = Vec::new();
            all_records(&self.ctx.state.slots, &self.ctx.state.boot_id, &self.features)
                .for_each(|record| crate::state::store::record::encode(&record, &mut bytes));
            self.ctx.state.state_file.rewrite(&bytes).map_err(|error| crate::platform::log::chain(&error))
        } else {
            self.ctx.state.state_file.flush().map_err(|error| error.to_string())
        };
        if let Err(error) = result {
            self.ctx.io.log.error_once("state", format_args!("{error} (apps are not affected; state is kept by the keeper)"));
        }
    }

    /// Kills processes that carry the marks of this home and belong to no listed app. All others
    /// have exited by now. Their state was lost together with daemon, keeper and standby.
    fn end_strays(&mut self) {
        for stray in marked(&self.ctx.io.settings.home).iter().filter(|stray| stray.is_owned) {
            self.ctx.io.log.line(format_args!("killing process {}: its app is not in the list", stray.process.pid));
            // The process may have exited by itself.
            let _ = stray.process.signal(KILL);
        }
        self.ctx.io.log.flush();
    }

    pub(crate) fn leave(&mut self, ending: ShutdownKind) {
        self.write_journal();
        match ending {
            ShutdownKind::Everything => {
                self.ctx.state.groups.remove_all();
                self.ctx.state.state_file.remove();
                self.ctx.io.keeper.send(match self.ctx.outbox.shutdown.exit_code {
                    Some(code) => ToKeeper::ExitWith { code },
                    None => ToKeeper::Exit,
                });
            }
            ShutdownKind::Retire => {
                self.write_state_file();
            }
        }
        self.ctx.io.log.flush();
        self.features.on_leave(&mut self.ctx, ending);
        self.ctx.io.keeper.continue_stopped();
        if ending == ShutdownKind::Everything && self.ctx.io.settings.keeps_copy {
            self.end_strays();
            state_copy::remove_folder(&self.ctx.io.settings.home);
        }
        self.ctx.io.keeper.flush_finally(&self.ctx.io.reactor);
    }
}
