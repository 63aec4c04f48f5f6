//! Alert: state of one rule for one app.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use ostler_core::message;

use crate::input::{OccurrenceKind, Resolution};
use crate::rule::Severity;

/// Maximum number of entries in [`Alert::held`].
const MOST_HELD: usize = 256;
/// Time without a recurrence after which an event alert ends.
pub(super) const CALM_MS: u64 = 300_000;
/// The same for a flapping alert.
pub(super) const CALM_FLAPPING_MS: u64 = 900_000;
/// An alert flaps if it starts firing this many times within [`FLAP_MS`].
const FLAPS: usize = 3;
const FLAP_MS: u64 = 3_600_000;

/// Phase of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The condition holds, but not yet for long enough.
    Pending {
        /// Start, in ms since 1970.
        since_ms: u64,
    },
    /// The alert fires.
    Firing {
        /// Start, in ms since 1970.
        since_ms: u64,
        /// Time since which the condition no longer holds, while the alert waits to be resolved.
        clear_ms: Option<u64>,
    },
    /// The alert is resolved.
    Resolved {
        /// Time at which it was resolved, in ms since 1970.
        at_ms: u64,
        /// Time at which it had started, in ms since 1970.
        since_ms: u64,
    },
}

/// Last notification of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentNotification {
    /// Its time, in ms since 1970.
    pub at_ms: u64,
    /// Severity of the alert at that time.
    pub severity: Severity,
}

/// Instance and the event that happened to it.
pub(super) type OpenCondition = (Option<u32>, Option<OccurrenceKind>);

/// State of one rule for one app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule.
    pub rule: String,
    /// The app; empty = the daemon or the machine.
    pub app: String,
    /// Last event, if the rule is about events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<OccurrenceKind>,
    /// Its severity.
    pub severity: Severity,
    /// Text of the last occurrence.
    pub text: String,
    /// Text with the present value, once it is within its limit again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) present: Option<String>,
    /// Its phase.
    pub phase: Phase,
    /// Instances affected since it began.
    #[serde(default)]
    pub instances: BTreeSet<u32>,
    /// Open conditions: the instance (none = the app as a whole) and its event (none = a metric or
    /// a check).
    #[serde(default)]
    pub(super) held: BTreeSet<OpenCondition>,
    /// Number of occurrences since it began.
    pub count: u64,
    /// Time of the last occurrence.
    pub last_ms: u64,
    /// Times of its last starts.
    #[serde(default, rename = "begun")]
    pub(super) starts: Vec<u64>,
    /// Channels that were notified that the alert fires, but not yet that it is resolved.
    #[serde(default, rename = "told")]
    pub notified: BTreeMap<String, SentNotification>,
    /// Channels whose notification is delayed by quiet hours.
    #[serde(default, rename = "owed")]
    pub(super) deferred: BTreeSet<String>,
}

impl Alert {
    pub(super) fn new(rule: &str, app: &str, now: u64) -> Self {
        Self {
            rule: rule.to_owned(),
            app: app.to_owned(),
            kind: None,
            severity: Severity::Info,
            text: String::new(),
            present: None,
            phase: Phase::Resolved { at_ms: 0, since_ms: now },
            instances: BTreeSet::new(),
            held: BTreeSet::new(),
            count: 0,
            last_ms: now,
            starts: Vec::new(),
            notified: BTreeMap::new(),
            deferred: BTreeSet::new(),
        }
    }

    /// Returns true while the alert fires.
    pub fn fires(&self) -> bool {
        matches!(self.phase, Phase::Firing { .. })
    }

    /// Returns the text of the alert. The text of a resolved alert has its duration and the present
    /// value.
    pub(super) fn text_with_duration(&self) -> String {
        let Phase::Resolved { at_ms, since_ms } = self.phase else { return self.text.clone() };
        let seconds = at_ms.saturating_sub(since_ms) / 1000;
        let lasted = match seconds {
            0..120 => message!("{seconds} s", seconds),
            120..7200 => message!("{minutes} min", minutes = seconds / 60),
            _ => message!("{hours} h {minutes} min", hours = seconds / 3600, minutes = seconds / 60 % 60),
        };
        let text = match &self.present {
            None => message!("resolved after {duration} (was: {text})", duration = lasted, text = self.text),
            Some(present) => {
                message!("resolved after {duration}: {present} (was: {text})", duration = lasted, present, text = self.text)
            }
        };
        crate::text::cut(&text, crate::text::TEXT)
    }

    /// Returns true for a crash of an app that already has a worse alert. One cause sends one
    /// message.
    pub(super) fn is_covered_by(&self, worse: &BTreeSet<String>) -> bool {
        self.kind == Some(OccurrenceKind::Crash) && self.fires() && self.notified.is_empty() && worse.contains(&self.app)
    }

    /// Returns true if the alert flaps.
    pub fn flaps(&self, now: u64) -> bool {
        self.flaps_until().is_some_and(|until| now < until)
    }

    /// Returns the time until which the alert counts as flapping.
    fn flaps_until(&self) -> Option<u64> {
        let first = self.starts.len().checked_sub(FLAPS)?;
        Some(self.starts[first] + FLAP_MS + 1)
    }

