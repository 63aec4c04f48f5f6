//! Durable part of an instance, as the journal keeps it.

use std::ops::Deref;
use std::sync::Arc;

use ostler_core::app::default_box::DefaultBox;
use ostler_core::app::git::WorkingTree;
use ostler_core::app::sandbox::kernel::SandboxReport;
use ostler_core::cron::Ticks;
use ostler_core::lifecycle::Instance;
use ostler_core::lifecycle::observation::Observation;
use ostler_core::serving::interception::OwnSocket;
use ostler_core::time::Now;
use ostler_proto::control::OpenSocket;
use ostler_proto::event::EventCause;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::logs::LogPipes;
use crate::logs::reclaim::FileKey;

/// First number of candidates of a reload: other slots never reach it.
const CANDIDATES_FROM: u32 = 1 << 31;

/// Internal numbers of slots: the next ones to give. No daemon gives a number twice, because the
/// keeper's reports about a removed slot would be mistaken for reports about another slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotNumbers {
    next: u32,
    next_candidate: u32,
    /// Last number of a cluster worker.
    #[serde(default)]
    last_worker: u32,
}

impl SlotNumbers {
    /// Returns a number for an instance.
    pub(crate) fn give(&mut self) -> u32 {
        let number = self.next;
        self.note(number);
        number
    }

    /// Returns a number for a candidate of a reload.
    pub(crate) fn give_to_candidate(&mut self) -> u32 {
        let number = CANDIDATES_FROM | self.next_candidate;
        self.note(number);
        number
    }

    /// Returns a number for a cluster worker.
    pub(crate) fn give_to_worker(&mut self) -> u32 {
        // Node treats it as a signed 32-bit number, and 0 as no worker at all.
        self.last_worker = if self.last_worker >= i32::MAX as u32 { 1 } else { self.last_worker + 1 };
        self.last_worker
    }

    /// Records that the numbers of this instance are given.
    pub(crate) fn note_slot(&mut self, slot: &SlotRecord) {
        self.note(slot.id);
        self.last_worker = self.last_worker.max(slot.worker_id);
    }

    /// Records that this number is given.
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

/// Durable part of a slot. It is written unchanged, and the next daemon restores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotRecord {
    /// Internal number: in the keeper's keys, in the journal. Never shown.
    pub id: u32,
    /// Number that users know. A reload has two slots of one `pm_id`: the new process and the old
    /// one.
    pub pm_id: u32,
    /// Role for its `pm_id`.
    #[serde(default, skip_serializing_if = "Role::is_serving")]
    pub role: Role,
    /// Running time (ms) after which it counts as ready, if its predecessor, a cluster worker, has
    /// not listened and still does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_running_ms: Option<u64>,
    /// Number within the app.
    pub index: u32,
    /// Number of its shard, which selects its own socket of a port. The two processes of a reload
    /// have different shards.
    #[serde(default, rename = "lane", skip_serializing_if = "is_zero")]
    pub shard: u32,
    /// Part of its default file names that stands for its app; `None` for PM2's names
    /// ([`ostler_core::logs::files::stem`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_stem: Option<Box<str>>,
    /// UUID; also the mark that identifies stray processes of this slot.
    pub unique_id: String,
    /// Number of its description.
    #[serde(rename = "spec")]
    pub app_number: u64,
    /// Number of its caller's environment.
    #[serde(rename = "env")]
    pub env_number: u64,
    /// State machine of the instance.
    pub instance: Instance,
    /// State of its schedule.
    #[serde(default, skip_serializing_if = "Ticks::are_none")]
    pub ticks: Ticks,
    /// Start time of the process in clock ticks. With the pid it identifies the process.
    #[serde(default)]
    pub start_ticks: u64,
    /// Former main processes of its tree.
    #[serde(default, rename = "kin", skip_serializing_if = "Vec::is_empty")]
    pub former_leaders: Vec<FormerLeader>,
    /// Facts that the daemon found out about its process.
    #[serde(default)]
    pub learned: DefaultBox<LearnedRecord>,
    /// Whether its process runs with our preload.
    #[serde(default)]
    pub preloaded: bool,
    /// Sizes of the error and output log when the process started: the positions at which its last
    /// lines begin.
    #[serde(default)]
    pub log_start: (u64, u64),
    /// Error and output log files themselves, if the process writes to them directly.
    #[serde(default, skip_serializing_if = "is_none")]
    pub log_files: [Option<FileKey>; 2],
    /// Pipes of its log writer, in piped mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_pipes: Option<Box<LogPipes>>,
    /// Port of its process for Node's inspector; `None` if it is not a Node app, or has not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspector_port: Option<u16>,
    /// Number among cluster workers (`cluster.worker.id`); 0 = none yet.
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
    /// Stop and change marks of file watching.
    #[serde(default, skip_serializing_if = "WatchMark::is_plain")]
    pub watch: WatchMark,
    /// Observations about it while it was supervised, oldest first.
    #[serde(default, rename = "notes", skip_serializing_if = "Vec::is_empty")]
    pub observations: Vec<Observation>,
    /// Cause of its present state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<EventCause>>,
}

impl SlotRecord {
    /// Creates the record of a slot that has never run, without an app.
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
    /// The slot that users see and act on.
    #[default]
    Serving,
    /// The new process of a reload, which must prove itself.
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

/// Facts that the daemon found out about a process. Reports of the app are not included, because
/// the app decides their size and how often they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LearnedRecord {
    /// Version of Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_version: Option<String>,
    /// Sockets that the process got (`listen`), in their present state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<OpenSocket>,
    /// Sockets of its own that the process keeps, although its app shares the ports that it opens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own_sockets: Vec<OwnSocket>,
    /// Last status that the process sent by sd_notify (`STATUS=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Working tree that the process was started in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_tree: Option<Arc<WorkingTree>>,
    /// Sandbox that the process was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxReport>,
}

ostler_core::static_default!(LearnedRecord);

/// Stop and change marks of an instance's file watching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WatchMark {
    /// Whether a user stopped it: no change starts it.
    pub stopped: bool,
    /// Whether a file changed since its process was started.
    pub changed: bool,
}

impl WatchMark {
    /// Returns true if both marks are unset.
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

/// Record of a slot: borrowed for writing, owned after reading.
#[derive(Clone, Debug)]
pub(crate) enum SlotEntry<'a> {
    /// Durable part of a slot.
    Written(&'a SlotRecord),
    /// Record from a journal.
    Read(Box<SlotRecord>),
}

impl SlotEntry<'_> {
    /// Returns the owned record.
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
