//! `list` and `inspect`: what runs, and what it uses.
//!
//! CPU use is a difference of two readings. Where an earlier reading is recent the answer comes at once; a process that just
//! started is measured from its start; for all others the answer waits a moment for a second reading, so that the first call is
//! already right.

use std::collections::HashMap;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::time::Now;
use ostler_proto::control::{Detail, Failure, HealthReport, Json, Response, Summary, TableRow};
use ostler_proto::pm2::{Process, View};
use ostler_sys::ProcRef;

use crate::control::Control;
use crate::order::Order;
use crate::sample::Sampler;
use crate::slots::Slot;
use crate::supervisor::spawn::kept_settings;
use crate::users::account;

/// Time between two readings where there is no earlier one.
const WINDOW_MS: u64 = 25;

/// An answer that waits for its second reading.
#[derive(Debug)]
pub(crate) struct Waiting {
    client: u32,
    request: u64,
    question: Question,
    /// When the second reading is due.
    pub due_ms: u64,
}

/// What is asked for.
#[derive(Debug)]
pub(super) enum Question {
    /// What a table shows of all instances.
    Table,
    /// The short list of all.
    List,
    /// All in PM2's shape.
    Processes,
    /// These instances in full.
    Details(Vec<u32>),
}

impl Question {
    /// Which instances have to be measured; `None` = all.
    fn ids(&self) -> Option<&[u32]> {
        match self {
            Self::Table | Self::List | Self::Processes => None,
            Self::Details(ids) => Some(ids),
        }
    }
}

impl Control {
    pub(super) fn list(&mut self, client: u32, request: u64, question: Question) {
        self.answer_soon(client, request, question);
    }

    pub(super) fn inspect(&mut self, client: u32, request: u64, targets: &[String], cwd: &str) {
        let mut ids = Vec::new();
        for target in targets {
            match self.ctx.slots.select(target, cwd) {
                Ok(found) => ids.extend(found),
                Err(Failure::Empty) => {}
                Err(failure) => return self.ctx.reply(client, request, Response::Failed(failure)),
            }
        }
        if targets.is_empty() {
            ids = self.ctx.slots.serving().map(|slot| slot.id).collect();
        }
        ids.sort_unstable();
        ids.dedup();
        self.answer_soon(client, request, Question::Details(ids));
    }

    fn answer_soon(&mut self, client: u32, request: u64, question: Question) {
        let now = self.ctx.now;
        let complete = self.read_usage(question.ids(), now);
        if complete {
            let response = self.answer_to(&question, now);
            self.ctx.reply(client, request, response);
        } else {
            self.lists.push(Waiting { client, request, question, due_ms: now.mono_ms + WINDOW_MS });
        }
    }

    /// Answers the lists whose second reading is due.
    pub(crate) fn answer_lists(&mut self, now: Now) {
        if self.lists.iter().all(|list| list.due_ms > now.mono_ms) {
            return;
        }
        let (due, later) = std::mem::take(&mut self.lists).into_iter().partition::<Vec<_>, _>(|list| list.due_ms <= now.mono_ms);
        self.lists = later;
        for Waiting { client, request, question, .. } in due {
            self.read_usage(question.ids(), now);
            let response = self.answer_to(&question, now);
            self.ctx.reply(client, request, response);
        }
    }

    /// Has the programs asked that run the apps of Node which were adopted before their version was learned.
    pub(crate) fn ask_node_versions(&mut self) {
        for slot in self.ctx.slots.iter_mut() {
            if slot.learned.node_version.is_some() || slot.node.is_some() || !slot.spec().runs_in_node() {
                continue;
            }
            let Some(pid) = slot.instance.pid() else { continue };
            let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe")) else { continue };
            let Ok(account) = account(slot.spec()) else { continue };
            slot.node = self.node_versions.ask(&program, account.map(|account| account.credentials));
        }
    }

    /// Takes the answers that have come since; only who asks for everything needs them.
    pub(crate) fn learn_node_versions(&mut self) {
        let mut learned = Vec::new();
        for slot in self.ctx.slots.iter_mut() {
            let Some(version) = slot.node.as_ref().and_then(|node| self.node_versions.get(node)) else { continue };
            slot.node = None;
            slot.learned.node_version = Some(version);
            learned.push(slot.id);
        }
        learned.into_iter().for_each(|id| self.ctx.slots.changed(id));
    }

    /// Takes a reading of each running instance. False when one of them has no earlier reading to compare with, or is not there: then its end
    /// will have been told by the next one.
    pub(crate) fn read_usage(&mut self, ids: Option<&[u32]>, now: Now) -> bool {
        let wanted = |slot: &Slot| ids.is_none_or(|ids| ids.binary_search(&slot.id).is_ok());
        let process = |slot: &Slot| Some(ProcRef { pid: slot.instance.pid()?, start_ticks: slot.start_ticks });
        let sampler = Sampler::new(self.ctx.slots.iter().filter(|slot| wanted(slot)).filter_map(|slot| {
            let process = process(slot)?;
            // One that was started as a main process leads its group and its session.
            Some((process, slot.cpu.leader(process.pid).filter(|_| slot.kin.is_empty())))
        }));
        // Whose keeper was lost has orphans elsewhere, too.
        let sampler =
            if self.ctx.groups.has_adopted() { sampler } else { sampler.knowing_children(self.ctx.keeper.pid(), self.ctx.own_children()) };
        let mut complete = true;
        let mut unseen = Vec::new();
        for slot in self.ctx.slots.iter_mut().filter(|slot| wanted(slot)) {
            if let Some(process) = process(slot) {
                complete &= slot.cpu.take(process, slot.instance.counters.last_start, now, |process| {
                    sampler.read(process, slot.group.as_deref().map(Path::new))
                });
                if slot.cpu.leader(process.pid).is_none() {
                    unseen.push(slot.id);
                }
            } else {
                slot.cpu = crate::sample::CpuHistory::default();
            }
        }
        for id in unseen {
            complete &= !self.look_if_vanished(id);
        }
        complete
    }

