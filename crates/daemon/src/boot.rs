//! Boot: from the keeper's inventory to a running daemon. A first start, a restart after a crash
//! and an upgrade take the same path.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use ostler_core::home::home_paths::HomePaths;
use ostler_core::lifecycle::runtime::ContainerLogFormat;
use ostler_core::lifecycle::{DesiredState, Effect, Event, InstanceState, PolicyName, Recovered};
use ostler_keeper::{
    AS_PM2_VAR, Child, FromKeeper, HELD_JOURNAL, HELD_LOCK, HELD_SOCKET, HOME_VAR, Inventory, LaunchError, Launcher, Link, Revival,
    STARTER_KEY,
};
use ostler_proto::event::{EventCause, EventKind, LostProcesses};
use ostler_sys::ProcRef;
use ostler_sys::process::signal::{CONT, SignalFd};

use crate::control::Control;
use crate::engine::{Ctx, DaemonState, Io, Outbox, ProcessView, Work, clock};
use crate::features::Features;
use crate::features::health::checks::HealthChecks;
use crate::features::home::runtime::Runtime;
use crate::logs::LogFiles;
use crate::platform::fd_budget::FdBudget;
use crate::platform::keeper_connection::KeeperConnection;
use crate::platform::log::{DaemonLog, OwnLines};
use crate::platform::node_version::NodeVersions;
use crate::platform::probe::Probes;
use crate::platform::reactor::{LISTENER, Reactor, Source};
use crate::platform::settings::Settings;
use crate::platform::working_trees::WorkingTrees;
use crate::state::marked::{MarkedLeader, has_manager, marked};
use crate::state::slots::commands::Commands;
use crate::state::slots::complaints::Complaints;
use crate::state::slots::groups::Groups;
use crate::state::slots::listening::Listening;
use crate::state::slots::processes::{Leaders, inc_mark};
use crate::state::slots::{Slots, is_of_instance, split_key};
use crate::state::store::events::Events;
use crate::state::store::state_copy;
use crate::state::store::state_file::StateFile;
use crate::state::store::{Journal, Snapshot};

/// Signals that the daemon handles itself if they are sent to it instead of to the keeper. SIGCONT
/// shows that it was stopped.
const SIGNALS: [i32; 6] = [2, 3, 10, 12, 15, CONT];

