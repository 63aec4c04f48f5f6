//! Questions of health checks: which are asked now, when, and what comes of the answers.

use ostler_core::care::{Check, Phase};
use ostler_core::health::Monitor;
use ostler_core::probe;
use ostler_proto::health::LastAnswer;

use super::Question;
use super::commands::CommandCheck;
use crate::control::Control;
use crate::engine::Request;
use crate::probe::Answer;

/// Two phases with the same question share the answers.
fn same(one: &Check, other: &Check) -> bool {
    (&one.ask, one.interval_ms, one.timeout_ms, one.delay_ms) == (&other.ask, other.interval_ms, other.timeout_ms, other.delay_ms)
}

/// A number below `span` that is always the same for a slot and spreads over all slots.
fn spread(id: u32, span: u64) -> u64 {
    let hash = id.wrapping_add(1).wrapping_mul(0x9e37_79b9);
    u64::from(hash).wrapping_mul(span) >> 32
}

impl Control {
    /// Begins and ends questions, so that those are asked that the monitor asks for.
    pub(super) fn follow_questions(&mut self, id: u32, now_ms: u64) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(health) = slot.spec().care.as_ref().map(|care| care.health.clone()) else { return };
        let Some(watched) = self.care.watched.get(&id) else { return };
        let asked: Vec<Phase> = Phase::ALL.into_iter().filter(|phase| watched.monitor.asks(&health, *phase)).collect();
        let known: Vec<Phase> =
            watched.questions.iter().filter_map(|key| self.care.questions.get(key)).flat_map(|q| q.phases.clone()).collect();
        if asked.iter().all(|phase| known.contains(phase)) && asked.len() == known.len() {
            return;
        }
        let mut groups: Vec<(Check, Vec<Phase>)> = Vec::new();
        for phase in asked {
            let Some(check) = health.check(phase) else { continue };
            match groups.iter_mut().find(|(known, _)| same(known, check)) {
                Some((_, phases)) => phases.push(phase),
                None => groups.push((check.clone(), vec![phase])),
            }
        }
        self.drop_questions(id);
        for (check, phases) in groups {
            self.begin_question(id, &check, phases, now_ms);
        }
    }

    pub(super) fn drop_questions(&mut self, id: u32) {
        let Some(watched) = self.care.watched.get_mut(&id) else { return };
        for key in std::mem::take(&mut watched.questions) {
            self.ctx.checks.end(key);
            self.care.questions.remove(&key);
            if let Some(owner) = self.care.commands.remove(&key).and_then(|check| check.running) {
                self.ctx.request(Request::CallOff(owner));
            }
        }
    }

    fn begin_question(&mut self, id: u32, check: &Check, phases: Vec<Phase>, now_ms: u64) {
        use ostler_core::care::Ask;
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let port = match &check.ask {
            Ask::Http(probe) => probe.port,
            Ask::Tcp { port, .. } => *port,
            Ask::Command(_) => 0,
        };
        let Some(watched) = self.care.watched.get_mut(&id) else { return };
        let health = slot.spec().care.as_ref().map(|care| &care.health);
        let pauses = phases.iter().filter_map(|phase| Some(watched.monitor.pause_ms(health?, *phase, now_ms)));
        let pause_ms = pauses.min().unwrap_or(0);
        let first_ms = now_ms.saturating_add(check.delay_ms);
        let first_ms = probe::together(first_ms.saturating_add(spread(id, pause_ms)), pause_ms).max(first_ms);
        let key = self.care.next_question;
        self.care.next_question = key.wrapping_add(1);
        let begun = match (probe::Question::of_check(check, slot.port_shift(port)), CommandCheck::of(check, first_ms)) {
            (Some(question), _) => self.ctx.checks.begin(key, id, question, first_ms),
            (None, command) => {
                self.care.commands.extend(command.map(|command| (key, command)));
                Ok(())
            }
        };
        match begun {
            Ok(()) => {
                watched.questions.push(key);
                self.care.questions.insert(key, Question { id, phases });
            }
            Err(trouble) => {
                let (name, pm_id) = (slot.spec().name.clone(), slot.pm_id);
                self.ctx.log.error(format_args!("App [{name}:{pm_id}] cannot be asked: {trouble}"));
            }
        }
    }

    /// Questions whose time has come.
    pub(super) fn tick_checks(&mut self, now_ms: u64) {
        for (key, answer) in self.ctx.checks.tick(&self.ctx.reactor, now_ms) {
            self.take_check(key, answer, now_ms);
        }
    }

    /// The socket of a question is ready.
    pub(crate) fn hear_check(&mut self, key: u32) {
        let now_ms = self.ctx.now.mono_ms;
        if let Some(answer) = self.ctx.checks.hear(key, &self.ctx.reactor, now_ms) {
            self.take_check(key, answer, now_ms);
        }
    }

    pub(super) fn take_check(&mut self, key: u32, answer: Answer, now_ms: u64) {
        let Some(Question { id, phases }) = self.care.questions.get(&key) else { return };
        let id = *id;
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let Some(health) = slot.spec().care.as_ref().map(|care| &care.health) else { return };
        let Some(watched) = self.care.watched.get_mut(&id) else { return };
        let asked = |monitor: &Monitor| Phase::ALL.map(|phase| monitor.asks(health, phase));
        let asked_before = asked(&watched.monitor);
        let good = answer == Answer::Good;
        let pause =
            |watched: &super::Watched| phases.iter().map(|phase| watched.monitor.pause_ms(health, *phase, now_ms)).min().unwrap_or(1);
        let eager = |watched: &super::Watched| phases.iter().any(|phase| watched.monitor.is_eager(*phase, now_ms));
        let (before, eager_before) = (watched.monitor.state(health), eager(watched));
        for phase in phases {
            watched.monitor.answered(health, *phase, good, now_ms);
        }
        let (after, pause_after) = (watched.monitor.state(health), pause(watched));
        // Those that were started together are not asked together for ever.
        let next_ms = if eager_before && !eager(watched) { 1 + spread(id, pause_after) } else { pause_after };
        let due_ms = probe::together(now_ms.saturating_add(next_ms), pause_after).max(now_ms.saturating_add(1));
        self.ctx.checks.not_before(key, due_ms);
        if let Some(check) = self.care.commands.get_mut(&key) {
            check.due_ms = Some(due_ms);
        }
        watched.last =
            Some(LastAnswer { at: self.ctx.now, good, words: if let Answer::Bad(words) = answer { words } else { String::new() } });
        let asks_others = asked(&watched.monitor) != asked_before;
        self.note_health(id);
        if after != before {
            self.take_health(id, before, after);
        }
        if asks_others {
            self.follow_questions(id, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_spread_over_the_interval() {
        let mut at: Vec<u64> = (0..100).map(|id| spread(id, 5000)).collect();
        assert!(at.iter().all(|at| *at < 5000));
        at.sort_unstable();
        let widest = at.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(300), "{at:?}");
        assert_eq!(spread(7, 0), 0);
    }
}
