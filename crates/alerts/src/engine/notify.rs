//! Messages: the difference between the present alerts and those that a channel was notified of.

use std::collections::BTreeSet;

use super::alert::{Alert, Phase, SentNotification};
use super::state::EngineState;
use crate::config::{Channel, Config};
use crate::input::{OccurrenceKind, Resolution};
use crate::message::{AlertItem, Message, Status};
use crate::rule::Severity;

/// Maximum number of alerts that a message lists; further ones are counted.
const MOST_ITEMS: usize = 20;
/// Maximum number of instances that an alert lists by id.
const MOST_NUMBERS: usize = 10;

/// Notification that a channel should get about an alert.
enum Delivery {
    None,
    Now(Status),
    /// Deferred because of quiet hours.
    Deferred,
}

/// Creates the messages that are due. Returns the time of the next call if something waits.
pub(super) fn notify(state: &mut EngineState, config: &Config, now: u64, messages: &mut Vec<Message>) -> Option<u64> {
    let worse = state.worse();
    let mut again: Option<u64> = None;
    let mut at = |at: u64| again = Some(again.map_or(at, |before| before.min(at)));
    for channel in &config.channels {
        let is_quiet = channel.quiet.as_ref().is_some_and(|quiet| quiet.holds(now));
        let (mut due, mut urgent) = (Vec::new(), false);
        let mut waits = Vec::new();
        for (key, alert) in &state.alerts {
            match delivery_for(config, alert, channel, is_quiet, &worse, now) {
                Delivery::Now(status) => {
                    urgent |= status == Status::Firing && alert.severity == Severity::Critical;
                    due.push((key.clone(), status));
                }
                Delivery::Deferred => waits.push(key.clone()),
                Delivery::None => {}
            }
        }
        for key in waits {
            at(now + 60_000);
            if let Some(alert) = state.alerts.get_mut(&key) {
                alert.deferred.insert(channel.name.clone());
            }
        }
        let pace = state.channels.entry(channel.name.clone()).or_default();
        if due.is_empty() {
            pace.due_ms = None;
            continue;
        }
        let next = pace.next(urgent, now);
        if next > now {
            at(next);
            continue;
        }
        pace.record_sent(now);
        messages.push(message(state, config, channel, due, now));
    }
    again
}

fn delivery_for(config: &Config, alert: &Alert, channel: &Channel, is_quiet: bool, worse: &BTreeSet<String>, now: u64) -> Delivery {
    let rule = config.rules.iter().find(|rule| rule.name == alert.rule);
    let is_addressed = rule.is_none_or(|rule| rule.channels.is_empty() || rule.channels.contains(&channel.name));
    if !is_addressed || alert.severity < channel.severity || alert.is_covered_by(worse) {
        return Delivery::None;
    }
    if config.silences.iter().any(|silence| silence.covers(&alert.rule, &alert.app, now)) {
        return Delivery::None;
    }
    let notified = alert.notified.get(&channel.name);
    let status = match (alert.phase, notified) {
        (Phase::Pending { .. }, _) => return Delivery::None,
        (Phase::Firing { .. }, None) => Status::Firing,
        (Phase::Firing { .. }, Some(notified)) if alert.severity > notified.severity => Status::Firing,
        (Phase::Firing { .. }, Some(notified)) => {
            let repeat_ms = rule.map_or(crate::rule::REPEAT_MS, |rule| rule.repeat_ms);
            if now < notified.at_ms + repeat_ms || alert.kind.map(OccurrenceKind::resolution) == Some(Resolution::Unannounced) {
                return Delivery::None;
            }
            Status::Repeated
        }
        (Phase::Resolved { .. }, Some(_))
            if channel.resolved && alert.kind.map(OccurrenceKind::resolution) != Some(Resolution::Unannounced) =>
        {
            Status::Resolved
        }
        (Phase::Resolved { .. }, None) if alert.deferred.contains(&channel.name) => Status::Resolved,
        (Phase::Resolved { .. }, _) => return Delivery::None,
    };
    if is_quiet && alert.severity < Severity::Critical { Delivery::Deferred } else { Delivery::Now(status) }
}

/// Creates the message and marks its alerts as reported to the channel.
fn message(state: &mut EngineState, config: &Config, channel: &Channel, due: Vec<(String, Status)>, now: u64) -> Message {
    let count = due.len();
    let mut items = Vec::new();
    for (key, status) in due {
        let Some(alert) = state.alerts.get_mut(&key) else { continue };
        items.push(item(alert, status, now));
        alert.deferred.remove(&channel.name);
        if status == Status::Resolved {
            alert.notified.remove(&channel.name);
        } else {
            alert.notified.insert(channel.name.clone(), SentNotification { at_ms: now, severity: alert.severity });
        }
    }
    // Firing alerts first, the most severe of them at the top.
    items.sort_by_key(|item| (item.status == Status::Resolved, std::cmp::Reverse(item.severity)));
    items.truncate(MOST_ITEMS);
    state.made += 1;
    Message {
        id: format!("{:016x}-{}", state.origin, state.made),
        channel: channel.name.clone(),
        at_ms: now,
        host: config.host.clone(),
        more: count - items.len(),
        items,
    }
}

fn item(alert: &Alert, status: Status, now: u64) -> AlertItem {
    let (since_ms, over_ms) = match alert.phase {
        Phase::Pending { since_ms } | Phase::Firing { since_ms, .. } => (since_ms, None),
        Phase::Resolved { at_ms, since_ms } => (since_ms, Some(at_ms)),
    };
    AlertItem {
        rule: alert.rule.clone(),
        app: alert.app.clone(),
        status,
        severity: alert.severity,
        text: alert.text_with_duration(),
        since_ms,
        over_ms,
        instances: alert.instances.iter().take(MOST_NUMBERS).copied().collect(),
        instance_count: alert.instances.len(),
        count: if alert.kind.is_some() { alert.count } else { 1 },
        flaps: alert.flaps(now),
    }
}

/// Returns true if the alert can be removed: it is resolved and no channel waits for a
/// notification.
pub(super) fn is_expired(alert: &Alert, config: &Config, now: u64) -> bool {
    const KEPT_MS: u64 = 3_600_000;
    let Phase::Resolved { at_ms, .. } = alert.phase else { return false };
    let is_owed = |name: &String| config.channels.iter().any(|channel| channel.name == *name && channel.resolved);
    let owes = alert.kind.map(OccurrenceKind::resolution) != Some(Resolution::Unannounced)
        && alert.notified.keys().chain(&alert.deferred).any(is_owed);
    now >= at_ms + if owes { 24 * KEPT_MS } else { KEPT_MS }
}
