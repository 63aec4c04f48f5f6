//! Work: events and requests in the queue, and effects that wait for the journal.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::cron::Ticks;
use ostler_core::health::RemedyCause;
use ostler_core::lifecycle::{Effect, Event, Origin};
use ostler_proto::control::{self as proto, Action, Progress, RolloutReport};
use ostler_proto::node::Message;
use ostler_sys::ProcRef;

use super::CommandEnd;
use crate::logs::reclaim::{FileKey, Rotating};
use crate::state::slots::{App, Base};
use crate::state::store::Written;
use crate::state::store::command::{CommandOwner, CommandSpec};

/// Input in the queue. Inputs are dispatched before the next write of the journal, in this order.
#[derive(Debug)]
pub(crate) enum Input {
    /// An event for an instance.
    Event(u32, Event),
    /// A message that the process of an instance sent over its channel: instance, incarnation,
    /// message.
    Message(u32, u32, Message),
    /// The channel of an instance has ended.
    ChannelEnded(u32),
    /// The process of an instance has started to listen. It had no listening socket of ours before.
    Listens(u32),
    /// The capacity of an instance may have changed (`on_capacity`).
    Capacity(u32),
    /// An instance has another description.
    Described(u32),
    /// An instance serves from now on, in place of another process.
    Serving(u32),
    /// A request of one feature to others.
    Request(FeatureRequest),
    /// A request of a client.
    Ask(ClientRequest),
    /// The answer to a request.
    Answer(FeatureAnswer),
    /// The settings of the home may have changed.
    Settings,
}

