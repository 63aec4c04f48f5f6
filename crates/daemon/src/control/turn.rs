//! One turn of the loop.

use std::io;
use std::time::Duration;

use ostler_core::lifecycle::{Effect, Event};
use ostler_core::time::Now;

use super::{Control, Ending, Work};
use crate::errands::Errands;
use crate::reactor::{Ready, Source};
use crate::registry::Registry;
use crate::rollouts::Rollouts;
use crate::rotation::Rotation;
use crate::runtime::Runtime;
use crate::store::Record;
use crate::supervisor::carry::Carries;
use crate::supervisor::handback::HandBacks;
use crate::supervisor::pipelines::Writers;
use ostler_keeper::ToKeeper;

/// After the first and then after so many spawns the keeper gets its messages, so that it works while the next ones are prepared.
const SPAWNS_PER_FLUSH: usize = 4;

/// When nothing happened for so long, memory is given back.
const REST_AFTER: Duration = Duration::from_millis(1500);

/// Both clocks, now.
pub(crate) fn now() -> Now {
    let clocks = ostler_sys::now();
    Now { mono_ms: clocks.boot_ms, wall_ms: clocks.wall_ms }
}

/// Everything that a fresh journal must have.
fn all_records<'a>(
    registry: &'a Registry,
    boot_id: &str,
    (writers, handbacks, carries, rotation): (&'a Writers, &'a HandBacks, &'a Carries, &'a Rotation),
    rollouts: &'a Rollouts,
    errands: &'a Errands,
) -> impl Iterator<Item = Record<'a>> {
    let logs = writers.records().chain(handbacks.records()).chain(carries.records()).chain(rotation.records());
    registry.records(boot_id).chain(logs).chain(rollouts.records()).chain(errands.records())
}

impl Control {
    /// Runs until the daemon is to end.
    ///
    /// # Errors
    /// Only when waiting itself fails; the keeper then starts another daemon.
    pub(crate) fn run(mut self) -> io::Result<Ending> {
        self.hand_back_again();
        // A tick may have been due while there was no daemon.
        self.look_at_schedules();
        self.keeper.say(ToKeeper::Ready);
        self.settle();
        loop {
            if let Some(ending) = self.ending {
                self.leave(ending);
                return Ok(ending);
            }
            let ready = self.wait()?;
            self.take_all(ready);
            // What already happened comes before what only the clock says, and has its own journal write: a deadline must not be
            // judged by a state that nobody was told of yet.
            if self.timeout() == Some(Duration::ZERO) {
                let more = self.reactor.wait(Some(Duration::ZERO))?;
                self.take_all(more);
                self.tick();
                self.settle();
            }
        }
    }

    fn take_all(&mut self, ready: Vec<Ready>) {
        for ready in ready {
            self.take(ready);
        }
        self.follow_wall_clock();
        self.settle();
        self.end_carries();
        if self.hand_back_ready() {
            self.settle();
        }
    }

    /// Waits for what comes next. When nothing came for a while, memory is given back, once; then nothing wakes us any more.
    fn wait(&mut self) -> io::Result<Vec<Ready>> {
        let timeout = self.timeout();
        if timeout.is_some_and(|timeout| timeout <= REST_AFTER) {
            return self.reactor.wait(timeout);
        }
        let ready = self.reactor.wait(Some(REST_AFTER))?;
        if !ready.is_empty() {
            return Ok(ready);
        }
        // Known before: all who may have a deadline would be asked, and their code be there again.
        let timeout = self.timeout();
        ostler_sys::memory::rest();
        self.reactor.wait(timeout)
    }

