//! Record of batches in transit, in memory that outlives the daemon.
//!
//! The keeper holds a memory file with one slot of [`SLOT_BYTES`] per instance. Slots are read and
//! written with `pread`/`pwrite`. A slot is within one page, so a write of it is complete even if
//! the daemon is killed at that moment; the checksum verifies it. The checksum is FNV-1a, which is
//! not zero for all zeros, so an unused slot is invalid. Over 250 bytes it costs next to nothing.
//! Another checksum would only make slots of the daemon before an update unreadable.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ostler_core::text::fnv::fnv_64;

use crate::platform::threads;

/// Size of one slot.
pub(crate) const SLOT_BYTES: u64 = 256;

/// Most files that one line goes to: its own, the combined one, and the output of a runtime.
pub(super) const TARGETS: usize = 3;
/// Index of the target that is a runtime's output.
pub(super) const SHOWN: usize = 2;

/// Progress of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BatchPhase {
    /// No batch is in transit; the holding pipe is empty.
    #[default]
    Idle,
    /// A batch is being written to the files. It is still in the app's pipe, or in the holding pipe
    /// if an older version wrote the record.
    Moving,
    /// All files have the batch, and the holding pipe has all of it; the holding pipe is being
    /// emptied.
    Written,
    /// All files have the batch; it is being moved from the app's pipe to the holding pipe.
    Copied,
}

/// Beginning of the first line of a batch in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LineStart {
    /// The line begins like every line.
    #[default]
    Fresh,
    /// The line continues an incomplete line.
    Continue,
    /// The file ends with an incomplete line of another writer, so a newline comes first.
    Break,
}

/// Record of one file of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetCheckpoint {
    /// Device and inode; zeros = no such target.
    pub key: (u64, u64),
    /// Length of the file before the batch.
    pub offset: u64,
    /// Bytes to write.
    pub length: u32,
    /// Beginning of the first line.
    pub lead: LineStart,
}

/// Content of the slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub phase: BatchPhase,
    /// Stream: 0 = out, 1 = error.
    pub stream: usize,
    /// True if the batch ends with the stream: an open line gets its newline.
    pub close: bool,
    /// True if the batch ends within a line that continues later.
    pub leaves_open: bool,
    /// Bytes of the pipe.
    pub count: u32,
    /// Wall-clock time that is written before the lines.
    pub wall_ms: u64,
    pub targets: [TargetCheckpoint; TARGETS],
    /// True, per stream, if its last line is incomplete.
    pub open: [bool; 2],
    /// End of that open line in the file, per stream and target.
    pub open_ends: [[u64; TARGETS]; 2],
}

/// Slot of one instance.
#[derive(Debug)]
pub(super) struct Slot {
    memory: File,
    offset: u64,
}

impl Slot {
    pub(super) fn new(memory: File, number: u32) -> Self {
        Self { memory, offset: u64::from(number) * SLOT_BYTES }
    }