/// Reason why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("not started by a keeper: {0} is not set")]
    NoHome(&'static str),
    #[error("cannot communicate with the keeper")]
    Link(#[source] io::Error),
    #[error("the keeper did not send its inventory first")]
    NoInventory,
    #[error("the keeper does not hold \"{0}\"")]
    Missing(&'static str),
    #[error("cannot {step}")]
    System {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
}

fn system<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> BootError {
    move |error| BootError::System { step, source: error.into() }
}

/// Does everything up to the first turn of the loop.
pub(crate) fn boot() -> Result<Control, BootError> {
    let home = std::env::var_os(HOME_VAR).map(PathBuf::from).ok_or(BootError::NoHome(HOME_VAR))?;
    let settings = Settings { keeps_copy: true, ..Settings::from_env(home) };
    ostler_sys::process::rlimit::raise_nofile();
    let threads = ostler_sys::process::threads::enable();
    // Only for display in process lists.
    let _ = ostler_sys::process::title::set_comm("ostler-daemon");
    let mut link = Link::from_start().map_err(BootError::Link)?;
    crate::platform::incident::begin(&link);
    let signals = SignalFd::new(&SIGNALS).map_err(system("watch signals"))?;
    let (inventory, fds) = first_message(&mut link)?;
    if inventory.failures > 0 {
        crate::platform::incident::be_careful();
    }
    let runtime = Runtime::from_env(&inventory).map_err(|error| system("read the settings of the runtime")(io::Error::from(error)))?;
    let starter = inventory.children.iter().find(|child| child.key == STARTER_KEY);
    let groups = Groups::find(&settings.home, runtime.spec().is_some(), starter.map(|child| child.pid));
    let control = begin(BootInputs { settings, link, inventory, fds, signals, groups, runtime, threads })?;
    state_copy::remove_stale(has_manager);
    Ok(control)
}

/// Inputs of a start.
pub(crate) struct BootInputs {
    pub settings: Settings,
    pub link: Link,
    pub inventory: Inventory,
    /// Descriptors that the inventory lists as held.
    pub fds: Vec<OwnedFd>,
    pub signals: SignalFd,
    pub groups: Groups,
    pub runtime: Runtime,
    /// Result of enabling threads.
    pub threads: io::Result<()>,
}

/// Builds the daemon from the inventory: its previous state and the processes that run.
pub(crate) fn begin(beginning: BootInputs) -> Result<Control, BootError> {
    let BootInputs { settings, link, inventory, fds, signals, groups, runtime, threads } = beginning;
    let now = clock();
    let mut held: BTreeMap<String, OwnedFd> = inventory.held.iter().cloned().zip(fds).collect();
    let mut take = |name: &'static str| held.remove(name).ok_or(BootError::Missing(name));
    let listener = UnixListener::from(take(HELD_SOCKET)?);
    let journal = take(HELD_JOURNAL)?;
    let lock = take(HELD_LOCK)?;
    let anchor = inventory.held.iter().find(|name| ostler_keeper::anchor_of(name).is_some());
    let anchor = anchor.and_then(|name| held.remove_entry(name));
    listener.set_nonblocking(true).map_err(system("prepare the socket"))?;
    let (mut journal, mut snapshot) = Journal::open(journal).map_err(system("read the journal"))?;
    let events = Events::restore(&mut snapshot, &mut journal);
    let reactor = Reactor::of_features(Features::NAMES).map_err(system("wait for events"))?;
    let log_files = LogFiles::new(settings.home.clone());
    let keeper = KeeperConnection::new(link, inventory.keeper_pid);
    reactor.add(&listener, LISTENER).map_err(system("watch the socket"))?;
    reactor.add(&keeper, Source::Keeper).map_err(system("watch the keeper"))?;
    reactor.add(&signals, Source::Signals).map_err(system("watch signals"))?;
    let mut log = DaemonLog::new(settings.paths.log.clone(), &settings.log_date_format);
    let log_files = match runtime.spec() {
        Some(spec) => {
            log.show(OwnLines::new(spec.form == ContainerLogFormat::Json).map_err(system("use standard error"))?);
            log_files.in_front(spec).map_err(system("use standard output"))?
        }
        None => log_files,
    };
    for refused in ostler_sys::refused_calls::refused() {
        log.error(format_args!("{refused}"));
    }
    if let Err(error) = threads {
        log.error(format_args!("cannot create threads ({error}): logs with --time, rotation and watch do not work; all other features do"));
    }
    if snapshot.foreign > 0 {
        log.error(format_args!("{} records of the journal have a newer version and are ignored", snapshot.foreign));
    }
    let aside = inventory.poison.and_then(|id| crate::state::store::aside::take(&mut snapshot, id, &inventory, &settings.home, &mut log));
    let state_file = StateFile::new(HomePaths::state(&settings.home));
    let state_file = if settings.keeps_copy { state_file.with_copy(&settings.home) } else { state_file };
    let processes = ProcessView { oom_kills: ostler_sys::process::oom::kills().unwrap_or(0), ..ProcessView::default() };
    let io = Io {
        settings,
        log,
        reactor,
        keeper,
        fds: FdBudget::new(),
        originals: inventory.originals,
        anchor,
        lock,
        listener,
        processes,
        checks: Probes::new(HealthChecks::source),
        node_versions: NodeVersions::default(),
        working_trees: WorkingTrees::default(),
    };
    let state = DaemonState {
        boot_id: ostler_sys::time::clock::boot_id().unwrap_or_default(),
        slots: Slots::default(),
        journal,
        state_file,
        events,
        groups,
        commands: Commands::default(),
        listening: Listening::default(),
        log_files,
        complaints: Complaints::default(),
        pending_starts: BTreeSet::new(),
        waiting: BTreeSet::new(),
        open_requests: 0,
    };
    let ctx = Ctx { now, io, state, outbox: Outbox::default() };
    let mut control = Control { ctx, features: Features { runtime, ..Features::default() }, signals };
    let first = snapshot == Snapshot::default();
    if first {
        control.ctx.state.journal.push(&crate::state::store::Record::Boot { boot_id: control.ctx.state.boot_id.as_str().into() });
        control.ctx.io.log.line(format_args!(
            "ostler {} daemon started, home {}",
            env!("CARGO_PKG_VERSION"),
            control.ctx.io.settings.home.display()
        ));
        // As process 1 we are the first in this container: another container with this home left
        // the file.
        if inventory.keeper_pid != 1 {
            control.find_survivors();
        }
        control.ctx.state.groups.recover(&mut control.ctx.state.slots);
    } else {
        control.ctx.io.log.line(format_args!("daemon started again, {} instances", snapshot.slots.len()));
        control.features.restore(&mut snapshot);
        control.restore(snapshot);
        control.ctx.state.groups.recover(&mut control.ctx.state.slots);
        let found = control.recover(&inventory, held);
        found.log(&mut control.ctx.io.log);
        found.emit_after_daemon(&mut control.ctx, &inventory.last_failure);
    }
    if let Some(aside) = aside {
        control.ctx.state.journal.push(&crate::state::store::Record::Gone { id: aside.id });
        control.ctx.state.events.push(now.wall_ms, aside.draft);
    }
    control.features.on_boot(&mut control.ctx);
    Ok(control)
}

fn first_message(link: &mut Link) -> Result<(Inventory, Vec<OwnedFd>), BootError> {
    match link.recv_blocking().map_err(BootError::Link)? {
        (FromKeeper::Inventory(inventory), fds) => Ok((inventory, fds)),
        _ => Err(BootError::NoInventory),
    }
}

impl Control {
    /// Recovers instances. The journal has their previous state, the keeper has the running
    /// processes.
    pub(crate) fn recover(&mut self, inventory: &Inventory, held: BTreeMap<String, OwnedFd>) -> RecoveredCounts {
        let mut newest: BTreeMap<u32, Child> = BTreeMap::new();
        let of_instance = |child: &&Child| child.key != STARTER_KEY && is_of_instance(child.key);
        for child in inventory.children.iter().filter(of_instance) {
            let (id, inc) = split_key(child.key);
            if self.ctx.state.slots.get(id).is_none() && child.ended.is_none() {
                // The journal itself may be wrong, so a running process is never killed for that.
                self.ctx.io.log.error(format_args!("process {} belongs to no known app and is left alone", child.pid));
            }
            // Only the newest process of an instance counts. An older one is in the journal
            // already.
            let known = newest.entry(id).or_insert(*child);
            let older = if split_key(known.key).1 < inc { std::mem::replace(known, *child) } else { *child };
            if older.key != known.key {
                self.ctx.outbox.effects.push(Work::Ack(older.key));
            }
        }
        self.adopt_fds(held);
        let ids: Vec<u32> = self.ctx.state.slots.iter().map(|slot| slot.durable.id).collect();
        let (mut found, mut leaders) = (RecoveredCounts::default(), Leaders::default());
        for id in ids {
            let _at = crate::platform::incident::working_on(id);
            let child = newest.remove(&id);
            let is_former = child.is_some_and(|child| self.meet(id, &child));
            let recovered = match child {
                None => self.adopt_unknown(id, &mut leaders, &mut found),
                Some(Child { key, pid, ended: None, .. }) => Recovered::Alive { inc: split_key(key).1, pid },
                Some(Child { key, pid, ended: Some(ended), .. }) => {
                    Recovered::Ended { inc: split_key(key).1, pid, exit: self.ctx.exit_report(ended.ending) }
                }
            };
            if let Recovered::Alive { pid, .. } = recovered
                && self.ctx.state.slots.get(id).is_some_and(|slot| matches!(slot.durable.instance.state, InstanceState::Spawning { .. }))
            {
                self.features.on_recognised(&mut self.ctx, id, pid);
            }
            if child.is_some() {
                found.count(&recovered, !is_former);
            }
            self.dispatch_event(id, Event::Recovered(recovered));
            if let Some(Child { key, ended: Some(_), .. }) = child
                && !is_former
            {
                self.ctx.outbox.effects.push(Work::Ack(key));
            }
        }
        for child in newest.into_values().filter(|child| child.ended.is_some()) {
            self.ctx.outbox.effects.push(Work::Ack(child.key));
        }
        self.features.on_inventory(&mut self.ctx, &inventory.children, &mut leaders);
        self.ctx.state.slots.ask_node_versions(&self.ctx.io.node_versions);
        found
    }

    /// Records the process of an instance as the keeper knows it. Returns true if the app has
    /// handed over to another process that the keeper does not know yet.
    fn meet(&mut self, id: u32, child: &Child) -> bool {
        if child.ended.is_some() {
            // The process may have sent a handover just before it exited.
            self.read_to_the_end(id);
        }
        let Some(slot) = self.ctx.state.slots.get_mut(id) else { return false };
        let process = ProcRef { pid: child.pid, start_ticks: child.start_ticks };
        let is_former = slot.durable.instance.is_former(split_key(child.key).1, child.pid);
        if is_former {
            self.ctx.state.slots.note_former_leader(id, process);
        } else {
            slot.durable.start_ticks = process.start_ticks;
        }
        is_former
    }

    /// Restores the state from a snapshot.
    fn restore(&mut self, snapshot: Snapshot) {
        self.ctx.state.slots.restore(snapshot, &self.ctx.io.settings);
    }

    /// Takes over descriptors that the keeper held while there was no daemon.
    fn adopt_fds(&mut self, held: BTreeMap<String, OwnedFd>) {
        for (name, fd) in held {
            self.features.adopt_fd(&mut self.ctx, &name, fd);
        }
        self.features.on_fds_adopted(&mut self.ctx);
    }

    /// Looks for survivors at a first start, in case daemon and keeper were killed while apps ran.
    /// The state file on disk then lists the apps, and processes that still run are adopted
    /// unchanged.
    fn find_survivors(&mut self) {
        let path = HomePaths::state(&self.ctx.io.settings.home);
        let mut snapshot = match StateFile::read(&self.ctx.io.settings.home, &path, &self.ctx.state.boot_id) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return,
            Err(error) => return self.ctx.io.log.error(format_args!("cannot read \"{}\": {error}", path.display())),
        };
        self.features.restore(&mut snapshot);
        self.restore(snapshot);
        for record in self.ctx.state.slots.records(&self.ctx.state.boot_id).chain(self.features.records()) {
            self.ctx.state.journal.push(&record);
        }
        let ids: Vec<u32> = self.ctx.state.slots.iter().map(|slot| slot.durable.id).collect();
        let (mut found, mut leaders) = (RecoveredCounts::default(), Leaders::default());
        let marked = marked(&self.ctx.io.settings.home);
        for &id in &ids {
            let had_process = self.ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.pid().is_some());
            let newer = self.newer_process(id, &marked).map(|(key, process)| self.adopt_process(id, key, process));
            let adopted = newer.unwrap_or_else(|| self.adopt(id, &mut leaders));
            found.count(&adopted, had_process);
            self.dispatch_event(id, Event::Recovered(adopted));
        }
        self.features.on_inventory(&mut self.ctx, &[], &mut leaders);
        self.ctx.state.slots.ask_node_versions(&self.ctx.io.node_versions);
        let alive = found.running;
        self.ctx
            .io
            .log
            .line(format_args!("daemon and keeper were killed: {} instances known; {alive} still run and are adopted", ids.len()));
        found.emit(&mut self.ctx, LostProcesses::All, None);
    }

    /// Adopts the process of an instance that the keeper does not know. If keeper and daemon were
    /// killed together, the process may still run: the journal is the old one, the keeper is new.
    fn adopt_unknown(&mut self, id: u32, leaders: &mut Leaders, found: &mut RecoveredCounts) -> Recovered {
        let has_process = self.ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.pid().is_some());
        if has_process {
            // No exit will be reported, so its last messages are read now.
            self.read_to_the_end(id);
        }
        let adopted = self.adopt(id, leaders);
        found.count_unknown(&adopted, has_process);
        adopted
    }

    /// Returns the process of an instance that was started after its record was written, because
    /// the state copy is older. The user who started it wants it to run.
    fn newer_process(&mut self, id: u32, marked: &[MarkedLeader]) -> Option<(u64, ProcRef)> {
        let slot = self.ctx.state.slots.get_mut(id)?;
        let known = slot.newest_inc();
        let MarkedLeader { inc, process, .. } = marked.iter().find(|of| of.unique_id == slot.durable.unique_id && of.inc > known)?;
        slot.durable.instance.wanted = DesiredState::Up;
        slot.durable.start_ticks = process.start_ticks;
        Some((slot.key(*inc), *process))
    }

    /// Makes the keeper watch the process of an instance, if it is still the same one.
    fn adopt(&mut self, id: u32, leaders: &mut Leaders) -> Recovered {
        let Some((key, process)) = self.survivor(id, leaders) else { return Recovered::Nothing };
        self.adopt_process(id, key, process)
    }

    fn adopt_process(&mut self, id: u32, key: u64, process: ProcRef) -> Recovered {
        self.ctx.io.keeper.adopt(key, process);
        self.ctx.state.groups.keeper_was_lost();
        self.features.on_adopted(&mut self.ctx, id, process);
        Recovered::Alive { inc: split_key(key).1, pid: process.pid }
    }

    /// Returns the process of an instance, if it still runs, and its key.
    fn survivor(&mut self, id: u32, leaders: &mut Leaders) -> Option<(u64, ProcRef)> {
        let slot = self.ctx.state.slots.get_mut(id)?;
        let (inc, process) = match slot.durable.instance.state {
            // The daemon was killed between the spawn and the answer: a second copy must not be
            // started.
            InstanceState::Spawning { inc, .. } => (inc, leaders.find(&inc_mark(&slot.durable.unique_id, inc))?),
            _ => slot.process()?,
        };
        slot.durable.start_ticks = process.start_ticks;
        process.exists().then(|| (slot.key(inc), process))
    }

    /// Replaces a keeper that was killed. The new one gets everything that the old one held, and
    /// watches every process that still runs.
    pub(crate) fn lost_keeper(&mut self, error: &io::Error) {
        self.ctx.io.log.error(format_args!("the keeper exited ({error}); starting a new one"));
        let fault = self.ctx.io.keeper.fault.take();
        let ids: Vec<u32> = self.ctx.state.slots.iter().map(|slot| slot.durable.id).collect();
        // No exits will be reported, so their last messages are read now.
        ids.iter().for_each(|&id| self.read_to_the_end(id));
        let mut leaders = Leaders::default();
        let survivors: BTreeMap<u32, (u64, ProcRef)> = ids.iter().filter_map(|&id| Some((id, self.survivor(id, &mut leaders)?))).collect();
        let others = self.features.survivors(&mut leaders);
        self.ctx.io.fds.release_reserve();
        let (link, pid) = match self.revive(&survivors, &others) {
            Ok(revived) => revived,
            Err(error) => {
                // Without a keeper nothing can be started. The next daemon may succeed; the state
                // file on disk has what it needs.
                self.ctx.io.log.error(format_args!("{}", crate::platform::log::chain(&error)));
                self.ctx.state.state_file.distrust();
                self.write_state_file();
                std::process::exit(1);
            }
        };
        self.ctx.io.reactor.remove(&self.ctx.io.keeper);
        // Recovery decides again about starts that were not requested yet.
        self.ctx.outbox.effects.retain(|work| !matches!(work, Work::Ack(_) | Work::Effect(_, Effect::Spawn { .. })));
        self.ctx.io.keeper.replace(link, pid);
        self.ctx.io.fds.set_aside();
        self.ctx.state.groups.keeper_was_lost();
        if let Err(error) = self.ctx.io.reactor.add(&self.ctx.io.keeper, Source::Keeper) {
            self.ctx.io.log.error(format_args!("cannot watch the keeper: {error}"));
        }
        let mut found = RecoveredCounts::default();
        for id in ids {
            let recovered = match survivors.get(&id) {
                Some((key, process)) => Recovered::Alive { inc: split_key(*key).1, pid: process.pid },
                None => Recovered::Nothing,
            };
            found.count(&recovered, self.ctx.state.slots.get(id).is_some_and(|slot| slot.durable.instance.pid().is_some()));
            self.dispatch_event(id, Event::Recovered(recovered));
        }
        found.emit(&mut self.ctx, LostProcesses::Keeper, fault);
        self.features.on_new_keeper(&mut self.ctx, &others);
    }

    fn revive(&self, survivors: &BTreeMap<u32, (u64, ProcRef)>, others: &[(u64, ProcRef)]) -> Result<(Link, i32), LaunchError> {
        let child = |(key, process): &(u64, ProcRef)| Child { key: *key, pid: process.pid, start_ticks: process.start_ticks, ended: None };
        let children: Vec<Child> = survivors.values().chain(others).map(child).collect();
        let held: Vec<(String, BorrowedFd<'_>)> = [
            (HELD_LOCK.to_owned(), self.ctx.io.lock.as_fd()),
            (HELD_SOCKET.to_owned(), self.ctx.io.listener.as_fd()),
            (HELD_JOURNAL.to_owned(), self.ctx.state.journal.fd()),
        ]
        .into_iter()
        .chain(self.features.held(&self.ctx))
        .chain(self.ctx.io.anchor.as_ref().map(|(name, fd)| (name.clone(), fd.as_fd())))
        .collect();
        let held: Vec<(&str, BorrowedFd<'_>)> = held.iter().map(|(name, fd)| (name.as_str(), *fd)).collect();
        let as_pm2 = std::env::var_os(AS_PM2_VAR).is_some_and(|value| value == "1");
        Launcher::new(&self.ctx.io.settings.home, as_pm2).revive(&Revival {
            originals: self.ctx.io.originals,
            children: &children,
            held: &held,
        })
    }
}

/// Counts of instances that ran when the previous daemon died.
#[derive(Debug, Default)]
pub(crate) struct RecoveredCounts {
    running: u32,
    ended: u32,
    /// Instances whose process the keeper did not know, because daemon and keeper had both been
    /// killed.
    adopted: u32,
    lost: u32,
}

impl RecoveredCounts {
    fn count(&mut self, recovered: &Recovered, had_process: bool) {
        match recovered {
            Recovered::Alive { .. } => self.running += 1,
            _ if had_process => self.ended += 1,
            _ => {}
        }
    }

    fn count_unknown(&mut self, recovered: &Recovered, had_process: bool) {
        self.count(recovered, had_process);
        match recovered {
            Recovered::Alive { .. } => self.adopted += 1,
            _ if had_process => self.lost += 1,
            _ => {}
        }
    }

    fn log(&self, log: &mut DaemonLog) {
        let Self { adopted, lost, .. } = self;
        if adopted + lost > 0 {
            log.line(format_args!("daemon and keeper were killed: {adopted} instances still run and are adopted; {lost} have exited"));
        }
    }

    /// Emits the event that the previous daemon was killed, or was replaced by this one.
    fn emit_after_daemon(&self, ctx: &mut Ctx, last_failure: &str) {
        let Self { running, ended, .. } = *self;
        match ctx.state.events.update_in_progress() {
            Some(cause) => {
                let version = env!("CARGO_PKG_VERSION").into();
                ctx.emit_for_manager(EventKind::Updated { version, running, ended }, cause);
            }
            None if self.adopted + self.lost > 0 => self.emit(ctx, LostProcesses::Both, None),
            None => self.emit(ctx, LostProcesses::Daemon, Some(last_failure.to_owned()).filter(|words| !words.is_empty())),
        }
    }

    fn emit(&self, ctx: &mut Ctx, lost: LostProcesses, why: Option<String>) {
        let Self { running, ended, .. } = *self;
        ctx.emit_for_manager(EventKind::Recovered { lost, running, ended }, EventCause::policy(PolicyName::Recovery, why));
    }
}
