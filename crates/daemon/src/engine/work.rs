//! Work: events and requests that wait for their turn, and effects that wait for the journal.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::cron::Ticks;
use ostler_core::health::Cause;
use ostler_core::lifecycle::{Effect, Event, Origin};
use ostler_proto::control::{self as proto, Action, Progress, RolloutReport};
use ostler_proto::node::Message;
use ostler_sys::ProcRef;

use super::CommandEnd;
use crate::logs::reclaim::{FileKey, Rotating};
use crate::state::slots::{App, Base};
use crate::state::store::Written;
use crate::state::store::command::{CommandSpec, Owner};

/// Input that waits for its turn: it is dispatched before the next write of the journal, in this order.
#[derive(Debug)]
pub(crate) enum Input {
    /// An event for an instance.
    Event(u32, Event),
    /// A message that the process of an instance sent over its channel: instance, incarnation, message.
    Message(u32, u32, Message),
    /// The channel of an instance has ended.
    ChannelEnded(u32),
    /// The process of an instance has begun to listen: it had no listening socket of ours before.
    Listens(u32),
    /// The capacity of an instance may have changed ([`super::Feature::on_capacity`]).
    Capacity(u32),
    /// An instance has another description.
    Described(u32),
    /// An instance serves from now on, in place of another process.
    Serving(u32),
    /// A request of one feature to others.
    Request(Request),
    /// A request of a client.
    Ask(Ask),
    /// The answer to a request.
    Answer(Answer),
    /// The settings of the home may have changed.
    Settings,
}

