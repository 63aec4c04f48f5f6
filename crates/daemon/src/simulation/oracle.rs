//! Promises, checked after each turn of the daemon, at each of its deaths, and when all has come to
//! rest.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::lifecycle::{DesiredState, InstanceState, ProcessEnding};
use ostler_core::serving::ReadyBy;
use ostler_proto::event::{Event, EventKind, Position};

use ostler_sys::WaitStatus;

use super::clock_jumps::ClockJumps;
use super::keeper::Keeper;
use super::machine::Machine;
use super::probes::Routing;
use super::scaling::Scaling;
use super::user::{Intent, User};
use super::verdict::Verdict;
use super::watched::Watching;
use crate::control::Control;
use crate::control::turn::all_records;
use crate::features::Features;
use crate::platform::settings::Settings;
use crate::state::slots::{Slots, split_key};
use crate::state::store::record::Record;
use crate::state::store::{Role, SlotRecord, Snapshot};

/// Turns between two comparisons of an unchanged journal.
const UNCHANGED_TURNS: u32 = 8;

/// Observations so far.
#[derive(Default)]
pub(super) struct Oracle {
    /// Epoch of the present ring.
    epoch: u64,
    events: BTreeMap<u64, Event>,
    /// Processes whose exit was reported.
    exits: BTreeSet<i32>,
    reader: Reader,
    /// Length of the journal at the last check, and turns since then.
    last_check: (u64, u32),
    scaling: Scaling,
    clock: ClockJumps,
    pub watching: Watching,
    /// Reported health changes of instances.
    pub found: Vec<Event>,
    routing: Routing,
    /// Reported exits and starts that are not judged yet.
    reported: Vec<Event>,
    /// Apps whose processes must report that they are ready.
    waiting: BTreeSet<String>,
    /// Newest process at the last death of a daemon or keeper. The next daemon cannot know whether such
    /// processes have reported that they are ready.
    adopted: i32,
}

impl Oracle {
    pub(super) fn of(specs: &[AppSpec]) -> Self {
        let waits =
            |spec: &&AppSpec| spec.ready.proof() == Some(ReadyBy::Message) && !spec.ready.accept_timeout && spec.mode == ExecMode::Fork;
        let waiting = specs.iter().filter(waits).map(|spec| spec.name.clone()).collect();
        Self { scaling: Scaling::of(specs), waiting, ..Self::default() }
    }

    /// Notes the death of a daemon or keeper.
    pub(super) fn manager_died(&mut self, machine: &Machine) {
        self.adopted = machine.state.borrow().newest_pid();
    }

