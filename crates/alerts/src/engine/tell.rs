//! Who is told: channels, silences, quiet hours; messages from what is true and what was told.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::alert::{Alert, Phase, Told};
use super::state::State;
use crate::input::{Ends, Kind};
use crate::message::{Item, Message, Status};
use crate::rule::{Rule, Severity, matches};

/// Most alerts that a message has in words; the others are counted.
const MOST_ITEMS: usize = 20;
/// Instances that an alert has by number.
const MOST_NUMBERS: usize = 10;

/// Everything that is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The rules.
    pub rules: Vec<Rule>,
    /// The channels.
    pub channels: Vec<Channel>,
    /// The silences.
    pub silences: Vec<Silence>,
    /// Name of the machine.
    pub host: String,
}

/// What the engine knows of a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// What is less grave is not told.
    pub severity: Severity,
    /// Whether the end of an alert is told.
    pub resolved: bool,
    /// Hours in which only what is critical is told.
    pub quiet: Option<Quiet>,
}

/// Hours of the day, in a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Quiet {
    /// Minutes since midnight at which they begin.
    pub from: u16,
    /// Minutes since midnight at which they end; before `from` = on the next day.
    pub to: u16,
    /// The zone.
    pub zone: TimeZone,
}

impl Quiet {
    /// True if this instant is in them.
    pub fn holds(&self, at_ms: u64) -> bool {
        let Some(at) = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) else { return false };
        let time = at.to_zoned(self.zone.clone()).time();
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        if self.from <= self.to { (self.from..self.to).contains(&minute) } else { minute >= self.from || minute < self.to }
    }
}

/// A silence: what matches is not told until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// Rules, as a pattern; none = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Apps, as a pattern; none = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Its end, in ms since 1970.
    pub until_ms: u64,
    /// Whoever made it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Silence {
    /// True if this is not told for now.
    pub fn covers(&self, rule: &str, app: &str, now: u64) -> bool {
        let is = |pattern: &Option<String>, name: &str| pattern.as_ref().is_none_or(|pattern| matches(pattern, name));
        now < self.until_ms && is(&self.rule, rule) && is(&self.app, app)
    }
}

/// What a channel would be told about an alert.
enum Wish {
    Nothing,
    Tell(Status),
    /// The same later: quiet hours.
    Later,
}

/// Makes the messages that are due. The instant at which to look again, where something waits.
pub(super) fn tell(state: &mut State, config: &Config, now: u64, messages: &mut Vec<Message>) -> Option<u64> {
    let worse = state.worse();
    let mut again: Option<u64> = None;
    let mut at = |at: u64| again = Some(again.map_or(at, |before| before.min(at)));
    for channel in &config.channels {
        let is_quiet = channel.quiet.as_ref().is_some_and(|quiet| quiet.holds(now));
        let (mut wanted, mut urgent) = (Vec::new(), false);
        let mut waits = Vec::new();
        for (key, alert) in &state.alerts {
            match wish(config, alert, channel, is_quiet, &worse, now) {
                Wish::Tell(status) => {
                    urgent |= status == Status::Firing && alert.severity == Severity::Critical;
                    wanted.push((key.clone(), status));
                }
                Wish::Later => waits.push(key.clone()),
                Wish::Nothing => {}
            }
        }
        for key in waits {
            at(now + 60_000);
            if let Some(alert) = state.alerts.get_mut(&key) {
                alert.owed.insert(channel.name.clone());
            }
        }
        let pace = state.channels.entry(channel.name.clone()).or_default();
        if wanted.is_empty() {
            pace.due_ms = None;
            continue;
        }
        let next = pace.next(urgent, now);
        if next > now {
            at(next);
            continue;
        }
        pace.made(now);
        messages.push(message(state, config, channel, wanted, now));
    }
    again
}