    fn timeout(&self) -> Option<Duration> {
        let next = [
            self.registry.next_deadline_ms(),
            self.deaf_until_ms,
            self.state_file.deadline_ms(),
            self.sweeps.deadline_ms(),
            self.look_for_vanished_ms,
            self.home_watch.deadline_ms(),
            self.rollouts.deadline_ms(),
            self.confirm_deadline_ms(),
            self.scalers.deadline_ms(),
            self.autosave.deadline_ms(),
            self.crons.deadline_ms(),
            self.lists.iter().map(|list| list.due_ms).min(),
            self.clients.deadline_ms(),
            self.listeners.deadline_ms(),
            self.muted.first().map(|(at, _)| *at),
            self.signs.deadline_ms(),
            self.care.deadline_ms(),
            self.sockets.deadline_ms(),
            self.errands.deadline_ms(),
            self.runtime.as_ref().and_then(Runtime::deadline_ms),
            self.watches.deadline_ms(),
            self.rotation.deadline_ms(),
        ];
        let next = next.into_iter().flatten().min()?;
        Some(Duration::from_millis(next.saturating_sub(now().mono_ms)))
    }

    fn take(&mut self, ready: Ready) {
        match ready.source {
            Source::Listener => self.accept(),
            Source::Keeper => self.hear_keeper(ready.writable),
            Source::Signals => self.hear_signals(),
            Source::Wake => self.hear_threads(),
            Source::Client(id) => self.hear_client(id),
            Source::Ipc(id) => self.hear_app(id, ready.writable),
            Source::Straggler(pid) => self.straggler_ended(pid),
            Source::Served(id) => self.hear_listener(id),
            Source::Notify(id) => self.hear_notify(id),
            Source::Newline(id) => self.hear_newline(id),
            Source::Probe(id) => self.hear_probe(id),
            Source::Health(key) => self.hear_check(key),
            Source::LogLines => self.hear_logs(),
            Source::WallClock => self.hear_wall_clock(),
            Source::Errand(number) => self.hear_errand(number),
            Source::Watch => self.hear_watch(),
            Source::LogFolders => self.hear_log_folders(),
            Source::Home => self.hear_home(),
            Source::Peeked(id) => self.hear_client_of_app(id),
        }
    }

    fn tick(&mut self) {
        let now = now();
        for id in self.registry.due(now.mono_ms) {
            self.look_if_vanished(id);
            if !self.waited_in_vain(id, now.mono_ms) {
                self.feed(id, Event::Tick);
            }
        }
        self.tick_vanished(now.mono_ms);
        self.tick_home(now.mono_ms);
        self.tick_errands(now);
        self.tick_rollouts(now.mono_ms);
        self.tick_confirmations(now.mono_ms);
        self.autoscale(now);
        self.tick_autosave(now.mono_ms);
        self.tick_limits(now.mono_ms);
        self.listeners.tick(now.mono_ms);
        self.tick_channels(now.mono_ms);
        self.tick_signs();
        self.tick_watches(now.mono_ms);
        self.tick_care(now);
        self.tick_lanes(now.mono_ms);
        self.tick_peeks(now.mono_ms);
        self.close_abandoned(now.mono_ms);
        self.tick_rotation(now.mono_ms);
        self.answer_lists(now);
        self.listen_again(now);
        self.clients.tick(now.mono_ms);
        if self.state_file.deadline_ms().is_some_and(|at| at <= now.mono_ms) {
            self.write_state_file();
        }
    }

    /// Writes the journal, then does the work, until nothing is left to do; then sends what is queued for others.
    pub(crate) fn settle(&mut self) {
        loop {
            let all_done = self.do_work();
            if self.hear_unsent() {
                continue;
            }
            if !all_done {
                break;
            }
            let moved =
                self.sweep() || self.advance_rollouts() || self.mend() || self.advance_jobs() || self.release() || self.look_at_runtime();
            if !moved {
                break;
            }
        }
        self.serve_listeners();
        // Before the signals of this turn leave: who is to end must not be given anything new.
        self.steer_lanes();
        self.set_wall_timer();
        self.write_journal();
        self.keeper.flush(&self.reactor);
        self.log.flush();
        self.follow_rotations();
        if self.state_file.deadline_ms() == Some(0) {
            self.write_state_file();
        }
        self.clients.flush(&self.reactor, now().mono_ms);
    }

