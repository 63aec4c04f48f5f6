//! What the journal keeps of an instance.

use std::ops::Deref;

use ostler_core::cron::Ticks;
use ostler_core::default_box::DefaultBox;
use ostler_core::lifecycle::Instance;
use ostler_core::observation::Observation;
use ostler_core::time::Now;
use ostler_proto::control::OpenSocket;
use ostler_proto::event::Cause;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::logs::reclaim::FileKey;

/// Numbers of candidates of a reload begin here: those of others never get so far.
const CANDIDATES_FROM: u32 = 1 << 31;

/// Our own numbers of slots: the next to be given. None is given twice, by no daemon: what the keeper tells of a slot that is gone would be
/// taken for news of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotNumbers {
    next: u32,
    next_candidate: u32,
}

impl SlotNumbers {
    /// For an instance.
    pub(crate) fn give(&mut self) -> u32 {
        let number = self.next;
        self.note(number);
        number
    }

    /// For a candidate of a reload.
    pub(crate) fn give_to_candidate(&mut self) -> u32 {
        let number = CANDIDATES_FROM | self.next_candidate;
        self.note(number);
        number
    }

    /// This one is given.
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
    /// Our own number of it: in the keeper's keys, in the journal. Never shown.
    pub id: u32,
    /// What users call it. A reload has two slots of one `pm_id`: the new process and the old one.
    pub pm_id: u32,
    /// What it is to its `pm_id`.
    #[serde(default, skip_serializing_if = "Role::is_serving")]
    pub role: Role,
    /// Its predecessor, a cluster worker, has not listened so far: if that remains so, it is ready when it has run for so long (ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_running_ms: Option<u64>,
    /// Number within the app.
    pub index: u32,
    /// Which of the sockets of a port is its own (a shard of that listener): the two processes of a reload have different ones.
    #[serde(default, rename = "lane", skip_serializing_if = "is_zero")]
    pub shard: u32,
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
    /// What its schedule has come to.
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
    /// Its process runs with our preload.
    #[serde(default)]
    pub preloaded: bool,
    /// Sizes of the error and output log when the process started: where its last lines begin.
    #[serde(default)]
    pub log_start: (u64, u64),
    /// The error and output log files themselves, where the process writes to them directly.
    #[serde(default, skip_serializing_if = "is_none")]
    pub log_files: [Option<FileKey>; 2],
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
    /// What was found out about it while it was looked after, the oldest first.
    #[serde(default, rename = "notes", skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Observation>,
    /// Why it is as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Cause>>,
}

impl SlotRecord {
    /// A slot that has never run, without an app.
    pub(crate) fn new(id: u32, now: Now) -> Self {
        Self {
            id,
            pm_id: id,
            role: Role::Serving,
            by_running_ms: None,
            index: 0,
            shard: 0,
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

/// What a slot is to its `pm_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// What users see and act on.
    #[default]
    Serving,
    /// A new process of a reload, which has to prove itself.
    Candidate,
    /// The old process of a reload, on its way out.
    Retiring,
}

impl Role {
    fn is_serving(&self) -> bool {
        *self == Self::Serving
    }
}

/// A process that led a tree: pid and start time.
pub(crate) type FormerLeader = (i32, u64);

/// What was learned of a process. Not what it says of itself: how much that is, and how often it changes, is the app's to choose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LearnedRecord {
    /// Version of Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_version: Option<String>,
    /// The sockets that it got (`listen`), as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<OpenSocket>,
    /// What it said last by sd_notify (`STATUS=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

ostler_core::static_default!(LearnedRecord);

/// What is remembered of changed files of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WatchMark {
    /// A user stopped it: no change starts it.
    pub stopped: bool,
    /// Something changed since its process was started.
    pub changed: bool,
}

impl WatchMark {
    /// Nothing to remember.
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

/// The record of a slot: lent by the slot to whoever writes it, owned by whoever read it.
#[derive(Clone, Debug)]
pub(crate) enum SlotEntry<'a> {
    /// A slot's durable part.
    Written(&'a SlotRecord),
    /// From a journal.
    Read(Box<SlotRecord>),
}

impl SlotEntry<'_> {
    /// The record, for whoever keeps it.
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
