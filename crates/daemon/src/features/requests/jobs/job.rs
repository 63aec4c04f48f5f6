//! Requests that take time: their parameters, and the instances that they wait for.

use std::collections::{BTreeMap, VecDeque};

use ostler_core::lifecycle::Origin;
use ostler_core::lifecycle::goal::Goal;
use ostler_proto::control::{Action, Change, Failure, Progress, Response, RolloutReport};

use super::confirm::Confirmation;
use super::release::NewRelease;
use crate::engine::Ctx;
use crate::state::slots::{Slot, Slots};
use crate::state::store::Role;

/// Recipient of the answer: a connection, and its number of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Requester {
    pub client: u32,
    pub request: u64,
}

impl Requester {
    /// A policy is the requester; no client has this number.
    pub(super) const NOBODY: Self = Self { client: 0, request: 0 };

    /// Sends the progress of the request.
    pub(super) fn send(self, ctx: &mut Ctx, progress: Progress) {
        ctx.reply(self.client, self.request, Response::Progress(progress));
    }

    /// Sends the final answer.
    pub(super) fn answer(self, ctx: &mut Ctx, response: Response) {
        ctx.reply(self.client, self.request, response);
    }
}

/// Progress of a request towards its early answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DetachState {
    /// The client waits for the end, or has its answer.
    #[default]
    Attached,
    /// The client must be answered early.
    Requested,
    /// Everything that may start at once has started. The client is answered when the daemon has
    /// handled that.
    Started,
}

/// Request in progress.
#[derive(Debug)]
pub(super) struct Job {
    /// Number of the request, which is the key of its deadline.
    pub number: u64,
    pub asker: Requester,
    /// Step that is done to each instance.
    pub step: JobStep,
    /// Targets that are not resolved yet. They are resolved one after the other, unless `together`
    /// is set.
    pub targets: VecDeque<String>,
    /// Whether all targets are resolved before the first instance is touched.
    pub together: bool,
    /// Reason why a target could not be resolved. The client gets it when the instances of the
    /// earlier targets are done.
    pub unresolved: Option<Failure>,
    /// Directory for script paths among the targets.
    pub cwd: String,
    /// Number of instances at the same time; 0 = the action's own rule.
    pub parallel: usize,
    /// Instances that come later.
    pub pending: VecDeque<u32>,
    /// Instances in progress.
    pub waiting: BTreeMap<u32, WaitedInstance>,
    /// Reloads in progress, by the numbers of their requests.
    pub rollouts: Vec<u64>,
    /// Reloads that failed.
    pub refused: Vec<RolloutReport>,
    /// Whether instances that never ran wait for a command that names them.
    pub named_only: bool,
    /// Namespace to which the targets are limited.
    pub namespace: Option<String>,
    /// New releases of running apps from a config file, by name; for a reload.
    pub releases: BTreeMap<String, NewRelease>,
    /// Whether running processes may finish their work.
    pub gentle: bool,
    /// Progress of instances that waits for earlier ones. Instances are reported in the order in
    /// which they were named, as in PM2.
    pub ordered_progress: Option<BTreeMap<u32, Progress>>,
    /// See [`ostler_core::rollout`].
    pub canary_ms: Option<u64>,
    /// Confirmation of the started processes.
    pub confirm: Option<Confirmation>,
    /// Whether the client is answered before the end.
    pub detaching: DetachState,
    /// Whether some of its instances depend on others.
    pub ordered: bool,
    /// Instances that this request added.
    pub fresh: Vec<u32>,
    /// All instances touched.
    pub ids: Vec<u32>,
    /// Numbers of these instances for users.
    pub shown: Vec<u32>,
    /// Number of them that were reported, if they are reported in order.
    pub sent: usize,
    /// Number of them that failed.
    pub failed: u32,
    /// Number of saved entries that are invalid.
    pub lost: u32,
    /// Action when all is done.
    pub then: AfterJob,
    /// Command word and peer, for the record.
    pub origin: Origin,
}