    /// Records that the condition holds; after `for_ms` the alert fires. Returns true if the phase
    /// changed.
    pub(super) fn hold(&mut self, instance: Option<u32>, for_ms: u64, now: u64) -> bool {
        let before = self.phase;
        self.drop_if_lapsed(for_ms, now);
        if let Phase::Resolved { .. } = self.phase {
            self.phase = Phase::Pending { since_ms: now };
            self.count = 0;
            self.instances.clear();
            self.held.clear();
        }
        if let Phase::Firing { clear_ms, .. } = &mut self.phase {
            *clear_ms = None;
        }
        self.count += 1;
        self.last_ms = now;
        if self.held.len() < MOST_HELD {
            self.held.insert((instance, self.kind));
            self.instances.extend(instance);
        }
        self.fire_if_due(for_ms, now);
        before != self.phase
    }

    /// Drops a pending alert if its event does not recur: an event holds for [`CALM_MS`].
    fn drop_if_lapsed(&mut self, for_ms: u64, now: u64) {
        let Phase::Pending { since_ms } = self.phase else { return };
        let calm_at = self.last_ms + CALM_MS;
        let is_report = self.kind.map(OccurrenceKind::resolution) == Some(Resolution::Unannounced);
        if self.ends_after_quiet() && !is_report && now > calm_at && since_ms + for_ms > calm_at {
            self.phase = Phase::Resolved { at_ms: now, since_ms };
        }
    }

    /// Makes a pending alert fire once its condition has held for `for_ms`. Returns true if it did
    /// so now.
    pub(super) fn fire_if_due(&mut self, for_ms: u64, now: u64) -> bool {
        self.drop_if_lapsed(for_ms, now);
        let Phase::Pending { since_ms } = self.phase else { return false };
        if now.saturating_sub(since_ms) < for_ms {
            return false;
        }
        self.phase = Phase::Firing { since_ms: now, clear_ms: None };
        self.starts.push(now);
        if self.starts.len() > FLAPS {
            self.starts.remove(0);
        }
        true
    }

    /// Returns true if no event will end the alert, so that it ends after a quiet period.
    fn ends_after_quiet(&self) -> bool {
        let ends_after_quiet = |kind: &Option<OccurrenceKind>| {
            kind.is_some_and(|kind| matches!(kind.resolution(), Resolution::AfterQuiet | Resolution::Unannounced))
        };
        if self.held.is_empty() { ends_after_quiet(&self.kind) } else { self.held.iter().all(|(_, kind)| ends_after_quiet(kind)) }
    }

    /// Removes this part of the condition. Returns true if the phase changed.
    pub(super) fn clear(&mut self, is_over: impl Fn(&OpenCondition) -> bool, now: u64) -> bool {
        if self.held.is_empty() && !is_over(&(None, self.kind)) {
            return false;
        }
        self.held.retain(|held| !is_over(held));
        let before = self.phase;
        match &mut self.phase {
            _ if !self.held.is_empty() => {}
            // No channel was notified of it.
            Phase::Pending { since_ms } => self.phase = Phase::Resolved { at_ms: now, since_ms: *since_ms },
            Phase::Firing { clear_ms, .. } => *clear_ms = clear_ms.or(Some(now)),
            Phase::Resolved { .. } => {}
        }
        self.resolve_if_due(now);
        before != self.phase
    }

    /// Resolves an alert whose condition has been over for long enough. Returns true if it did so
    /// now.
    pub(super) fn resolve_if_due(&mut self, now: u64) -> bool {
        let Some(at) = self.resolves_at() else { return false };
        let Phase::Firing { since_ms, .. } = self.phase else { return false };
        if now < at {
            return false;
        }
        self.phase = Phase::Resolved { at_ms: now, since_ms };
        true
    }

    /// Returns when the alert will be resolved if nothing more happens. The result does not depend
    /// on when or how often the engine asks.
    pub(super) fn resolves_at(&self) -> Option<u64> {
        let Phase::Firing { since_ms, clear_ms } = self.phase else { return None };
        let is_report = self.kind.map(OccurrenceKind::resolution) == Some(Resolution::Unannounced);
        let (from, calm_ms) = match clear_ms {
            Some(at) if !is_report => (at, 0),
            // A report that fires late counts from the time at which it fires.
            _ if self.ends_after_quiet() => (self.last_ms.max(since_ms), CALM_MS),
            _ => (clear_ms?, 0),
        };
        Some(match self.flaps_until() {
            // A flapping alert is resolved later, but not after it stops counting as flapping.
            Some(until) => until.max(from + calm_ms).min(from + CALM_FLAPPING_MS),
            None => from + calm_ms,
        })
    }

    /// Limits all times to `now` after the clock was set back.
    pub(super) fn clamp_to(&mut self, now: u64) {
        self.last_ms = self.last_ms.min(now);
        self.starts.iter_mut().for_each(|at| *at = (*at).min(now));
        self.notified.values_mut().for_each(|notified| notified.at_ms = notified.at_ms.min(now));
        match &mut self.phase {
            Phase::Pending { since_ms } => *since_ms = (*since_ms).min(now),
            Phase::Firing { since_ms, clear_ms } => {
                *since_ms = (*since_ms).min(now);
                *clear_ms = clear_ms.map(|at| at.min(now));
            }
            Phase::Resolved { at_ms, since_ms } => {
                *at_ms = (*at_ms).min(now);
                *since_ms = (*since_ms).min(now);
            }
        }
    }
}
