//! Past releases of apps.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::time::Now;
use ostler_proto::control::{Failure, FaultReport};

use super::{ProcessDescription, Replica, Rollouts};
use crate::engine::Ctx;
use crate::state::slots::Slot;
use crate::state::store::rollouts::{ReleaseRecord, RolloutEnd};
use crate::state::store::{Record, Snapshot};

/// Releases that are remembered per app.
const KEPT: usize = 10;

/// Release that was deployed or refused.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) number: u32,
    pub(super) parts: ProcessDescription,
    pub(super) command: String,
    pub(super) started: Now,
    pub(super) ended: Now,
    pub(super) end: RolloutEnd,
    pub(super) fault: Option<FaultReport>,
    pub(super) places: Vec<(u32, String)>,
    pub(super) cut: u32,
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

fn journal(ctx: &mut Ctx, app: &str, list: &[Release]) {
    for part in list.iter().flat_map(|release| release.parts.records()) {
        ctx.state.journal.push(&part);
    }
    ctx.state.journal.push(&record(app, list));
}

impl Release {
    pub(super) fn restore(record: ReleaseRecord, snapshot: &Snapshot) -> Option<Self> {
        let parts = ProcessDescription::restore((record.spec, record.env), snapshot)?;
        let ReleaseRecord { number, command, started, ended, end, fault, places, cut, .. } = record;
        Some(Self { number, parts, command, started, ended, end, fault, places, cut })
    }
}

impl Rollouts {
    /// Remembers the release that runs before the first reload. It has a number, too.
    pub(super) fn remember_present_release(&mut self, ctx: &mut Ctx, app: &str, replicas: &[Replica]) {
        let Some(first) = replicas.first() else { return };
        let known = self.releases.get(app).is_some_and(|list| list.iter().any(|release| release.end == RolloutEnd::Done));
        if known {
            // The link may have moved away from its files since.
            let Some(list) = self.releases.get_mut(app) else { return };
            if let Some(current) = list.iter_mut().rfind(|release| release.end == RolloutEnd::Done) {
                current.parts = first.old.clone();
            }
            return journal(ctx, app, list);
        }
        let counters = ctx.state.slots.get(first.serving).map(|slot| slot.durable.instance.counters.clone()).unwrap_or_default();
        let started = counters.created.unwrap_or_default();
        let places = replicas.iter().map(|replica| (replica.pm_id, "old".to_owned())).collect();
        let parts = first.old.clone();
        let (command, end) = ("start".into(), RolloutEnd::Done);
        let present = Release { number: 1, parts, command, started, ended: started, end, fault: None, places, cut: 0 };
        self.add_release(ctx, app, present);
    }

    pub(super) fn next_release(&self, app: &str) -> u32 {
        self.releases.get(app).and_then(|list| list.last()).map_or(1, |release| release.number + 1)
    }

    pub(super) fn add_release(&mut self, ctx: &mut Ctx, app: &str, release: Release) {
        let list = self.releases.entry(app.to_owned()).or_default();
        list.push(release);
        if list.len() > KEPT {
            // The serving release is never forgotten.
            let current = list.iter().rposition(|release| release.end == RolloutEnd::Done);
            let oldest = (0..list.len()).find(|index| Some(*index) != current).unwrap_or(0);
            list.remove(oldest);
        }
        journal(ctx, app, list);
    }

    /// Forgets releases of deleted apps. A daemon that died between the deletion and this step left
    /// them.
    pub(super) fn forget_orphan_releases(&mut self, ctx: &mut Ctx) {
        let names: BTreeSet<&str> = ctx.state.slots.iter().map(|slot| slot.spec().key()).collect();
        let of_nobody: Vec<String> = self.releases.keys().filter(|app| !names.contains(app.as_str())).cloned().collect();
        for app in of_nobody {
            self.releases.remove(&app);
            ctx.state.journal.push(&Record::Releases { app, list: Vec::new() });
        }
    }

    /// Forgets the releases of an app with its last instance.
    pub(super) fn forget_releases(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(slot) = ctx.state.slots.get(id).filter(|_| !self.releases.is_empty()) else { return };
        let app = slot.spec().key().to_owned();
        let is_last = ctx.state.slots.iter().all(|other| other.durable.id == id || other.spec().key() != app);
        if is_last && self.releases.remove(&app).is_some() {
            ctx.state.journal.push(&Record::Releases { app, list: Vec::new() });
        }
    }

