//! Names of series: the key, its number in blocks, and its precision.

use std::collections::{BTreeSet, HashMap};
use std::io;

use crate::disk::Disk;
use crate::files::{self, HEAD, HeadCheck};
use crate::notice::Notice;
use crate::scale::Scale;

const FILE: &str = "names";
const NEW_FILE: &str = "names.new";
const KIND: u16 = 0x200;
/// Maximum length of a key in bytes.
pub const LONGEST_KEY: usize = 512;
/// Maximum number of names, and maximum size of all of them in bytes.
const MOST: usize = 16_384;
const MOST_BYTES: usize = 1 << 20;
/// Bytes of an entry in addition to its key.
const FIXED: usize = 19;

/// Table of all names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_key: HashMap<Box<str>, (u32, Scale)>,
    /// Total bytes of all keys.
    bytes: usize,
    /// Number of the next new series.
    pub(crate) next: u32,
    /// Entries that are not in the file yet.
    unwritten: Vec<u8>,
    /// Number of intact bytes in the file; 0 = it has no head yet.
    pub(crate) length: u64,
}

impl Names {
    /// Loads the names from the file.
    pub(crate) fn load(disk: &mut impl Disk, is_writer: bool, notices: &mut Vec<Notice>) -> io::Result<Self> {
        let mut names = Self { next: 1, ..Self::default() };
        let most = usize::try_from(HEAD).unwrap_or(16) + MOST * FIXED + MOST_BYTES;
        let bytes = match disk.read(FILE, 0, most) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            bytes => bytes?,
        };
        let why = match files::check(&bytes, KIND) {
            HeadCheck::Valid => None,
            HeadCheck::Newer => Some("was written by a newer version"),
            HeadCheck::Damaged => Some("has a damaged header"),
        };
        if let Some(why) = why {
            if is_writer {
                files::set_aside(disk, FILE, why, notices);
            }
            return Ok(names);
        }
        let mut rest = bytes.get(16..).unwrap_or_default();
        while let Some((id, scale, key, after)) = entry(rest) {
            names.insert(key, id, scale);
            rest = after;
        }
        names.length = (bytes.len() - rest.len()) as u64;
        if !rest.is_empty() && is_writer {
            files::set_tail_aside(disk, FILE, names.length, "has a damaged or unfinished entry", notices);
        }
        Ok(names)
    }

    fn insert(&mut self, key: &str, id: u32, scale: Scale) {
        self.bytes += key.len();
        self.next = self.next.max(id.saturating_add(1));
        self.by_key.insert(key.into(), (id, scale));
    }

    /// Returns number and scale of a name.
    pub(crate) fn get(&self, key: &str) -> Option<(u32, Scale)> {
        self.by_key.get(key).copied()
    }

    /// Adds a name and returns its number. Returns `None` if the name is too long or there are too
    /// many names.
    pub(crate) fn add(&mut self, key: &str, scale: Scale) -> Option<u32> {
        if key.len() > LONGEST_KEY || self.is_full() {
            return None;
        }
        let id = self.next;
        self.insert(key, id, scale);
        self.unwritten.extend(encoded(key, id, scale));
        Some(id)
    }

    /// Returns true if there is no room for another name.
    pub(crate) fn is_full(&self) -> bool {
        self.by_key.len() >= MOST || self.bytes + LONGEST_KEY > MOST_BYTES
    }

    /// Returns all names.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(|key| &**key)
    }

    /// Returns the scale of each series.
    pub(crate) fn scales(&self) -> impl Iterator<Item = (u32, Scale)> {
        self.by_key.values().copied()
    }

    /// Appends new names to the file.
    pub(crate) fn write(&mut self, disk: &mut impl Disk) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let head = if self.length == 0 { files::head(KIND) } else { Vec::new() };
        let bytes = [&head[..], &self.unwritten].concat();
        if let Err(error) = disk.write(FILE, self.length, &bytes) {
            let _ = disk.cut(FILE, self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Removes names whose numbers are not used, and rewrites the file.
    pub(crate) fn retain_used(&mut self, disk: &mut impl Disk, used: &BTreeSet<u32>) -> io::Result<()> {
        let mut bytes = files::head(KIND);
        for (key, (id, scale)) in self.by_key.iter().filter(|(_, (id, _))| used.contains(id)) {
            bytes.extend(encoded(key, *id, *scale));
        }
        disk.write(NEW_FILE, 0, &bytes)?;
        disk.cut(NEW_FILE, bytes.len() as u64)?;
        disk.sync(NEW_FILE)?;
        disk.rename(NEW_FILE, FILE)?;
        self.by_key.retain(|_, (id, _)| used.contains(id));
        self.bytes = self.by_key.keys().map(|key| key.len()).sum();
        self.length = bytes.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

fn encoded(key: &str, id: u32, scale: Scale) -> Vec<u8> {
    let (unit, bits) = scale.parts();
    let mut facts = id.to_le_bytes().to_vec();
    facts.extend(unit.to_le_bytes());
    facts.push(bits);
    facts.extend(key.as_bytes());
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes();
    [&length[..], &crc32fast::hash(&facts).to_le_bytes(), &facts].concat()
}

/// Parses an entry: number, scale, key, and the remaining bytes.
fn entry(bytes: &[u8]) -> Option<(u32, Scale, &str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (facts, after) = rest.split_at_checked(13 + usize::from(u16::from_le_bytes(*length)))?;
    if crc32fast::hash(facts) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (id, facts) = facts.split_first_chunk::<4>()?;
    let (unit, facts) = facts.split_first_chunk::<8>()?;
    let (bits, key) = facts.split_first()?;
    let scale = Scale::of_parts(f64::from_le_bytes(*unit), *bits)?;
    Some((u32::from_le_bytes(*id), scale, std::str::from_utf8(key).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_disk::FakeDisk;

    const SCALE: Scale = Scale::new(0.1, 5);

    #[test]
    fn names_reload_and_torn_entries_are_dropped() {
        let (mut disk, mut notices) = (FakeDisk::default(), Vec::new());
        let mut names = Names::load(&mut disk, true, &mut notices).unwrap();
        assert_eq!((names.add("a", SCALE), names.add("b", SCALE), names.add(&"x".repeat(513), SCALE)), (Some(1), Some(2), None));
        names.write(&mut disk).unwrap();
        names.add("c", SCALE);
        names.write(&mut disk).unwrap();
        let again = Names::load(&mut disk, true, &mut notices).unwrap();
        assert_eq!((again.get("c"), again.next, notices.len()), (Some((3, SCALE)), 4, 0));
        disk.cut(FILE, disk.length(FILE) - 1).unwrap();
        let mut torn = Names::load(&mut disk, true, &mut notices).unwrap();
        assert_eq!((torn.get("b"), torn.get("c"), notices.len()), (Some((2, SCALE)), None, 1));
        torn.retain_used(&mut disk, &BTreeSet::from([2])).unwrap();
        let kept = Names::load(&mut disk, true, &mut notices).unwrap();
        assert_eq!((kept.get("a"), kept.get("b"), notices.len()), (None, Some((2, SCALE)), 1));
    }

    #[test]
    fn number_and_bytes_of_names_are_bounded() {
        let mut names = Names { next: 1, ..Names::default() };
        let added = (0..100_000).filter(|n| names.add(&format!("name {n}"), SCALE).is_some()).count();
        assert_eq!(added, MOST);
        let mut long = Names { next: 1, ..Names::default() };
        let added = (0..100_000).filter(|n| long.add(&format!("{n:0500}"), SCALE).is_some()).count();
        assert!(added * 500 <= MOST_BYTES && added > 2000, "{added}");
    }

    proptest::proptest! {
        #[test]
        fn entry_never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
            let _ = entry(&bytes);
        }
    }
}
