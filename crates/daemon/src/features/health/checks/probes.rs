//! Probes of health checks: which are active now, when they run, and their answers.

use ostler_core::health::probe;
use ostler_core::health::{Check, CheckMethod, CheckPhase, HealthSpec, HealthState, ProbeVerdict};
use ostler_proto::health::LastAnswer;

use super::commands::CommandCheck;
use super::{COMMANDS, HealthChecks, PROBES, RepeatedProbe, WatchedProcess};
use crate::engine::{Ctx, FeatureRequest};
use crate::platform::probe::ProbeOutcome;
use crate::state::slots::{Slot, Slots};

/// Returns true for two phases with the same probe, which share the answers.
fn same(one: &Check, other: &Check) -> bool {
    (&one.method, one.interval_ms, one.timeout_ms, one.delay_ms) == (&other.method, other.interval_ms, other.timeout_ms, other.delay_ms)
}

/// Returns a number below `span` that is constant for a slot and spreads over all slots.
fn spread(id: u32, span: u64) -> u64 {
    let hash = id.wrapping_add(1).wrapping_mul(0x9e37_79b9);
    u64::from(hash).wrapping_mul(span) >> 32
}

/// Returns the probes of these phases. Equal probes run only once.
fn grouped(health: &HealthSpec, phases: Vec<CheckPhase>) -> Vec<(Check, Vec<CheckPhase>)> {
    let mut groups: Vec<(Check, Vec<CheckPhase>)> = Vec::new();
    for phase in phases {
        let Some(check) = health.check(phase) else { continue };
        match groups.iter_mut().find(|(known, _)| same(known, check)) {
            Some((_, phases)) => phases.push(phase),
            None => groups.push((check.clone(), vec![phase])),
        }
    }
    groups
}

/// Returns the probe over a network; `None` for a command.
fn over_network(check: &Check, slot: &Slot) -> Option<probe::ProbeRequest> {
    let port = match &check.method {
        CheckMethod::Http(probe) => probe.port,
        CheckMethod::Tcp { port, .. } => *port,
        CheckMethod::Command(_) => 0,
    };
    probe::ProbeRequest::of_check(check, slot.port_shift(port))
}

fn health_of(slots: &Slots, id: u32) -> Option<&HealthSpec> {
    slots.get(id)?.spec().health()
}

/// Result of an answer.
struct MonitorUpdate {
    before: HealthState,
    after: HealthState,
    /// Whether other probes become active.
    activates_probes: bool,
    /// Time of the next probe.
    next_ms: u64,
}

impl WatchedProcess {
    /// Handles an answer to a probe for these phases of slot `id`.
    fn take(&mut self, health: &HealthSpec, id: u32, phases: &[CheckPhase], verdict: ProbeVerdict, now_ms: u64) -> MonitorUpdate {
        let (before, asked_before, was_eager) = (self.monitor.state(health), self.active_phases(health), self.is_eager(phases, now_ms));
        for phase in phases {
            self.monitor.answered(health, *phase, verdict, now_ms);
        }
        let pause_ms = self.pause_ms(health, phases, now_ms).unwrap_or(1);
        // Probes that started together are spread over time.
        let wait_ms = if was_eager && !self.is_eager(phases, now_ms) { 1 + spread(id, pause_ms) } else { pause_ms };
        MonitorUpdate {
            before,
            after: self.monitor.state(health),
            activates_probes: self.active_phases(health) != asked_before,
            next_ms: probe::together(now_ms.saturating_add(wait_ms), pause_ms).max(now_ms.saturating_add(1)),
        }
    }

    /// Returns the time until the next probe for one of these phases.
    fn pause_ms(&self, health: &HealthSpec, phases: &[CheckPhase], now_ms: u64) -> Option<u64> {
        phases.iter().map(|phase| self.monitor.pause_ms(health, *phase, now_ms)).min()
    }

    fn active_phases(&self, health: &HealthSpec) -> [bool; 3] {
        CheckPhase::ALL.map(|phase| self.monitor.is_active(health, phase))
    }

    fn is_eager(&self, phases: &[CheckPhase], now_ms: u64) -> bool {
        phases.iter().any(|phase| self.monitor.is_eager(*phase, now_ms))
    }
}

impl HealthChecks {
    /// Starts and stops probes, so that exactly those run that the monitor requests.
    pub(super) fn follow_questions(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(health) = health_of(&ctx.state.slots, id) else { return };
        let Some(watched) = self.watched.get(&id) else { return };
        let active: Vec<CheckPhase> = CheckPhase::ALL.into_iter().filter(|phase| watched.monitor.is_active(health, *phase)).collect();
        let known: Vec<CheckPhase> =
            watched.questions.iter().filter_map(|key| self.questions.get(key)).flat_map(|q| q.phases.clone()).collect();
        if active.iter().all(|phase| known.contains(phase)) && active.len() == known.len() {
            return;
        }
        let groups = grouped(health, active);
        self.drop_questions(ctx, id);
        for (check, phases) in groups {
            self.begin_question(ctx, id, &check, phases);
        }
        set_probe_timer(ctx);
    }

