//! Requests that take time: what they wait for, and when that is reached.
//!
//! A job never acts by itself: it looks at an instance after each of its steps.

use std::collections::{BTreeMap, VecDeque};

use ostler_core::lifecycle::{ExitCause, Late, Notice, State, Wanted};
use ostler_core::time::Now;
use ostler_proto::control::{Action, Change, Progress, RolloutReport};

use super::NewRelease;
use super::confirm::Confirming;
use crate::slots::{Slot, Slots, why};
use crate::store::Role;

/// What one instance must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// A process newer than this one is online.
    Up {
        /// The newest process when the request came.
        after: u32,
    },
    /// Nothing of it runs.
    Down,
    /// It is forgotten.
    Gone,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progressed {
    Waiting,
    Reached,
    /// It takes long and goes on: nobody waits for it any more.
    Late(String),
    Failed(String),
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Job {
    /// Whom to answer.
    pub client: u32,
    /// Under which id.
    pub request: u64,
    /// What is done to each instance.
    pub step: Step,
    /// Targets not yet resolved; one after the other.
    pub targets: VecDeque<String>,
    /// Directory for script paths among the targets.
    pub cwd: String,
    /// Instances at the same time; 0 = the action's own rule.
    pub parallel: usize,
    /// Instances whose turn has not come.
    pub pending: VecDeque<u32>,
    /// Instances under way.
    pub waiting: BTreeMap<u32, Waited>,
    /// Reloads under way, by the numbers with which they were asked for.
    pub rollouts: Vec<u64>,
    /// Reloads that did not end well.
    pub refused: Vec<RolloutReport>,
    /// What a config file says about running apps, by name; for a reload.
    pub releases: BTreeMap<String, NewRelease>,
    /// What runs may finish what it does.
    pub gentle: bool,
    /// Instances that are done are told in the order in which they were named, as PM2 does; these wait for earlier ones.
    pub told_in_order: Option<BTreeMap<u32, Progress>>,
    /// See [`ostler_core::rollout`].
    pub canary_ms: Option<u64>,
    /// What else has to be seen of what is started.
    pub confirm: Option<Confirming>,
    /// Some of its instances depend on others.
    pub ordered: bool,
    /// Instances that this request added.
    pub fresh: Vec<u32>,
    /// All instances touched.
    pub ids: Vec<u32>,
    /// What users call them.
    pub shown: Vec<u32>,
    /// How many of them were told, where that has an order.
    pub told: usize,
    /// How many of them failed.
    pub failed: u32,
    /// What happens when all is done.
    pub then: Then,
    /// Command word and peer, for the record.
    pub origin: ostler_core::lifecycle::Origin,
}

/// An instance that a request waits for. A deleted one has neither name nor `pm_id` any more.
#[derive(Clone, Debug)]
pub(crate) struct Waited {
    pub pm_id: u32,
    pub name: String,
    pub goal: Goal,
    /// Users do not see it: the other process of a reload.
    pub hidden: bool,
    /// It is online, and waits for its confirmation.
    pub is_up: bool,
}

impl Waited {
    pub(crate) fn new(slot: &Slot, goal: Goal) -> Self {
        Self { pm_id: slot.pm_id, name: slot.spec().name.clone(), goal, hidden: slot.role != Role::Serving, is_up: false }
    }
}

impl Job {
    /// What may be told now that this is known of an instance.
    pub(crate) fn tellable(&mut self, pm_id: u32, progress: Progress) -> Vec<Progress> {
        let Some(known) = &mut self.told_in_order else { return vec![progress] };
        known.insert(pm_id, progress);
        let mut tellable = Vec::new();
        while let Some(progress) = self.shown.get(self.told).and_then(|next| known.remove(next)) {
            tellable.push(progress);
            self.told += 1;
        }
        tellable
    }

    /// These instances are touched by it.
    pub(crate) fn touch(&mut self, ids: &[u32], slots: &Slots) {
        self.ids.extend(ids);
        self.shown.extend(slots.pm_ids(ids));
    }
}

/// What is done to each instance.
#[derive(Debug)]
pub(crate) enum Step {
    /// An action, with changes applied before it.
    Act(Action, Option<Box<Change>>),
    /// A first start; everything is under way already.
    Start,
}

/// What happens when all is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The client is answered.
    Answer,
    /// The client is answered and the daemon ends.
    Exit,
}

impl Goal {
    /// Looks at the instance (none = it is forgotten) after a step that gave these notices.
    pub(crate) fn look(self, slot: Option<&Slot>, notice: Option<&Notice>, now: Now) -> Progressed {
        let Some(slot) = slot else {
            return match self {
                Self::Up { .. } => Progressed::Failed("was deleted meanwhile".into()),
                Self::Down | Self::Gone => Progressed::Reached,
            };
        };
        match self {
            Self::Up { after } => up(after, slot, notice, now),
            Self::Down => match (&slot.instance.state, slot.instance.wanted) {
                (State::Stopped | State::Errored | State::Gone, Wanted::Down | Wanted::Gone) => Progressed::Reached,
                (_, Wanted::Up) => Progressed::Failed("was started again meanwhile".into()),
                _ => Progressed::Waiting,
            },
            Self::Gone => Progressed::Waiting,
        }
    }
}

fn up(after: u32, slot: &Slot, notice: Option<&Notice>, now: Now) -> Progressed {
    match notice {
        Some(Notice::CouldNotStart(record)) if record.inc > after => return Progressed::Failed(why(record)),
        Some(Notice::ReadyTimeout(Late::Stopped)) => return Progressed::Failed(slot.not_ready()),
        Some(Notice::ReadyTimeout(Late::GoesOn)) if slot.instance.inc > after => return Progressed::Late(slot.still_starting(now)),
        Some(Notice::Exit(record)) if record.inc > after && matches!(record.cause, ExitCause::NotStarted { .. }) => {
            return Progressed::Failed(why(record));
        }
        Some(Notice::Exit(record)) if record.inc > after && record.cause != ExitCause::NotReady => {
            return Progressed::Failed(format!("{} before it was ready", why(record)));
        }
        _ => {}
    }
    match (&slot.instance.state, slot.instance.wanted) {
        (State::Running { inc, .. }, _) if *inc > after => Progressed::Reached,
        (_, Wanted::Down | Wanted::Gone) => {
            let last = slot.instance.exits.last().filter(|record| record.inc > after);
            Progressed::Failed(last.map_or_else(|| "was stopped meanwhile".into(), why))
        }
        (State::Errored, Wanted::Up) => Progressed::Failed(slot.instance.exits.last().map_or_else(|| "gave up".into(), why)),
        _ => Progressed::Waiting,
    }
}
