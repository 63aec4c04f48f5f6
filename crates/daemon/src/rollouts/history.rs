//! Which releases an app had.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::time::Now;
use ostler_proto::control::FaultReport;
use serde::{Deserialize, Serialize};

use super::{Lane, NewEnv, NewRelease, Parts};
use crate::control::Control;
use crate::slots::{Slot, Stored};
use crate::store::Record;

/// Releases that are remembered per app.
const KEPT: usize = 10;

/// One release, taken or refused.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(super) number: u32,
    pub(super) parts: Parts,
    pub(super) command: String,
    pub(super) started: Now,
    pub(super) ended: Now,
    pub(super) end: End,
    pub(super) fault: Option<FaultReport>,
    pub(super) places: Vec<(u32, String)>,
    pub(super) cut: u32,
}

/// How its rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Done,
    Failed,
    Overruled,
}

/// As the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleaseRecord {
    number: u32,
    spec: u64,
    env: u64,
    command: String,
    started: Now,
    ended: Now,
    end: End,
    fault: Option<FaultReport>,
    places: Vec<(u32, String)>,
    #[serde(default, skip_serializing_if = "super::is_zero")]
    cut: u32,
}

pub(super) fn record(app: &str, list: &[Release]) -> Record<'static> {
    let one = |release: &Release| ReleaseRecord {
        number: release.number,
        spec: release.parts.app.id,
        env: release.parts.base.id,
        command: release.command.clone(),
        started: release.started,
        ended: release.ended,
        end: release.end,
        fault: release.fault.clone(),
        places: release.places.clone(),
        cut: release.cut,
    };
    Record::Releases { app: app.to_owned(), list: list.iter().map(one).collect() }
}

impl Release {
    pub(super) fn restore(record: ReleaseRecord, stored: &Stored) -> Option<Self> {
        let parts = Parts { app: Rc::clone(stored.apps.get(&record.spec)?), base: Rc::clone(stored.bases.get(&record.env)?) };
        let ReleaseRecord { number, command, started, ended, end, fault, places, cut, .. } = record;
        Some(Self { number, parts, command, started, ended, end, fault, places, cut })
    }
}

impl Control {
    /// The release that runs before the first reload has a number, too.
    pub(super) fn remember_present_release(&mut self, app: &str, lanes: &[Lane]) {
        let Some(lane) = lanes.first() else { return };
        let known = self.rollouts.releases.get(app).is_some_and(|list| list.iter().any(|release| release.end == End::Done));
        if known {
            // Its files may have moved away from the link since.
            let list = self.rollouts.releases.get_mut(app);
            if let Some(current) = list.and_then(|list| list.iter_mut().rfind(|release| release.end == End::Done)) {
                current.parts = lane.old.clone();
            }
            return;
        }
        let counters = self.ctx.slots.get(lane.serving).map(|slot| slot.instance.counters.clone()).unwrap_or_default();
        let started = counters.created.unwrap_or_default();
        let places = lanes.iter().map(|lane| (lane.pm_id, "old".to_owned())).collect();
        let parts = lane.old.clone();
        let (command, end) = ("start".into(), End::Done);
        let first = Release { number: 1, parts, command, started, ended: started, end, fault: None, places, cut: 0 };
        self.add_release(app, first);
    }

    pub(super) fn next_release(&self, app: &str) -> u32 {
        self.rollouts.releases.get(app).and_then(|list| list.last()).map_or(1, |release| release.number + 1)
    }

    pub(super) fn add_release(&mut self, app: &str, release: Release) {
        let list = self.rollouts.releases.entry(app.to_owned()).or_default();
        list.push(release);
        if list.len() > KEPT {
            // What serves is never forgotten.
            let current = list.iter().rposition(|release| release.end == End::Done);
            let oldest = (0..list.len()).find(|index| Some(*index) != current).unwrap_or(0);
            list.remove(oldest);
        }
        for part in list.iter().flat_map(|release| release.parts.records()) {
            self.ctx.journal.push(&part);
        }
        let record = record(app, list);
        self.ctx.journal.push(&record);
    }

    /// Nothing of the app is left.
    pub(crate) fn forget_releases(&mut self, app: &str) {
        if self.ctx.slots.iter().all(|slot| slot.spec().name != app) && self.rollouts.releases.remove(app).is_some() {
            self.ctx.journal.push(&Record::Releases { app: app.to_owned(), list: Vec::new() });
        }
    }

    /// The release to go back to.
    ///
    /// # Errors
    /// There is none; worded for the user.
    pub(crate) fn release_to_undo(&self, app: &str, to: Option<u32>) -> Result<NewRelease, String> {
        let parts = self.earlier_release(app, to)?;
        Ok(NewRelease { spec: (*parts.app.spec).clone(), env: NewEnv::Exactly((*parts.base.vars).clone()), more: 0 })
    }

    fn earlier_release(&self, app: &str, to: Option<u32>) -> Result<Parts, String> {
        let list = self.rollouts.releases.get(app).map(Vec::as_slice).unwrap_or_default();
        let done: Vec<&Release> = list.iter().filter(|release| release.end == End::Done).collect();
        match (to, done.as_slice()) {
            (None, [.., before, _]) => Ok(before.parts.clone()),
            (None, _) => Err(format!("{app} has no earlier release: see `ostler rollout history {app}`")),
            (Some(number), done) => match done.iter().find(|release| release.number == number) {
                Some(release) => Ok(release.parts.clone()),
                None => Err(format!("{app} has no release {number} that served: see `ostler rollout history {app}`")),
            },
        }
    }
}

/// The description of what really runs in a slot, where that is not what would be started now: a link in the path (`current`) was moved
/// to another release since. The kernel knows the real folder.
pub(super) fn pinned(slot: &Slot, new: &AppSpec) -> Option<AppSpec> {
    let spec = slot.spec();
    let real = std::fs::read_link(format!("/proc/{}/cwd", slot.instance.pid()?)).ok()?;
    let by_link = Path::new(&spec.cwd);
    if real == by_link || std::fs::canonicalize(by_link).is_ok_and(|now| now == real) || new.cwd == real.to_string_lossy() {
        return None;
    }
    let moved = |path: &str| -> Option<String> {
        let moved: PathBuf = real.join(Path::new(path).strip_prefix(by_link).ok()?);
        moved.exists().then(|| moved.to_string_lossy().into_owned())
    };
    // An app that went to another folder by itself does not have its script there.
    let script = if spec.shell { spec.script.clone() } else { moved(&spec.script)? };
    Some(AppSpec { script, cwd: real.to_str()?.to_owned(), ..spec.clone() })
}
