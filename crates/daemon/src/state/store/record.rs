//! Records of the journal, and their sum.
//!
//! One record on the wire is `length: u32 LE, checksum: u32 LE (CRC-32 of the body), body: JSON`.
//! The body is JSON so that a newer daemon can read an older one's journal: unknown fields are
//! ignored, missing ones have defaults. For the same reason records with an FNV-1a checksum are
//! accepted: builds before the first release wrote them, and `update` replaces such a daemon while
//! apps run. The state file ([`super::state_file`]) has the same format.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::text::fnv::fnv_32;
use ostler_core::text::ring::Bounds;
use ostler_core::time::ReportedClock;
use ostler_proto::event::{Event, Position};
use serde::{Deserialize, Serialize};

use super::command::CommandRecord;
use super::rollouts::{ReleaseRecord, RolloutRecord};
use super::slot::{SlotEntry, SlotNumbers, SlotRecord};
use crate::logs::Destination;
use crate::logs::carry::Carried;
use crate::logs::reclaim::{FileKey, ReclaimRecord};

/// Limits of the kept events.
pub(crate) const EVENT_BOUNDS: Bounds = Bounds { entries: 256, bytes: 64 << 10 };

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record<'a> {
    /// First record: the boot that the records belong to.
    Boot {
        /// `/proc/sys/kernel/random/boot_id`.
        boot_id: Cow<'a, str>,
    },
    /// Environment of a caller, stored once for all apps that came with it.
    Env {
        /// Number that slots refer to.
        id: u64,
        /// The variables.
        vars: Rc<EnvMap>,
    },
    /// Description of an app, stored once for all its instances. `env.base` is empty.
    Spec {
        /// Number that slots refer to.
        id: u64,
        /// The description.
        spec: Rc<AppSpec>,
    },
    /// Header of records that were written with one call, with their total length. If the last of
    /// them is incomplete, none of them counts.
    Write {
        /// Total length of the records.
        bytes: u64,
    },
    /// Ring of events; the events of a former ring are gone.
    EventRing {
        /// Epoch of the ring, and the number before its first event.
        after: Position,
    },
    /// Event.
    Event(Cow<'a, Event>),
    /// Present state of an instance; replaces the former record of that id.
    Slot(SlotEntry<'a>),
    /// Internal numbers of slots that were given so far.
    Numbers(SlotNumbers),
    /// Removal of an instance.
    Gone {
        /// Its number.
        id: u32,
    },
    /// The log writer of a deleted instance still has lines to write.
    #[serde(rename = "last_words")]
    LogTail {
        /// Number of the instance.
        id: u32,
        /// Index of its writer.
        place: u32,
        /// Destination of its lines.
        destination: Box<Destination>,
    },
    /// The last lines of the log writer are written.
    #[serde(rename = "said")]
    LogTailOver {
        /// Number of the instance.
        id: u32,
        /// Index of its writer.
        place: u32,
    },
    /// A renamed log file on its way back to its path; replaces the former record of that number.
    #[serde(rename = "hand_back")]
    Reclaim(Box<ReclaimRecord>),
    /// The reclaim is done, or undone.
    #[serde(rename = "handed_back")]
    ReclaimOver {
        /// Its number.
        id: u32,
    },
    /// A deleted log file whose lines are carried to its path.
    Carry(Box<Carried>),
    /// The carry-over is over.
    CarriedOver {
        /// The file.
        file: FileKey,
    },
    /// Schedules of log rotation were checked until this time.
    RotatedUntil {
        /// Wall clock, ms.
        wall_ms: u64,
    },
    /// Wall clock as events reported it last.
    Clock(ReportedClock),
    /// A running reload; replaces the former record of that number.
    Rollout(Box<RolloutRecord>),
    /// The reload is over.
    RolloutOver {
        /// Its number.
        number: u32,
    },
    /// A running command; replaces the former record of that number.
    #[serde(rename = "errand")]
    Command(Box<CommandRecord>),
    /// The command has exited, and its owner was notified.
    #[serde(rename = "errand_over")]
    CommandOver {
        /// Its number.
        number: u32,
    },
    /// Last releases of an app; replaces the former list.
    Releases {
        /// Name of the app.
        app: String,
        /// Oldest first; an empty list means that the app is gone.
        list: Vec<ReleaseRecord>,
    },
}

/// Sum of all records.
#[derive(Debug, Default, PartialEq)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Snapshot {
    /// Boot of the records.
    pub boot_id: Option<String>,
    /// Environments by number.
    pub envs: BTreeMap<u64, Rc<EnvMap>>,
    /// Descriptions by number.
    pub specs: BTreeMap<u64, Rc<AppSpec>>,
    /// Instances by id.
    pub slots: BTreeMap<u32, SlotRecord>,
    /// Log writers of deleted instances, by instance and place.
    pub log_tails: BTreeMap<(u32, u32), Destination>,
    /// Log files on their way back to their paths.
    pub reclaims: BTreeMap<u32, ReclaimRecord>,
    /// Deleted log files that are carried.
    pub carries: BTreeMap<FileKey, Carried>,
    /// Running reloads.
    pub rollouts: BTreeMap<u32, RolloutRecord>,
    /// Running commands.
    pub commands: BTreeMap<u32, CommandRecord>,
    /// Number of records that were not understood.
    pub foreign: u32,
    /// Releases by app.
    pub releases: BTreeMap<String, Vec<ReleaseRecord>>,
    /// Internal numbers of slots that were given so far.
    pub numbers: SlotNumbers,
    /// Time until which schedules of log rotation were checked.
    pub rotated_until: Option<u64>,
    /// Wall clock as events reported it last.
    pub clock: Option<ReportedClock>,
    /// The ring of events.
    pub event_ring: Option<Position>,
    /// Events of the ring, at most as many as it keeps.
    pub events: VecDeque<Event>,
}