    /// Loads the content that the last daemon left. An unused or invalid slot is idle.
    pub(super) fn load(&self) -> std::io::Result<Checkpoint> {
        let mut bytes = [0; SLOT_BYTES as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.memory.read_at(&mut bytes[filled..], self.offset + filled as u64) {
                Ok(0) => return Ok(Checkpoint::default()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(decode(&bytes).unwrap_or_default())
    }

    pub(super) fn store(&self, checkpoint: &Checkpoint) -> std::io::Result<()> {
        threads::point();
        self.memory.write_all_at(&encode(checkpoint), self.offset)
    }
}

struct Writer {
    bytes: [u8; SLOT_BYTES as usize],
    at: usize,
}

impl Writer {
    fn put(&mut self, value: &[u8]) {
        self.bytes[self.at..self.at + value.len()].copy_from_slice(value);
        self.at += value.len();
    }
}

pub(super) fn encode(checkpoint: &Checkpoint) -> [u8; SLOT_BYTES as usize] {
    let mut writer = Writer { bytes: [0; SLOT_BYTES as usize], at: 8 };
    let [open_out, open_error] = checkpoint.open;
    let stream = u8::try_from(checkpoint.stream).unwrap_or(0);
    writer.put(&[
        checkpoint.phase as u8,
        stream,
        checkpoint.close.into(),
        open_out.into(),
        open_error.into(),
        checkpoint.leaves_open.into(),
        0,
        0,
    ]);
    writer.put(&checkpoint.count.to_le_bytes());
    writer.put(&checkpoint.wall_ms.to_le_bytes());
    // The third target was added later, so it is behind all older fields.
    for places in [0..SHOWN, SHOWN..TARGETS] {
        for target in &checkpoint.targets[places.clone()] {
            writer.put(&target.key.0.to_le_bytes());
            writer.put(&target.key.1.to_le_bytes());
            writer.put(&target.offset.to_le_bytes());
            writer.put(&target.length.to_le_bytes());
            writer.put(&[target.lead as u8]);
        }
        for end in checkpoint.open_ends.iter().flat_map(|ends| &ends[places.clone()]) {
            writer.put(&end.to_le_bytes());
        }
    }
    let sum = fnv_64(&writer.bytes[8..]);
    writer.bytes[..8].copy_from_slice(&sum.to_le_bytes());
    writer.bytes
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

pub(super) fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let mut reader = Reader { bytes };
    let sum = reader.u64()?;
    if sum != fnv_64(reader.bytes) {
        return None;
    }
    let [phase, stream, close, open_out, open_error, leaves_open, ..] = reader.take::<8>()?;
    let mut checkpoint = Checkpoint {
        phase: match phase {
            0 => BatchPhase::Idle,
            1 => BatchPhase::Moving,
            2 => BatchPhase::Written,
            3 => BatchPhase::Copied,
            _ => return None,
        },
        stream: usize::from(stream.min(1)),
        close: close != 0,
        leaves_open: leaves_open != 0,
        open: [open_out != 0, open_error != 0],
        count: reader.u32()?,
        wall_ms: reader.u64()?,
        ..Checkpoint::default()
    };
    for places in [0..SHOWN, SHOWN..TARGETS] {
        for target in &mut checkpoint.targets[places.clone()] {
            target.key = (reader.u64()?, reader.u64()?);
            target.offset = reader.u64()?;
            target.length = reader.u32()?;
            target.lead = match reader.take::<1>()? {
                [0] => LineStart::Fresh,
                [1] => LineStart::Continue,
                [2] => LineStart::Break,
                _ => return None,
            };
        }
        for end in checkpoint.open_ends.iter_mut().flat_map(|ends| &mut ends[places.clone()]) {
            *end = reader.u64()?;
        }
    }
    Some(checkpoint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn checkpoint_round_trips_and_detects_damage() {
        let checkpoint = Checkpoint {
            phase: BatchPhase::Moving,
            stream: 1,
            close: true,
            leaves_open: true,
            count: 7,
            wall_ms: 1 << 40,
            targets: [
                TargetCheckpoint { key: (1, 2), offset: 3, length: 4, lead: LineStart::Break },
                TargetCheckpoint { key: (5, 6), offset: 7, length: 8, lead: LineStart::Continue },
                TargetCheckpoint { key: (13, 14), offset: 15, length: 16, lead: LineStart::Fresh },
            ],
            open: [true, false],
            open_ends: [[9, 10, 17], [11, 12, 18]],
        };
        let mut bytes = encode(&checkpoint);
        assert_eq!(decode(&bytes), Some(checkpoint));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(decode(&bytes), None, "byte {at}");
            bytes[at] ^= 1;
        }
        assert_eq!(decode(&[0; SLOT_BYTES as usize]), None);
    }

    #[test]
    fn slots_are_independent() {
        let memory: File = rustix::fs::memfd_create("record", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into();
        let (a, b) = (Slot::new(memory.try_clone().unwrap(), 0), Slot::new(memory, 3));
        b.store(&Checkpoint { count: 5, ..Checkpoint::default() }).unwrap();
        assert_eq!(a.load().unwrap(), Checkpoint::default());
        a.store(&Checkpoint { count: 6, ..Checkpoint::default() }).unwrap();
        assert_eq!((a.load().unwrap().count, b.load().unwrap().count), (6, 5));
    }
}