    /// PM2's list: each item is written as it is made, and no description is copied.
    fn processes(&self, now: Now) -> Response {
        let home = self.ctx.settings.home.to_string_lossy();
        let mut accounts = Accounts::new();
        let mut items = Vec::new();
        for slot in self.ctx.slots.serving() {
            let mut counters = slot.instance.counters.clone();
            counters.last_start = counters.last_start.map(|at| at.seen_from(now));
            let mut health = slot.health.as_deref().cloned();
            health.iter_mut().flat_map(times_of).for_each(|at| *at = at.seen_from(now));
            let kept = kept_settings(slot.spec(), &self.ctx.settings).into_iter();
            let item = Process {
                view: View {
                    id: slot.pm_id,
                    index: slot.index,
                    unique_id: &slot.unique_id,
                    base: Some(&slot.base.vars),
                    spec: slot.spec(),
                    counters: &counters,
                    status: slot.instance.status(),
                    exit_code: View::exit_code_of(&slot.instance),
                    learned: &slot.learned,
                    files: &slot.files,
                    user: &slot.user(),
                    home: &home,
                    kept: Some(&kept.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()),
                },
                pid: slot.instance.pid().unwrap_or(0),
                monit: slot.cpu.monit(),
                health: health.as_ref(),
                account: account_of(slot.spec(), &mut accounts),
            };
            match Json::of(&item) {
                Ok(item) => items.push(item),
                Err(error) => return Response::Failed(Failure::Other(error.to_string())),
            }
        }
        Json::of(&items).map_or_else(|error| Response::Failed(Failure::Other(error.to_string())), Response::Processes)
    }

    fn answer_to(&mut self, question: &Question, now: Now) -> Response {
        match question {
            Question::Table => Response::Table(self.ctx.slots.serving().map(|slot| table_row(slot, now)).collect()),
            Question::List => Response::List(self.ctx.slots.serving().map(|slot| summary(slot, now)).collect()),
            Question::Processes => {
                self.learn_node_versions();
                self.processes(now)
            }
            Question::Details(ids) => {
                self.learn_node_versions();
                let wanted = self.ctx.slots.serving().filter(|slot| ids.binary_search(&slot.id).is_ok());
                Response::Details(
                    wanted
                        .map(|slot| {
                            let waits_for = Order::waits_for(&self.ctx, slot);
                            as_seen(Detail { waits_for, ..slot.detail(&self.ctx.settings) }, now)
                        })
                        .collect(),
                )
            }
        }
    }
}

/// Whom `uid` and `gid`, as given, mean: looked up once for each list.
type Accounts<'a> = HashMap<(&'a str, Option<&'a str>), Option<(u32, u32)>>;

fn account_of<'a>(spec: &'a AppSpec, known: &mut Accounts<'a>) -> Option<(u32, u32)> {
    let (uid, gid) = (spec.uid.as_deref()?, spec.gid.as_deref());
    *known.entry((uid, gid)).or_insert_with(|| {
        let account = account(spec).ok().flatten()?;
        Some((account.credentials.uid, account.credentials.gid))
    })
}

/// With the times as the wall clock shows them now: it may have been set since, and nobody shall see a year of uptime after an hour.
/// When it was created stays as it was noted: for a saved app that was before this boot.
fn as_seen(mut detail: Detail, now: Now) -> Detail {
    let instance = &mut detail.instance;
    let exits = instance.exits.iter_mut().flat_map(|exit| [&mut exit.started, &mut exit.ended]);
    let told = detail.notes.iter_mut().map(|note| &mut note.at);
    let health = detail.health.iter_mut().flat_map(times_of);
    for at in exits.chain(&mut instance.counters.last_start).chain(told).chain(health) {
        *at = at.seen_from(now);
    }
    detail
}

fn times_of(health: &mut HealthReport) -> impl Iterator<Item = &mut Now> {
    health.last.iter_mut().map(|last| &mut last.at).chain([&mut health.since])
}

fn table_row(slot: &Slot, now: Now) -> TableRow {
    let spec = slot.spec();
    let status = slot.instance.status();
    let started = slot.instance.counters.last_start.filter(|_| status == "online");
    TableRow {
        id: slot.pm_id,
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        version: spec.version.clone(),
        mode: spec.mode,
        pid: slot.instance.pid().unwrap_or(0),
        status: status.to_owned(),
        uptime_ms: started.map(|start| now.mono_ms.saturating_sub(start.mono_ms)),
        restarts: slot.instance.counters.restarts,
        monit: slot.cpu.monit(),
        user: slot.user().to_string(),
        watching: slot.spec().watch.on && !slot.watch.stopped,
        health: slot.health.as_ref().map(|report| report.state),
    }
}

fn summary(slot: &Slot, now: Now) -> Summary {
    Summary {
        row: table_row(slot, now),
        unstable: slot.instance.counters.unstable,
        script: slot.spec().script.clone(),
        out_file: slot.files.out.clone(),
        error_file: slot.files.error.clone(),
        log_file: slot.files.combined.clone(),
        pid_file: slot.files.pid.clone(),
    }
}