const HEAD: usize = 8;

/// Appends one record to `out`.
pub(crate) fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    serde_json::to_writer(&mut *out, record).expect("records have string keys and finite numbers only");
    let body = &out[start + HEAD..];
    let len = u32::try_from(body.len()).expect("a record is far below 4 GiB");
    let sum = crc32fast::hash(body);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + HEAD].copy_from_slice(&sum.to_le_bytes());
}

impl Snapshot {
    /// Reads records until the end or the first incomplete or damaged one (the writing daemon was
    /// killed). Returns the number of valid bytes. A complete record that is not understood comes
    /// from a newer version before a downgrade: only its content is lost.
    pub(crate) fn read(bytes: &[u8]) -> (Self, usize) {
        let mut snapshot = Self::default();
        let good = snapshot.add(bytes);
        (snapshot, good)
    }

    /// Reads further records into the snapshot.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((record, len)) = decode(&bytes[at..]) {
            match record {
                Some(Record::Write { bytes: length }) if !is_whole(&bytes[at + len..], length) => break,
                Some(record) => self.apply(record),
                None => self.foreign += 1,
            }
            at += len;
        }
        at
    }

    /// Adds one record.
    pub(crate) fn apply(&mut self, record: Record<'_>) {
        match record {
            Record::Write { .. } => {}
            Record::EventRing { after } => {
                self.event_ring = Some(after);
                self.events.clear();
            }
            Record::Event(event) => {
                if self.events.len() >= EVENT_BOUNDS.entries {
                    self.events.pop_front();
                }
                self.events.push_back(event.into_owned());
            }
            Record::Boot { boot_id } => self.boot_id = Some(boot_id.into_owned()),
            Record::Env { id, vars } => {
                self.envs.insert(id, vars);
            }
            Record::Spec { id, mut spec } => {
                Rc::make_mut(&mut spec).given.pack();
                self.specs.insert(id, spec);
            }
            Record::Slot(slot) => {
                self.numbers.note_slot(&slot);
                self.slots.insert(slot.id, slot.into_owned());
            }
            Record::Numbers(numbers) => self.numbers = numbers,
            Record::Gone { id } => {
                self.numbers.note(id);
                self.slots.remove(&id);
            }
            Record::LogTail { id, place, destination } => {
                self.log_tails.insert((id, place), *destination);
            }
            Record::LogTailOver { id, place } => {
                self.log_tails.remove(&(id, place));
            }
            Record::Reclaim(reclaim) => {
                self.reclaims.insert(reclaim.id, *reclaim);
            }
            Record::ReclaimOver { id } => {
                self.reclaims.remove(&id);
            }
            Record::Carry(carried) => {
                self.carries.insert(carried.file, *carried);
            }
            Record::CarriedOver { file } => {
                self.carries.remove(&file);
            }
            Record::RotatedUntil { wall_ms } => self.rotated_until = Some(wall_ms),
            Record::Clock(clock) => self.clock = Some(clock),
            Record::Rollout(rollout) => {
                self.rollouts.insert(rollout.number, *rollout);
            }
            Record::Command(command) => {
                self.commands.insert(command.number, *command);
            }
            Record::CommandOver { number } => {
                self.commands.remove(&number);
            }
            Record::RolloutOver { number } => {
                self.rollouts.remove(&number);
            }
            Record::Releases { app, list } if list.is_empty() => {
                self.releases.remove(&app);
            }
            Record::Releases { app, list } => {
                self.releases.insert(app, list);
            }
        }
    }
}

