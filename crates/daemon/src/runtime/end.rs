//! Signals to the container, and its end.

use ostler_core::lifecycle::{Ending, Event, Origin, State};
use ostler_core::runtime::{Life, Meaning, exit_code, life, over};
use ostler_keeper::STARTER_KEY;
use ostler_proto::control::Action;
use ostler_sys::signal::{TERM, WINCH};

use super::{Runtime, Starter, Stopping};
use crate::control::{Control, Then};
use crate::engine::Request;
use crate::slots::Slot;

/// PM2's patience with a container in which nothing runs: whoever stops an app by hand may want to start it again.
const BY_HAND_MS: u64 = 6000;
/// Ends the container when everything was killed: as the kernel would have done it.
const KILLED: u8 = 137;

impl Control {
    /// A signal to the first process. False: not a runtime's business.
    pub(crate) fn runtime_signal(&mut self, signal: i32) -> bool {
        let Some(runtime) = &mut self.runtime else { return false };
        let name = ostler_sys::signal::name(signal);
        match runtime.spec.meaning(signal) {
            Meaning::Stop if runtime.stopping.is_some() => {
                self.ctx.log.line(format_args!("received {name} again, killing what still runs"));
                self.kill_all_now();
            }
            Meaning::Stop => {
                let kill_at_ms = runtime.spec.stop_timeout_ms.map(|time| self.ctx.now.mono_ms.saturating_add(time));
                runtime.stopping = Some(Stopping { kill_at_ms, killed: false });
                self.ctx.log.line(format_args!("received {name}, stopping everything"));
                self.stop_all();
            }
            Meaning::Forward => {
                // A terminal says with each change of its size that it has one.
                if signal != WINCH {
                    self.ctx.log.line(format_args!("received {name}, passing it on"));
                }
                let running = self.ctx.slots.iter().filter(|slot| slot.instance.pid().is_some());
                let keys: Vec<u64> = running.map(|slot| slot.key(slot.instance.inc)).collect();
                keys.into_iter().for_each(|key| self.ctx.keeper.kill(key, signal, false));
            }
            Meaning::ReloadLogs => self.ctx.request(Request::ReloadLogs),
            Meaning::Nothing => {}
        }
        true
    }

    /// The process that was called was killed, so whoever called it thinks that everything has ended: it has to. (In a container that process
    /// is number 1, and nothing outlives it.)
    pub(crate) fn front_is_gone(&mut self) {
        let Some(runtime) = &mut self.runtime else { return };
        if runtime.stopping.is_none() {
            runtime.stopping = Some(Stopping { kill_at_ms: None, killed: false });
            self.stop_all();
        }
    }

    fn stop_all(&mut self) {
        // Whoever still reads a config file, or waits before the start, would start something after the end.
        self.ctx.keeper.kill(STARTER_KEY, TERM, false);
        if self.jobs.iter().any(|job| job.then == Then::Exit) {
            return;
        }
        let targets = if self.ctx.slots.nothing_serves() { Vec::new() } else { vec!["all".to_owned()] };
        // Nobody waits for the answer: client 0 does not exist.
        let mut job = self.action_job(0, 0, Action::Delete, targets, Origin::Shutdown);
        job.then = Then::Exit;
        self.begin(job);
    }

    /// Grace is over for everything.
    fn kill_all_now(&mut self) {
        let Some(stopping) = self.runtime.as_mut().and_then(|runtime| runtime.stopping.as_mut()) else { return };
        if std::mem::replace(&mut stopping.killed, true) {
            return;
        }
        self.ctx.is_hasty = true;
        self.end_with(KILLED);
        let ids: Vec<u32> = self.ctx.slots.iter().map(|slot| slot.id).collect();
        for &id in &ids {
            self.feed(id, Event::Delete(Origin::Shutdown));
        }
        for id in ids {
            self.feed(id, Event::Hurry);
        }
    }

    /// What a hook has held up until now has no time of its own.
    fn hurry_those_with_time(&mut self, now_ms: u64) {
        let has_time = |state: &State| matches!(state, State::Stopping { killed: false, deadline_ms, .. } if *deadline_ms > now_ms);
        let ids: Vec<u32> = self.ctx.slots.iter().filter(|slot| has_time(&slot.instance.state)).map(|slot| slot.id).collect();
        ids.into_iter().for_each(|id| self.feed(id, Event::Hurry));
    }

    fn end_with(&mut self, code: u8) {
        if let Some(runtime) = &mut self.runtime {
            runtime.code = code;
        }
    }

    /// The starter has ended. Not acknowledged when it failed: should this daemon be killed now, the next one has to know.
    pub(crate) fn starter_ended(&mut self, ending: ostler_sys::Ending) {
        let ending = self.exit_report(ending).ending;
        let nothing_runs = self.ctx.slots.serving().all(|slot| life_of(slot) != Life::Up);
        let Some(runtime) = &mut self.runtime else { return };
        // Apps that only were not ready in time are in the hands of their restart policy.
        if ending != Ending::Code(0) && (nothing_runs || runtime.unstartable) && runtime.stopping.is_none() {
            runtime.code = match exit_code(ending) {
                0 => 1,
                code => code,
            };
            runtime.stopping = Some(Stopping { kill_at_ms: None, killed: false });
            return self.stop_all();
        }
        runtime.starter = Starter::Done;
        self.ctx.effects.push(crate::engine::Work::Ack(STARTER_KEY));
    }

    /// Ends the container when nothing is left to run, and kills what has had its time. True when that made work.
    pub(crate) fn look_at_runtime(&mut self) -> bool {
        let Some(runtime) = &self.runtime else { return false };
        let now_ms = self.ctx.now.mono_ms;
        if runtime.stopping.is_some() {
            if runtime.deadline_ms().is_some_and(|at| at <= now_ms) {
                self.ctx.log.error(format_args!("the time to stop is over, killing what still runs"));
                self.kill_all_now();
            }
            if self.runtime.as_ref().is_some_and(Runtime::is_hasty) {
                self.hurry_those_with_time(now_ms);
            }
            return !self.ctx.effects.is_empty();
        }
        let is_busy = runtime.spec.stays || runtime.starter == Starter::Runs || !self.jobs.is_empty() || self.ctx.ending.is_some();
        let end = if is_busy { None } else { over(self.ctx.slots.serving().map(life_of)) };
        let over_at = runtime.over_at_ms;
        let Some(end) = end else {
            self.set_over_at(None);
            return false;
        };
        if end.by_hand && over_at.is_none_or(|at| at > now_ms) {
            self.set_over_at(Some(over_at.unwrap_or(now_ms + BY_HAND_MS)));
            return false;
        }
        self.ctx.log.line(format_args!("nothing runs any more, ending with code [{}]", end.code));
        self.set_over_at(None);
        self.end_with(end.code);
        if let Some(runtime) = &mut self.runtime {
            runtime.stopping = Some(Stopping { kill_at_ms: None, killed: false });
        }
        self.stop_all();
        true
    }

    fn set_over_at(&mut self, at_ms: Option<u64>) {
        if let Some(runtime) = &mut self.runtime {
            runtime.over_at_ms = at_ms;
        }
    }
}

fn life_of(slot: &Slot) -> Life {
    let given = slot.spec().given.open();
    let scheduled = given.get("cron_restart").is_some_and(|pattern| !matches!(pattern.as_str(), Some("0" | "")) && !pattern.is_number());
    life(&slot.instance, scheduled)
}
