//! One supervised process, with all that is known of it.

use std::borrow::Cow;
use std::rc::Rc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::cron::Ticks;
use ostler_core::health::{HealthSpec, State as Health};
use ostler_core::lifecycle::{Instance, Policy, State, Wanted};
use ostler_core::note::Note;
use ostler_core::rare::Rare;
use ostler_core::serving::ReadyBy;
use ostler_core::shards::{Part, Standing};
use ostler_core::time::Now;
use ostler_core::units::in_seconds;
use ostler_proto::control::{Files, HealthReport, Learned};
use ostler_proto::event::Cause;
use ostler_sys::ProcRef;

use super::Worker;
use crate::ipc::Ipc;
use crate::logs::Piped;
use crate::logs::handback::FileKey;
use crate::node_version::Binary;
use crate::sample::CpuHistory;
use crate::settings::Settings;
use crate::store::{FormerLeader, Record, Role, SlotRecord, WatchMark};

/// An app's description, shared by its instances. A changed description is a new one with a new number.
#[derive(Debug)]
pub(crate) struct App {
    /// Number in the journal.
    pub id: u64,
    /// The description; `env.base` is empty.
    pub spec: Rc<AppSpec>,
}

/// A caller's environment, shared by everything that was started with it.
#[derive(Debug)]
pub(crate) struct Base {
    /// Number in the journal.
    pub id: u64,
    /// The variables.
    pub vars: Rc<EnvMap>,
}

/// One supervised slot.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Our own number of it: in the keeper's keys, in the journal. Never shown.
    pub id: u32,
    /// What users call it. A reload has two slots of one `pm_id`: the new process and the old one.
    pub pm_id: u32,
    /// What it is to its `pm_id`.
    pub role: Role,
    /// Its predecessor, a cluster worker, has not listened so far: if that remains so, it is ready when it has run for so long (ms).
    pub by_running_ms: Option<u64>,
    /// Number within the app.
    pub index: u32,
    /// Which of the sockets of a port is its own (a shard of that listener): the two processes of a reload have different ones.
    pub shard: u32,
    /// UUID; also the mark by which stray processes of this slot are recognised.
    pub unique_id: String,
    /// Description.
    pub app: Rc<App>,
    /// Caller's environment.
    pub base: Rc<Base>,
    /// State machine.
    pub instance: Instance,
    /// What the state machine needs of the description.
    pub policy: Policy,
    /// What its process has to prove before it counts as ready.
    pub proof: Option<Box<ReadyBy>>,
    /// What its schedule has come to.
    pub ticks: Ticks,
    /// Why it is not ready yet, as far as a look at it told.
    pub trouble: Option<Box<str>>,
    /// Paths.
    pub files: Files,
    /// Identity of the running process, with its pid.
    pub start_ticks: u64,
    /// Processes that led what is still its tree, before its main process was another one.
    pub former_leaders: Vec<FormerLeader>,
    /// What the app told us.
    pub learned: Rare<Learned>,
    /// The program that runs it, if that is Node and its version is not learned yet.
    pub node: Option<Binary>,
    /// Its process runs with our preload.
    pub preloaded: bool,
    /// The preload said that the script was run. Not in the journal: who waits for that is lost with its daemon.
    pub script_runs: bool,
    /// Sizes of error and output log when the process started.
    pub log_start: (u64, u64),
    /// The error and output log files themselves, where the process writes to them directly.
    pub log_files: [Option<FileKey>; 2],
    /// What its process is as a cluster worker.
    pub worker: Rare<Worker>,
    /// Folder of its cgroup.
    pub group: Option<Box<str>>,
    /// There is no group yet, or it was made by this daemon and not killed since: a process may be started in it.
    pub group_fresh: bool,
    /// Processes of the group that the kernel had killed for its memory when its process started.
    pub group_ooms: u64,
    /// Its IPC channel.
    pub ipc: Option<Box<Ipc>>,
    /// Its log writer, in piped mode.
    pub piped: Option<Box<Piped>>,
    /// It is to get no new connections while others can have them: its check of readiness fails.
    pub unready: bool,
    /// How healthy its process is; none where nobody asks for it, or it does not run.
    pub health: Option<Box<HealthReport>>,
    /// What was found out about it while it was looked after, the oldest first.
    pub notes: Vec<Note>,
    /// Why it is as it is.
    pub cause: Option<Box<Cause>>,
    /// CPU readings.
    pub cpu: CpuHistory,
    /// What is remembered of changed files.
    pub watch: WatchMark,
    /// When this daemon asked for its process.
    pub spawned_ms: Option<u64>,
    /// The pid file exists.
    pub pid_file_written: bool,
    /// Its deadline as the slots's order of deadlines knows it.
    pub(super) due_ms: Option<u64>,
}

impl Slot {
    /// Key under which the keeper knows a process of this slot.
    pub(crate) fn key(&self, inc: u32) -> u64 {
        u64::from(self.id) << 32 | u64::from(inc)
    }

    /// The description.
    pub(crate) fn spec(&self) -> &AppSpec {
        &self.app.spec
    }

    /// Users see it; the other process of a reload is the rollout's to tell of.
    pub(crate) fn is_seen(&self) -> bool {
        self.role == Role::Serving
    }

    /// Its main process and that one's incarnation, as far as nobody has told its end.
    pub(crate) fn process(&self) -> Option<(u32, ProcRef)> {
        let pid = self.instance.pid()?;
        let inc = self.instance.inc_of_process()?;
        Some((inc, ProcRef { pid, start_ticks: self.start_ticks }))
    }

