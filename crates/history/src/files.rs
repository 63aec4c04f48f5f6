//! Common parts of all files: a head with a version, and the handling of damaged files.

use std::io;

use crate::disk::Disk;
use crate::notice::Notice;

/// Length of the head in bytes.
pub(crate) const HEAD: u64 = 16;
const MAGIC: &[u8; 8] = b"ostlerhs";
const VERSION: u16 = 1;
/// Suffix of files that were set aside.
const ASIDE: &str = ".aside";
/// Maximum number of files that are set aside.
const MOST_ASIDE: usize = 4;
/// Maximum number of bytes of a damaged end that are kept.
const MOST_TAIL: usize = 1 << 20;

/// Result of checking a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadCheck {
    Valid,
    Newer,
    Damaged,
}

/// Returns the head of a file of this kind. The kind is the number of a tier, or a special value.
pub(crate) fn head(kind: u16) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Checks the head at the front of these bytes.
pub(crate) fn check(bytes: &[u8], kind: u16) -> HeadCheck {
    let Some(head) = bytes.first_chunk::<16>() else { return HeadCheck::Damaged };
    let sum = crc32fast::hash(head.get(..12).unwrap_or_default()).to_le_bytes();
    if head.get(..8) != Some(MAGIC) || head.get(12..) != Some(&sum[..]) {
        return HeadCheck::Damaged;
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    match u16::from_le_bytes([head[10], head[11]]) {
        _ if version > VERSION => HeadCheck::Newer,
        found if found == kind && version == VERSION => HeadCheck::Valid,
        _ => HeadCheck::Damaged,
    }
}

/// Renames a damaged file and adds a notice.
pub(crate) fn set_aside(disk: &mut impl Disk, file: &str, why: &'static str, notices: &mut Vec<Notice>) {
    let to = format!("{file}{ASIDE}");
    let aside = disk.rename(file, &to).is_ok().then_some(to);
    notices.push(Notice::SetAside { file: file.to_owned(), aside, why });
}

/// Saves the end of a file under another name and truncates the file.
pub(crate) fn set_tail_aside(disk: &mut impl Disk, file: &str, from: u64, why: &'static str, notices: &mut Vec<Notice>) {
    let to = format!("{file}{ASIDE}");
    let kept = disk.read(file, from, MOST_TAIL).and_then(|tail| {
        let _ = disk.remove(&to);
        disk.write(&to, 0, &tail)
    });
    let _ = disk.cut(file, from);
    notices.push(Notice::SetAside { file: file.to_owned(), aside: kept.is_ok().then_some(to), why });
}

/// Removes the oldest files that were set aside.
pub(crate) fn forget_old_asides(disk: &mut impl Disk) -> io::Result<()> {
    let mut asides: Vec<String> = disk.list()?.into_iter().map(|(name, _)| name).filter(|name| name.ends_with(ASIDE)).collect();
    asides.sort();
    for name in asides.iter().rev().skip(MOST_ASIDE) {
        disk.remove(name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_distinguishes_own_damaged_and_newer_heads() {
        let own = head(2);
        assert_eq!(
            (own.len() as u64, check(&own, 2), check(&own, 3), check(&own[..15], 2)),
            (HEAD, HeadCheck::Valid, HeadCheck::Damaged, HeadCheck::Damaged)
        );
        let mut newer = own.clone();
        newer[8] = 9;
        assert_eq!(check(&newer, 2), HeadCheck::Damaged);
        let sum = crc32fast::hash(&newer[..12]);
        newer[12..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(check(&newer, 2), HeadCheck::Newer);
    }
}
