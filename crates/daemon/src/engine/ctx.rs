//! Context of a turn: one instant, and the only way to slots, keeper, journal, queue and log.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Arguments;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::rc::Rc;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::Event;
use ostler_core::lifecycle::observation::Observation;
use ostler_core::serving::probe_route::ProbeRoute;
use ostler_core::time::Now;
use ostler_keeper::{Originals, ToKeeper};
use ostler_proto::control::{Failure, Response};
use ostler_proto::event::{EventCause, EventKind};
use serde_json::Value;

use super::process_view::ProcessView;
use super::{ChildRequest, ClientRequest, Effects, FeatureAnswer, FeatureRequest, Input, Timers};
use crate::logs::LogFiles;
use crate::platform::fd_budget::FdBudget;
use crate::platform::keeper_connection::KeeperConnection;
use crate::platform::log::DaemonLog;
use crate::platform::node_version::NodeVersions;
use crate::platform::probe::Probes;
use crate::platform::reactor::Reactor;
use crate::platform::settings::Settings;
use crate::platform::working_trees::WorkingTrees;
use crate::state::slots::commands::Commands;
use crate::state::slots::complaints::{Complaints, Topic};
use crate::state::slots::groups::Groups;
use crate::state::slots::listening::Listening;
use crate::state::slots::{Slot, Slots};
use crate::state::store::Journal;
use crate::state::store::events::{EventDraft, Events};
use crate::state::store::state_file::StateFile;

/// Number of reply slots whose memory is kept.
const KEPT_REPLIES: usize = 8;

/// Context of a turn. A feature gets it together with its own state, and has no access to other
/// features. Features reach each other through the queue.
pub(crate) struct Ctx {
    /// Instant of this turn. Everything in the turn happens at this instant.
    pub now: Now,
    pub io: Io,
    pub state: DaemonState,
    pub outbox: Outbox,
}

/// Way to the kernel, the keeper and the log.
pub(crate) struct Io {
    pub settings: Settings,
    pub log: DaemonLog,
    pub reactor: Reactor,
    pub keeper: KeeperConnection,
    /// Budget of descriptors.
    pub fds: FdBudget,
    /// Settings that apps inherit; a new keeper needs them.
    pub originals: Originals,
    /// Our end of the link to the anchor, with the anchor's name. While it is open, the anchor
    /// knows that the daemon lives.
    pub anchor: Option<(String, OwnedFd)>,
    /// Copy of the home's lock, which is held as long as the keeper or the daemon lives.
    pub lock: OwnedFd,
    /// Socket on which clients connect.
    pub listener: UnixListener,
    pub processes: ProcessView,
    /// Health checks over a network that are in progress.
    pub checks: Probes,
    /// Node versions of programs.
    pub node_versions: NodeVersions,
    /// Working trees that apps were started in.
    pub working_trees: WorkingTrees,
}

/// Apps and instances, and the daemon's knowledge of them.
pub(crate) struct DaemonState {
    pub boot_id: String,
    pub slots: Slots,
    pub journal: Journal,
    pub state_file: StateFile,
    /// Events, for followers.
    pub events: Events,
    /// Cgroups of instances and of the processes that run for them.
    pub groups: Groups,
    /// Commands that run for instances.
    pub commands: Commands,
    /// Declared sockets that are open.
    pub listening: Listening,
    /// Log files that the app does not write directly.
    pub log_files: LogFiles,
    pub complaints: Complaints,
    /// Instances that a request will start later; empty if no app waits for others.
    pub pending_starts: BTreeSet<u32>,
    /// Instances that wait for others before they start.
    pub waiting: BTreeSet<u32>,
    /// Number of requests that are in progress.
    pub open_requests: usize,
}

impl DaemonState {
    /// Returns the destination of a probe of this instance's process that connects to `to`.
    pub(crate) fn probe_route(&self, id: u32, to: SocketAddr) -> ProbeRoute {
        self.slots.get(id).map_or(ProbeRoute::Common, |slot| self.listening.probe_route(slot, to))
    }
}

