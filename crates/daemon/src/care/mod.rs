//! Looking after apps while they run: are they well ([`checks`], [`heart`]), do they use too much ([`measure`], [`errors`]), and what is done
//! about it ([`mend`]).
//!
//! # Theory of operation
//!
//! `ostler_core::health` and `ostler_core::limits` judge; here are the sockets, the measurements and the replacements. What is watched is
//! compared with what runs after every step of an instance ([`Control::follow_care`]), and begins anew with each process, and with each
//! daemon: nothing of it is in the journal but what is told to people ([`ostler_core::care::Note`]). An app that asks for nothing costs
//! nothing, and an app that asks for a check wakes the daemon for its checks only.

mod checks;
mod commands;
mod errors;
pub(crate) mod hard;
mod heart;
mod measure;
mod mend;

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::care::{Note, Phase};
use ostler_core::health::{Cause as Reason, Monitor, State as Health};
use ostler_core::lifecycle::State;
use ostler_core::limits::{CpuWatch, ErrorWatch, MemoryWatch};
use ostler_core::time::Now;
use ostler_proto::event::{Cause, Health as Told, What};
use ostler_proto::health::{HealthReport, LastAnswer};

use crate::control::Control;
use crate::probe::Probes;
use crate::rights::Rights;
use crate::slots::Slot;
use crate::store::Role;
use commands::CommandCheck;
use errors::ErrorLogs;
use mend::Mending;

/// Everything that is looked after.
#[derive(Debug)]
pub(crate) struct Care {
    /// By slot.
    watched: BTreeMap<u32, Watched>,
    /// Whose question has this number, and for which phases it is asked.
    questions: BTreeMap<u32, Question>,
    /// Those that are commands.
    commands: BTreeMap<u32, CommandCheck>,
    next_question: u32,
    /// When an event loop has to have said that it turns.
    hearts: BTreeSet<(u64, u32)>,
    /// When the next measurement is due.
    measure_ms: Option<u64>,
    error_logs: ErrorLogs,
    machine: measure::Machine,
    mending: Mending,
}

/// A question that is asked again and again.
#[derive(Debug)]
struct Question {
    id: u32,
    phases: Vec<Phase>,
}

/// What is known of one process.
#[derive(Debug)]
struct Watched {
    inc: u32,
    monitor: Monitor,
    since: Now,
    questions: Vec<u32>,
    last: Option<LastAnswer>,
    beat_due_ms: Option<u64>,
    memory: MemoryWatch,
    cpu: CpuWatch,
    errors: ErrorWatch,
    /// Memory of its tree as last measured.
    memory_bytes: u64,
    /// A new process beside it did not come up: the next attempt is a restart.
    beside_failed: bool,
}

impl Care {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            watched: BTreeMap::new(),
            questions: BTreeMap::new(),
            commands: BTreeMap::new(),
            // An answer to a daemon that is no more must not look like one to us.
            next_question: now.mono_ms as u32,
            hearts: BTreeSet::new(),
            measure_ms: None,
            error_logs: ErrorLogs::default(),
            machine: measure::Machine::default(),
            mending: Mending::default(),
        }
    }
}

impl Care {
    /// When the clock has something to say.
    pub(crate) fn deadline_ms(&self, checks: &Probes) -> Option<u64> {
        if self.watched.is_empty() {
            return self.mending.deadline_ms();
        }
        let hearts = self.hearts.first().map(|(at, _)| *at);
        let commands = self.commands.values().filter_map(|check| check.due_ms).min();
        [checks.deadline_ms(), commands, hearts, self.measure_ms, self.mending.deadline_ms()].into_iter().flatten().min()
    }

    /// Notes on a slot how healthy what runs in it is: who wants to know reads it there.
    fn note_health(&self, slot: &mut Slot) {
        slot.health = self.report(slot).map(Box::new);
    }

    /// None where nobody asks for it.
    fn report(&self, slot: &Slot) -> Option<HealthReport> {
        let health = slot.spec().care.as_ref().map(|care| &care.health).filter(|health| health.is_watched())?;
        let watched = self.watched.get(&slot.id)?;
        let (state, failures) = (watched.monitor.state(health), watched.monitor.failures());
        Some(HealthReport { state, since: watched.since, failures, last: watched.last.clone() })
    }
}

/// Which incarnation of a slot is to be looked after.
fn wanted(slot: &Slot) -> Option<u32> {
    slot.spec().care.as_ref()?;
    match slot.instance.state {
        State::Running { inc, .. } if slot.role == Role::Serving => Some(inc),
        _ => None,
    }
}

impl Control {
    /// Something about the health of an instance may be different now.
    fn note_health(&mut self, id: u32) {
        if let Some(slot) = self.ctx.slots.get_mut(id) {
            self.care.note_health(slot);
        }
    }

