//! Settings of the engine: rules, channels, silences, quiet hours. Pure.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::rule::{Rule, Severity, matches};

/// All settings of the engine.
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

/// Settings of a channel that the engine needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Lowest severity that the channel is notified of.
    pub severity: Severity,
    /// Whether the channel is notified when an alert is resolved.
    pub resolved: bool,
    /// Hours in which the channel is notified of critical alerts only.
    pub quiet: Option<QuietHours>,
}

/// Daily quiet hours in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct QuietHours {
    /// Start, in minutes since midnight.
    pub from: u16,
    /// End, in minutes since midnight. A value before `from` is on the next day.
    pub to: u16,
    /// The time zone.
    pub zone: TimeZone,
}

impl QuietHours {
    /// Returns true if this instant is in the quiet hours.
    pub fn holds(&self, at_ms: u64) -> bool {
        let Some(at) = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) else { return false };
        let time = at.to_zoned(self.zone.clone()).time();
        let minute = u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs());
        if self.from <= self.to { (self.from..self.to).contains(&minute) } else { minute >= self.from || minute < self.to }
    }
}

/// Silence: matching alerts send no notifications until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// Pattern of rule names; none = all rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Pattern of app names; none = all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Expiry time in ms since 1970.
    pub until_ms: u64,
    /// The user who created it.
    pub by: String,
    /// Reason for the silence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Silence {
    /// Returns true if the silence currently covers this rule and app.
    pub fn covers(&self, rule: &str, app: &str, now: u64) -> bool {
        let is = |pattern: &Option<String>, name: &str| pattern.as_ref().is_none_or(|pattern| matches(pattern, name));
        now < self.until_ms && is(&self.rule, rule) && is(&self.app, app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_span_midnight_in_their_time_zone() {
        let at = |text: &str| u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let night = QuietHours { from: 22 * 60, to: 7 * 60, zone: zone.clone() };
        for (text, holds) in [
            ("2026-11-24T19:59:00Z", false),
            ("2026-11-24T20:00:00Z", true),
            ("2026-11-25T04:59:59Z", true),
            ("2026-11-25T05:00:00Z", false),
        ] {
            assert_eq!(night.holds(at(text)), holds, "{text}");
        }
        let noon = QuietHours { from: 12 * 60, to: 13 * 60, zone };
        assert!(noon.holds(at("2026-11-24T10:30:00Z")) && !noon.holds(at("2026-11-24T11:00:00Z")) && !noon.holds(u64::MAX));
    }
}