/// Request of a feature to others, as data.
#[derive(Debug)]
pub(crate) enum FeatureRequest {
    /// Replace these instances of one app by the same release without a gap. If a reload of a user
    /// prevents that, nothing is replaced, and a line with these words gives the reason.
    /// `canary_ms`: see [`RolloutRequest`].
    Replace { app: String, ids: Vec<u32>, canary_ms: Option<u64>, origin: Origin, what: &'static str },
    /// Replace instances of one app by another release. Its progress is reported by
    /// [`FeatureAnswer::Rollout`].
    Rollout(Box<RolloutRequest>),
    /// A user's command took over these instances, all that it concerns. Replacements leave them
    /// alone. This request comes after the events of the command.
    TakenOver { ids: Vec<u32> },
    /// Find the relevant lines of the last output of this instance's process. Answered by
    /// [`FeatureAnswer::LastLines`].
    LastLines { id: u32 },
    /// Restart or reload these instances of one app, as if a user had requested it. The action's
    /// rule gives the number at the same time. No answer is sent.
    Act { action: Action, ids: Vec<u32>, origin: Origin },
    /// Read the usage of these instances, sorted by their numbers. Answered by
    /// [`FeatureAnswer::Measured`], for the feature that asks.
    Measure { by: &'static str, ids: Vec<u32> },
    /// Start the schedule of this instance now, or continue it as saved: after a start, and for
    /// apps of a saved list.
    Schedule { id: u32, saved: Option<Option<Ticks>> },
    /// Save the list now if it is saved automatically, and not later. The changes that follow must
    /// not be saved.
    SaveList,
    /// Stop and forget everything, then exit daemon and keeper. The client is answered before that;
    /// client 0 means none. `saves_list`: save the list of apps first, even if it is not saved
    /// automatically.
    End { client: u32, id: u64, origin: Origin, saves_list: bool },
    /// Replace all instances of this app by this release (description and environment). The client
    /// gets the progress.
    ReloadTo { client: u32, id: u64, app: String, release: Box<(AppSpec, EnvMap)>, origin: Origin },
    /// Scale these instances of one app to this number.
    Scale { ids: Vec<u32>, to: u32, origin: Origin },
    /// The process of this incarnation reports another process as its new main process. If it has
    /// not done so for a while (`is_rare`), that is logged.
    Follow { id: u32, inc: u32, pid: i32, is_rare: bool },
    /// The process of this incarnation gets no new requests any more. It finishes those that it
    /// has.
    FinishRequests { id: u32, inc: u32 },
    /// Run a command for an instance. Nothing happens if a command of this owner is already
    /// running. Answered once by [`FeatureAnswer::CommandEnded`], when none of its processes is
    /// left.
    Run { owner: CommandOwner, spec: Box<CommandSpec> },
    /// Kill the command of this owner. If the owner has no command, the answer is that of a
    /// cancelled one.
    CallOff(CommandOwner),
    /// Cancel all commands.
    CallOffAll,
    /// Kill, a moment later, the processes that this process started and that are outside its
    /// group. They are recognised by this mark. Other leftovers are killed together with them.
    EndLeftovers { leader: ProcRef, mark: String },
    /// Search for the rest of this process's tree until nothing is left. Each process gets the
    /// signal once; `None` = SIGKILL.
    Sweep { id: u32, inc: u32, signal: Option<i32> },
    /// Rename a log with its content; its apps continue to write at the old path. Nothing happens
    /// if the log is being rotated already. Answered by [`FeatureAnswer::Rotated`].
    Rotate(Box<Rotating>),
    /// Remedy this process, which is unhealthy or uses too much, for this cause. The words follow
    /// its name in the report. If the cause is new, it is reported by [`FeatureAnswer::Remedy`].
    Remedy { id: u32, inc: u32, cause: RemedyCause, why: String },
    /// This cause no longer calls for a remedy of this instance's process.
    NoRemedy { id: u32, cause: RemedyCause },
    /// Share the sockets of this process on addresses where a worker of these apps wants to listen.
    /// The apps move over from another manager.
    ShareSockets { of: ProcRef, apps: BTreeSet<String> },
    /// Reopen every log file. No answer is sent.
    ReloadLogs,
}

/// Answer to a request. Each feature gets it (`on_answer`) and recognises its
/// own.
#[derive(Debug)]
pub(crate) enum FeatureAnswer {
    /// A log was rotated: the new name of its old lines, or the reason for the failure.
    Rotated { path: String, target: PathBuf, file: FileKey, result: Result<String, String> },
    /// A log was emptied, or its former lines are in another file.
    LogRestarted { path: String },
    /// The slots have the requested measurements. False if an instance has no earlier reading to
    /// compare with.
    Measured { by: &'static str, is_complete: bool },
    /// A command has ended.
    CommandEnded(Box<CommandEnd>),
    /// A rotation that a former daemon requested was undone.
    RotationUndone,
    /// News of a rollout for its requester.
    Rollout { ticket: u64, news: RolloutNews },
    /// The process of this instance will be remedied, for this cause, in these words. Others may be
    /// replaced first.
    Remedy { id: u32, cause: RemedyCause, why: String },
    /// The process of this instance got the stop signal while it had this many open requests, in
    /// these words.
    Cut { id: u32, requests: u32, warning: String },
    /// The program of an instance that a request added cannot be executed. The instance is deleted
    /// again.
    Unstartable,
    /// The last lines of the process of this instance. Empty if it wrote nothing or was forgotten.
    LastLines { id: u32, lines: Vec<String> },
}

/// Request for a rollout.
#[derive(Debug)]
pub(crate) struct RolloutRequest {
    /// Ticket ([`super::Ctx::ticket`]) that matches the news with the request.
    pub ticket: u64,
    /// Name of the app.
    pub app: String,
    /// All replacements of that app, in the order in which they happen.
    pub replacements: Vec<Replacement>,
    /// Number of instances that are replaced at the same time; 0 = as the app sets it.
    pub parallel: u32,
    /// Time for which the first new instance is watched beside the old ones; `None` = as the app
    /// sets it ([`ostler_core::rollout`]).
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
    /// The rollout is impossible for these instances (by the number that users know), for this
    /// reason.
    Refused { app: String, ids: Vec<u32>, reason: String },
    /// The rollout is over.
    Ended(Box<RolloutReport>),
}

/// Work that is done after the journal is written.
#[derive(Debug)]
pub(crate) enum Work {
    /// An effect of an instance.
    Effect(u32, Effect),
    /// The keeper may forget this exit.
    Ack(u64),
    /// An effect that the feature with this name performs (`on_effect`).
    Feature(&'static str, u64),
}

/// Effects that were decided. Only a write of the journal releases them, so a new daemon knows of
/// everything that was done.
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

    /// Takes all effects that were decided before this write.
    pub(crate) fn take(&mut self, _: Written) -> VecDeque<Work> {
        std::mem::take(&mut self.waiting)
    }

    /// Puts back effects that could not be performed now, before those decided since.
    pub(crate) fn put_back(&mut self, mut rest: VecDeque<Work>) {
        rest.append(&mut self.waiting);
        self.waiting = rest;
    }

    /// Removes effects that are no longer useful.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Work) -> bool) {
        self.waiting.retain(keep);
    }
}

/// Connection number of all calls that come through PM2's sockets. The socket finds the caller by
/// the number of the request.
pub(crate) const PM2_CLIENT: u32 = u32::MAX;

/// Request of a client through a socket. It is answered by [`super::Ctx::reply`].
#[derive(Debug)]
pub(crate) struct ClientRequest {
    /// The connection.
    pub client: u32,
    /// Client's number of the request.
    pub id: u64,
    /// The caller.
    pub caller: Caller,
    /// The request.
    pub request: proto::Request,
}

/// Caller at the other end of a connection, as the kernel knows it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// User id.
    pub uid: u32,
    /// Process id, for the record only.
    pub pid: i32,
    /// Person that the caller claims to act for, for the record only.
    pub on_behalf_of: Option<Box<str>>,
}

impl Caller {
    /// Returns the origin for the record, with this word for the request.
    pub(crate) fn origin(self, command: impl Into<String>) -> Origin {
        let Self { uid, pid, on_behalf_of } = self;
        Origin::User { command: command.into(), uid, pid, on_behalf_of }
    }
}
