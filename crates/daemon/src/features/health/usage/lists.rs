//! Answers about instances: short, complete, and in PM2's form.

use std::cell::LazyCell;
use std::collections::HashMap;

use ostler_core::app::AppSpec;
use ostler_core::health::limits::MemoryAmount;
use ostler_core::lifecycle::Instance;
use ostler_core::time::Now;
use ostler_proto::control::{Detail, Failure, HealthReport, HealthRow, Json, LastExit, RECENT_MS, Response, Summary, TableRow};
use ostler_proto::pm2::{Process, View};

use super::UsageRequest;
use super::forms::Forms;
use crate::engine::Ctx;
use crate::platform::settings::kept_settings;
use crate::platform::users::account;
use crate::state::slots::Slot;
use crate::state::slots::needs::waits_for;

/// Writes PM2's list. Each item is written as it is made, and no description is copied.
fn processes(ctx: &Ctx, forms: &mut Forms, now: Now) -> Result<Json, serde_json::Error> {
    let home = ctx.io.settings.home.to_string_lossy();
    let mut accounts = Accounts::new();
    // Each item takes about 4 KB.
    let mut text = Vec::with_capacity(ctx.state.slots.serving().count() << 12);
    text.push(b'[');
    for slot in ctx.state.slots.serving() {
        let mut counters = slot.durable.instance.counters.clone();
        counters.last_start = counters.last_start.map(|at| at.by_clock_of(now));
        let mut health = slot.live.health.as_deref().cloned();
        health.iter_mut().flat_map(times_of).for_each(|at| *at = at.by_clock_of(now));
        let kept = kept_settings(slot.spec(), &ctx.io.settings).into_iter();
        let item = Process {
            view: View {
                id: slot.durable.pm_id,
                index: slot.durable.index,
                unique_id: &slot.durable.unique_id,
                base: Some(&slot.base().vars),
                spec: slot.spec(),
                counters: &counters,
                status: slot.durable.instance.status(),
                exit_code: View::exit_code_of(&slot.durable.instance),
                node_version: slot.durable.learned.node_version.as_deref(),
                working_tree: slot.durable.learned.working_tree.as_deref(),
                axm_actions: &slot.live.axm.actions,
                axm_monitor: &slot.live.axm.monitor,
                axm_options: &slot.live.axm.options,
                files: &slot.live.files,
                user: &slot.user(),
                home: &home,
                kept: Some(&kept.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()),
            },
            pid: slot.durable.instance.pid().unwrap_or(0),
            monit: slot.live.cpu.monit(),
            health: health.as_ref(),
            account: account_of(slot.spec(), &mut accounts),
        };
        if text.len() > 1 {
            text.push(b',');
        }
        if forms.are_wanted() {
            forms.write(slot, &item, &mut text)?;
        } else {
            serde_json::to_writer(&mut text, &item)?;
        }
    }
    text.push(b']');
    forms.retain(|id| ctx.state.slots.get(id).is_some());
    // The output of serializers is valid UTF-8.
    Ok(Json::written(String::from_utf8(text).unwrap_or_default()))
}

pub(super) fn answer_to(ctx: &mut Ctx, question: &UsageRequest, forms: &mut Forms, now: Now) -> Response {
    match question {
        UsageRequest::Table => {
            let total = total_memory();
            Response::Table(ctx.state.slots.serving().map(|slot| table_row(slot, now, &total)).collect())
        }
        UsageRequest::List => {
            ctx.record_findings();
            let total = total_memory();
            Response::List(ctx.state.slots.serving().map(|slot| summary(slot, now, &total)).collect())
        }
        UsageRequest::Processes => {
            ctx.record_findings();
            processes(ctx, forms, now).map_or_else(|error| Response::Failed(Failure::Other(error.to_string())), Response::Processes)
        }
        UsageRequest::Details(ids) => {
            ctx.record_findings();
            let wanted = ctx.state.slots.serving().filter(|slot| ids.binary_search(&slot.durable.id).is_ok());
            Response::Details(
                wanted
                    .map(|slot| {
                        let waits_for = waits_for(&ctx.state.slots, &ctx.state.pending_starts, slot);
                        let mut detail = Detail { waits_for, ..slot.detail(&ctx.io.settings) };
                        if !slot.never_listened() {
                            detail.learned.ports = ctx.state.listening.ports(slot.spec().key());
                        }
                        with_present_clock(detail, now)
                    })
                    .collect(),
            )
        }
    }
}

/// Accounts for `uid` and `gid`, as given. Each is looked up once per list.
type Accounts<'a> = HashMap<(&'a str, Option<&'a str>), Option<(u32, u32)>>;

