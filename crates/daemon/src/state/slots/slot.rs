//! Slot: a supervised process and its state.

use std::rc::Rc;

use ostler_core::app::default_box::DefaultBox;
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::cron::Ticks;
use ostler_core::health::{HealthSpec, HealthState};
use ostler_core::lifecycle::goal::watched_until_ms;
use ostler_core::lifecycle::{DesiredState, InstanceState, Policy};
use ostler_core::serving::ReadyBy;
use ostler_core::serving::shards::{RankFacts, ShardRank};
use ostler_core::text::units::in_seconds;
use ostler_core::time::Now;
use ostler_proto::control::{Files, HealthReport};
use ostler_proto::event::LimitKind;
use ostler_sys::ProcRef;
use serde_json::{Map, Value};

use super::Worker;
use crate::logs::RunningWriter;
use crate::platform::ipc::Ipc;
use crate::platform::node_version::Binary;
use crate::platform::sample::CpuHistory;
use crate::platform::settings::Settings;
use crate::state::store::{Record, Role, SlotEntry, SlotRecord};

/// Description of an app, shared by its instances. A changed description gets a new number.
#[derive(Debug)]
pub(crate) struct App {
    /// Number in the journal.
    pub id: u64,
    /// The description; `env.base` is empty.
    pub spec: Rc<AppSpec>,
}

/// Environment of a caller, shared by everything that was started with it.
#[derive(Debug)]
pub(crate) struct Base {
    /// Number in the journal.
    pub id: u64,
    /// The variables.
    pub vars: Rc<EnvMap>,
}

/// Supervised slot.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Part that outlives the daemon: the journal's record of the slot. Code that changes it must
    /// call [`super::Slots::changed`].
    pub durable: SlotRecord,
    /// Part that is lost when the daemon exits.
    pub live: LiveState,
}

/// State of a slot for the lifetime of this daemon. The next daemon derives it from the durable
/// part, determines it again, or does without it.
#[derive(Debug)]
pub(crate) struct LiveState {
    /// Description; its number is in the durable part.
    app: Rc<App>,
    /// Caller's environment; its number is in the durable part.
    base: Rc<Base>,
    /// Part of the description that the state machine needs.
    pub policy: Policy,
    /// Proof that its process must give before it counts as ready.
    pub proof: Option<Box<ReadyBy>>,
    /// Paths of its files.
    pub files: Files,
    /// Reason why it is not ready yet, if a check found one.
    pub trouble: Option<Box<str>>,
    /// Program that runs it, if that is Node and its version is not known yet.
    pub node: Option<Binary>,
    /// True after the preload reported that the script was run. Waiters for that are lost with the
    /// daemon.
    pub script_runs: bool,
    /// Connections and sockets of its process as a cluster worker.
    pub worker: DefaultBox<Worker>,
    /// True if it has no group yet, or if this daemon created the group and has not killed it
    /// since: a process may be started in it.
    pub group_fresh: bool,
    /// Number of processes of the group that the kernel had killed for lack of memory when the
    /// process started.
    pub group_ooms: u64,
    /// Its IPC channel; the keeper has a copy.
    pub ipc: Option<Box<Ipc>>,
    /// Its log writer, in piped mode; the keeper has copies of its pipes.
    pub piped: Option<Box<RunningWriter>>,
    /// Actions, metrics and options that the app reports.
    pub axm: DefaultBox<Axm>,
    /// True if its readiness check fails: it gets no new connections while other instances can take
    /// them.
    pub unready: bool,
    /// Health of its process; `None` if it is not checked or not running.
    pub health: Option<Box<HealthReport>>,
    /// CPU readings.
    pub cpu: CpuHistory,
    /// Limit that it exceeded last, and the time (`mono_ms`).
    pub exceeded: Option<(LimitKind, u64)>,
    /// True while the daemon looks up the process that holds a port, to complete the last lines of
    /// an exit.
    pub seeks_port_holder: bool,
    /// Time when this daemon requested the process.
    pub spawned_ms: Option<u64>,
    /// Time when this daemon asked the process to finish its requests.
    pub drain_began_ms: Option<u64>,
    /// True if the pid file exists.
    pub pid_file_written: bool,
    /// Deadline of the slot in the slots' order of deadlines.
    pub(super) due_ms: Option<u64>,
}

/// Data that an app reports over its channel (PM2's `axm_*`). The app decides its size and how
/// often it changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Axm {
    /// Custom actions.
    pub actions: Vec<Value>,
    /// Custom metrics.
    pub monitor: Map<String, Value>,
    /// Probe configuration.
    pub options: Map<String, Value>,
}

