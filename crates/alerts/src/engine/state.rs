//! The state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::alert::{Alert, Phase};
use super::pace::Pace;
use super::series::Series;
use crate::input::Kind;
use crate::message::Message;
use crate::rule::Severity;

/// Most alerts that are known; what comes beyond is counted.
pub(super) const MOST_ALERTS: usize = 1000;
/// Most series of figures; a figure beyond is compared by itself.
pub(super) const MOST_SERIES: usize = 2000;

/// Everything that the engine knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// A number of its own, part of the id of each message.
    pub origin: u64,
    /// The events of the daemon that were handled: ring and number.
    #[serde(default)]
    pub position: Option<(u64, u64)>,
    /// The boot of the machine in which it was kept.
    #[serde(default)]
    pub boot: String,
    /// The alerts, by rule and app.
    pub alerts: BTreeMap<String, Alert>,
    /// How often each channel was told something.
    #[serde(default)]
    pub(super) channels: BTreeMap<String, Pace>,
    /// Number of messages so far.
    pub(super) made: u64,
    /// Apps whose instances are being replaced.
    #[serde(default)]
    pub(super) reloading: BTreeSet<String>,
    /// Alerts that there was no room for.
    #[serde(default)]
    pub(super) refused: u64,
    /// The instant of the last step.
    #[serde(skip)]
    pub(super) now_ms: u64,
    /// When there is something to do, if nothing happens.
    #[serde(skip)]
    pub(super) wake_ms: Option<u64>,
    #[serde(skip)]
    pub(super) is_looked_at: bool,
    #[serde(skip)]
    pub(super) series: BTreeMap<(String, String), Series>,
    #[serde(skip)]
    pub(super) matched: BTreeMap<(String, String), VecDeque<u64>>,
}

/// A change of an alert, for the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When, in ms since 1970.
    pub at: u64,
    /// The rule.
    pub rule: String,
    /// The app; empty = the manager or the machine.
    pub app: String,
    /// `firing` or `resolved`.
    pub status: String,
    /// How grave it is.
    pub severity: Severity,
    /// What happened, in words.
    pub text: String,
}

/// What a step came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Messages to send.
    pub messages: Vec<Message>,
    /// Alerts that began or ended.
    pub changes: Vec<Change>,
}

impl State {
    /// A state that knows nothing.
    pub fn new(origin: u64) -> Self {
        Self { origin, ..Self::default() }
    }

    /// The process was not there for a while: figures did not come, and that says nothing.
    pub fn resume(&mut self, now: u64) {
        self.not_after(now);
        self.alerts.values_mut().filter(|alert| alert.kind.is_none()).for_each(|alert| alert.last_ms = now);
        self.is_looked_at = false;
    }

    /// When there is something to do, if nothing happens.
    pub fn wake_ms(&self) -> Option<u64> {
        self.wake_ms
    }

    /// Number of alerts that there was no room for.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The clock was set back.
    pub(super) fn not_after(&mut self, now: u64) {
        self.alerts.values_mut().for_each(|alert| alert.not_after(now));
        self.channels.values_mut().for_each(|pace| pace.not_after(now));
        self.wake_ms = None;
        self.is_looked_at = false;
    }

    pub(super) fn key(rule: &str, app: &str) -> String {
        format!("{rule}\n{app}")
    }

    /// Returns the series of a rule and an app, new if there was none; none if there is no room.
    pub(super) fn series(&mut self, rule: &str, app: &str, now: u64) -> Option<&mut Series> {
        let key = (rule.to_owned(), app.to_owned());
        if self.series.len() >= MOST_SERIES && !self.series.contains_key(&key) {
            self.series.retain(|_, series| !series.is_stale(now));
        }
        (self.series.len() < MOST_SERIES || self.series.contains_key(&key)).then(|| self.series.entry(key).or_default())
    }

    /// The alert of a rule and an app, new where there was none; none = there is no room.
    pub(super) fn alert(&mut self, rule: &str, app: &str, now: u64) -> Option<&mut Alert> {
        let key = Self::key(rule, app);
        if !self.alerts.contains_key(&key) && self.alerts.len() >= MOST_ALERTS {
            // What is over makes room.
            let over = self.alerts.iter().find(|(_, alert)| matches!(alert.phase, Phase::Resolved { .. }) && alert.told.is_empty());
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

    /// Apps of which something worse than a crash is told.
    pub(super) fn worse(&self) -> BTreeSet<String> {
        let is_worse =
            |alert: &&Alert| alert.fires() && matches!(alert.kind, Some(Kind::Errored | Kind::OutOfMemory | Kind::ReloadRefused));
        self.alerts.values().filter(is_worse).map(|alert| alert.app.clone()).collect()
    }
}

pub(super) fn change(alert: &Alert, now: u64) -> Change {
    let status = if alert.fires() { "firing" } else { "resolved" };
    let (rule, app, text) = (alert.rule.clone(), alert.app.clone(), alert.words());
    Change { at: now, rule, app, status: status.to_owned(), severity: alert.severity, text }
}
