//! Features of the daemon, and the table of their reactions: which features react to which
//! occasion, in which order.
//!
//! A feature is a type with its own state. It reads slots, requests work of other features through
//! the queue, and knows no other feature. For each occasion that it reacts to, it has a method of
//! that name, and its field is in the row of that occasion. The compiler enforces both: a row
//! without the method does not compile, and a method without a row is dead code.

#[macro_use]
mod reactions;

#[cfg(test)]
pub(crate) mod edges;
pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod logging;
pub(crate) mod process;
pub(crate) mod requests;
pub(crate) mod rollouts;
pub(crate) mod schedule;
pub(crate) mod serving;

use std::os::fd::{BorrowedFd, OwnedFd};

use ostler_core::lifecycle::{SpawnFailure, Transition};
use ostler_keeper::{Child, FromKeeper};
use ostler_proto::event::Event;
use ostler_proto::node::Message;
use ostler_sys::ProcRef;

use crate::api::native::Native;
use crate::api::pm2::Pm2Sockets;
use crate::engine::{ChildEvent, ClientRequest, Ctx, FeatureAnswer, FeatureRequest, InstanceStep, ShutdownKind, SpawnExtras};
use crate::features::health::autoscale::Autoscale;
use crate::features::health::checks::HealthChecks;
use crate::features::health::lifetime::Lifetime;
use crate::features::health::limits::Limits;
use crate::features::health::remediation::Remediation;
use crate::features::health::usage::Usage;
use crate::features::home::autosave::Autosave;
use crate::features::home::clock::Clock;
use crate::features::home::home_watch::HomeWatch;
use crate::features::home::host::Host;
use crate::features::home::keeper_watch::KeeperWatch;
use crate::features::home::runtime::Runtime;
use crate::features::home::update::Update;
use crate::features::logging::flush::Flush;
use crate::features::logging::last_lines::LastLines;
use crate::features::logging::line_times::LineTimes;
use crate::features::logging::log_writers::LogWriters;
use crate::features::logging::pm2_log::Pm2Log;
use crate::features::logging::reclaim::Reclaim;
use crate::features::logging::rotation::Rotation;
use crate::features::process::cgroups::Cgroups;
use crate::features::process::handover::Handover;
use crate::features::process::input::Input;
use crate::features::process::inspector::InspectorPorts;
use crate::features::process::pid_files::PidFiles;
use crate::features::process::preload::Preload;
use crate::features::process::sweeps::Sweeps;
use crate::features::process::tracing::Tracing;
use crate::features::process::vanished::Vanished;
use crate::features::process::versioning::Versioning;
use crate::features::process::watch::Watches;
use crate::features::requests::actions::Actions;
use crate::features::requests::collecting::Collecting;
use crate::features::requests::events::Events;
use crate::features::requests::jobs::Jobs;
use crate::features::rollouts::Rollouts;
use crate::features::schedule::commands::Commands;
use crate::features::schedule::cron::Cron;
use crate::features::schedule::hooks::Hooks;
use crate::features::schedule::order::StartOrder;
use crate::features::serving::channels::Channels;
use crate::features::serving::cluster::Cluster;
use crate::features::serving::drains::Drains;
use crate::features::serving::readiness::Readiness;
use crate::features::serving::sockets::Sockets;
use crate::state::slots::processes::Leaders;
use crate::state::store::{Record, Snapshot};

features! {
    actions: Actions,
    autosave: Autosave,
    autoscale: Autoscale,
    cgroups: Cgroups,
    channels: Channels,
    clock: Clock,
    cluster: Cluster,
    collecting: Collecting,
    commands: Commands,
    cron: Cron,
    drains: Drains,
    events: Events,
    flush: Flush,
    handover: Handover,
    health: HealthChecks,
    home: HomeWatch,
    hooks: Hooks,
    host: Host,
    input: Input,
    inspector: InspectorPorts,
    jobs: Jobs,
    keeper_watch: KeeperWatch,
    last_lines: LastLines,
    lifetime: Lifetime,
    limits: Limits,
    line_times: LineTimes,
    log_writers: LogWriters,
    native: Native,
    order: StartOrder,
    pid_files: PidFiles,
    pm2_log: Pm2Log,
    pm2_sockets: Pm2Sockets,
    preload: Preload,
    readiness: Readiness,
    reclaim: Reclaim,
    remediation: Remediation,
    rollouts: Rollouts,
    rotation: Rotation,
    runtime: Runtime,
    sockets: Sockets,
    sweeps: Sweeps,
    tracing: Tracing,
    update: Update,
    usage: Usage,
    vanished: Vanished,
    versioning: Versioning,
    watch: Watches,
}