ostler_core::static_default!(Axm);

impl LiveState {
    /// Returns the initial state of a slot.
    fn new(durable: &SlotRecord, app: Rc<App>, base: Rc<Base>, settings: &Settings) -> Self {
        let (policy, proof) = crate::state::policy::of(&app.spec, durable.role, durable.by_running_ms, settings);
        Self {
            policy,
            proof,
            files: crate::platform::files::resolve(&app.spec, durable.file_stem.as_deref(), durable.pm_id, settings),
            app,
            base,
            trouble: None,
            node: None,
            script_runs: false,
            worker: DefaultBox::default(),
            group_fresh: true,
            group_ooms: 0,
            ipc: None,
            piped: None,
            axm: DefaultBox::default(),
            unready: false,
            health: None,
            cpu: CpuHistory::default(),
            exceeded: None,
            seeks_port_holder: false,
            spawned_ms: None,
            drain_began_ms: None,
            pid_file_written: false,
            due_ms: None,
        }
    }
}

impl Slot {
    /// Creates a slot of that app, with that environment.
    pub(super) fn new(mut durable: SlotRecord, app: Rc<App>, base: Rc<Base>, settings: &Settings) -> Self {
        (durable.app_number, durable.env_number) = (app.id, base.id);
        let live = LiveState::new(&durable, app, base, settings);
        Self { durable, live }
    }

    /// Restores a slot from its journal record.
    pub(super) fn restored(durable: SlotRecord, app: Rc<App>, base: Rc<Base>, settings: &Settings) -> Self {
        let mut slot = Self::new(durable, app, base, settings);
        // The group's creator and its history are unknown.
        slot.live.group_fresh = false;
        slot.live.pid_file_written = slot.is_visible();
        slot
    }

    /// Returns the description, shared with other instances of the app.
    pub(crate) fn app(&self) -> &Rc<App> {
        &self.live.app
    }

    /// Returns the caller's environment, shared with everything that was started with it.
    pub(crate) fn base(&self) -> &Rc<Base> {
        &self.live.base
    }

    /// Returns the keeper's key for a process of this slot.
    pub(crate) fn key(&self, inc: u32) -> u64 {
        u64::from(self.durable.id) << 32 | u64::from(inc)
    }

    /// Returns true if it waits for a command that names it: `autostart: false`, and it never ran.
    pub(crate) fn is_unstarted(&self) -> bool {
        let spec = self.spec();
        !spec.autostart && !spec.is_job() && self.durable.instance.counters.last_start.is_none()
    }

    /// Returns the description.
    pub(crate) fn spec(&self) -> &AppSpec {
        &self.app().spec
    }

    /// Returns true if users see it. The rollout reports the other process of a reload.
    pub(crate) fn is_visible(&self) -> bool {
        self.durable.role == Role::Serving
    }

    /// Returns the main process and its incarnation, until its exit is reported.
    pub(crate) fn process(&self) -> Option<(u32, ProcRef)> {
        let pid = self.durable.instance.pid()?;
        let inc = self.durable.instance.inc_of_process()?;
        Some((inc, ProcRef { pid, start_ticks: self.durable.start_ticks }))
    }

    /// Returns the incarnation of its process if that is online and visible to users.
    pub(crate) fn serving_inc(&self) -> Option<u32> {
        match self.durable.instance.state {
            InstanceState::Running { inc, .. } if self.is_visible() => Some(inc),
            _ => None,
        }
    }

    /// Returns true if it has a process that can receive messages over its channel.
    pub(crate) fn has_channel(&self) -> bool {
        matches!(self.durable.instance.status(), "online" | "launching") && self.live.ipc.is_some()
    }

