//! Errands: bounded commands that the daemon has run for an app.
//!
//! # Theory of operation
//!
//! [`Control::start_errand`] journals the errand and has the keeper start it: with the app's user, directory and environment, in a session,
//! a process group and a cgroup of its own, with a mark of its own. It ends by itself, at its timeout, or when it is called off; then all
//! that it started is killed, and only when nothing is left its owner is told ([`Control::told_errand`]), once. Being told and the end of
//! the errand's record are one journal write; the keeper forgets the exit after it.
//!
//! A daemon that dies in between leaves the rest to the next one: an errand that the keeper does not know was never started, and is started
//! now; one that it knows goes on, or has ended. Where daemon and keeper were both killed, what still runs is watched on, and what does not is
//! [`Outcome::Lost`]. An errand whose output somebody wants to read is not continued: its first lines died with the daemon that read them, so
//! it is killed and its owner is told `Lost`.
//!
//! An incarnation is never 0, so a key with 0 in that place is an errand's.

mod capture;
mod end;
mod recover;
mod start;
mod told;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use ostler_core::errand::{Command, Outcome};
use ostler_sys::{ProcRef, Wiped};
use serde::{Deserialize, Serialize};

use crate::store::Record;
use capture::Capture;
pub(crate) use told::Owner;

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrandSpec {
    /// Slot whose user, directory, environment and logs are used.
    pub slot: u32,
    /// Program and arguments.
    pub command: Command,
    /// Variables on top of the app's.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub vars: IndexMap<String, String>,
    /// After this it is killed.
    pub timeout_ms: u64,
    /// Where its output goes.
    pub output: Output,
}

/// Where the output of an errand goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Output {
    /// To the app's log files.
    Logs,
    /// Standard output to its owner; one that writes [`capture::MOST_BYTES`] is ended. Standard error to the app's error log.
    Captured,
    /// Nowhere.
    Nowhere,
}

/// How it ended, for its owner. No `Debug`: the output may be a secret.
pub(crate) struct Report {
    /// How.
    pub outcome: Outcome,
    /// What it wrote, where that was captured.
    pub output: Wiped,
    /// The last lines that it wrote to the app's logs, of one that failed.
    pub last_lines: Vec<String>,
}

/// One errand under way.
#[derive(Debug)]
struct Errand {
    owner: Owner,
    spec: ErrandSpec,
    /// Value of the variable by which its processes are recognised.
    mark: String,
    /// When it is killed.
    deadline_ms: u64,
    stage: Stage,
    /// Decided by us, before it ended: it is being killed for that.
    verdict: Option<Outcome>,
    capture: Option<Capture>,
    /// Folder of its cgroup.
    group: Option<Box<str>>,
    /// Sizes of the app's error and output log when it began.
    log_start: (u64, u64),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// In the journal only.
    Asked,
    /// The keeper was asked; it has not answered.
    Sent,
    /// It runs.
    Runs(Leader),
    /// Its main process has ended, or gets SIGKILL; what it started is looked for until nothing is left.
    Ending {
        leader: Leader,
        /// The main process has ended.
        exited: bool,
        /// The next look.
        due_ms: u64,
    },
}

/// Its main process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Leader {
    pid: i32,
    start_ticks: u64,
}

impl Leader {
    fn process(self) -> ProcRef {
        ProcRef { pid: self.pid, start_ticks: self.start_ticks }
    }
}

/// As the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrandRecord {
    pub(crate) number: u32,
    owner: Owner,
    spec: ErrandSpec,
    mark: String,
    deadline_ms: u64,
    #[serde(default)]
    leader: Option<Leader>,
    #[serde(default)]
    verdict: Option<Outcome>,
    #[serde(default)]
    group: Option<Box<str>>,
    #[serde(default)]
    log_start: (u64, u64),
}

/// All errands.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    all: BTreeMap<u32, Errand>,
    last: u32,
}

impl Errands {
    fn next_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.all.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// As the journal keeps them.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.all.iter().map(|(number, errand)| errand.record(*number))
    }

    /// When the clock says something.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.all.values().filter_map(Errand::due_ms).min()
    }

    /// A hook of this slot runs.
    pub(crate) fn any_hook_of(&self, id: u32) -> bool {
        self.all.values().any(|errand| matches!(errand.owner, Owner::Hook { slot, .. } if slot == id))
    }

    /// Commands that are asked for secrets of this process, and the variables that wait.
    pub(crate) fn secrets_of(&self, slot: u32, inc: u32) -> Vec<(u32, String)> {
        self.all.iter().filter_map(|(number, errand)| Some((*number, errand.owner.secret_of(slot, inc)?.to_owned()))).collect()
    }

    /// One is just being started.
    pub(crate) fn is_spawning(&self) -> bool {
        self.all.values().any(|errand| errand.stage == Stage::Sent)
    }

    /// Who may write to the logs of this slot for an errand: main processes and their marks.
    pub(crate) fn writers_of(&self, slot: u32) -> Vec<(ProcRef, String)> {
        let writes = |errand: &&Errand| errand.spec.slot == slot && errand.spec.output != Output::Nowhere;
        let leader = |errand: &Errand| match errand.stage {
            Stage::Runs(leader) => Some((leader.process(), errand.mark.clone())),
            Stage::Asked | Stage::Sent | Stage::Ending { .. } => None,
        };
        self.all.values().filter(writes).filter_map(leader).collect()
    }

    /// Nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Numbers of the errands whose owner is one of these.
    pub(crate) fn of(&self, is_one: impl Fn(&Owner) -> bool) -> Vec<u32> {
        self.all.iter().filter(|(_, errand)| is_one(&errand.owner)).map(|(number, _)| *number).collect()
    }
}

impl Errand {
    fn record(&self, number: u32) -> Record<'static> {
        let leader = match self.stage {
            Stage::Asked | Stage::Sent => None,
            Stage::Runs(leader) | Stage::Ending { leader, .. } => Some(leader),
        };
        Record::Errand(Box::new(ErrandRecord {
            number,
            owner: self.owner.clone(),
            spec: self.spec.clone(),
            mark: self.mark.clone(),
            deadline_ms: self.deadline_ms,
            leader,
            verdict: self.verdict.clone(),
            group: self.group.clone(),
            log_start: self.log_start,
        }))
    }

    fn due_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Asked => None,
            // The answer comes in any case, and it is killed then.
            Stage::Sent if self.verdict.is_some() => None,
            Stage::Sent | Stage::Runs(_) => Some(self.deadline_ms),
            Stage::Ending { due_ms, .. } => Some(due_ms),
        }
    }
}

/// The keeper's key of an errand.
pub(crate) fn key(number: u32) -> u64 {
    u64::from(number) << 32
}

/// The errand that the keeper's key belongs to, if it is not an instance's.
pub(crate) fn number_of(key: u64) -> Option<u32> {
    (key as u32 == 0).then_some((key >> 32) as u32)
}