reactions! {
    // Occasions of the daemon.

    /// The daemon is complete: the journal is read, and the processes that run are known.
    each on_boot() => log_writers, reclaim, sweeps, rollouts, runtime, autosave, autoscale, clock, cron, home, hooks, lifetime, readiness, line_times, rotation, vanished, versioning, watch, pm2_sockets;

    /// The ready descriptors of a turn were dispatched. If a deadline is due, this comes once more
    /// before the deadline.
    each on_turn() => reclaim, line_times, clock, cron;

    /// A deadline of this feature came ([`crate::engine::Timers`]).
    owner on_timer(key: u64) => log_writers, reclaim, rollouts, commands, jobs, runtime, actions, collecting, autosave, autoscale, keeper_watch, channels, cluster, cron, health, home, lifetime, limits, line_times, sockets, readiness, rotation, usage, vanished, versioning, watch, cgroups, native, pm2_sockets;

    /// A descriptor of this feature is ready to be read, and perhaps to be written
    /// ([`crate::platform::reactor::Source::Feature`]).
    owner on_ready(key: u64, writable: bool) => last_lines, log_writers, reclaim, sweeps, commands, keeper_watch, channels, cluster, cron, health, home, line_times, readiness, rotation, sockets, watch, native, pm2_sockets;

    /// An effect of this feature can be performed ([`crate::engine::Work::Feature`]). Its cause is
    /// in the journal.
    owner on_effect(key: u64) => reclaim, commands, readiness;

    /// No work is left. If a feature queues something now, it is asked again after that is done,
    /// before the features behind it.
    idle on_idle() => sweeps, rollouts, remediation, jobs, order, runtime, pm2_sockets;

    /// All events of this turn were dispatched. Features pass their settings to the kernel now (a
    /// timer on the wall clock, for example).
    each on_settled() => sweeps, keeper_watch, cluster, cron, sockets, rotation;

    /// The journal was written, and with it these events, the oldest first. They may be sent now.
    each on_journaled(events: &[Event]) => autosave, cron, native, pm2_sockets;

    /// The turn is over: journal and keeper have all decisions, and answers may be sent.
    each on_turn_end() => reclaim, native, pm2_sockets;

    /// The daemon exits after this: everything stops, or another daemon takes over.
    each on_leave(ending: ShutdownKind) => log_writers, reclaim, sweeps, native, pm2_sockets;

    // Occasions of an instance.

    /// An instance made a step. It is journaled before any effect of it is performed.
    each on_step(step: &InstanceStep<'_>) => last_lines, pid_files, log_writers, sweeps, remediation, jobs, order, autoscale, keeper_watch, cluster, cron, events, health, hooks, lifetime, limits, sockets, readiness, watch, cgroups;

    /// A transition of an instance is journaled, and is reported now.
    each on_transition(id: u32, transition: &Transition) => drains, pm2_log, pid_files, log_writers, rollouts, remediation, jobs, channels, cluster, hooks, line_times, sockets;

    /// An instance serves from now on, in place of another process of the same number. It has not
    /// made a step.
    each on_serving(id: u32) => pid_files, health, limits;

    /// A deadline of an instance came. True if a feature handles it, so the instance gets no tick.
    any on_due(id: u32) => order;

    /// An instance has another description.
    each on_described(id: u32) => cron, lifetime, watch;

    /// An instance leaves the tables. Its number may be used again.
    each on_forgotten(id: u32) => drains, sweeps, remediation, commands, jobs, order, actions, collecting, keeper_watch, channels, cron, health, hooks, lifetime, limits, sockets, readiness, versioning, watch;

    // Occasions of an instance's process, from its preparation to its end.

    /// A process of an instance is about to be requested. Features add what the process needs. An
    /// error prevents the start.
    attempt on_prepare(id: u32, inc: u32, beside: &mut SpawnExtras) => log_writers, inspector, preload, tracing, input, channels, cluster, hooks, sockets, readiness, cgroups, pm2_sockets;

    /// A command beside an instance's process is about to be requested, for that instance.
    attempt on_prepare_command(id: u32, beside: &mut SpawnExtras) => log_writers;

    /// The next process of an instance is about to be created, in its cgroup if it has one. Limits
    /// that the kernel enforces are set now.
    each on_birth(id: u32) => limits;

    /// A process of an instance is about to be requested from the keeper. Its log files are open.
    each on_spawn(id: u32) => line_times, rotation, versioning, watch;

    /// The daemon adopted a running process of an instance. No keeper held anything for it, because
    /// daemon and keeper were killed.
    each on_adopted(id: u32, process: ProcRef) => sockets;

    /// A former daemon requested this process, and was killed before it journaled the process's
    /// descriptors.
    each on_recognised(id: u32, pid: i32) => log_writers, preload;

    /// The main process of an instance has changed ([`ostler_core::lifecycle::Event::Followed`]),
    /// and the journal has that.
    each on_follow(id: u32, inc: u32) => pid_files, handover;

    /// The process of an instance should get no new connections and finish those it has. True if a
    /// feature arranges that.
    any on_drain(id: u32, inc: u32) => sockets;

    /// The main process of an instance has exited, or may have. Its messages before the exit count
    /// first. True if the journal needs some of them before the feature handles the rest.
    any on_end(id: u32) => channels, readiness;

    /// The main process of an instance is gone, or could not be started. The instance has not made
    /// its next step yet.
    each on_process_gone(id: u32, inc: u32) => log_writers, reclaim, actions, collecting, keeper_watch, channels, cluster, readiness;

    // Occasions of a process's channel.

    /// The process of an instance sent this message over its channel.
    each on_message(id: u32, inc: u32, message: &Message) => drains, jobs, actions, collecting, channels, cluster, health, limits, readiness, native, pm2_sockets;

    /// The capacity of an instance may have changed: its channel has room again, its worker
    /// answered, or it gets new connections or none.
    each on_capacity(id: u32) => cluster, sockets;

    /// The process of an instance has its first listening socket as a cluster worker.
    each on_listening(id: u32) => readiness;

    /// The channel of an instance ended: nothing more can be read or sent. Not called for a process
    /// that is gone, which implies it.
    each on_channel_ended(id: u32) => actions, collecting, cluster, health;

    // Occasions of requests.

    /// A client sends a request, through any of the sockets. Returned if no feature answers it.
    offer on_client_request(; ask: ClientRequest) => reclaim, rollouts, jobs, actions, collecting, autosave, input, events, flush, home, host, update, usage;

    /// A feature requests something of another. Returned if no feature does it.
    offer on_request(; request: FeatureRequest) => last_lines, drains, handover, reclaim, sweeps, rollouts, remediation, commands, jobs, autosave, cluster, cron, usage;

    /// A request is done, or failed.
    each on_answer(answer: &FeatureAnswer) => rollouts, commands, jobs, runtime, autoscale, health, hooks, limits, line_times, rotation;

    /// A client's request was dispatched. Its socket takes the answers, to count the answers that
    /// wait for a slow client. They are sent when the turn is over.
    each on_replies() => keeper_watch, native;

    /// Keeper or daemon got this signal. True if a feature handles it; the features behind it are
    /// not asked.
    any on_signal(signal: i32) => runtime, home;

    /// The daemon itself was stopped by a signal and continues. Events of this turn may be old.
    each on_continued() => line_times;

    /// The settings of the home may have changed.
    each on_settings() => autosave, rotation;

    // Occasions of the keeper, and of everything that outlives the daemon.

    /// The keeper reports something about itself.
    each on_keeper(message: &FromKeeper) => keeper_watch, update;

    /// The keeper reports a process that is no instance. True if it belongs to a feature.
    any on_child(key: u64, event: ChildEvent<'_>) => commands, runtime;

    /// A new daemon runs, and its instances know what happened to their processes. The keeper has
    /// these processes; a new keeper has none. Main processes that outlived a former keeper are
    /// found by their marks. Before `on_boot`.
    each on_inventory(children: &[Child], leaders: &mut Leaders) => commands;

    /// Another keeper watches these processes of all features. Requests that the former keeper did
    /// not carry out must be repeated.
    each on_new_keeper(others: &[(u64, ProcRef)]) => commands, runtime, keeper_watch, update, vanished;

    /// The keeper held this descriptor while no daemon ran. Called before `on_boot`. Returned if it
    /// belongs to no feature.
    offer adopt_fd(name: &str; fd: OwnedFd) => log_writers, reclaim, channels, cluster, sockets, readiness, watch, pm2_sockets;

    /// The daemon took back everything that the keeper held. Messages and exits of processes come
    /// after this.
    each on_fds_adopted() => cluster;
}

impl Features {
    /// Restores the state of the features from the journal, before `on_boot`.
    pub(crate) fn restore(&mut self, snapshot: &mut Snapshot) {
        self.log_writers.restore(snapshot);
        self.reclaim.restore(snapshot);
        self.rollouts.restore(snapshot);
        self.commands.restore(snapshot);
        self.rotation.restore(snapshot);
        self.clock.restore(snapshot);
    }

    /// Returns the records that a rewritten journal must have.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let logs = self.log_writers.records().into_iter().chain(self.reclaim.records()).chain(self.rotation.records());
        logs.chain(self.rollouts.records()).chain(self.commands.records()).chain(self.clock.records())
    }

    /// Returns the descriptors that the keeper holds for features, by name. They outlive the
    /// daemon, and a new keeper gets them.
    pub(crate) fn held<'a>(&'a self, ctx: &'a Ctx) -> impl Iterator<Item = (String, BorrowedFd<'a>)> {
        let logs = self.log_writers.held(ctx).into_iter().chain(self.reclaim.held(ctx));
        let serving =
            self.channels.held(ctx).into_iter().chain(self.cluster.held(ctx)).chain(self.sockets.held(ctx)).chain(self.readiness.held(ctx));
        logs.chain(serving).chain(self.watch.held(ctx)).chain(self.pm2_sockets.held(ctx))
    }

    /// Returns processes that are no instances and still run after the keeper was killed. The next
    /// keeper watches them under their keys.
    pub(crate) fn survivors(&mut self, leaders: &mut Leaders) -> Vec<(u64, ProcRef)> {
        self.commands.survivors(leaders)
    }
}