/// Request of a feature to others, as data.
#[derive(Debug)]
pub(crate) enum Request {
    /// These instances of one app are replaced by the same release without a gap. Where that cannot be now (a reload of a user is under way),
    /// it is left out, and a line with these words says why. `canary_ms`: see [`RolloutRequest`].
    Replace { app: String, ids: Vec<u32>, canary_ms: Option<u64>, origin: Origin, what: &'static str },
    /// Instances of one app are replaced by another release. News of it come by [`Answer::Rollout`].
    Rollout(Box<RolloutRequest>),
    /// Somebody's command took over these instances, all that it is about: what replaces them leaves them alone. It is asked for after the
    /// events of the command.
    TakenOver { ids: Vec<u32> },
    /// The lines that matter of what the process of this instance wrote last. Answered by [`Answer::LastLines`].
    LastLines { id: u32 },
    /// These instances of one app are restarted, or reloaded, as if a user had asked for it: so many at the same time as the action's rule
    /// says. Nobody waits for the end.
    Act { action: Action, ids: Vec<u32>, origin: Origin },
    /// What these instances use is read, sorted by their numbers. Answered by [`Answer::Measured`], for the feature that asks.
    Measure { by: &'static str, ids: Vec<u32> },
    /// The schedule of this instance counts from now on, or as it was saved: a start, and what came back from a saved list.
    Schedule { id: u32, saved: Option<Option<Ticks>> },
    /// The list is saved now if it is saved by itself, and not later: what is about to happen is not to be saved.
    SaveList,
    /// Everything is stopped and forgotten, then the daemon and its keeper end. Who asked is answered before that; 0 is nobody. `saves_list`:
    /// the list of apps is saved before, whether or not it is saved by itself.
    End { client: u32, id: u64, origin: Origin, saves_list: bool },
    /// All instances of this app are replaced by this release, description and environment; whoever asked learns how far that is.
    ReloadTo { client: u32, id: u64, app: String, release: Box<(AppSpec, EnvMap)>, origin: Origin },
    /// Of these instances of one app there are to be so many.
    Scale { ids: Vec<u32>, to: u32, origin: Origin },
    /// The process of this incarnation reports that its main process is another one from now on. It has not done so for a while: that is logged.
    Follow { id: u32, inc: u32, pid: i32, is_rare: bool },
    /// The process of this incarnation gets nothing new any more: it is to finish the requests that it has.
    FinishRequests { id: u32, inc: u32 },
    /// A command is run for an instance; nothing happens where one of this owner is under way. Answered by [`Answer::CommandEnded`], once, when
    /// nothing of it is left.
    Run { owner: Owner, spec: Box<CommandSpec> },
    /// The command of this owner is not wanted any more: it is killed. Where there is none it is answered as if it had been called off.
    CallOff(Owner),
    /// All commands are called off.
    CallOffAll,
    /// What this process started and that is outside of its group, recognised by this mark, is killed a moment later, together with what others left.
    EndLeftovers { leader: ProcRef, mark: String },
    /// What is left of the tree of this process is looked for, until nothing is: each of it gets the signal once; none = SIGKILL.
    Sweep { id: u32, inc: u32, signal: Option<i32> },
    /// What is in a log gets another name, and its apps write on at its path. Nothing happens where that is under way. Answered by
    /// [`Answer::Rotated`].
    Rotate(Box<Rotating>),
    /// Something is to be done about this process, which is not well or uses too much: for this cause, in words that follow its name. Where that is new
    /// it is reported by [`Answer::Remedy`].
    Remedy { id: u32, inc: u32, cause: Cause, why: String },
    /// This is no reason any more to do something about the process of this instance.
    NoRemedy { id: u32, cause: Cause },
    /// What listens where a worker of these apps wants to listen, and belongs to this process, becomes theirs too: they move from another manager.
    ShareSockets { of: ProcRef, apps: BTreeSet<String> },
    /// Every log file is reopened, and nobody waits for the end.
    ReloadLogs,
}

/// Answer to a request. Each feature gets it ([`super::Feature::on_answer`]): whose it was recognises that.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A log was rotated: the name that its old lines have now, or why that could not be.
    Rotated { path: String, target: PathBuf, file: FileKey, result: Result<String, String> },
    /// What was to be measured stands on the slots; false where one of them has no earlier reading to compare with.
    Measured { by: &'static str, is_complete: bool },
    /// A command has ended.
    CommandEnded(Box<CommandEnd>),
    /// A rotation that a former daemon asked for was undone.
    RotationUndone,
    /// News of a rollout for whoever asked for it.
    Rollout { ticket: u64, news: RolloutNews },
    /// Something is going to be done about the process of this instance: for this cause, in these words. Others may have to go first.
    Remedy { id: u32, cause: Cause, why: String },
    /// The process of this instance was asked to end with so many requests under way, in these words.
    Cut { id: u32, requests: u32, warning: String },
    /// The program of an instance that a request added cannot be executed: the instance is deleted again.
    Unstartable,
    /// The last lines of the process of this instance; none where it wrote nothing, or is forgotten.
    LastLines { id: u32, lines: Vec<String> },
}

/// Request for a rollout.
#[derive(Debug)]
pub(crate) struct RolloutRequest {
    /// Ticket ([`super::Ctx::ticket`]) by which whoever asks recognises the news.
    pub ticket: u64,
    /// App.
    pub app: String,
    /// All of that app, in the order in which they are to be replaced.
    pub replacements: Vec<Replacement>,
    /// Instances at the same time; 0 = as the app says.
    pub parallel: u32,
    /// Time for which the first one is watched beside the old ones; none = as the app says ([`ostler_core::rollout`]).
    pub canary_ms: Option<u64>,
    /// Whether each new process has to run for its `min_uptime` before it counts as ready.
    pub watches: bool,
    /// Origin of the request.
    pub origin: Origin,
}

/// Replacement of one instance.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// The instance.
    pub id: u32,
    /// Its new description.
    pub app: Rc<App>,
    /// Its new environment.
    pub base: Rc<Base>,
}

/// News of a rollout.
#[derive(Debug)]
pub(crate) enum RolloutNews {
    /// Progress.
    Progress(Progress),
    /// It cannot be: for these instances by the number that users know, for this reason.
    Refused { app: String, ids: Vec<u32>, reason: String },
    /// It is over.
    Ended(Box<RolloutReport>),
}

/// Work after the journal is written.
#[derive(Debug)]
pub(crate) enum Work {
    /// An effect of an instance.
    Effect(u32, Effect),
    /// The keeper may forget this exit.
    Ack(u64),
    /// Something that the feature with this name does then ([`super::Feature::on_effect`]).
    Feature(&'static str, u64),
}

/// Effects that were decided. Only a write of the journal gives them out, so nothing is done that a fresh daemon would not know.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    waiting: VecDeque<Work>,
}

impl Effects {
    pub(crate) fn push(&mut self, work: Work) {
        self.waiting.push_back(work);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All that was decided before this write.
    pub(crate) fn take(&mut self, _: Written) -> VecDeque<Work> {
        std::mem::take(&mut self.waiting)
    }

    /// What was taken and could not be done now comes before what was decided meanwhile.
    pub(crate) fn put_back(&mut self, mut rest: VecDeque<Work>) {
        rest.append(&mut self.waiting);
        self.waiting = rest;
    }

    /// Removes what is of no use any more.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Work) -> bool) {
        self.waiting.retain(keep);
    }
}

/// The connection of all calls that come through PM2's sockets: whose they are, that door knows by the number of the request.
pub(crate) const PM2_CLIENT: u32 = u32::MAX;

/// Request of a client that came through a door. It is answered by [`super::Ctx::reply`].
#[derive(Debug)]
pub(crate) struct Ask {
    /// The connection.
    pub client: u32,
    /// Its number of the request.
    pub id: u64,
    /// The caller.
    pub caller: Caller,
    /// The request.
    pub request: proto::Request,
}

/// Caller at the other end of a connection, as the kernel knows it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// User.
    pub uid: u32,
    /// Process, for the record only.
    pub pid: i32,
    /// Person for whom it asks, as it says, for the record only.
    pub on_behalf_of: Option<Box<str>>,
}

impl Caller {
    /// The origin for the record, with this word for the request.
    pub(crate) fn origin(self, command: impl Into<String>) -> Origin {
        let Self { uid, pid, on_behalf_of } = self;
        Origin::User { command: command.into(), uid, pid, on_behalf_of }
    }
}