/// Results of a turn, until they are dispatched, journaled or sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Inputs that are dispatched before the next write of the journal.
    pub queue: VecDeque<Input>,
    /// Effects that are performed after the write of the journal.
    pub effects: Effects,
    pub timers: Timers,
    /// Processes beside instances that a feature requests as an effect. They go to the keeper as
    /// soon as the effect returns.
    pub children: Vec<ChildRequest>,
    /// Answers to clients: connection, request, response. Sent when the turn is over.
    pub replies: Vec<(u32, u64, Response)>,
    /// Last number that was given out to match an answer with its request.
    pub last_ticket: u64,
    pub shutdown: Shutdown,
}

/// End of the daemon, from the first request for it.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    /// Whether the list of apps is being taken down on purpose. The remaining list must not be
    /// saved.
    pub is_closing: bool,
    /// Whether everything stops at once, because the requester does not wait any longer.
    pub is_hasty: bool,
    /// Whether a signal requested it.
    pub is_signalled: bool,
    /// End of the daemon after this turn.
    pub ending: Option<ShutdownKind>,
    /// Exit code of the keeper if it is the first process of a container.
    pub exit_code: Option<u8>,
}

/// Reason why the daemon exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownKind {
    /// Everything was stopped, so the keeper exits, too.
    Everything,
    /// Another daemon takes over.
    Retire,
}

impl Ctx {
    /// Records facts about instances that were found outside the event loop. Only complete answers
    /// need them.
    pub(crate) fn record_findings(&mut self) {
        self.state.slots.record_node_versions(&self.io.node_versions);
        for (id, version) in self.state.slots.record_working_trees(&self.io.working_trees) {
            self.set_version(id, version);
        }
    }

    /// Records the version of an app's package.
    pub(crate) fn set_version(&mut self, id: u32, version: String) {
        let Some(spec) = self.state.slots.get(id).map(|slot| slot.spec().clone()) else { return };
        self.redescribe(id, AppSpec { version: Some(version), ..spec });
    }

    /// Logs one line about a message of an instance, only the first time for a topic.
    pub(crate) fn complain(&mut self, id: u32, topic: Topic, what: Arguments<'_>) {
        let Some(slot) = self.state.slots.get(id) else { return };
        if self.state.complaints.is_new(id, topic) {
            self.io.log.error(format_args!("App [{}:{}] {what}", slot.spec().name, slot.durable.pm_id));
        }
    }

    /// Records an observation of an instance: in our log, and in the output of `why` and
    /// `describe`.
    pub(crate) fn note(&mut self, id: u32, text: String) {
        let Some(slot) = self.state.slots.get_mut(id) else { return };
        self.io.log.error(format_args!("App [{}:{}] {text}", slot.spec().name, slot.durable.pm_id));
        slot.durable.observations.push(Observation { at: self.now, text });
        let surplus = slot.durable.observations.len().saturating_sub(Observation::KEPT);
        slot.durable.observations.drain(..surplus);
        self.state.slots.changed(id);
    }

    /// Returns true if the daemon is shutting down on purpose, or another daemon takes over.
    pub(crate) fn is_ending(&self) -> bool {
        self.outbox.shutdown.is_closing || self.outbox.shutdown.ending.is_some()
    }

    /// Refuses starts while everything is being stopped, because a process started now would be
    /// left behind.
    ///
    /// # Errors
    /// Returns an error if nothing may be started any more.
    pub(crate) fn may_start(&self) -> Result<(), Failure> {
        match self.is_ending() {
            true => Err(Failure::Other("the daemon is shutting down; try again".into())),
            false => Ok(()),
        }
    }