fn account_of<'a>(spec: &'a AppSpec, known: &mut Accounts<'a>) -> Option<(u32, u32)> {
    let (uid, gid) = (spec.uid.as_deref()?, spec.gid.as_deref());
    *known.entry((uid, gid)).or_insert_with(|| {
        let account = account(spec).ok().flatten()?;
        Some((account.credentials.uid, account.credentials.gid))
    })
}

/// Returns the detail with its times converted to the present wall clock. The clock may have been
/// set since, and an uptime must not jump by a year. The creation time stays as it was recorded,
/// because a saved app may be older than this boot.
fn with_present_clock(mut detail: Detail, now: Now) -> Detail {
    let instance = &mut detail.instance;
    let exits = instance.exits.iter_mut().flat_map(|exit| [&mut exit.started, &mut exit.ended]);
    let times = detail.observations.iter_mut().map(|note| &mut note.at);
    let health = detail.health.iter_mut().flat_map(times_of);
    for at in exits.chain(&mut instance.counters.last_start).chain(times).chain(health) {
        *at = at.by_clock_of(now);
    }
    detail
}

fn times_of(health: &mut HealthReport) -> impl Iterator<Item = &mut Now> {
    health.last.iter_mut().map(|last| &mut last.at).chain([&mut health.since])
}

/// Memory of the machine, which is read only if a limit is a share of it.
type TotalMemory = LazyCell<u64>;

fn total_memory() -> TotalMemory {
    LazyCell::new(ostler_sys::machine::memory_bytes)
}

/// Returns the memory limit in bytes: the smaller of the soft and the hard limit.
fn memory_limit(spec: &AppSpec, total: &TotalMemory) -> Option<u64> {
    let safeguards = spec.safeguards.as_ref()?;
    let bytes = |amount: MemoryAmount| amount.bytes(if matches!(amount, MemoryAmount::Share(_)) { **total } else { 0 });
    [safeguards.memory, safeguards.hard.memory].into_iter().flatten().map(bytes).min()
}

fn table_row(slot: &Slot, now: Now, total: &TotalMemory) -> TableRow {
    let spec = slot.spec();
    let recent_exits = if spec.is_job() { 0 } else { slot.durable.instance.unrequested_exits(RECENT_MS, now) };
    let is_recent = |at_ms: u64| now.mono_ms.saturating_sub(at_ms) < RECENT_MS;
    let status = slot.durable.instance.status();
    let started = slot.durable.instance.counters.last_start.filter(|_| status == "online");
    TableRow {
        id: slot.durable.pm_id,
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        version: spec.version.clone(),
        mode: spec.mode,
        pid: slot.durable.instance.pid().unwrap_or(0),
        status: status.to_owned(),
        uptime_ms: started.map(|start| now.mono_ms.saturating_sub(start.mono_ms)),
        restarts: slot.durable.instance.counters.restarts,
        monit: slot.live.cpu.monit(),
        user: slot.user().to_string(),
        watching: slot.spec().watch.on && !slot.durable.watch.stopped,
        health: slot.live.health.as_ref().map(|report| report.state),
        trouble: slot.durable.instance.trouble(&spec.restart.stop_exit_codes, spec.is_job(), now),
        last_exit: last_exit(&slot.durable.instance, now),
        recent_exits: u32::try_from(recent_exits).unwrap_or(u32::MAX),
        exceeded: slot.live.exceeded.filter(|(_, at_ms)| is_recent(*at_ms)).map(|(limit, _)| limit),
        memory_limit: memory_limit(spec, total),
        sandbox: spec.sandbox.as_deref().map(|sandbox| sandbox.label().to_owned()),
        module: spec.is_module(),
    }
}

/// Returns the last exit, if no process runs.
fn last_exit(instance: &Instance, now: Now) -> Option<LastExit> {
    let exit = instance.exits.last().filter(|_| instance.pid().is_none())?;
    let ago_ms = now.mono_ms.saturating_sub(exit.ended.mono_ms);
    Some(LastExit { ago_ms, ending: exit.ending, requested: exit.is_requested() })
}

fn summary(slot: &Slot, now: Now, total: &TotalMemory) -> Summary {
    Summary {
        row: table_row(slot, now, total),
        unstable: slot.durable.instance.counters.unstable,
        script: slot.spec().script.clone(),
        out_file: slot.live.files.out.clone(),
        error_file: slot.live.files.error.clone(),
        log_file: slot.live.files.combined.clone(),
        pid_file: slot.live.files.pid.clone(),
        revision: slot.durable.learned.working_tree.as_ref().map(|tree| tree.revision.clone()),
    }
}

/// Returns the health of an instance.
pub(super) fn health_row(slot: &Slot) -> HealthRow {
    let status = slot.durable.instance.status().to_owned();
    let check = slot.live.health.as_ref().and_then(|report| report.trouble());
    let trouble = slot.start_trouble().map(str::to_owned).or(check);
    HealthRow { id: slot.durable.pm_id, name: slot.spec().name.clone(), status, trouble }
}