    /// Checks that each reported exit happened in this way, and that each process that is reported
    /// as online had reported that it is ready.
    pub(super) fn exits_are_true(&mut self, machine: &Machine) -> Verdict {
        let state = machine.state.borrow();
        for event in std::mem::take(&mut self.reported) {
            match event.kind {
                EventKind::Exit { pid, ending, .. } if pid != 0 => {
                    let real = state.endings.get(&pid).copied();
                    let is_true = match (ending, real) {
                        (ProcessEnding::Code(code), Some((WaitStatus::Code(real), _))) => code == real,
                        (ProcessEnding::Signal { signal, .. }, Some((WaitStatus::Signal { signal: real, .. }, _))) => signal == real,
                        (ProcessEnding::Unknown, Some((_, is_lost))) => is_lost,
                        _ => false,
                    };
                    ensure!(is_true, "{pid} is reported to have ended by {ending:?}, and not by {real:?}");
                }
                EventKind::Online { pid } if pid > self.adopted && event.app.is_some_and(|app| self.waiting.contains(&app)) => {
                    ensure!(state.was_ready(pid), "{pid} is reported as online, and was never ready");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks after a turn that the daemon survived.
    pub(super) fn after_turn(&mut self, control: &Control, keeper: Option<&mut Keeper>, machine: &Machine) -> Verdict {
        one_process_each(machine)?;
        machine.state.borrow().broken.clone().map_or(Ok(()), Err)?;
        machine.state.borrow().workers.broken.clone().map_or(Ok(()), Err)?;
        machine.state.borrow().network.broken.clone().map_or(Ok(()), Err)?;
        self.routing.after_turn(control)?;
        channels_are_whole(control, machine)?;
        let length = rustix::fs::fstat(control.ctx.state.journal.fd()).map_or(0, |stat| stat.st_size as u64);
        let (former, turns) = self.last_check;
        let nothing_new = keeper.as_ref().is_none_or(|keeper| keeper.acknowledged.is_empty());
        if length == former && turns < UNCHANGED_TURNS && nothing_new {
            self.last_check = (length, turns + 1);
            return Ok(());
        }
        self.last_check = (length, 0);
        let written = self.reader.read(control.ctx.state.journal.fd());
        let known = sum(&control.ctx.state.slots, &control.ctx.state.boot_id, &control.features);
        let verdict = self.judge(&written, &known, keeper);
        self.reader.snapshot = written;
        verdict
    }

    fn judge(&mut self, written: &Snapshot, known: &Snapshot, keeper: Option<&mut Keeper>) -> Verdict {
        same(written, known, "the daemon knows and the journal does not")?;
        self.take_events(written)?;
        match keeper {
            Some(keeper) => acknowledged_is_journaled(written, std::mem::take(&mut keeper.acknowledged)),
            None => Ok(()),
        }
    }

    /// Checks the state with which the next daemon begins after the death of a daemon. If the
    /// keeper lives, it must hold the ports of the workers.
    pub(super) fn at_death(&mut self, keeper: &mut Keeper, is_keeper_alive: bool, settings: &Settings) -> Verdict {
        self.routing.forget();
        let written = self.reader.read(keeper.journal());
        if is_keeper_alive {
            ports_are_held(&written, keeper)?;
        }
        self.take_events(&written)?;
        acknowledged_is_journaled(&written, std::mem::take(&mut keeper.acknowledged))?;
        let mut snapshot = written.clone();
        let boot_id = snapshot.boot_id.clone().unwrap_or_default();
        let (mut slots, mut features) = (Slots::default(), Features::default());
        features.restore(&mut snapshot);
        slots.restore(snapshot, settings);
        let verdict = same(&sum(&slots, &boot_id, &features), &written, "was in the journal and is lost with a restart");
        self.reader.snapshot = written;
        verdict
    }

    /// Checks events: numbers are consecutive, an event never changes, and each exit is reported
    /// once.
    fn take_events(&mut self, written: &Snapshot) -> Verdict {
        let Some(Position { epoch, .. }) = written.event_ring else { return Ok(()) };
        if epoch != self.epoch {
            (self.epoch, self.events, self.exits) = (epoch, BTreeMap::new(), BTreeSet::new());
            self.watching.forget();
        }
        for event in &written.events {
            if let Some(known) = self.events.get(&event.seq) {
                ensure!(known == event, "event {} was {known:?} and is {event:?}", event.seq);
                continue;
            }
            let last = self.events.keys().next_back().copied();
            ensure!(last.is_none_or(|last| event.seq == last + 1), "event {} follows {last:?}", event.seq);
            if let EventKind::Exit { pid, ending, .. } = &event.kind {
                ensure!(*pid == 0 || self.exits.insert(*pid), "the end of {pid} is reported twice: {ending:?}");
            }
            self.scaling.take(event)?;
            self.clock.take(event)?;
            self.watching.take(event);
            if matches!(event.kind, EventKind::Health { .. }) {
                self.found.push(event.clone());
            }
            if matches!(event.kind, EventKind::Exit { .. } | EventKind::Online { .. }) {
                self.reported.push(event.clone());
            }
            self.events.insert(event.seq, event.clone());
        }
        self.clock.are_told(written.clock)
    }

    /// Checks the state at rest, when every program behaves well.
    pub(super) fn at_rest(&mut self, control: &Control, keeper: &Keeper, machine: &Machine, user: &User) -> Verdict {
        ensure!(!user.waits(), "a client waits for an answer: {}", user.describe());
        ensure!(!keeper.has_unacknowledged(), "the keeper keeps an exit that the daemon never acknowledged");
        let state = machine.state.borrow();
        let mut mains = BTreeSet::new();
        for slot in control.ctx.state.slots.iter() {
            let name = format!("{} ({}, {:?})", slot.spec().name, slot.durable.id, slot.durable.role);
            ensure!(slot.durable.role == Role::Serving, "{name} is left of a reload");
            match &slot.durable.instance.state {
                InstanceState::Running { inc, pid, .. } => {
                    ensure!(state.processes.get(pid).is_some_and(|process| process.is_alive()), "{name} runs, but {pid} does not");
                    ensure!(keeper.watches(slot.key(*inc)) == Some(*pid), "{name}: {pid} is not watched by the keeper");
                    mains.insert(*pid);
                }
                InstanceState::Stopped | InstanceState::Errored => {
                    let left: Vec<i32> = state.marked(&slot.durable.unique_id);
                    ensure!(left.is_empty(), "{name} is {:?}, but {left:?} live", slot.durable.instance.state);
                }
                other => return Err(format!("{name} does not come to rest: {other:?}")),
            }
        }
        let written = journal(control.ctx.state.journal.fd());
        let is_listed = |app: &String| control.ctx.state.slots.iter().any(|slot| slot.spec().name == *app);
        let of_nobody: Vec<&String> = written.releases.keys().filter(|app| !is_listed(app)).collect();
        ensure!(of_nobody.is_empty(), "releases of {of_nobody:?}, which is not listed");
        let strangers: Vec<i32> = state.mains().filter(|pid| !mains.contains(pid)).collect();
        ensure!(strangers.is_empty(), "{strangers:?} live and belong to nobody");
        let reported = mains.iter().find(|pid| self.exits.contains(pid));
        ensure!(reported.is_none(), "the end of {reported:?} was reported, but it lives");
        drop(state);
        self.scaling.at_rest(control, machine)?;
        self.clock.at_rest(machine)?;
        for (app, intent) in user.intents() {
            let mut of_app = control.ctx.state.slots.iter().filter(|slot| slot.spec().name == app).peekable();
            match intent {
                Intent::Unknown => {}
                Intent::Gone => ensure!(of_app.peek().is_none(), "{app} was deleted and is listed"),
                Intent::Down => {
                    ensure!(
                        of_app.all(|slot| matches!(slot.durable.instance.state, InstanceState::Stopped | InstanceState::Errored)),
                        "{app} was stopped and runs"
                    )
                }
                Intent::Up => {
                    ensure!(of_app.peek().is_some(), "{app} was started and is not listed");
                    let gave_up = |state: &InstanceState| matches!(state, InstanceState::Stopped | InstanceState::Errored);
                    for slot in of_app {
                        let had_reason = !slot.durable.instance.exits.is_empty();
                        ensure!(!gave_up(&slot.durable.instance.state) || had_reason, "{app} was started and rests without a reason");
                    }
                }
            }
        }
        Ok(())
    }
}

/// Checks that the next daemon gets every port of a wanted worker.
fn ports_are_held(written: &Snapshot, keeper: &Keeper) -> Verdict {
    for slot in written.slots.values().filter(|slot| slot.instance.wanted == DesiredState::Up) {
        for key in slot.listening.iter().chain(&slot.served) {
            ensure!(keeper.holds_port(key), "a worker of instance {} has {key}, but the keeper does not hold it", slot.id);
        }
    }
    Ok(())
}

/// Checks that two main processes of one instance never run at the same time.
fn one_process_each(machine: &Machine) -> Verdict {
    let state = machine.state.borrow();
    let mut seen: BTreeMap<&str, i32> = BTreeMap::new();
    for process in state.processes.values().filter(|process| process.is_main && process.is_alive()) {
        let Some(mark) = &process.mark else { continue };
        let pid = process.process().pid;
        let other = seen.insert(mark, pid);
        ensure!(other.is_none(), "{pid} and {other:?} of {} live at the same time", process.app);
    }
    Ok(())
}

/// Checks that the daemon has the other end of the channel of each wanted process.
fn channels_are_whole(control: &Control, machine: &Machine) -> Verdict {
    let state = machine.state.borrow();
    for slot in control.ctx.state.slots.iter() {
        let (InstanceState::Starting { pid, .. } | InstanceState::Completing { pid, .. } | InstanceState::Running { pid, .. }) =
            slot.durable.instance.state
        else {
            continue;
        };
        let broken = state.processes.get(&pid).is_some_and(|process| process.is_alive() && process.has_a_broken_channel());
        ensure!(!broken, "{pid} of {} lost its channel", slot.spec().name);
    }
    Ok(())
}

/// Checks that the next daemon knows each exit that the keeper has forgotten.
fn acknowledged_is_journaled(written: &Snapshot, keys: Vec<u64>) -> Verdict {
    for key in keys {
        let (id, inc) = split_key(key);
        let Some(slot) = written.slots.get(&id) else { continue };
        let instance = &slot.instance;
        let is_past = instance.inc > inc
            || instance.inc_of_process() != Some(inc)
            || matches!(instance.state, InstanceState::Stopping { leader_gone: true, .. });
        ensure!(is_past, "the end of inc {inc} of {id} is acknowledged, but the journal has {:?}", instance.state);
    }
    Ok(())
}

/// Reader of the journal. If the journal only grew, it reads only the rest.
#[derive(Default)]
struct Reader {
    file: (u64, usize),
    snapshot: Snapshot,
}

impl Reader {
    fn read(&mut self, memory: impl AsFd) -> Snapshot {
        let (inode, length) = rustix::fs::fstat(&memory).map_or((0, 0), |stat| (stat.st_ino, stat.st_size as usize));
        let (former, good) = self.file;
        if inode != former || length < good {
            (self.file, self.snapshot) = ((inode, 0), Snapshot::default());
        }
        let mut rest = vec![0; length - self.file.1];
        let read = rustix::io::pread(&memory, &mut rest, self.file.1 as u64).unwrap();
        self.file.1 += self.snapshot.add(&rest[..read]);
        std::mem::take(&mut self.snapshot)
    }
}

fn journal(memory: impl AsFd) -> Snapshot {
    Snapshot::read(&ostler_sys::fd::memfd::read(memory, usize::MAX).unwrap()).0
}

/// Returns the sum of all records that [`same`] compares.
fn sum(slots: &Slots, boot_id: &str, features: &Features) -> Snapshot {
    let mut sum = Snapshot::default();
    let is_compared = |record: &Record<'_>| !matches!(record, Record::Env { .. } | Record::Spec { .. });
    all_records(slots, boot_id, features).filter(is_compared).for_each(|record| sum.apply(record));
    sum
}

/// Fields that the next daemon reads from the process if they were not journaled before the last
/// daemon died.
const FOUND_ANEW: [&str; 5] = ["log_start", "log_files", "preloaded", "group", "leader"];

type Fields = serde_json::Map<String, serde_json::Value>;

/// Returns the fields of a record. If its process was not reported yet, only the relevant fields
/// count.
fn fields<T: serde::Serialize>(record: Option<&T>, is_fresh: impl Fn(&T) -> bool) -> Fields {
    let Some(record) = record else { return Fields::new() };
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(record) else { return Fields::new() };
    if is_fresh(record) {
        FOUND_ANEW.iter().for_each(|name| drop(fields.remove(*name)));
    }
    fields
}

fn same_fields(one: &Fields, other: &Fields) -> Verdict {
    let differing: Vec<&String> = one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name)).collect();
    let each: Vec<String> = differing.iter().map(|name| format!("{name}: {:?} and {:?}", one.get(*name), other.get(*name))).collect();
    if each.is_empty() { Ok(()) } else { Err(each.join("; ")) }
}

/// Checks that two snapshots are equal.
fn same(one: &Snapshot, other: &Snapshot, what: &str) -> Verdict {
    let is_fresh = |slot: &SlotRecord| matches!(slot.instance.state, InstanceState::Spawning { .. });
    for id in one.slots.keys().chain(other.slots.keys()) {
        if one.slots.get(id) == other.slots.get(id) {
            continue;
        }
        let of = |snapshot: &Snapshot| fields(snapshot.slots.get(id), is_fresh);
        same_fields(&of(one), &of(other)).map_err(|differing| format!("instance {id}: {what}: {differing}"))?;
    }
    for number in one.commands.keys().chain(other.commands.keys()) {
        if one.commands.get(number) == other.commands.get(number) {
            continue;
        }
        let of = |snapshot: &Snapshot| fields(snapshot.commands.get(number), |_| true);
        same_fields(&of(one), &of(other)).map_err(|differing| format!("command {number}: {what}: {differing}"))?;
    }
    ensure!(one.rollouts == other.rollouts, "reloads: {what}: {:?} and {:?}", one.rollouts, other.rollouts);
    ensure!(one.clock == other.clock, "clock: {what}: {:?} and {:?}", one.clock, other.clock);
    ensure!(one.releases == other.releases, "releases: {what}: {:?} and {:?}", one.releases, other.releases);
    ensure!(one.log_tails == other.log_tails && one.reclaims == other.reclaims && one.carries == other.carries, "logs: {what}");
    Ok(())
}
