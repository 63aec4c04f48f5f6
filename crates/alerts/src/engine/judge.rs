//! Evaluation of an input by each rule that it concerns.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::message;

use super::alert::{Alert, OpenCondition};
use super::series::PAST_MS;
use super::state::{AlertChange, EngineState, MOST_SERIES, change};
use crate::config::Config;
use crate::input::{CheckResult, Input, InstanceState, MetricSample, Occurrence, OccurrenceKind, Resolution};
use crate::rule::{Check, Condition, MOST_WINDOW_MS, Rule, Severity, Threshold};
use crate::text::{NAME, TEXT, plain};

/// Result of a rule for an app.
struct RuleResult {
    instance: Option<u32>,
    kind: Option<OccurrenceKind>,
    severity: Severity,
    text: String,
}

/// Evaluates an input. Returns true if an alert changed.
pub(super) fn evaluate(state: &mut EngineState, config: &Config, input: Input, now: u64, changes: &mut Vec<AlertChange>) -> bool {
    match input {
        Input::Occurred(occurrence) => on_event(state, config, &occurrence, now, changes),
        Input::Measured(sample) => on_sample(state, config, &sample, now, changes),
        Input::Wrote { app, instance, line } => on_line(state, config, &app, instance, &line, now, changes),
        Input::Exception { app, instance, title, returned } => {
            let text =
                if returned { message!("an exception recurred: {title}", title) } else { message!("a new exception: {title}", title) };
            let verdict = |severity| RuleResult { instance, kind: Some(OccurrenceKind::Limit), severity, text: plain(&text, TEXT) };
            let mut changed = false;
            for rule in config.rules.iter().filter(|rule| rule.covers(&app)) {
                if matches!(rule.condition, Condition::Exception { new, returned: back } if if returned { back } else { new }) {
                    changed |= raise(state, rule, &app, verdict(rule.severity.unwrap_or_default()), now, changes);
                }
            }
            changed
        }
        Input::Checked { rule, result } => {
            let Some(rule) = config.rules.iter().find(|known| known.name == rule) else { return false };
            let Condition::Check(check) = &rule.condition else { return false };
            let severity = rule.severity.unwrap_or(Severity::Critical);
            let app = rule.apps.first().filter(|app| !app.contains('*')).cloned().unwrap_or_default();
            match check_fault(check, &result) {
                Some(text) => raise(state, rule, &app, RuleResult { instance: None, kind: None, severity, text }, now, changes),
                None => end_conditions(state, rule, &app, |_| true, now, changes),
            }
        }
        Input::Listed { apps, at_ms } => {
            let is_over = |alert: &Alert, held: &OpenCondition| alert.last_ms < at_ms && is_over_in_list(apps.get(&alert.app), held);
            end_where(state, config, is_over, now, changes)
        }
        Input::Time => false,
    }
}

fn on_event(state: &mut EngineState, config: &Config, occurrence: &Occurrence, now: u64, changes: &mut Vec<AlertChange>) -> bool {
    let mut changed = false;
    let app = plain(&occurrence.app, NAME);
    match occurrence.kind {
        OccurrenceKind::ReloadBegun if state.reloading.len() < 1000 => drop(state.reloading.insert(app.clone())),
        OccurrenceKind::ReloadEnded | OccurrenceKind::ReloadRefused | OccurrenceKind::Deleted => drop(state.reloading.remove(&app)),
        _ => {}
    }
    if occurrence.kind.is_removal() && !app.is_empty() {
        let is_over = |alert: &Alert, (instance, _): &OpenCondition| {
            alert.app == app && (occurrence.instance.is_none() || *instance == occurrence.instance)
        };
        changed |= end_where(state, config, is_over, now, changes);
    }
    // A crash of a canary belongs to the reload, which raises its own alert if it is refused.
    if occurrence.kind == OccurrenceKind::Crash && state.reloading.contains(&app) {
        return false;
    }
    for rule in &config.rules {
        let Condition::Events(kinds) = &rule.condition else { continue };
        if !occurrence.app.is_empty() && !rule.covers(&app) {
            continue;
        }
        if kinds.contains(&occurrence.kind) {
            let severity = rule.severity.unwrap_or(occurrence.kind.severity());
            let text = plain(&occurrence.text, TEXT);
            let verdict = RuleResult { instance: occurrence.instance, kind: Some(occurrence.kind), severity, text };
            changed |= raise(state, rule, &app, verdict, now, changes);
        }
        // A rule may cover several events, each with its own end.
        let is_of = |instance: &Option<u32>| occurrence.instance.is_none() || instance.is_none() || *instance == occurrence.instance;
        changed |=
            end_conditions(state, rule, &app, |(instance, kind)| is_of(instance) && is_ended_by(*kind, &[occurrence.kind]), now, changes);
    }
    changed
}

