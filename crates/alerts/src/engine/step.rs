//! One step of the engine.

use super::alert::Phase;
use super::series::STALE_MS;
use super::state::{AlertChange, EngineState, StepOutput, change};
use super::{judge, notify};
use crate::config::Config;
use crate::input::Input;
use crate::rule::Condition;

/// Runs one step: the rules judge the input, time passes, and each change that a channel does not
/// know yet becomes a message.
pub fn step(state: &mut EngineState, config: &Config, input: Input, now: u64) -> StepOutput {
    let mut output = StepOutput::default();
    if now < state.now_ms {
        state.clamp_to(now);
    }
    state.now_ms = now;
    let is_time = input == Input::Time;
    let changed = judge::evaluate(state, config, input, now, &mut output.changes);
    // A flood of known events only increments a counter.
    if is_time || changed || !state.is_evaluated || state.wake_ms.is_some_and(|at| at <= now) {
        let next_change = advance_time(state, config, now, &mut output.changes);
        let notified = notify::notify(state, config, now, &mut output.messages);
        state.wake_ms = [next_change, notified].into_iter().flatten().min();
        state.is_evaluated = true;
    }
    output
}

/// Handles the passing of time: alerts that start to fire, end, or belong to deleted rules.
fn advance_time(state: &mut EngineState, config: &Config, now: u64, changes: &mut Vec<AlertChange>) -> Option<u64> {
    let mut again: Option<u64> = None;
    for alert in state.alerts.values_mut() {
        let rule = config.rules.iter().find(|rule| rule.name == alert.rule);
        let for_ms = rule.map_or(0, |rule| rule.for_ms);
        if rule.is_none() && !matches!(alert.phase, Phase::Resolved { .. }) {
            alert.kind = alert.kind.filter(|kind| kind.resolution() == crate::input::Resolution::Unannounced);
            alert.starts.clear();
            if alert.clear(|_| true, now) && !alert.fires() {
                changes.push(change(alert, now));
            }
        }
        let is_measured = rule.is_some_and(|rule| matches!(rule.condition, Condition::Threshold(_) | Condition::Forecast { .. }));
        let stale_ms = (is_measured && !matches!(alert.phase, Phase::Resolved { .. })).then_some(alert.last_ms + STALE_MS);
        let fired = alert.fires();
        if stale_ms.is_some_and(|at| at <= now) && alert.clear(|_| true, now) && fired && !alert.fires() {
            changes.push(change(alert, now));
        }
        if alert.fire_if_due(for_ms, now) || alert.resolve_if_due(now) {
            changes.push(change(alert, now));
        }
        again = again.into_iter().chain(stale_ms.filter(|at| *at > now)).min();
        let next = match alert.phase {
            Phase::Pending { since_ms } => Some(since_ms + for_ms),
            Phase::Firing { .. } => {
                let repeats =
                    alert.notified.values().map(|notified| notified.at_ms + rule.map_or(crate::rule::REPEAT_MS, |rule| rule.repeat_ms));
                alert.resolves_at().into_iter().chain(repeats.filter(|at| *at > now)).min()
            }
            Phase::Resolved { .. } => None,
        };
        again = [again, next.map(|at| at.max(now + 1))].into_iter().flatten().min();
    }
    state.alerts.retain(|_, alert| !notify::is_expired(alert, config, now));
    // Alerts that a silence hides are evaluated again when it expires.
    let silences = config.silences.iter().map(|silence| silence.until_ms).filter(|at| *at > now);
    again.into_iter().chain(silences).min()
}
