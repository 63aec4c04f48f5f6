//! Health of apps: probes are run ([`probes`], [`commands`]), and heartbeats of event loops are
//! watched ([`heartbeat`]).
//!
//! # Theory of operation
//!
//! `ostler_core::health` judges; this module sends the probes at their times. After every step of
//! an instance, the watched processes are compared with the running ones. Each process, and each
//! daemon, starts with a new state; the journal has only the events that users see. The health of a
//! process is on its slot, where other features read it. If a process should get no new
//! connections, that is reported as a change of its capacity. This module does not replace
//! unhealthy processes, but requests it ([`FeatureRequest::Remedy`]).
//!
//! An app without checks costs nothing. An app with a check wakes the daemon only for its checks.

mod commands;
mod heartbeat;
mod probes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ostler_core::health::{CheckPhase, HealthSpec, HealthState, Monitor, RemedyCause};
use ostler_core::lifecycle::PolicyName;
use ostler_core::time::Now;
use ostler_proto::event::{EventCause, EventKind, Health};
use ostler_proto::health::{HealthReport, LastAnswer};
use ostler_proto::node::Message;
use ostler_proto::node::preload::FromPreload;

use crate::engine::{Ctx, FeatureAnswer, FeatureRequest, InstanceStep, Key, PerProcess};
use crate::platform::reactor::Source;
use crate::state::slots::Slot;
use crate::state::store::command::CommandOwner;
use commands::CommandCheck;

/// Watched processes, and their probes.
#[derive(Debug, Default)]
pub(crate) struct HealthChecks {
    /// Watched processes by slot.
    watched: BTreeMap<u32, WatchedProcess>,
    /// Probes by number.
    questions: BTreeMap<u32, RepeatedProbe>,
    /// Probes that are commands.
    commands: BTreeMap<u32, CommandCheck>,
    /// Number of the next probe, once there was one.
    next_question: Option<u32>,
}

/// Probe that is repeated.
#[derive(Debug)]
struct RepeatedProbe {
    /// Instance of the probe.
    id: u32,
    /// Phases of the probe.
    phases: Vec<CheckPhase>,
}

/// State of one watched process.
#[derive(Debug)]
struct WatchedProcess {
    inc: u32,
    monitor: Monitor,
    since: Now,
    /// Numbers of its probes.
    questions: Vec<u32>,
    last: Option<LastAnswer>,
    /// Whether an event has reported the health of this process.
    is_reported: bool,
    /// Time by which its event loop must have sent a heartbeat.
    beat_due_ms: Option<u64>,
}

impl HealthChecks {
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        self.follow(ctx, step.id);
    }

    pub(crate) fn on_serving(&mut self, ctx: &mut Ctx, id: u32) {
        self.follow(ctx, id);
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        let Message::Internal(message) = message else { return };
        if FromPreload::of(message) == Some(FromPreload::Turns) && ctx.state.slots.get(id).is_some_and(|slot| slot.durable.preloaded) {
            self.on_beat(ctx, id);
        }
    }

    /// Stops expecting heartbeats, because the event loop can no longer send one.
    pub(crate) fn on_channel_ended(&mut self, ctx: &mut Ctx, id: u32) {
        self.expect_beat(ctx, id, None);
    }

    /// Handles the ready connection of a probe.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        self.on_probe_ready(ctx, key as u32);
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, key: u64) {
        match key >> 32 {
            BEATS => self.on_silence(ctx, key as u32),
            COMMANDS => self.run_command(ctx, key as u32),
            _ => self.on_probes_due(ctx),
        }
    }

    pub(crate) fn on_answer(&mut self, ctx: &mut Ctx, answer: &FeatureAnswer) {
        if let FeatureAnswer::CommandEnded(end) = answer
            && let CommandOwner::Check { slot, inc, key } = end.owner
        {
            self.on_command_ended(ctx, slot, inc, key, &end.report.outcome);
        }
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.end(ctx, id);
    }
}

/// Upper halves of the numbers of deadlines. The lower half is a slot for event loops, and a probe
/// for commands. All probes over a network share one deadline.
const BEATS: u64 = 0;
const COMMANDS: u64 = 1;
const PROBES: u64 = 2;

impl PerProcess for HealthChecks {
    fn is_wanted(slot: &Slot) -> bool {
        slot.spec().health().is_some_and(HealthSpec::is_watched)
    }

