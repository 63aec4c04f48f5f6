//! Durable part of an instance: what the journal keeps of it.

use std::ops::Deref;
use std::sync::Arc;

use ostler_core::app::default_box::DefaultBox;
use ostler_core::app::git::WorkingTree;
use ostler_core::cron::Ticks;
use ostler_core::lifecycle::Instance;
use ostler_core::lifecycle::observation::Observation;
use ostler_core::time::Now;
use ostler_proto::control::OpenSocket;
use ostler_proto::event::Cause;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::logs::LogPipes;
use crate::logs::reclaim::FileKey;

/// First number of candidates of a reload: those of others never get so far.
const CANDIDATES_FROM: u32 = 1 << 31;

/// Internal numbers of slots: the next to be given. None is given twice, by no daemon: what the keeper reports of a slot that is gone would be
/// taken for news of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotNumbers {
    next: u32,
    next_candidate: u32,
    /// The last number of a cluster worker.
    #[serde(default)]
    last_worker: u32,
}

impl SlotNumbers {
    /// Gives one to an instance.
    pub(crate) fn give(&mut self) -> u32 {
        let number = self.next;
        self.note(number);
        number
    }

    /// Gives one to a candidate of a reload.
    pub(crate) fn give_to_candidate(&mut self) -> u32 {
        let number = CANDIDATES_FROM | self.next_candidate;
        self.note(number);
        number
    }

    /// A number for a cluster worker.
    pub(crate) fn give_to_worker(&mut self) -> u32 {
        // Node takes it for a signed number of 32 bits, and for no worker at all when it is 0.
        self.last_worker = if self.last_worker >= i32::MAX as u32 { 1 } else { self.last_worker + 1 };
        self.last_worker
    }

    /// Records that the numbers of this instance are given.
    pub(crate) fn note_slot(&mut self, slot: &SlotRecord) {
        self.note(slot.id);
        self.last_worker = self.last_worker.max(slot.worker_id);
    }

    /// Records that this one is given.
    pub(crate) fn note(&mut self, given: u32) {
        let (next, given) = match given.checked_sub(CANDIDATES_FROM) {
            Some(given) => (&mut self.next_candidate, given),
            None => (&mut self.next, given),
        };
        if *next <= given {
            *next = (given + 1) % CANDIDATES_FROM;
        }
    }
}

/// The durable part of a slot: it is written as it is, and the next daemon has it as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotRecord {
    /// Internal number: in the keeper's keys, in the journal. Never shown.
    pub id: u32,
    /// Number that users know. A reload has two slots of one `pm_id`: the new process and the old one.
    pub pm_id: u32,
    /// Role for its `pm_id`.
    #[serde(default, skip_serializing_if = "Role::is_serving")]
    pub role: Role,
    /// Time after which it is ready by running (ms), where its predecessor, a cluster worker, has not listened, if that remains so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_running_ms: Option<u64>,
    /// Number within the app.
    pub index: u32,
    /// Number of its shard: which of the sockets of a port is its own. The two processes of a reload have different ones.
    #[serde(default, rename = "lane", skip_serializing_if = "is_zero")]
    pub shard: u32,
    /// Part of its default file names that stands for its app; none = that of PM2 ([`ostler_core::logs::files::stem`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_stem: Option<Box<str>>,
    /// UUID; also the mark by which stray processes of this slot are recognised.
    pub unique_id: String,
    /// Number of its description.
    #[serde(rename = "spec")]
    pub app_number: u64,
    /// Number of its caller's environment.
    #[serde(rename = "env")]
    pub env_number: u64,
    /// State machine.
    pub instance: Instance,
    /// State of its schedule.
    #[serde(default, skip_serializing_if = "Ticks::are_none")]
    pub ticks: Ticks,
    /// Start time of the process in clock ticks: with the pid, its identity.
    #[serde(default)]
    pub start_ticks: u64,
    /// Processes that led what is still its tree, before its main process was another one.
    #[serde(default, rename = "kin", skip_serializing_if = "Vec::is_empty")]
    pub former_leaders: Vec<FormerLeader>,
    /// What was learned of its process.
    #[serde(default)]
    pub learned: DefaultBox<LearnedRecord>,
    /// True if its process runs with our preload.
    #[serde(default)]
    pub preloaded: bool,
    /// Sizes of the error and output log when the process started: where its last lines begin.
    #[serde(default)]
    pub log_start: (u64, u64),
    /// The error and output log files themselves, where the process writes to them directly.
    #[serde(default, skip_serializing_if = "is_none")]
    pub log_files: [Option<FileKey>; 2],
    /// Pipes of its log writer, in piped mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_pipes: Option<Box<LogPipes>>,
    /// Port of its process for Node's inspector; none = it is no Node app, or it has not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspector_port: Option<u16>,
    /// Its number among cluster workers (`cluster.worker.id`); 0 = none yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worker_id: u32,
    /// Keys of the listening sockets that its cluster worker holds itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listening: Vec<String>,
    /// Keys of the listening sockets whose connections it is handed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<String>,
    /// Folder of its cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Box<str>>,
    /// What is remembered of changed files.
    #[serde(default, skip_serializing_if = "WatchMark::is_plain")]
    pub watch: WatchMark,
    /// Observations about it while it was supervised, the oldest first.
    #[serde(default, rename = "notes", skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Observation>,
    /// Cause of its present state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Cause>>,
}