    /// Stops all probes.
    pub(super) fn drop_questions(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(watched) = self.watched.get_mut(&id) else { return };
        for key in std::mem::take(&mut watched.questions) {
            self.questions.remove(&key);
            match self.commands.remove(&key) {
                Some(check) => {
                    ctx.outbox.timers.set(Self::timer(COMMANDS, key), None);
                    check.running.into_iter().for_each(|owner| ctx.request(FeatureRequest::CallOff(owner)));
                }
                None => ctx.io.checks.end(key),
            }
        }
        set_probe_timer(ctx);
    }

    fn begin_question(&mut self, ctx: &mut Ctx, id: u32, check: &Check, phases: Vec<CheckPhase>) {
        let now_ms = ctx.now.mono_ms;
        let Some((slot, health)) = ctx.state.slots.get(id).zip(health_of(&ctx.state.slots, id)) else { return };
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let pause_ms = watched.pause_ms(health, &phases, now_ms).unwrap_or(0);
        let first_ms = now_ms.saturating_add(check.delay_ms);
        let first_ms = probe::together(first_ms.saturating_add(spread(id, pause_ms)), pause_ms).max(first_ms);
        // An answer to a former daemon must not match a number of this one.
        let next_question = self.next_question.get_or_insert(now_ms as u32);
        let key = *next_question;
        *next_question = key.wrapping_add(1);
        let mut broken = None;
        if let Some(question) = over_network(check, slot) {
            broken = ctx.io.checks.begin(key, id, question, first_ms).err();
        } else if let Some(command) = CommandCheck::of(check) {
            self.commands.insert(key, command);
            ctx.outbox.timers.set(Self::timer(COMMANDS, key), Some(first_ms));
        }
        watched.questions.push(key);
        self.questions.insert(key, RepeatedProbe { id, phases });
        if let Some(trouble) = broken {
            self.take_answer(ctx, key, ProbeOutcome::Broken(trouble.to_string()));
        }
    }

    /// Handles probes over a network that are due.
    pub(super) fn on_probes_due(&mut self, ctx: &mut Ctx) {
        let state = &ctx.state;
        let answers = ctx.io.checks.tick(&ctx.io.reactor, ctx.now.mono_ms, |id, to| state.probe_route(id, to));
        for (key, answer) in answers {
            self.take_answer(ctx, key, answer);
        }
        set_probe_timer(ctx);
    }

    /// Handles the ready connection of a probe.
    pub(super) fn on_probe_ready(&mut self, ctx: &mut Ctx, key: u32) {
        if let Some(answer) = ctx.io.checks.on_ready(key, &ctx.io.reactor, ctx.now.mono_ms) {
            self.take_answer(ctx, key, answer);
        }
        set_probe_timer(ctx);
    }

    /// Handles an answer: shows it, and schedules the next probe.
    pub(super) fn take_answer(&mut self, ctx: &mut Ctx, key: u32, answer: ProbeOutcome) {
        let Some(RepeatedProbe { id, phases }) = self.questions.get(&key) else { return };
        let id = *id;
        let Some(health) = health_of(&ctx.state.slots, id) else { return };
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let (verdict, words) = match answer {
            ProbeOutcome::Good => (ProbeVerdict::Good, String::new()),
            ProbeOutcome::Bad(words) => (ProbeVerdict::Bad, words),
            ProbeOutcome::Broken(words) => (ProbeVerdict::Broken, words),
        };
        let taken = watched.take(health, id, phases, verdict, ctx.now.mono_ms);
        watched.last = Some(LastAnswer { at: ctx.now, good: verdict == ProbeVerdict::Good, words });
        self.schedule_attempt(ctx, key, taken.next_ms);
        self.show(ctx, id);
        if taken.after != taken.before {
            self.on_change(ctx, id, taken.before, taken.after);
        }
        if taken.activates_probes {
            self.follow_questions(ctx, id);
        }
    }

    /// Sets the time of the next attempt.
    fn schedule_attempt(&self, ctx: &mut Ctx, key: u32, at_ms: u64) {
        if self.commands.contains_key(&key) {
            ctx.outbox.timers.set(Self::timer(COMMANDS, key), Some(at_ms));
        } else {
            ctx.io.checks.not_before(key, at_ms);
        }
    }
}

/// Sets the one timer of probes over a network, to the first of them.
fn set_probe_timer(ctx: &mut Ctx) {
    ctx.outbox.timers.set(HealthChecks::timer(PROBES, 0), ctx.io.checks.deadline_ms());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_spread_over_the_interval() {
        let mut at: Vec<u64> = (0..100).map(|id| spread(id, 5000)).collect();
        assert!(at.iter().all(|at| *at < 5000));
        at.sort_unstable();
        let widest = at.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(300), "{at:?}");
        assert_eq!(spread(7, 0), 0);
    }
}