    /// No process was asked for after this incarnation.
    pub(crate) fn is_newest(&self, inc: u32) -> bool {
        match self.instance.state {
            State::Spawning { inc: coming, .. } => inc == coming,
            _ => inc == self.instance.inc,
        }
    }

    /// What its checks say of a process that is online; without checks all is well.
    pub(crate) fn is_healthy(&self) -> bool {
        let is_watched = self.spec().health().is_some_and(HealthSpec::is_watched);
        !is_watched || self.health.as_ref().is_some_and(|report| report.state == Health::Healthy)
    }

    /// What its process is to new connections, and until when it is [`Standing::Young`].
    pub(crate) fn standing(&self, now_ms: u64) -> (Standing, Option<u64>) {
        let part = Part {
            candidate: self.role == Role::Candidate,
            retiring: self.role == Role::Retiring,
            proves: self.proof.is_some(),
            min_uptime_ms: self.policy.min_uptime_ms,
        };
        match Standing::of(&self.instance, part, now_ms) {
            (Standing::Serves | Standing::Young, until) if self.unready => (Standing::Coming, until),
            standing => standing,
        }
    }

    /// What this instance has to add to that port: where the variable that grows from instance to instance is the port, its number.
    pub(crate) fn port_shift(&self, port: u16) -> u16 {
        let env = &self.spec().env;
        let Some(variable) = env.increment_var.as_deref() else { return 0 };
        let own = env.layers().filter_map(|layer| layer.get(variable)).last();
        let first = own.or_else(|| self.base.vars.get(variable)).and_then(|value| value.trim().parse::<u16>().ok());
        if first == Some(port) { u16::try_from(self.index).unwrap_or(0) } else { 0 }
    }

    /// Something of it runs, or is to run.
    pub(crate) fn is_or_will_be_up(&self) -> bool {
        self.instance.wanted == Wanted::Up || !matches!(self.instance.state, State::Stopped | State::Errored | State::Gone)
    }

    /// That it was not ready in time, in words that follow its name, with the setting that gives it more.
    pub(crate) fn not_ready(&self) -> String {
        let known = [self.trouble.as_deref().map(str::to_owned), self.start_ups()];
        let known: Vec<String> = known.into_iter().flatten().collect();
        let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join("; ")) };
        format!("was not ready within {} ms{known}; `listen_timeout` sets that time", self.policy.ready_within_ms())
    }

    /// That it takes long to become ready, in words that follow its name.
    pub(crate) fn still_starting(&self, now: Now) -> String {
        let known = self.start_ups().map_or_else(String::new, |known| format!(" ({known})"));
        let since_ms = self.instance.counters.last_start.map_or(0, |start| start.mono_ms);
        format!("is still starting after {}{known}", in_seconds(now.mono_ms.saturating_sub(since_ms)))
    }

    fn start_ups(&self) -> Option<String> {
        self.instance.counters.start_ups().map(|took| format!("it {took}"))
    }

    /// How long the successor of a cluster worker that has not listened has to run to be taken as ready: as long as it takes until this
    /// one has had its own time to listen. None: it listens, or did until its last start a moment ago.
    pub(super) fn by_running_ms_after(&self, now: Now) -> Option<u64> {
        let age_ms = self.instance.counters.last_start.map_or(0, |start| now.mono_ms.saturating_sub(start.mono_ms));
        let left_ms = self.policy.listen_timeout_ms.saturating_sub(age_ms);
        let listened_before = left_ms > 0 && !self.instance.counters.start_ups_ms.is_empty();
        (self.worker.never_listened() && !listened_before).then_some(left_ms)
    }

    /// As the journal keeps it.
    pub(crate) fn record(&self) -> Record<'_> {
        if self.instance.state == State::Gone {
            return Record::Gone { id: self.id };
        }
        Record::Slot(Box::new(SlotRecord {
            id: self.id,
            pm_id: Some(self.pm_id),
            role: self.role,
            by_running_ms: self.by_running_ms,
            index: self.index,
            shard: self.shard,
            unique_id: Cow::Borrowed(&self.unique_id),
            spec: self.app.id,
            env: self.base.id,
            instance: Cow::Borrowed(&self.instance),
            ticks: self.ticks,
            start_ticks: self.start_ticks,
            former_leaders: Cow::Borrowed(&self.former_leaders),
            learned: Cow::Borrowed(&self.learned),
            preloaded: self.preloaded,
            log_start: self.log_start,
            log_files: self.log_files,
            worker_id: self.worker.id,
            listening: Cow::Borrowed(&self.worker.listening),
            served: Cow::Borrowed(&self.worker.served),
            group: self.group.as_deref().map(Cow::Borrowed),
            watch: self.watch,
            notes: Cow::Borrowed(&self.notes),
            cause: self.cause.as_deref().map(Cow::Borrowed),
        }))
    }

    /// Takes another description; paths and policy follow.
    pub(crate) fn describe(&mut self, app: Rc<App>, settings: &Settings) {
        self.files = crate::files::resolve(&app.spec, self.pm_id, settings);
        if self.group_fresh && self.app.spec.hard_limits() != app.spec.hard_limits() {
            // A limit that is no more must not stay in its group: that is made anew.
            self.group_fresh = false;
        }
        if self.app.spec.cron != app.spec.cron {
            // By another pattern the next tick is another one.
            let armed = self.ticks.armed && app.spec.cron.is_some();
            self.ticks = Ticks { armed, ..Ticks::default() };
        }
        self.app = app;
        self.settle_policy(settings);
    }

    /// What follows from description and role.
    pub(crate) fn settle_policy(&mut self, settings: &Settings) {
        (self.policy, self.proof) = crate::policy::of(&self.app.spec, self.role, self.by_running_ms, settings);
    }
}
