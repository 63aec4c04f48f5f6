//! State of the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::alert::{Alert, Phase};
use super::pace::Pace;
use super::series::Series;
use crate::input::OccurrenceKind;
use crate::message::Message;
use crate::rule::Severity;

/// Maximum number of alerts; further ones are only counted.
pub(super) const MOST_ALERTS: usize = 1000;
/// Maximum number of series. A value without a series is compared without its past.
pub(super) const MOST_SERIES: usize = 2000;

/// Whole state of the engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineState {
    /// Random number of this state; part of each message's id.
    pub origin: u64,
    /// Last handled event of the daemon: ring and number.
    #[serde(default)]
    pub position: Option<(u64, u64)>,
    /// Boot id of the machine when the state was saved.
    #[serde(default)]
    pub boot: String,
    /// The alerts, by rule and app.
    pub alerts: BTreeMap<String, Alert>,
    /// Pace of the notifications to each channel.
    #[serde(default)]
    pub(super) channels: BTreeMap<String, Pace>,
    /// Number of messages so far.
    pub(super) made: u64,
    /// Apps whose instances are being replaced.
    #[serde(default)]
    pub(super) reloading: BTreeSet<String>,
    /// Number of alerts that were not kept because of [`MOST_ALERTS`].
    #[serde(default)]
    pub(super) refused: u64,
    /// Time of the last step.
    #[serde(skip)]
    pub(super) now_ms: u64,
    /// Time of the next step if no input arrives.
    #[serde(skip)]
    pub(super) wake_ms: Option<u64>,
    #[serde(skip)]
    pub(super) is_evaluated: bool,
    #[serde(skip)]
    pub(super) series: BTreeMap<(String, String), Series>,
    #[serde(skip)]
    pub(super) matched: BTreeMap<(String, String), VecDeque<u64>>,
}

/// Change of an alert, for the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertChange {
    /// Its time, in ms since 1970.
    pub at: u64,
    /// The rule.
    pub rule: String,
    /// The app; empty = the daemon or the machine.
    pub app: String,
    /// `firing` or `resolved`.
    pub status: String,
    /// Severity of the alert.
    pub severity: Severity,
    /// Description of the alert.
    pub text: String,
}

/// Result of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutput {
    /// Messages to send.
    pub messages: Vec<Message>,
    /// Alerts that began or ended.
    pub changes: Vec<AlertChange>,
}

impl EngineState {
    /// Returns an empty state.
    pub fn new(origin: u64) -> Self {
        Self { origin, ..Self::default() }
    }

    /// Continues after a pause of the process. Missing values from the pause do not resolve alerts.
    pub fn resume(&mut self, now: u64) {
        self.clamp_to(now);
        self.alerts.values_mut().filter(|alert| alert.kind.is_none()).for_each(|alert| alert.last_ms = now);
        self.is_evaluated = false;
    }

    /// Returns the time of the next step if no input arrives.
    pub fn wake_ms(&self) -> Option<u64> {
        self.wake_ms
    }

    /// Returns the number of alerts that were not kept because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Limits all times to `now` after the clock was set back.
    pub(super) fn clamp_to(&mut self, now: u64) {
        self.alerts.values_mut().for_each(|alert| alert.clamp_to(now));
        self.channels.values_mut().for_each(|pace| pace.clamp_to(now));
        self.wake_ms = None;
        self.is_evaluated = false;
    }

    pub(super) fn key(rule: &str, app: &str) -> String {
        format!("{rule}\n{app}")
    }

    /// Returns the series of a rule and an app, and creates it if needed. Returns `None` if there
    /// is no room.
    pub(super) fn series(&mut self, rule: &str, app: &str, now: u64) -> Option<&mut Series> {
        let key = (rule.to_owned(), app.to_owned());
        if self.series.len() >= MOST_SERIES && !self.series.contains_key(&key) {
            self.series.retain(|_, series| !series.is_stale(now));
        }
        (self.series.len() < MOST_SERIES || self.series.contains_key(&key)).then(|| self.series.entry(key).or_default())
    }

    /// Returns the alert of a rule and an app, and creates it if needed. Returns `None` if there is
    /// no room.
    pub(super) fn alert(&mut self, rule: &str, app: &str, now: u64) -> Option<&mut Alert> {
        let key = Self::key(rule, app);
        if !self.alerts.contains_key(&key) && self.alerts.len() >= MOST_ALERTS {
            // A resolved alert makes room.
            let over = self.alerts.iter().find(|(_, alert)| matches!(alert.phase, Phase::Resolved { .. }) && alert.notified.is_empty());
            match over.map(|(key, _)| key.clone()) {
                Some(over) => drop(self.alerts.remove(&over)),
                None => {
                    self.refused += 1;
                    return None;
                }
            }
        }
        Some(self.alerts.entry(key).or_insert_with(|| Alert::new(rule, app, now)))
    }

    /// Returns the apps that have an alert worse than a crash.
    pub(super) fn worse(&self) -> BTreeSet<String> {
        let is_worse = |alert: &&Alert| {
            alert.fires()
                && matches!(alert.kind, Some(OccurrenceKind::Errored | OccurrenceKind::OutOfMemory | OccurrenceKind::ReloadRefused))
        };
        self.alerts.values().filter(is_worse).map(|alert| alert.app.clone()).collect()
    }
}

pub(super) fn change(alert: &Alert, now: u64) -> AlertChange {
    let status = if alert.fires() { "firing" } else { "resolved" };
    let (rule, app, text) = (alert.rule.clone(), alert.app.clone(), alert.text_with_duration());
    AlertChange { at: now, rule, app, status: status.to_owned(), severity: alert.severity, text }
}