/// Returns true if one of these events ends an alert about this kind of event.
fn is_ended_by(kind: Option<OccurrenceKind>, events: &[OccurrenceKind]) -> bool {
    matches!(kind.map(OccurrenceKind::resolution), Some(Resolution::OnEvents(with)) if with.iter().any(|end| events.contains(end)))
}

/// Returns true if the list shows that this condition is over, even if its end event was missed.
fn is_over_in_list(app: Option<&BTreeMap<u32, InstanceState>>, (instance, kind): &OpenCondition) -> bool {
    let Some(instances) = app else { return true };
    let of_instance = |standing: &InstanceState| match standing {
        InstanceState::Stopped => matches!(kind.map(OccurrenceKind::resolution), Some(Resolution::OnEvents(_))),
        InstanceState::Online => is_ended_by(*kind, &[OccurrenceKind::Online]),
        InstanceState::Healthy => is_ended_by(*kind, &[OccurrenceKind::Online, OccurrenceKind::Healthy]),
        InstanceState::Other => false,
    };
    match instance {
        Some(id) => instances.get(id).is_none_or(of_instance),
        None => instances.values().all(of_instance),
    }
}

/// Removes the finished conditions from each alert. Alerts of checks stay, and alerts of single
/// events expire.
fn end_where(
    state: &mut EngineState,
    config: &Config,
    is_over: impl Fn(&Alert, &OpenCondition) -> bool,
    now: u64,
    changes: &mut Vec<AlertChange>,
) -> bool {
    let mut changed = false;
    for alert in state.alerts.values_mut().filter(|alert| !alert.app.is_empty()) {
        let rule = config.rules.iter().find(|rule| rule.name == alert.rule);
        let is_check = rule.is_some_and(|rule| matches!(rule.condition, Condition::Check(_)));
        if is_check || alert.kind.map(OccurrenceKind::resolution) == Some(Resolution::Unannounced) {
            continue;
        }
        let over: BTreeSet<OpenCondition> = alert.held.iter().filter(|held| is_over(alert, held)).copied().collect();
        if over.is_empty() {
            continue;
        }
        let fired = alert.fires();
        changed |= alert.clear(|held| over.contains(held), now);
        if fired && !alert.fires() {
            changes.push(change(alert, now));
        }
    }
    changed
}

fn on_sample(state: &mut EngineState, config: &Config, sample: &MetricSample, now: u64, changes: &mut Vec<AlertChange>) -> bool {
    let mut changed = false;
    let app = plain(&sample.app, NAME);
    for rule in &config.rules {
        let is_of_host = sample.app.is_empty();
        if !is_of_host && !rule.covers(&app) {
            continue;
        }
        let verdict = match &rule.condition {
            Condition::Threshold(threshold) if threshold.metric == sample.metric => {
                threshold_fault(state, rule, threshold, &app, sample, now)
            }
            Condition::Forecast { within_ms } if sample.metric == "memory" && !is_of_host => {
                forecast_fault(state, rule, *within_ms, &app, sample, now)
            }
            _ => continue,
        };
        changed |= match verdict {
            Some(verdict) => raise(state, rule, &app, verdict, now, changes),
            None => {
                if let Some(alert) = state.alerts.get_mut(&EngineState::key(&rule.name, &app)).filter(|alert| alert.fires()) {
                    let value = sample.values.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).reduce(f64::max);
                    let words = |value| {
                        message!(
                            "{metric} is {value}",
                            metric = plain(&sample.metric, 60),
                            value = crate::message::figure(&sample.metric, value)
                        )
                    };
                    alert.present = value.map(words);
                }
                end_conditions(state, rule, &app, |_| true, now, changes)
            }
        };
    }
    changed
}

fn threshold_fault(
    state: &mut EngineState,
    rule: &Rule,
    threshold: &Threshold,
    app: &str,
    sample: &MetricSample,
    now: u64,
) -> Option<RuleResult> {
    let fires = state.alerts.get(&EngineState::key(&rule.name, app)).is_some_and(Alert::fires);
    let beyond = |one: &f64, other: &f64| if threshold.above { one.total_cmp(other) } else { other.total_cmp(one) };
    let (instance, value) = *sample.values.iter().filter(|(_, value)| value.is_finite()).max_by(|one, other| beyond(&one.1, &other.1))?;
    let window_ms = threshold.window_ms;
    let value = match (window_ms > 0).then(|| state.series(&rule.name, app, now)).flatten() {
        None => value,
        Some(series) => {
            series.add(now, value, window_ms);
            match series.mean().filter(|_| series.covers(window_ms, now)) {
                Some(mean) => mean,
                // Nothing changes until the values cover the window.
                None if fires => return Some(verdict_of(rule, threshold, instance, value)),
                None => return None,
            }
        }
    };
    threshold.is_beyond(value, fires).then(|| verdict_of(rule, threshold, instance, value))
}