    /// An instance made a step: who is looked after follows.
    pub(crate) fn follow_care(&mut self, id: u32) {
        let wanted = self.ctx.slots.get(id).and_then(wanted);
        let present = self.care.watched.get(&id).map(|watched| watched.inc);
        if wanted == present {
            return;
        }
        self.care_no_more(id);
        if let Some(inc) = wanted {
            self.begin_care(id, inc);
        }
    }

    fn begin_care(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(care) = slot.spec().care.clone() else { return };
        let at = self.ctx.now;
        let monitor = Monitor::new(&care.health, at.mono_ms);
        let watched = Watched {
            inc,
            monitor,
            since: at,
            questions: Vec::new(),
            last: None,
            beat_due_ms: None,
            memory: MemoryWatch::default(),
            cpu: CpuWatch::default(),
            errors: ErrorWatch::default(),
            memory_bytes: 0,
            beside_failed: false,
        };
        self.care.watched.insert(id, watched);
        self.note_health(id);
        self.follow_questions(id, at.mono_ms);
        if care.measures() {
            self.measure_soon(at.mono_ms);
        }
        if care.errors.is_some() {
            let slot = self.ctx.slots.get(id);
            let error = slot.and_then(|slot| Some((slot.files.error.clone()?, slot.log_start.0)));
            let rights = slot.map_or_else(Rights::default, |slot| Rights::of(slot.spec()));
            self.care.error_logs.begin(id, inc, rights, error);
        }
    }

    fn care_no_more(&mut self, id: u32) {
        self.drop_questions(id);
        let Some(watched) = self.care.watched.remove(&id) else { return };
        self.note_health(id);
        if let Some(at) = watched.beat_due_ms {
            self.care.hearts.remove(&(at, id));
        }
        self.care.error_logs.end(id);
        self.care.mending.wants_no_more(id);
        self.set_unready(id, false);
    }

    /// A slot is forgotten.
    pub(crate) fn forget_care(&mut self, id: u32) {
        self.care_no_more(id);
        if let Some(slot) = self.ctx.slots.get(id) {
            self.care.mending.forget(slot);
        }
    }

    /// What only the clock says.
    pub(crate) fn tick_care(&mut self, now: Now) {
        if self.care.watched.is_empty() {
            return;
        }
        self.tick_checks(now.mono_ms);
        self.tick_commands(now.mono_ms);
        self.tick_hearts(now.mono_ms);
        self.measure(now);
    }

    /// The health of a process is another one.
    fn take_health(&mut self, id: u32, before: Health, state: Health) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(watched) = self.care.watched.get_mut(&id) else { return };
        watched.since = self.ctx.now;
        let why = watched.last.as_ref().filter(|last| !last.good).map(|last| last.words.clone());
        let (failures, pm_id, name) = (watched.monitor.failures(), slot.pm_id, slot.spec().name.clone());
        self.note_health(id);
        self.set_unready(id, matches!(state, Health::Unready | Health::Unhealthy));
        let why = why.unwrap_or_else(|| "no answer".into());
        match state {
            Health::Starting => {}
            Health::Healthy => {
                self.care.mending.is_well(id);
                // Usual, and no news.
                if before != Health::Starting {
                    self.ctx.log.line(format_args!("App [{name}:{pm_id}] is healthy"));
                }
                self.tell_health(id, Told::Healthy, None);
            }
            Health::Unready => {
                self.note(id, format!("gets no new connections while others can have them: {why}"));
                self.tell_health(id, Told::Unready, Some(why));
            }
            Health::Unhealthy => {
                let times = if failures > 1 { format!(" ({failures} times in a row)") } else { String::new() };
                self.note(id, format!("is unhealthy: {why}{times}"));
                self.tell_health(id, Told::Unhealthy, Some(why.clone()));
                self.want_mending(id, Reason::Health, why);
            }
        }
    }

    fn tell_health(&mut self, id: u32, state: Told, answer: Option<String>) {
        self.ctx.tell(id, What::Health { state }, Cause::policy("health", answer));
    }

    /// New connections go to others, or to this one again.
    fn set_unready(&mut self, id: u32, unready: bool) {
        let Some(slot) = self.ctx.slots.get_mut(id).filter(|slot| slot.unready != unready) else { return };
        slot.unready = unready;
        self.ctx.capacity_changed(id);
        self.features.sockets.mark_dirty(&self.ctx, id);
    }

    /// Something for people: in the daemon's log, and in what `why` and `describe` show.
    fn note(&mut self, id: u32, text: String) {
        let Some(slot) = self.ctx.slots.get_mut(id) else { return };
        self.ctx.log.error(format_args!("App [{}:{}] {text}", slot.spec().name, slot.pm_id));
        slot.notes.push(Note { at: self.ctx.now, text });
        let surplus = slot.notes.len().saturating_sub(Note::KEPT);
        slot.notes.drain(..surplus);
        self.ctx.slots.changed(id);
    }
}