/// Step that is done to each instance.
#[derive(Debug)]
pub(super) enum JobStep {
    /// An action, with changes applied before it.
    Act(Action, Option<Box<Change>>),
    /// A first start, which is already in progress.
    Start,
}

/// Action when all is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterJob {
    /// The client is answered.
    Answer,
    /// The client is answered and the daemon exits.
    Exit,
}

/// Instance that a request waits for. A deleted instance has neither name nor `pm_id` any more.
#[derive(Clone, Debug)]
pub(super) struct WaitedInstance {
    pub pm_id: u32,
    pub name: String,
    /// Key of its app.
    pub app: String,
    pub goal: Goal,
    /// Whether users do not see the process: it is the other process of a reload.
    pub hidden: bool,
    /// Time until which it waits for its confirmation, if it is online.
    pub up_until_ms: Option<u64>,
    /// Whether its process exited before its confirmation. The failure is reported when the last
    /// lines are complete.
    pub exited: bool,
}

impl WaitedInstance {
    pub(super) fn new(slot: &Slot, goal: Goal) -> Self {
        Self {
            pm_id: slot.durable.pm_id,
            name: slot.spec().name.clone(),
            app: slot.spec().key().to_owned(),
            goal,
            hidden: slot.durable.role != Role::Serving,
            up_until_ms: None,
            exited: false,
        }
    }
}

impl Job {
    /// Returns a job without instances.
    pub(super) fn new(asker: Requester, step: JobStep, origin: Origin) -> Self {
        Self {
            number: 0,
            asker,
            step,
            targets: VecDeque::new(),
            together: false,
            unresolved: None,
            cwd: String::new(),
            parallel: 0,
            pending: VecDeque::new(),
            waiting: BTreeMap::new(),
            ids: Vec::new(),
            lost: 0,
            shown: Vec::new(),
            rollouts: Vec::new(),
            refused: Vec::new(),
            named_only: false,
            namespace: None,
            releases: BTreeMap::new(),
            gentle: false,
            ordered_progress: None,
            canary_ms: None,
            confirm: None,
            detaching: DetachState::Attached,
            fresh: Vec::new(),
            ordered: false,
            sent: 0,
            failed: 0,
            then: AfterJob::Answer,
            origin,
        }
    }

    /// Returns an action on these instances.
    pub(super) fn of(asker: Requester, action: Action, ids: Vec<u32>, slots: &Slots, origin: Origin) -> Self {
        let mut job = Self::new(asker, JobStep::Act(action, None), origin);
        job.touch(&ids, slots);
        job.pending = ids.into();
        job
    }

    /// Adds these instances to the touched ones.
    pub(super) fn touch(&mut self, ids: &[u32], slots: &Slots) {
        self.ids.extend(ids);
        self.shown.extend(slots.pm_ids(ids));
    }

    /// Waits until these fresh instances are online.
    pub(super) fn wait_until_up(&mut self, ids: &[u32], slots: &Slots) {
        let fresh = ids.iter().filter_map(|id| slots.get(*id));
        self.waiting.extend(fresh.map(|slot| (slot.durable.id, WaitedInstance::new(slot, Goal::Up { after: 0 }))));
    }

    /// Returns the progress that may be sent after this progress of an instance.
    pub(super) fn sendable(&mut self, pm_id: u32, progress: Progress) -> Vec<Progress> {
        let Some(known) = &mut self.ordered_progress else { return vec![progress] };
        known.insert(pm_id, progress);
        let mut sendable = Vec::new();
        while let Some(progress) = self.shown.get(self.sent).and_then(|next| known.remove(next)) {
            sendable.push(progress);
            self.sent += 1;
        }
        sendable
    }
}

/// Returns PM2's name of an action.
pub(super) fn action_name(action: Action) -> &'static str {
    match action {
        Action::Stop => "stopProcessId",
        Action::Restart => "restartProcessId",
        Action::Reload => "reloadProcessId",
        Action::Delete => "deleteProcessId",
        Action::Reset => "resetMetaProcessId",
    }
}