    /// Returns the app's key, and the description and environment of the release to which a user
    /// wants to roll back.
    ///
    /// # Errors
    /// Returns an error if there is no such app or release, or nothing may be started any more.
    pub(super) fn release_for_user(&self, ctx: &Ctx, app: &str, to: Option<u32>) -> Result<(String, (AppSpec, EnvMap)), Failure> {
        ctx.may_start()?;
        let Some(key) = ctx.state.slots.key_of(app)? else { return Err(Failure::NotFound { target: app.to_owned() }) };
        self.refuse_the_same(key, to).map_err(Failure::Other)?;
        let release = self.release_to_undo(key, to).map_err(Failure::Other)?;
        Ok((key.to_owned(), release))
    }

    /// Returns an error if the earlier release differs from the present one only by its files. They
    /// were overwritten, so a start would run the present files.
    fn refuse_the_same(&self, app: &str, to: Option<u32>) -> Result<(), String> {
        let earlier = self.earlier_release(app, to)?;
        let list = self.releases.get(app).map(Vec::as_slice).unwrap_or_default();
        let Some(present) = list.iter().rfind(|release| release.end == RolloutEnd::Done) else { return Ok(()) };
        let bare = |parts: &ProcessDescription| AppSpec { version: None, ..(*parts.app.spec).clone() };
        if bare(&earlier) != bare(&present.parts) || earlier.base.vars != present.parts.base.vars {
            return Ok(());
        }
        Err(format!(
            "the earlier release of {app} differs from the current one only in its files, which were overwritten in {}; nothing was \
             changed. Give each release its own folder, with a symlink to the current one (`current -> releases/42`)",
            earlier.app.spec.cwd
        ))
    }

    /// # Errors
    /// Returns an error, worded for the user, if there is no such release.
    pub(super) fn release_to_undo(&self, app: &str, to: Option<u32>) -> Result<(AppSpec, EnvMap), String> {
        let parts = self.earlier_release(app, to)?;
        Ok(((*parts.app.spec).clone(), (*parts.base.vars).clone()))
    }

    fn earlier_release(&self, app: &str, to: Option<u32>) -> Result<ProcessDescription, String> {
        let list = self.releases.get(app).map(Vec::as_slice).unwrap_or_default();
        let done: Vec<&Release> = list.iter().filter(|release| release.end == RolloutEnd::Done).collect();
        match (to, done.as_slice()) {
            (None, [.., before, _]) => Ok(before.parts.clone()),
            (None, _) => Err(format!("{app} has no earlier release: see `ostler rollout history {app}`")),
            (Some(number), done) => match done.iter().find(|release| release.number == number) {
                Some(release) => Ok(release.parts.clone()),
                None => {
                    let known: Vec<String> = done.iter().map(|release| release.number.to_string()).collect();
                    let known = if known.is_empty() { "none did".to_owned() } else { format!("{} did", known.join(", ")) };
                    Err(format!("{app} has no release {number} that served ({known}): see `ostler rollout history {app}`"))
                }
            },
        }
    }
}

/// Returns the description of the release that really runs in a slot, if a start would now run
/// another. A link in the path (`current`) was then moved to another release since. The kernel
/// knows the real folder.
pub(super) fn pinned(slot: &Slot, new: &AppSpec) -> Option<AppSpec> {
    let spec = slot.spec();
    let real = std::fs::read_link(format!("/proc/{}/cwd", slot.durable.instance.pid()?)).ok()?;
    let by_link = Path::new(&spec.cwd);
    if real == by_link || std::fs::canonicalize(by_link).is_ok_and(|now| now == real) || new.cwd == real.to_string_lossy() {
        return None;
    }
    let moved = |path: &str| -> Option<String> {
        let moved: PathBuf = real.join(Path::new(path).strip_prefix(by_link).ok()?);
        moved.exists().then(|| moved.to_string_lossy().into_owned())
    };
    // If the app itself changed to another folder, its script is not there.
    let script = if spec.shell { spec.script.clone() } else { moved(&spec.script)? };
    Some(AppSpec { script, cwd: real.to_str()?.to_owned(), ..spec.clone() })
}