/// Returns a record and its length. The record is `None` if it is not understood.
fn decode(bytes: &[u8]) -> Option<(Option<Record<'static>>, usize)> {
    let body = body(bytes)?;
    Some((serde_json::from_slice(body).ok(), HEAD + body.len()))
}

/// Returns the body of the first record, or `None` if it is incomplete or damaged.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    let sum = u32::from_le_bytes(*bytes.get(4..)?.first_chunk::<4>()?);
    let body = bytes.get(HEAD..HEAD.checked_add(len)?)?;
    let is_good = |body| crc32fast::hash(body) == sum || fnv_32(body) == sum;
    (len != 0 && is_good(body)).then_some(body)
}

/// Returns true if all records of this total length are complete.
fn is_whole(bytes: &[u8], length: u64) -> bool {
    let Some(mut rest) = usize::try_from(length).ok().and_then(|length| bytes.get(..length)) else { return false };
    while let Some(body) = body(rest) {
        rest = &rest[HEAD + body.len()..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::time::Now;

    fn slot(id: u32) -> Record<'static> {
        Record::Slot(SlotEntry::Read(Box::new(SlotRecord { start_ticks: 7, ..SlotRecord::new(id, Now::at(5)) })))
    }

    #[test]
    fn id_of_a_removed_slot_is_not_reused() {
        let mut bytes = Vec::new();
        for record in [slot(0), slot(1), slot(1 << 31), Record::Gone { id: 1 }, Record::Gone { id: 1 << 31 }] {
            encode(&record, &mut bytes);
        }
        let worker = SlotRecord { worker_id: 7, ..SlotRecord::new(2, Now::at(5)) };
        encode(&Record::Slot(SlotEntry::Read(Box::new(worker))), &mut bytes);
        encode(&Record::Gone { id: 2 }, &mut bytes);
        let mut numbers = Snapshot::read(&bytes).0.numbers;
        // The compacted journal lacks the instances that are gone.
        let mut compacted = Vec::new();
        encode(&Record::Numbers(numbers), &mut compacted);
        encode(&slot(0), &mut compacted);
        assert_eq!(Snapshot::read(&compacted).0.numbers, numbers);
        assert_eq!((numbers.give(), numbers.give(), numbers.give_to_candidate(), numbers.give_to_worker()), (3, 4, (1 << 31) + 1, 8));
    }

    #[test]
    fn truncated_record_is_ignored() {
        let mut bytes = Vec::new();
        encode(&slot(1), &mut bytes);
        let first = bytes.len();
        encode(&slot(2), &mut bytes);
        for cut in first..bytes.len() {
            let (snapshot, good) = Snapshot::read(&bytes[..cut]);
            assert_eq!((snapshot.slots.len(), good), (1, first), "cut at {cut}");
        }
        assert_eq!(Snapshot::read(&bytes).0.slots.len(), 2);
    }

    #[test]
    fn truncated_write_is_ignored_as_a_whole() {
        let mut group = Vec::new();
        encode(&slot(2), &mut group);
        encode(&slot(3), &mut group);
        let mut bytes = Vec::new();
        encode(&slot(1), &mut bytes);
        let first = bytes.len();
        encode(&Record::Write { bytes: group.len() as u64 }, &mut bytes);
        let head = bytes.len();
        bytes.extend(&group);
        for cut in head..bytes.len() {
            let (snapshot, good) = Snapshot::read(&bytes[..cut]);
            assert_eq!((snapshot.slots.len(), good), (1, first), "cut at {cut}");
        }
        assert_eq!((Snapshot::read(&bytes).0.slots.len(), Snapshot::read(&bytes).1), (3, bytes.len()));
        let mut damaged = bytes.clone();
        damaged[bytes.len() - 5] ^= 1;
        assert_eq!(Snapshot::read(&damaged).1, first);
    }

    #[test]
    fn flipped_bit_invalidates_the_record_and_the_rest() {
        let mut bytes = Vec::new();
        encode(&Record::Gone { id: 7 }, &mut bytes);
        let first = bytes.len();
        encode(&slot(1), &mut bytes);
        for bit in first * 8..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (snapshot, good) = Snapshot::read(&bytes);
            assert_eq!((snapshot.slots.len(), good), (0, first), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Snapshot::read(&bytes).1, bytes.len());
    }

    /// Records in the format of such a build, followed by records of this one.
    #[test]
    fn records_of_pre_release_builds_are_readable() {
        const FORMER: &[u8] = b"\x1a\0\0\0\x47\x2a\x2b\x94{\"boot\":{\"boot_id\":\"abc\"}}";
        let mut bytes = FORMER.to_vec();
        encode(&slot(1), &mut bytes);
        let (snapshot, good) = Snapshot::read(&bytes);
        assert_eq!((snapshot.boot_id.as_deref(), snapshot.slots.len(), good), (Some("abc"), 1, bytes.len()));
        for bit in 0..FORMER.len() * 8 {
            let mut bytes = FORMER.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Snapshot::read(&bytes).1, 0, "bit {bit}");
        }
        // New records do not use the old format.
        let mut own = Vec::new();
        encode(&Record::Boot { boot_id: "abc".into() }, &mut own);
        assert_eq!((own[..4].to_vec(), &own[HEAD..]), (FORMER[..4].to_vec(), &FORMER[HEAD..]));
        assert_eq!(own[4..HEAD], crc32fast::hash(&FORMER[HEAD..]).to_le_bytes());
    }

    #[test]
    fn record_of_a_newer_version_is_skipped() {
        let mut bytes = Vec::new();
        encode(&slot(1), &mut bytes);
        let from = bytes.len();
        encode(&Record::Gone { id: 1 }, &mut bytes);
        // A word of the same length that no version knows.
        let at = from + bytes[from..].windows(4).position(|word| word == b"gone").unwrap();
        bytes[at..at + 4].copy_from_slice(b"lost");
        let sum = crc32fast::hash(&bytes[from + HEAD..]);
        bytes[from + 4..from + HEAD].copy_from_slice(&sum.to_le_bytes());
        encode(&slot(2), &mut bytes);
        let (snapshot, good) = Snapshot::read(&bytes);
        assert_eq!((snapshot.slots.keys().copied().collect::<Vec<_>>(), snapshot.foreign, good), (vec![1, 2], 1, bytes.len()));
    }

    #[test]
    fn damaged_record_stops_reading_the_journal() {
        let mut bytes = Vec::new();
        encode(&slot(1), &mut bytes);
        let first = bytes.len();
        encode(&slot(2), &mut bytes);
        bytes[first + 20] ^= 1;
        assert_eq!(Snapshot::read(&bytes).1, first);
    }

    #[test]
    fn gone_record_removes_the_slot() {
        let mut bytes = Vec::new();
        encode(&slot(1), &mut bytes);
        encode(&Record::Gone { id: 1 }, &mut bytes);
        assert!(Snapshot::read(&bytes).0.slots.is_empty());
    }
}
