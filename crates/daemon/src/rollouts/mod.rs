//! Reloads: `ostler_core::rollout` decides, the two slots of each instance are moved here.
//!
//! # Theory of operation
//!
//! A reload adds a slot with role `Candidate` beside the slot that serves. Both are ordinary instances for keeper, journal and state
//! machine. When the candidate has proved itself the roles change in one step (and one journal write): it serves under the same `pm_id`,
//! the old one is `Retiring` and is told to finish. So at every instant exactly one slot of a `pm_id` serves, whoever is killed.
//!
//! Nothing here waits. After each round of events [`Control::advance_rollouts`] looks at the slots and tells the rollout what it sees;
//! a fresh daemon does the same with what the journal says, and so goes on where the old one was killed.

mod advance;
mod begin;
mod history;
mod report;

use std::collections::BTreeMap;
use std::rc::Rc;

use ostler_core::lifecycle::Origin;
use ostler_core::rollout::Rollout;
use ostler_core::time::Now;
use serde::{Deserialize, Serialize};

pub(crate) use begin::{NewEnv, NewRelease, Wish};
use history::Release;
pub(crate) use history::ReleaseRecord;

use crate::slots::{App, Base, Stored};
use crate::store::Record;

/// All rollouts under way, and what they left.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    running: Vec<Running>,
    /// The last releases of each app, the oldest first.
    releases: BTreeMap<String, Vec<Release>>,
    next: u32,
}

/// One rollout under way.
#[derive(Debug)]
struct Running {
    number: u32,
    app: String,
    /// Number of the release among those of the app.
    release: u32,
    rollout: Rollout,
    lanes: Vec<Lane>,
    origin: Origin,
    started: Now,
    /// Last lines of the candidate that failed.
    fault_lines: Vec<String>,
    /// It replaces a process that is not well by the same release.
    mends: bool,
    /// When a process that was restarted in place has been waited for long enough; not in the journal, a fresh daemon waits anew.
    look_ms: Option<u64>,
    /// Requests of old processes that were not finished in their time.
    cut: u32,
}

/// One instance of a rollout.
#[derive(Debug)]
struct Lane {
    pm_id: u32,
    /// The slot that serves.
    serving: u32,
    /// The candidate.
    beside: Option<u32>,
    /// The slot that is on its way out.
    going: Option<u32>,
    /// The process that has to stay: the one that was promoted, or restarted. While one is being restarted, the one before it.
    after: u32,
    old: Parts,
    new: Parts,
}

/// What a process is started from.
#[derive(Clone, Debug)]
struct Parts {
    app: Rc<App>,
    base: Rc<Base>,
}

/// As the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RolloutRecord {
    number: u32,
    app: String,
    release: u32,
    rollout: Rollout,
    lanes: Vec<LaneRecord>,
    origin: Origin,
    started: Now,
    #[serde(default)]
    fault_lines: Vec<String>,
    #[serde(default)]
    mends: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    cut: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LaneRecord {
    pm_id: u32,
    serving: u32,
    beside: Option<u32>,
    going: Option<u32>,
    after: u32,
    /// Description and environment, old and new.
    old: (u64, u64),
    new: (u64, u64),
}

impl RolloutRecord {
    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl Running {
    fn record(&self) -> RolloutRecord {
        let lane = |lane: &Lane| LaneRecord {
            pm_id: lane.pm_id,
            serving: lane.serving,
            beside: lane.beside,
            going: lane.going,
            after: lane.after,
            old: (lane.old.app.id, lane.old.base.id),
            new: (lane.new.app.id, lane.new.base.id),
        };
        RolloutRecord {
            number: self.number,
            app: self.app.clone(),
            release: self.release,
            rollout: self.rollout.clone(),
            lanes: self.lanes.iter().map(lane).collect(),
            origin: self.origin.clone(),
            started: self.started,
            fault_lines: self.fault_lines.clone(),
            mends: self.mends,
            cut: self.cut,
        }
    }

    fn restore(record: RolloutRecord, stored: &Stored) -> Option<Self> {
        let parts =
            |(app, base): (u64, u64)| Some(Parts { app: Rc::clone(stored.apps.get(&app)?), base: Rc::clone(stored.bases.get(&base)?) });
        let lane = |lane: LaneRecord| {
            Some(Lane {
                pm_id: lane.pm_id,
                serving: lane.serving,
                beside: lane.beside,
                going: lane.going,
                after: lane.after,
                old: parts(lane.old)?,
                new: parts(lane.new)?,
            })
        };
        Some(Self {
            number: record.number,
            app: record.app,
            release: record.release,
            rollout: record.rollout,
            lanes: record.lanes.into_iter().map(lane).collect::<Option<_>>()?,
            origin: record.origin,
            started: record.started,
            fault_lines: record.fault_lines,
            mends: record.mends,
            look_ms: None,
            cut: record.cut,
        })
    }
}

impl Parts {
    fn records(&self) -> [Record<'static>; 2] {
        [
            Record::Env { id: self.base.id, vars: Rc::clone(&self.base.vars) },
            Record::Spec { id: self.app.id, spec: Rc::clone(&self.app.spec) },
        ]
    }
}

impl Rollouts {
    /// Puts back what the journal knows.
    pub(crate) fn restore(
        &mut self,
        records: BTreeMap<u32, RolloutRecord>,
        releases: BTreeMap<String, Vec<ReleaseRecord>>,
        stored: &Stored,
    ) {
        self.next = records.keys().copied().max().unwrap_or(0);
        self.running = records.into_values().filter_map(|record| Running::restore(record, stored)).collect();
        let restore = |list: Vec<ReleaseRecord>| list.into_iter().filter_map(|record| Release::restore(record, stored)).collect();
        self.releases = releases.into_iter().map(|(app, list)| (app, restore(list))).collect();
    }

    /// Everything that is needed to restore them, in the order in which it must be read.
    pub(crate) fn records<'a>(&'a self) -> impl Iterator<Item = Record<'a>> {
        let lanes = self.running.iter().flat_map(|running| &running.lanes).flat_map(|lane| [&lane.old, &lane.new]);
        let parts = lanes.chain(self.releases.values().flatten().map(|release| &release.parts));
        let running = self.running.iter().map(|running| Record::Rollout(Box::new(running.record())));
        let releases = self.releases.iter().map(|(app, list)| history::record(app, list));
        parts.flat_map(|parts| -> [Record<'a>; 2] { parts.records() }).chain(running).chain(releases)
    }

    /// For the next one.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Apps that are being replaced.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &str> {
        self.running.iter().map(|running| running.app.as_str())
    }

    /// Is this app being replaced?
    pub(crate) fn concerns(&self, app: &str) -> bool {
        self.running.iter().any(|running| running.app == app)
    }

    /// When one of them has to be looked at.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.running.iter().flat_map(|running| [running.rollout.deadline_ms(), running.look_ms]).flatten().min()
    }
}
