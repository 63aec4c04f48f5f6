//! `resurrect`: starts the apps of the saved list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::lifecycle::{Event, Origin};
use ostler_core::logs::files::Naming;
use ostler_proto::control::{Failure, OtherManager, Progress};
use ostler_proto::pm2::{Dump, DumpEntry, of_entries, parse_dump};
use ostler_sys::ProcRef;
use serde_json::Value;

use super::job::{Job, JobStep, Requester};
use crate::engine::{Ctx, FeatureRequest};
use crate::state::slots::{Slot, saved};

/// Starts the apps of the saved list that are missing.
///
/// # Errors
/// Returns an error if nothing was saved, or the list cannot be read.
pub(super) fn resurrect(ctx: &mut Ctx, asker: Requester) -> Result<Job, Failure> {
    let (Dump { entries, rejected }, told) = saved_list(ctx)?;
    if let Some(told) = told {
        asker.send(ctx, Progress::Warning(told));
    }
    let mut job = resurrect_entries(ctx, asker, entries);
    job.lost = rejected.len() as u32;
    for entry in rejected {
        asker.send(ctx, Progress::Warning(entry.to_string()));
    }
    Ok(job)
}

/// Imports the apps of another manager: all of them, or none.
///
/// # Errors
/// Returns an error if an entry is invalid.
pub(super) fn restore(ctx: &mut Ctx, asker: Requester, entries: Vec<Value>, sockets_of: Option<OtherManager>) -> Result<Job, Failure> {
    let Dump { entries, rejected } = of_entries(entries);
    if let Some(error) = rejected.into_iter().next() {
        return Err(Failure::Other(error.to_string()));
    }
    if let Some(OtherManager { pid, start_ticks }) = sockets_of {
        let apps = entries.iter().map(|entry| entry.spec.name.clone()).collect();
        ctx.request(FeatureRequest::ShareSockets { of: ProcRef { pid, start_ticks }, apps });
    }
    Ok(resurrect_entries(ctx, asker, entries))
}

fn resurrect_entries(ctx: &mut Ctx, asker: Requester, entries: Vec<DumpEntry>) -> Job {
    // As in PM2, an existing name is left alone as a whole. If the list has the name in several
    // namespaces, these are several apps.
    let mut namespaces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for DumpEntry { spec, .. } in &entries {
        namespaces.entry(spec.name.clone()).or_default().insert(spec.namespace.clone());
    }
    let is_one = |spec: &AppSpec| namespaces.get(&spec.name).is_none_or(|namespaces| namespaces.len() < 2);
    let is_present = |spec: &AppSpec| {
        let present = |slot: &Slot| slot.spec().name == spec.name && (is_one(spec) || slot.spec().namespace == spec.namespace);
        ctx.state.slots.serving().any(present)
    };
    let entries: Vec<DumpEntry> = entries.into_iter().filter(|entry| !is_present(&entry.spec)).collect();
    let mut job = Job::new(asker, JobStep::Start, Origin::Resurrect);
    let mut fresh = Vec::new();
    for entry in entries {
        let name = entry.spec.script.clone();
        let is_up = !entry.stopped && !entry.spec.is_job();
        let added = add(ctx, entry);
        fresh.extend(added.iter().filter(|_| is_up));
        job.touch(&added, &ctx.state.slots);
        asker.send(ctx, Progress::Launched { name, ids: ctx.state.slots.pm_ids(&added) });
    }
    job.wait_until_up(&fresh, &ctx.state.slots);
    fresh.into_iter().for_each(|id| ctx.event(id, Event::Start(Origin::Resurrect)));
    job
}

/// Makes one entry of the list an instance again.
fn add(ctx: &mut Ctx, entry: DumpEntry) -> Vec<u32> {
    let DumpEntry { spec, created_ms, ticks, .. } = entry;
    let (_, added) = ctx.add_instances(spec, &EnvMap::new(), 1, Naming::Own);
    for &id in &added {
        if let (Some(slot), Some(created)) = (ctx.state.slots.get_mut(id), created_ms) {
            // The value is only displayed; crash-loop protection does not use it.
            if let Some(at) = slot.durable.instance.counters.created.as_mut() {
                at.wall_ms = created;
            }
        }
        ctx.request(FeatureRequest::Schedule { id, saved: Some(ticks) });
    }
    added
}

/// Returns the newest list that can be read, and a warning about newer ones. A damaged list is
/// never deleted, because it may be the user's only one. If the newest list is damaged and the next
/// one empty, an older list with apps is preferred.
fn saved_list(ctx: &mut Ctx) -> Result<(Dump, Option<String>), Failure> {
    let backup = ctx.io.settings.paths.dump_backup.clone();
    let older = (1..saved::GENERATIONS).map(|generation| saved::older(&backup, generation));
    let paths: Vec<PathBuf> = [ctx.io.settings.paths.dump.clone(), backup.clone()].into_iter().chain(older).collect();
    let (mut problem, mut empty) = (None, None);
    for path in paths.iter().filter(|path| path.exists()) {
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        match read.and_then(|text| parse_dump(&text).map_err(|error| crate::platform::log::chain(&error))) {
            Ok(dump) => {
                for entry in &dump.rejected {
                    ctx.io.log.error(format_args!("{entry}"));
                }
                if dump.entries.is_empty() && paths.first() != Some(path) {
                    empty.get_or_insert(path);
                    continue;
                }
                return Ok((dump, problem.map(|problem| format!("{problem}; restored from \"{}\"", path.display()))));
            }
            Err(error) => {
                let line = format!("cannot read \"{}\": {error}", path.display());
                ctx.io.log.error(format_args!("{line}"));
                problem.get_or_insert(line);
            }
        }
    }
    match (problem, empty) {
        (None, None) => Err(Failure::NothingSaved),
        (problem, Some(path)) => Ok((Dump::default(), problem.map(|problem| format!("{problem}; \"{}\" is empty", path.display())))),
        (Some(problem), None) => Err(Failure::Other(problem)),
    }
}