fn verdict_of(rule: &Rule, threshold: &Threshold, instance: Option<u32>, value: f64) -> RuleResult {
    let metric = plain(&threshold.metric, 60);
    let figure = |value: f64| crate::message::figure(&threshold.metric, value);
    let text = match metric.as_str() {
        "log_age" => message!("wrote no log line for {time}", time = figure(value)),
        "requests" if threshold.limit <= f64::MIN_POSITIVE => message!("receives no requests"),
        _ if threshold.above => {
            message!("{metric} is {value}, above {limit}", metric, value = figure(value), limit = figure(threshold.limit))
        }
        _ => message!("{metric} is {value}, below {limit}", metric, value = figure(value), limit = figure(threshold.limit)),
    };
    RuleResult { instance, kind: None, severity: rule.severity.unwrap_or_default(), text }
}

fn forecast_fault(state: &mut EngineState, rule: &Rule, within_ms: u64, app: &str, sample: &MetricSample, now: u64) -> Option<RuleResult> {
    let limit = sample.limit?;
    let (instance, value) = *sample.values.iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let series = state.series(&rule.name, app, now)?;
    series.add(now, value, PAST_MS);
    let left = series.reaches_limit_in(limit).filter(|left| *left <= within_ms)?;
    let (value, limit) = (crate::message::figure("memory", value), crate::message::figure("memory", limit));
    let text = message!("memory is {value} and reaches its limit of {limit} in {minutes} min", value, limit, minutes = left / 60_000);
    Some(RuleResult { instance, kind: None, severity: rule.severity.unwrap_or_default(), text })
}

fn on_line(
    state: &mut EngineState,
    config: &Config,
    app: &str,
    instance: Option<u32>,
    line: &str,
    now: u64,
    changes: &mut Vec<AlertChange>,
) -> bool {
    const LONGEST: usize = 16 << 10;
    let line = plain(line, LONGEST);
    let app = plain(app, NAME);
    let mut changed = false;
    for rule in config.rules.iter().filter(|rule| rule.covers(&app)) {
        let Condition::Log { pattern, count, window_ms } = &rule.condition else { continue };
        if !pattern.is_in(&line) {
            continue;
        }
        let key = (rule.name.clone(), app.clone());
        if state.matched.len() >= MOST_SERIES && !state.matched.contains_key(&key) {
            state.matched.retain(|_, times| times.back().is_some_and(|at| at + MOST_WINDOW_MS >= now));
        }
        if state.matched.len() >= MOST_SERIES && !state.matched.contains_key(&key) {
            continue;
        }
        let times = state.matched.entry(key).or_default();
        times.push_back(now);
        while times.len() > *count || times.front().is_some_and(|at| at + window_ms < now) {
            times.pop_front();
        }
        if times.len() >= *count {
            let severity = rule.severity.unwrap_or_default();
            let verdict = RuleResult {
                instance,
                kind: Some(OccurrenceKind::Limit),
                severity,
                text: message!("wrote: {line}", line = plain(&line, TEXT - 20)),
            };
            changed |= raise(state, rule, &app, verdict, now, changes);
        }
    }
    changed
}

/// Returns the fault that the result of a check shows; none = no fault.
fn check_fault(check: &Check, result: &Result<CheckResult, String>) -> Option<String> {
    match result {
        Err(why) => Some(plain(why, TEXT)),
        Ok(checked) => match (check.certificate_days, checked.certificate_days) {
            (Some(least), Some(days)) if days < i64::from(least) => Some(message!("the certificate expires in {days} days", days)),
            (Some(_), None) => Some(message!("no certificate")),
            _ => None,
        },
    }
}

fn raise(state: &mut EngineState, rule: &Rule, app: &str, verdict: RuleResult, now: u64, changes: &mut Vec<AlertChange>) -> bool {
    let Some(alert) = state.alert(&rule.name, app, now) else { return false };
    let fired = alert.fires();
    let was = alert.severity;
    alert.kind = verdict.kind;
    alert.severity = if fired { was.max(verdict.severity) } else { verdict.severity };
    alert.text = verdict.text;
    alert.present = None;
    let changed = alert.hold(verdict.instance, rule.for_ms, now) || alert.severity != was;
    if !fired && alert.fires() {
        changes.push(change(alert, now));
    }
    changed
}

fn end_conditions(
    state: &mut EngineState,
    rule: &Rule,
    app: &str,
    is_over: impl Fn(&OpenCondition) -> bool,
    now: u64,
    changes: &mut Vec<AlertChange>,
) -> bool {
    let Some(alert) = state.alerts.get_mut(&EngineState::key(&rule.name, app)) else { return false };
    let fired = alert.fires();
    let changed = alert.clear(is_over, now);
    if fired && !alert.fires() {
        changes.push(change(alert, now));
    }
    changed
}
