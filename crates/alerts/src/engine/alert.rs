//! One alert: a rule, an app, and how it stands between them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::input::{Ends, Kind};
use crate::rule::Severity;

/// Most entries of [`Alert::held`].
const MOST_HELD: usize = 256;
/// What happened has not happened again for so long: it is over.
pub(super) const CALM_MS: u64 = 300_000;
/// The same for what comes and goes.
pub(super) const CALM_FLAPPING_MS: u64 = 900_000;
/// So many beginnings within [`FLAP_MS`] are a coming and going.
const FLAPS: usize = 3;
const FLAP_MS: u64 = 3_600_000;

/// How an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The condition holds, not yet for long enough.
    Pending {
        /// Since when.
        since_ms: u64,
    },
    /// It is an alert.
    Firing {
        /// Since when.
        since_ms: u64,
        /// Since when the condition does not hold any more, where the end is waited for.
        clear_ms: Option<u64>,
    },
    /// It is over.
    Resolved {
        /// Since when.
        at_ms: u64,
        /// When it had begun.
        since_ms: u64,
    },
}

/// What a channel was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at_ms: u64,
    /// How grave it was then.
    pub severity: Severity,
}

/// An instance and what happened to it.
pub(super) type Held = (Option<u32>, Option<Kind>);

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule.
    pub rule: String,
    /// The app; empty = the manager or the machine.
    pub app: String,
    /// What happened last, where it is about what happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// How grave it is.
    pub severity: Severity,
    /// The last of it in words.
    pub text: String,
    /// The present figure in words, once it is within its limit again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) present: Option<String>,
    /// How it stands.
    pub phase: Phase,
    /// Instances that it was about since it began.
    #[serde(default)]
    pub instances: BTreeSet<u32>,
    /// Open conditions: the instance (none = the app as a whole), and its event (none = a figure or a check).
    #[serde(default)]
    pub(super) held: BTreeSet<Held>,
    /// How often it happened since it began.
    pub count: u64,
    /// When it happened last.
    pub last_ms: u64,
    /// Its last beginnings.
    #[serde(default)]
    pub(super) begun: Vec<u64>,
    /// Channels that were told that it fires, and not yet that it is over.
    #[serde(default)]
    pub told: BTreeMap<String, Told>,
    /// Channels that were not told because of quiet hours, and will be.
    #[serde(default)]
    pub(super) owed: BTreeSet<String>,
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
            begun: Vec::new(),
            told: BTreeMap::new(),
            owed: BTreeSet::new(),
        }
    }

    /// True while it is an alert.
    pub fn fires(&self) -> bool {
        matches!(self.phase, Phase::Firing { .. })
    }

    /// Returns the alert in words: of one that is over, for how long it lasted and the present figure.
    pub(super) fn words(&self) -> String {
        let Phase::Resolved { at_ms, since_ms } = self.phase else { return self.text.clone() };
        let seconds = at_ms.saturating_sub(since_ms) / 1000;
        let lasted = match seconds {
            0..120 => format!("{seconds} s"),
            120..7200 => format!("{} min", seconds / 60),
            _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        };
        let present = self.present.as_ref().map(|present| format!(": {present}")).unwrap_or_default();
        crate::text::cut(&format!("resolved after {lasted}{present} (was: {})", self.text), crate::text::TEXT)
    }

    /// True for a crash of an app of which something worse is told anyway: one message for one cause.
    pub(super) fn is_explained(&self, worse: &BTreeSet<String>) -> bool {
        self.kind == Some(Kind::Crash) && self.fires() && self.told.is_empty() && worse.contains(&self.app)
    }

    /// True if it comes and goes.
    pub fn flaps(&self, now: u64) -> bool {
        self.flaps_until().is_some_and(|until| now < until)
    }

    /// Until when it counts as coming and going.
    fn flaps_until(&self) -> Option<u64> {
        let first = self.begun.len().checked_sub(FLAPS)?;
        Some(self.begun[first] + FLAP_MS + 1)
    }

    /// The condition holds, after `for_ms` as an alert. True = that changed how it stands.
    pub(super) fn hold(&mut self, instance: Option<u32>, for_ms: u64, now: u64) -> bool {
        let before = self.phase;
        self.lapse(for_ms, now);
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
        self.ripen(for_ms, now);
        before != self.phase
    }

    /// Drops a pending alert if its event does not recur: an event holds for [`CALM_MS`].
    fn lapse(&mut self, for_ms: u64, now: u64) {
        let Phase::Pending { since_ms } = self.phase else { return };
        let calm_at = self.last_ms + CALM_MS;
        let is_news = self.kind.map(Kind::ends) == Some(Ends::Told);
        if self.fades() && !is_news && now > calm_at && since_ms + for_ms > calm_at {
            self.phase = Phase::Resolved { at_ms: now, since_ms };
        }
    }

    /// What has held for long enough is an alert. True = it is from now on.
    pub(super) fn ripen(&mut self, for_ms: u64, now: u64) -> bool {
        self.lapse(for_ms, now);
        let Phase::Pending { since_ms } = self.phase else { return false };
        if now.saturating_sub(since_ms) < for_ms {
            return false;
        }
        self.phase = Phase::Firing { since_ms: now, clear_ms: None };
        self.begun.push(now);
        if self.begun.len() > FLAPS {
            self.begun.remove(0);
        }
        true
    }

    /// True if no event will end it, so that it is over when nothing happens for a while.
    fn fades(&self) -> bool {
        let fades = |kind: &Option<Kind>| kind.is_some_and(|kind| matches!(kind.ends(), Ends::Quiet | Ends::Told));
        if self.held.is_empty() { fades(&self.kind) } else { self.held.iter().all(|(_, kind)| fades(kind)) }
    }

    /// Ends this part of the condition. Returns true if that changed how the alert stands.
    pub(super) fn clear(&mut self, is_over: impl Fn(&Held) -> bool, now: u64) -> bool {
        if self.held.is_empty() && !is_over(&(None, self.kind)) {
            return false;
        }
        self.held.retain(|held| !is_over(held));
        let before = self.phase;
        match &mut self.phase {
            _ if !self.held.is_empty() => {}
            // Nothing was ever told of it.
            Phase::Pending { since_ms } => self.phase = Phase::Resolved { at_ms: now, since_ms: *since_ms },
            Phase::Firing { clear_ms, .. } => *clear_ms = clear_ms.or(Some(now)),
            Phase::Resolved { .. } => {}
        }
        self.settle(now);
        before != self.phase
    }

    /// What has been over for long enough is resolved. True = it is from now on.
    pub(super) fn settle(&mut self, now: u64) -> bool {
        let Some(at) = self.settles_at() else { return false };
        let Phase::Firing { since_ms, .. } = self.phase else { return false };
        if now < at {
            return false;
        }
        self.phase = Phase::Resolved { at_ms: now, since_ms };
        true
    }

    /// When it will be over, if nothing more happens. Not a matter of when that is asked: however often an engine looks, it says the same.
    pub(super) fn settles_at(&self) -> Option<u64> {
        let Phase::Firing { since_ms, clear_ms } = self.phase else { return None };
        let is_news = self.kind.map(Kind::ends) == Some(Ends::Told);
        let (from, calm_ms) = match clear_ms {
            Some(at) if !is_news => (at, 0),
            // News that fires late is news from then on.
            _ if self.fades() => (self.last_ms.max(since_ms), CALM_MS),
            _ => (clear_ms?, 0),
        };
        Some(match self.flaps_until() {
            // What comes and goes is waited for longer, but not longer than it does.
            Some(until) => until.max(from + calm_ms).min(from + CALM_FLAPPING_MS),
            None => from + calm_ms,
        })
    }

    /// The clock was set back: nothing is later than now.
    pub(super) fn not_after(&mut self, now: u64) {
        self.last_ms = self.last_ms.min(now);
        self.begun.iter_mut().for_each(|at| *at = (*at).min(now));
        self.told.values_mut().for_each(|told| told.at_ms = told.at_ms.min(now));
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