impl SlotRecord {
    /// Slot that has never run, without an app.
    pub(crate) fn new(id: u32, now: Now) -> Self {
        Self {
            id,
            pm_id: id,
            role: Role::Serving,
            by_running_ms: None,
            index: 0,
            shard: 0,
            file_stem: None,
            unique_id: String::new(),
            app_number: 0,
            env_number: 0,
            instance: Instance::new(now),
            ticks: Ticks::default(),
            start_ticks: 0,
            former_leaders: Vec::new(),
            learned: DefaultBox::default(),
            preloaded: false,
            log_start: (0, 0),
            log_files: [None; 2],
            log_pipes: None,
            inspector_port: None,
            worker_id: 0,
            listening: Vec::new(),
            served: Vec::new(),
            group: None,
            watch: WatchMark::default(),
            observations: Vec::new(),
            cause: None,
        }
    }
}

/// Role of a slot for its `pm_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The one that users see and act on.
    #[default]
    Serving,
    /// A new process of a reload, which has to prove itself.
    Candidate,
    /// The old process of a reload, which is being stopped.
    Retiring,
}

impl Role {
    fn is_serving(&self) -> bool {
        *self == Self::Serving
    }
}

/// Process that led a tree: pid and start time.
pub(crate) type FormerLeader = (i32, u64);

/// What was learned of a process. Not what it reports of itself: how much that is, and how often it changes, is the app's to choose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LearnedRecord {
    /// Version of Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_version: Option<String>,
    /// Sockets that it got (`listen`), as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<OpenSocket>,
    /// Last status that it sent by sd_notify (`STATUS=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Working tree that it was started in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_tree: Option<Arc<WorkingTree>>,
}

ostler_core::static_default!(LearnedRecord);

/// What is remembered of changed files of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WatchMark {
    /// True if a user stopped it: no change starts it.
    pub stopped: bool,
    /// True if something changed since its process was started.
    pub changed: bool,
}

impl WatchMark {
    /// True if there is nothing to remember.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_none(files: &[Option<FileKey>; 2]) -> bool {
    *files == [None; 2]
}

/// Record of a slot: lent by the slot to whoever writes it, owned by whoever read it.
#[derive(Clone, Debug)]
pub(crate) enum SlotEntry<'a> {
    /// Durable part of a slot.
    Written(&'a SlotRecord),
    /// Record from a journal.
    Read(Box<SlotRecord>),
}

impl SlotEntry<'_> {
    /// Record, for whoever keeps it.
    pub(crate) fn into_owned(self) -> SlotRecord {
        match self {
            Self::Written(record) => record.clone(),
            Self::Read(record) => *record,
        }
    }
}

impl Deref for SlotEntry<'_> {
    type Target = SlotRecord;

    fn deref(&self) -> &SlotRecord {
        match self {
            Self::Written(record) => record,
            Self::Read(record) => record,
        }
    }
}

impl PartialEq for SlotEntry<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Serialize for SlotEntry<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(to)
    }
}

impl<'de> Deserialize<'de> for SlotEntry<'_> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        SlotRecord::deserialize(from).map(|record| Self::Read(Box::new(record)))
    }
}