fn wish(config: &Config, alert: &Alert, channel: &Channel, is_quiet: bool, worse: &BTreeSet<String>, now: u64) -> Wish {
    let rule = config.rules.iter().find(|rule| rule.name == alert.rule);
    let is_told_of = rule.is_none_or(|rule| rule.channels.is_empty() || rule.channels.contains(&channel.name));
    if !is_told_of || alert.severity < channel.severity || alert.is_explained(worse) {
        return Wish::Nothing;
    }
    if config.silences.iter().any(|silence| silence.covers(&alert.rule, &alert.app, now)) {
        return Wish::Nothing;
    }
    let told = alert.told.get(&channel.name);
    let status = match (alert.phase, told) {
        (Phase::Pending { .. }, _) => return Wish::Nothing,
        (Phase::Firing { .. }, None) => Status::Firing,
        (Phase::Firing { .. }, Some(told)) if alert.severity > told.severity => Status::Firing,
        (Phase::Firing { .. }, Some(told)) => {
            let repeat_ms = rule.map_or(crate::rule::REPEAT_MS, |rule| rule.repeat_ms);
            if now < told.at_ms + repeat_ms || alert.kind.map(Kind::ends) == Some(Ends::Told) {
                return Wish::Nothing;
            }
            Status::Repeated
        }
        (Phase::Resolved { .. }, Some(_)) if channel.resolved && alert.kind.map(Kind::ends) != Some(Ends::Told) => Status::Resolved,
        (Phase::Resolved { .. }, None) if alert.owed.contains(&channel.name) => Status::Resolved,
        (Phase::Resolved { .. }, _) => return Wish::Nothing,
    };
    if is_quiet && alert.severity < Severity::Critical { Wish::Later } else { Wish::Tell(status) }
}

/// The message, after which its channel has been told.
fn message(state: &mut State, config: &Config, channel: &Channel, wanted: Vec<(String, Status)>, now: u64) -> Message {
    let count = wanted.len();
    let mut items = Vec::new();
    for (key, status) in wanted {
        let Some(alert) = state.alerts.get_mut(&key) else { continue };
        items.push(item(alert, status, now));
        alert.owed.remove(&channel.name);
        if status == Status::Resolved {
            alert.told.remove(&channel.name);
        } else {
            alert.told.insert(channel.name.clone(), Told { at_ms: now, severity: alert.severity });
        }
    }
    // What fires first, the gravest of it first.
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

fn item(alert: &Alert, status: Status, now: u64) -> Item {
    let (since_ms, over_ms) = match alert.phase {
        Phase::Pending { since_ms } | Phase::Firing { since_ms, .. } => (since_ms, None),
        Phase::Resolved { at_ms, since_ms } => (since_ms, Some(at_ms)),
    };
    Item {
        rule: alert.rule.clone(),
        app: alert.app.clone(),
        status,
        severity: alert.severity,
        text: alert.words(),
        since_ms,
        over_ms,
        instances: alert.instances.iter().take(MOST_NUMBERS).copied().collect(),
        instance_count: alert.instances.len(),
        count: if alert.kind.is_some() { alert.count } else { 1 },
        flaps: alert.flaps(now),
    }
}

/// Forgets what no channel is owed any more, so that the state stays small.
pub(super) fn is_forgotten(alert: &Alert, config: &Config, now: u64) -> bool {
    const KEPT_MS: u64 = 3_600_000;
    let Phase::Resolved { at_ms, .. } = alert.phase else { return false };
    let is_owed = |name: &String| config.channels.iter().any(|channel| channel.name == *name && channel.resolved);
    let owes = alert.kind.map(Kind::ends) != Some(Ends::Told) && alert.told.keys().chain(&alert.owed).any(is_owed);
    now >= at_ms + if owes { 24 * KEPT_MS } else { KEPT_MS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_in_a_zone_over_midnight() {
        let at = |text: &str| u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let night = Quiet { from: 22 * 60, to: 7 * 60, zone: zone.clone() };
        for (text, holds) in [
            ("2026-11-24T19:59:00Z", false),
            ("2026-11-24T20:00:00Z", true),
            ("2026-11-25T04:59:59Z", true),
            ("2026-11-25T05:00:00Z", false),
        ] {
            assert_eq!(night.holds(at(text)), holds, "{text}");
        }
        let noon = Quiet { from: 12 * 60, to: 13 * 60, zone };
        assert!(noon.holds(at("2026-11-24T10:30:00Z")) && !noon.holds(at("2026-11-24T11:00:00Z")) && !noon.holds(u64::MAX));
    }
}