    fn kept_for(&self, id: u32) -> Option<u32> {
        self.watched.get(&id).map(|watched| watched.inc)
    }

    fn begin(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let Some(health) = ctx.state.slots.get(id).and_then(|slot| slot.spec().health()) else { return };
        let monitor = Monitor::new(health, ctx.now.mono_ms);
        let watched =
            WatchedProcess { inc, monitor, since: ctx.now, questions: Vec::new(), last: None, is_reported: false, beat_due_ms: None };
        self.watched.insert(id, watched);
        self.show(ctx, id);
        self.follow_questions(ctx, id);
    }

    fn end(&mut self, ctx: &mut Ctx, id: u32) {
        if !self.watched.contains_key(&id) {
            return;
        }
        self.drop_questions(ctx, id);
        self.expect_beat(ctx, id, None);
        self.watched.remove(&id);
        self.show(ctx, id);
        set_unready(ctx, id, false);
    }
}

impl HealthChecks {
    pub(crate) const NAME: &str = "health";

    /// Returns the source of a probe's connection in the reactor.
    pub(crate) fn source(question: u32) -> Source {
        Source::Feature(Self::NAME, question.into())
    }

    fn timer(kind: u64, number: u32) -> Key {
        (Self::NAME, kind << 32 | u64::from(number))
    }

    /// Shows the health of a process on its slot.
    fn show(&self, ctx: &mut Ctx, id: u32) {
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            slot.live.health = self.report(slot).map(Box::new);
        }
    }

    /// Returns the report; `None` if nothing is checked.
    fn report(&self, slot: &Slot) -> Option<HealthReport> {
        let health = slot.spec().health().filter(|health| health.is_watched())?;
        let watched = self.watched.get(&slot.durable.id)?;
        let (state, failures) = (watched.monitor.state(health), watched.monitor.failures());
        Some(HealthReport { state, since: watched.since, failures, last: watched.last.clone() })
    }

    /// Handles a change of a process's health.
    fn on_change(&mut self, ctx: &mut Ctx, id: u32, before: HealthState, state: HealthState) {
        let Some(watched) = self.watched.get_mut(&id) else { return };
        watched.since = ctx.now;
        watched.is_reported |= state != HealthState::Starting;
        let why = watched.last.as_ref().filter(|last| !last.good).map(|last| last.words.clone());
        let (inc, failures) = (watched.inc, watched.monitor.failures());
        self.show(ctx, id);
        set_unready(ctx, id, matches!(state, HealthState::Unready | HealthState::Unhealthy));
        let why = why.unwrap_or_else(|| "no answer".into());
        match state {
            HealthState::Starting => {}
            HealthState::Healthy => {
                // The first good answer is the normal case. A later good answer withdraws the note
                // that the app is unhealthy.
                if before != HealthState::Starting {
                    ctx.note(id, "is healthy again".into());
                }
                emit_health(ctx, id, Health::Healthy, None);
            }
            HealthState::Broken => {
                ctx.note(id, format!("has a broken health check; no action is taken: {why}"));
                emit_health(ctx, id, Health::Broken, Some(why));
            }
            HealthState::Unready => {
                ctx.note(id, format!("receives no new connections while other instances can take them: {why}"));
                emit_health(ctx, id, Health::Unready, Some(why));
            }
            HealthState::Unhealthy => {
                let times = if failures > 1 { format!(" ({failures} times in a row)") } else { String::new() };
                ctx.note(id, format!("is unhealthy: {why}{times}"));
                emit_health(ctx, id, Health::Unhealthy, Some(why.clone()));
                ctx.request(FeatureRequest::Remedy { id, inc, cause: RemedyCause::Health, why });
            }
        }
    }
}

fn emit_health(ctx: &mut Ctx, id: u32, state: Health, answer: Option<String>) {
    ctx.emit(id, EventKind::Health { state }, EventCause::policy(PolicyName::Health, answer));
}

/// Directs new connections to other processes, or to this one again.
fn set_unready(ctx: &mut Ctx, id: u32, unready: bool) {
    if let Some(slot) = ctx.state.slots.get_mut(id).filter(|slot| slot.live.unready != unready) {
        slot.live.unready = unready;
        ctx.capacity_changed(id);
    }
}