    /// Returns true if no work waits to be dispatched or performed.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.queue.is_empty() && self.outbox.effects.is_empty()
    }

    /// Returns the children of the keeper that are not orphans: main processes, the anchor and the
    /// daemon itself.
    pub(crate) fn own_children(&self) -> impl Iterator<Item = i32> {
        let anchor = self.io.anchor.as_ref().and_then(|(name, _)| ostler_keeper::anchor_of(name)).map(|anchor| anchor.pid);
        let mains = self.state.slots.iter().filter_map(|slot| slot.durable.instance.pid());
        mains.chain(anchor).chain([std::process::id().cast_signed()])
    }

    /// If the kernel no longer has the main process of an instance, asks the keeper what happened
    /// to it. Returns true if it asked.
    pub(crate) fn check_vanished(&mut self, id: u32) -> bool {
        let Some((_, process)) = self.state.slots.get(id).and_then(Slot::process) else { return false };
        let is_there = self.is_listed(process.pid) || !process.is_gone();
        let Some((inc, slot)) = self.state.slots.get(id).filter(|_| !is_there).and_then(|slot| Some((slot.process()?.0, slot))) else {
            return false;
        };
        self.io.keeper.send(ToKeeper::Verify { key: slot.key(inc), pid: process.pid, start_ticks: process.start_ticks });
        true
    }

    /// Queues an event for an instance.
    pub(crate) fn event(&mut self, id: u32, event: Event) {
        self.outbox.queue.push_back(Input::Event(id, event));
    }

    /// Sends a message over the channel of an instance, with an optional descriptor. If the channel
    /// is closed, nothing happens: the process is about to exit, and the exit is handled
    /// separately.
    pub(crate) fn send(&mut self, id: u32, message: &Value, fd: Option<Rc<OwnedFd>>) {
        if let Some(ipc) = self.state.slots.get_mut(id).and_then(|slot| slot.live.ipc.as_mut()) {
            ipc.send_message(&self.io.reactor, message, fd);
        }
    }

    /// Notes that the capacity of an instance may have changed (`on_capacity`).
    pub(crate) fn capacity_changed(&mut self, id: u32) {
        self.outbox.queue.push_back(Input::Capacity(id));
    }

    /// Notes that an instance serves from now on, in place of another process.
    pub(crate) fn serves(&mut self, id: u32) {
        self.outbox.queue.push_back(Input::Serving(id));
    }

    /// Returns a ticket: a number that matches an answer with its request.
    pub(crate) fn ticket(&mut self) -> u64 {
        self.outbox.last_ticket += 1;
        self.outbox.last_ticket
    }

    /// Queues the answer to a request.
    pub(crate) fn answer(&mut self, answer: FeatureAnswer) {
        self.outbox.queue.push_back(Input::Answer(answer));
    }

    /// Emits an event of an instance that is not one of its steps.
    pub(crate) fn emit(&mut self, id: u32, what: EventKind, cause: EventCause) {
        let Some(slot) = self.state.slots.get(id).filter(|slot| slot.is_visible()) else { return };
        let status = slot.durable.instance.status();
        let draft = EventDraft {
            app: Some(slot.spec().name.clone()),
            id: Some(slot.durable.pm_id),
            kind: what,
            cause,
            status: Some((status, status)),
        };
        self.state.events.push(self.now.wall_ms, draft);
    }

    /// Emits an event of a whole app, under its name.
    pub(crate) fn emit_for_app(&mut self, key: &str, what: EventKind, cause: EventCause) {
        let slot = self.state.slots.iter().find(|slot| slot.spec().key() == key);
        let app = slot.map_or(key, |slot| &slot.spec().name).to_owned();
        self.state.events.push(self.now.wall_ms, EventDraft { app: Some(app), id: None, kind: what, cause, status: None });
    }

    /// Emits an event of the daemon itself.
    pub(crate) fn emit_for_manager(&mut self, what: EventKind, cause: EventCause) {
        self.state.events.push(self.now.wall_ms, EventDraft { app: None, id: None, kind: what, cause, status: None });
    }

    /// Sends a client the answer or the progress of its request.
    pub(crate) fn reply(&mut self, client: u32, request: u64, response: Response) {
        self.outbox.replies.push((client, request, response));
    }

    /// Takes the answers to the connections of one socket.
    pub(crate) fn take_replies(&mut self, is_own: impl Fn(u32) -> bool) -> Vec<(u32, u64, Response)> {
        let taken = self.outbox.replies.extract_if(.., |(client, ..)| is_own(*client)).collect();
        // A start of many apps has many replies at once. The room for them is not kept.
        self.outbox.replies.shrink_to(KEPT_REPLIES);
        taken
    }

    /// Queues a client's request.
    pub(crate) fn queue_request(&mut self, ask: ClientRequest) {
        self.outbox.queue.push_back(Input::Ask(ask));
    }

    /// Queues a request to another feature.
    pub(crate) fn request(&mut self, request: FeatureRequest) {
        self.outbox.queue.push_back(Input::Request(request));
    }
}

/// Returns both clocks as they are now. Only the engine reads them, at the beginning of a turn.
pub(crate) fn clock() -> Now {
    let clocks = ostler_sys::now();
    Now { mono_ms: clocks.boot_ms, wall_ms: clocks.wall_ms }
}