    /// Writes the journal and does what it then allows, as often as that makes new work. False where the keeper is behind: a start waits in our
    /// hands with all its descriptors, so there is a limit to how many do; the rest is done, in its order, when the link has room.
    fn do_work(&mut self) -> bool {
        while !self.work.is_empty() {
            self.write_journal();
            let mut batch = std::mem::take(&mut self.work);
            let mut spawns = 0;
            while let Some(work) = batch.pop_front() {
                if matches!(work, Work::Effect(_, Effect::Spawn { .. })) && self.keeper.waiting_fds() > self.room.may_wait() {
                    batch.push_front(work);
                    batch.append(&mut self.work);
                    self.work = batch;
                    return false;
                }
                match work {
                    Work::Ack(key) => self.keeper.say(ToKeeper::Ack { key }),
                    Work::Errand(number) => self.send_errand(number),
                    Work::Effect(id, effect) => {
                        if self.perform(id, effect) {
                            spawns += 1;
                            if spawns == 1 || spawns % SPAWNS_PER_FLUSH == 0 {
                                self.keeper.flush(&self.reactor);
                            }
                            if spawns > 1 {
                                // A keeper that was woken on our processor would wait until we have prepared them all.
                                rustix::thread::sched_yield();
                            }
                        }
                    }
                }
            }
        }
        true
    }

    pub(crate) fn write_journal(&mut self) {
        while let Some(slot) = self.registry.next_changed() {
            self.journal.push(&slot.record());
        }
        match self.journal.flush() {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => {
                let now_ms = now().mono_ms;
                self.state_file.append(&bytes, now_ms);
                self.autosave.changed(now_ms);
            }
            // Memory for a few bytes is gone: nothing better can be done than to say so and go on.
            Err(error) => self.log.error(format_args!("cannot write the journal: {error}")),
        }
        if self.journal.wants_compaction() {
            self.compact();
        }
        if self.crons.take_ran() {
            // Also after the death of daemon and keeper a run is not repeated: it is on disk before it begins.
            self.state_file.hurry();
            if self.state_file.deadline_ms() == Some(0) {
                self.write_state_file();
            }
        }
    }

    fn compact(&mut self) {
        let logs = (&self.writers, &self.handbacks, &self.carries, &self.rotation);
        let records: Vec<_> = all_records(&self.registry, &self.boot_id, logs, &self.rollouts, &self.errands).collect();
        let replaced = ostler_sys::memfd::create("ostler-journal")
            .map_err(io::Error::from)
            .and_then(|memfd| self.journal.replace(memfd, records.into_iter()));
        match replaced {
            Ok(_) => {
                self.keeper.hold(ostler_keeper::HELD_JOURNAL, self.journal.fd());
                self.state_file.distrust();
            }
            Err(error) => self.log.error(format_args!("cannot compact the journal: {error}")),
        }
    }

    /// Brings the copy on disk up to date.
    pub(crate) fn write_state_file(&mut self) {
        let result = if self.state_file.needs_rewrite() {
            let mut bytes = Vec::new();
            let logs = (&self.writers, &self.handbacks, &self.carries, &self.rotation);
            all_records(&self.registry, &self.boot_id, logs, &self.rollouts, &self.errands)
                .for_each(|record| crate::store::record::encode(&record, &mut bytes));
            self.state_file.rewrite(&bytes).map_err(|error| crate::log::chain(&error))
        } else {
            self.state_file.flush().map_err(|error| error.to_string())
        };
        if let Err(error) = result {
            self.log.error_once("state", format_args!("{error} (apps are not affected; state is kept by the keeper)"));
        }
    }

    fn leave(&mut self, ending: Ending) {
        self.write_journal();
        self.wait_for_last_words();
        match ending {
            Ending::Everything => {
                self.abandon_hand_backs();
                self.finish_sweeps();
                self.groups.remove_all();
                self.state_file.remove();
                self.keeper.say(match &self.runtime {
                    Some(runtime) => ToKeeper::ExitWith { code: runtime.code() },
                    None => ToKeeper::Exit,
                });
            }
            Ending::Retire => {
                self.leave_hand_backs();
                self.write_state_file();
            }
        }
        self.log.flush();
        self.clients.flush_finally();
        self.keeper.flush_finally(&self.reactor);
    }
}