    /// Returns the names of the actions that its app has reported.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &str> {
        self.live.axm.actions.iter().filter_map(|offered| offered.get("action_name").and_then(Value::as_str))
    }

    /// Returns true if the app has reported an action of this name.
    pub(crate) fn offers(&self, action: &str) -> bool {
        self.actions().any(|offered| offered == action)
    }

    /// Returns true if no process was requested after this incarnation.
    pub(crate) fn is_newest(&self, inc: u32) -> bool {
        inc == self.newest_inc()
    }

    /// Returns the newest incarnation for which a process was requested.
    pub(crate) fn newest_inc(&self) -> u32 {
        match self.durable.instance.state {
            InstanceState::Spawning { inc, .. } => inc,
            _ => self.durable.instance.inc,
        }
    }

    /// Returns true if an online process passes its checks, or has no checks.
    pub(crate) fn is_healthy(&self) -> bool {
        let is_watched = self.spec().health().is_some_and(HealthSpec::is_watched);
        !is_watched || self.live.health.as_ref().is_some_and(|report| report.state == HealthState::Healthy)
    }

    /// Returns the standing of its process for new connections, and the time until which it is
    /// [`ShardRank::Running`].
    pub(crate) fn standing(&self, now_ms: u64) -> (ShardRank, Option<u64>) {
        let part = RankFacts {
            candidate: self.durable.role == Role::Candidate,
            retiring: self.durable.role == Role::Retiring,
            proves: self.live.proof.is_some(),
            min_uptime_ms: self.live.policy.min_uptime_ms,
        };
        match ShardRank::of(&self.durable.instance, part, now_ms) {
            (ShardRank::Ready | ShardRank::Running, until) if self.live.unready => (ShardRank::Starting, until),
            standing => standing,
        }
    }

    /// Returns the number that this instance adds to that port. If the variable that grows from
    /// instance to instance is the port, that is its number.
    pub(crate) fn port_shift(&self, port: u16) -> u16 {
        let env = &self.spec().env;
        let Some(variable) = env.increment_var.as_deref() else { return 0 };
        let own = env.layers().filter_map(|layer| layer.get(variable)).last();
        let first = own.or_else(|| self.base().vars.get(variable)).and_then(|value| value.trim().parse::<u16>().ok());
        if first == Some(port) { u16::try_from(self.durable.index).unwrap_or(0) } else { 0 }
    }

    /// Returns true if one of its processes runs or is to run.
    pub(crate) fn is_or_will_be_up(&self) -> bool {
        self.durable.instance.wanted == DesiredState::Up
            || !matches!(self.durable.instance.state, InstanceState::Stopped | InstanceState::Errored | InstanceState::Gone)
    }

    /// Returns the time until which an online process must run to prove its start. Returns `None`
    /// if it is not online, or if it is a job, which exits when it is done.
    pub(crate) fn watched_until(&self) -> Option<u64> {
        match self.durable.instance.state {
            InstanceState::Running { since, .. } if !self.spec().is_job() => {
                Some(watched_until_ms(since.mono_ms, self.live.policy.min_uptime_ms))
            }
            _ => None,
        }
    }

    /// Returns the reason why a check found it not ready, or `None` while it is ready or stopped.
    pub(crate) fn start_trouble(&self) -> Option<&str> {
        let is_over = matches!(
            self.durable.instance.state,
            InstanceState::Running { .. } | InstanceState::Completing { .. } | InstanceState::Stopped
        );
        self.live.trouble.as_deref().filter(|_| !is_over)
    }

    /// Returns a text, to follow its name, that it was not ready in time. The text names the
    /// setting that gives it more time.
    pub(crate) fn not_ready(&self) -> String {
        let known = [self.live.trouble.as_deref().map(str::to_owned), self.start_ups()];
        let known: Vec<String> = known.into_iter().flatten().collect();
        let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join("; ")) };
        format!("was not ready within {} ms{known}; `listen_timeout` sets that time", self.live.policy.ready_within_ms())
    }

    /// Returns a text, to follow its name, that it takes long to become ready.
    pub(crate) fn still_starting(&self, now: Now) -> String {
        let known = self.start_ups().map_or_else(String::new, |known| format!(" ({known})"));
        let since_ms = self.durable.instance.counters.last_start.map_or(0, |start| start.mono_ms);
        format!("is still starting after {}{known}", in_seconds(now.mono_ms.saturating_sub(since_ms)))
    }

    fn start_ups(&self) -> Option<String> {
        self.durable.instance.counters.start_ups().map(|took| format!("it {took}"))
    }

    /// Returns how long the successor of this cluster worker must run to count as ready, if this
    /// worker has not listened. The time ends when this worker has had its own time to listen.
    /// Returns `None` if this worker listens, or did until its recent restart.
    pub(super) fn by_running_ms_after(&self, now: Now) -> Option<u64> {
        let age_ms = self.durable.instance.counters.last_start.map_or(0, |start| now.mono_ms.saturating_sub(start.mono_ms));
        let left_ms = self.live.policy.listen_timeout_ms.saturating_sub(age_ms);
        let listened_before = left_ms > 0 && !self.durable.instance.counters.start_ups_ms.is_empty();
        (self.never_listened() && !listened_before).then_some(left_ms)
    }

    /// Returns true if it holds no listening socket in either way.
    pub(crate) fn never_listened(&self) -> bool {
        self.durable.listening.is_empty() && self.durable.served.is_empty() && !self.has_opened_port()
    }

    /// Returns true if its process has opened a port and got the socket of its app for it.
    fn has_opened_port(&self) -> bool {
        self.spec().shares_opened_port() && !self.durable.learned.sockets.is_empty()
    }

    /// Returns true if a second process can share its ports, see [`AppSpec::shares_its_ports`]. A
    /// process that opens its port by itself shows that only when it has opened it.
    pub(crate) fn shares_its_ports(&self) -> bool {
        self.spec().shares_its_ports() || self.has_opened_port()
    }

    /// Returns true if it holds that key in either way. If one worker got the same key twice, an
    /// assertion in Node would kill it.
    pub(crate) fn has_listener(&self, key: &str) -> bool {
        self.durable.listening.iter().chain(&self.durable.served).any(|held| held == key)
    }

    /// Returns the record for the journal.
    pub(crate) fn record(&self) -> Record<'_> {
        let Self { durable, live } = self;
        debug_assert_eq!((durable.app_number, durable.env_number), (live.app.id, live.base.id));
        if durable.instance.state == InstanceState::Gone {
            return Record::Gone { id: durable.id };
        }
        Record::Slot(SlotEntry::Written(durable))
    }

    /// Sets another description, and updates paths and policy.
    pub(crate) fn describe(&mut self, app: Rc<App>, settings: &Settings) {
        let Self { durable, live } = self;
        live.files = crate::platform::files::resolve(&app.spec, durable.file_stem.as_deref(), durable.pm_id, settings);
        if live.group_fresh && live.app.spec.hard_limits() != app.spec.hard_limits() {
            // A removed limit must not stay in its group, so the group is recreated.
            live.group_fresh = false;
        }
        if live.app.spec.cron != app.spec.cron {
            // With another pattern, the next run has another time.
            let armed = durable.ticks.armed && app.spec.cron.is_some();
            durable.ticks = Ticks { armed, ..Ticks::default() };
        }
        (durable.app_number, live.app) = (app.id, app);
        self.settle_policy(settings);
    }

    /// Sets another caller's environment.
    pub(crate) fn rebase(&mut self, base: Rc<Base>) {
        (self.durable.env_number, self.live.base) = (base.id, base);
    }

    /// Computes the policy from description and role.
    pub(crate) fn settle_policy(&mut self, settings: &Settings) {
        let Self { durable, live } = self;
        (live.policy, live.proof) = crate::state::policy::of(&live.app.spec, durable.role, durable.by_running_ms, settings);
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::app::EnvMap;
    use ostler_core::app::sandbox::kernel::SandboxReport;
    use ostler_core::lifecycle::observation::Observation;
    use ostler_core::lifecycle::{Instance, PolicyName};
    use ostler_core::serving::interception::{OwnSocket, OwnSocketReason};
    use ostler_proto::control::OpenSocket;
    use ostler_proto::event::EventCause;

    use super::*;
    use crate::state::slots::Slots;
    use crate::state::store::record::encode;
    use crate::state::store::{LearnedRecord, Snapshot, WatchMark};
    use ostler_core::app::git::WorkingTree;
    use std::sync::Arc;

    const ID: u32 = 3;

    fn settings() -> Settings {
        Settings::from_env("/nowhere".into())
    }

    /// Returns a record in which every field differs from a slot that has never run.
    fn every_field() -> SlotRecord {
        let learned = LearnedRecord {
            node_version: Some("22.1.0".into()),
            sockets: vec![OpenSocket { name: "http".into(), address: "port 80".into() }],
            own_sockets: vec![OwnSocket { address: None, reason: OwnSocketReason::FilterRefused(16) }],
            status: Some("warm".into()),
            working_tree: Some(Arc::new(WorkingTree { root: "/srv".into(), revision: "8bd0".into(), branch: None, url: None })),
            sandbox: Some(SandboxReport { profile: "web".into(), landlock_abi: 7, ..SandboxReport::default() }),
        };
        let mut instance = Instance::new(Now::at(5));
        instance.state = InstanceState::Running { inc: 2, pid: 4711, since: Now::at(6) };
        (instance.wanted, instance.inc) = (DesiredState::Up, 2);
        SlotRecord {
            id: ID,
            pm_id: 1,
            role: Role::Candidate,
            by_running_ms: Some(7),
            index: 8,
            shard: 9,
            file_stem: Some("订单".into()),
            unique_id: "u".into(),
            app_number: 0,
            env_number: 0,
            instance,
            ticks: Ticks { armed: true, next_ms: Some(10), last_ms: 11, queued: true },
            start_ticks: 12,
            former_leaders: vec![(13, 14)],
            learned: learned.into(),
            preloaded: true,
            log_start: (15, 16),
            log_files: [Some((17, 18)), None],
            log_pipes: Some(Box::new(crate::logs::LogPipes { place: 3, pipes: [(15, 7), (15, 8)] })),
            inspector_port: Some(9230),
            worker_id: 19,
            listening: vec!["a".into()],
            served: vec!["b".into()],
            group: Some("/group".into()),
            watch: WatchMark { stopped: true, changed: true },
            observations: vec![Observation { at: Now::at(20), text: "is slow".into() }],
            cause: Some(Box::new(EventCause::policy(PolicyName::Recovery, None))),
        }
    }

    fn with(durable: SlotRecord) -> Slots {
        let mut slots = Slots::default();
        let (app, _) = slots.app(AppSpec::default());
        let (base, _) = slots.base(std::borrow::Cow::Owned(EnvMap::default()));
        slots.slots.insert(durable.id, Box::new(Slot::new(durable, app, base, &settings())));
        slots
    }

    /// Returns the slots as the next daemon restores them.
    fn next_daemon(slots: &Slots) -> Slots {
        let mut bytes = Vec::new();
        slots.records("boot").for_each(|record| encode(&record, &mut bytes));
        let mut next = Slots::default();
        next.restore(Snapshot::read(&bytes).0, &settings());
        next
    }

    #[test]
    fn every_durable_field_survives_a_daemon_restart() {
        let slots = with(every_field());
        let slot = slots.get(ID).unwrap();
        let fields = |record: &SlotRecord| serde_json::to_value(record).unwrap().as_object().unwrap().clone();
        let (set, plain) = (fields(&slot.durable), fields(&SlotRecord::new(0, Now::at(5))));
        let as_ever: Vec<&String> = set.iter().filter(|(name, value)| plain.get(*name) == Some(value)).map(|(name, _)| name).collect();
        assert!(as_ever.is_empty(), "would not be missed: {as_ever:?}");
        let next = next_daemon(&slots);
        assert_eq!(next.get(ID).map(|slot| &slot.durable), Some(&slot.durable));
    }

    #[test]
    fn live_fields_are_reset_by_a_daemon_restart() {
        let mut slots = with(every_field());
        let LiveState {
            trouble, script_runs, worker, group_ooms, axm, unready, health, exceeded, spawned_ms, drain_began_ms, due_ms, ..
        } = &mut slots.get_mut(ID).unwrap().live;
        *trouble = Some("port 80 is taken".into());
        (*script_runs, *unready) = (true, true);
        worker.served_by.push(1);
        axm.actions.push(Value::Null);
        *health = Some(Box::new(HealthReport { state: HealthState::Healthy, since: Now::at(5), failures: 0, last: None }));
        *exceeded = Some((LimitKind::Cpu, 5));
        (*group_ooms, *spawned_ms, *drain_began_ms, *due_ms) = (1, Some(5), Some(5), Some(5));
        let mut next = next_daemon(&slots);
        let LiveState {
            app: _,
            base: _,
            policy: _,
            proof: _,
            files: _,
            trouble,
            node,
            script_runs,
            mut worker,
            group_fresh,
            group_ooms,
            ipc,
            piped,
            mut axm,
            unready,
            health,
            cpu: _,
            exceeded,
            spawned_ms,
            pid_file_written,
            due_ms,
            seeks_port_holder,
            drain_began_ms,
        } = next.remove(ID).unwrap().live;
        assert!(trouble.is_none() && node.is_none() && ipc.is_none() && piped.is_none() && health.is_none());
        assert!(worker.own_mut().is_none() && axm.own_mut().is_none());
        assert_eq!((script_runs, unready, group_ooms, spawned_ms, drain_began_ms, due_ms), (false, false, 0, None, None, None));
        assert!(!seeks_port_holder && exceeded.is_none());
        assert!(!group_fresh, "somebody else made it");
        assert!(!pid_file_written, "a candidate has none");
    }

    #[test]
    fn new_spec_and_environment_are_journaled_together() {
        let mut slots = with(every_field());
        let (app, _) = slots.app(AppSpec { name: "other".into(), ..AppSpec::default() });
        let (base, _) = slots.base(std::borrow::Cow::Owned(EnvMap::from_iter([("X".to_owned(), "1".to_owned())])));
        let slot = slots.get_mut(ID).unwrap();
        slot.describe(app, &settings());
        slot.rebase(base);
        let next = next_daemon(&slots);
        let slot = next.get(ID).unwrap();
        assert_eq!((slot.spec().name.as_str(), slot.base().vars.get("X").map(String::as_str)), ("other", Some("1")));
    }
}
