//! What all files have: a head with a version, and a way out of the way.

use std::io;

use crate::disk::Disk;
use crate::notice::Notice;

/// Length of the head of a file.
pub(crate) const HEAD: u64 = 16;
const MAGIC: &[u8; 8] = b"ostlerhs";
const VERSION: u16 = 1;
/// End of the name of what was set aside.
const ASIDE: &str = ".aside";
/// Files that were set aside and are kept.
const MOST_ASIDE: usize = 4;
/// Most bytes of a damaged end that are kept.
const MOST_TAIL: usize = 1 << 20;

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Ours,
    Newer,
    Damaged,
}

/// The head of a file of this kind: the number of a tier, or another.
pub(crate) fn head(kind: u16) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What is at the front of these bytes.
pub(crate) fn check(bytes: &[u8], kind: u16) -> Head {
    let Some(head) = bytes.first_chunk::<16>() else { return Head::Damaged };
    let sum = crc32fast::hash(head.get(..12).unwrap_or_default()).to_le_bytes();
    if head.get(..8) != Some(MAGIC) || head.get(12..) != Some(&sum[..]) {
        return Head::Damaged;
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    match u16::from_le_bytes([head[10], head[11]]) {
        _ if version > VERSION => Head::Newer,
        found if found == kind && version == VERSION => Head::Ours,
        _ => Head::Damaged,
    }
}

/// Gives a file another name, and tells.
pub(crate) fn set_aside(disk: &mut impl Disk, file: &str, why: &'static str, notices: &mut Vec<Notice>) {
    let to = format!("{file}{ASIDE}");
    let aside = disk.rename(file, &to).is_ok().then_some(to);
    notices.push(Notice::SetAside { file: file.to_owned(), aside, why });
}

/// Keeps the end of a file under another name, and cuts it off.
pub(crate) fn set_tail_aside(disk: &mut impl Disk, file: &str, from: u64, why: &'static str, notices: &mut Vec<Notice>) {
    let to = format!("{file}{ASIDE}");
    let kept = disk.read(file, from, MOST_TAIL).and_then(|tail| {
        let _ = disk.remove(&to);
        disk.write(&to, 0, &tail)
    });
    let _ = disk.cut(file, from);
    notices.push(Notice::SetAside { file: file.to_owned(), aside: kept.is_ok().then_some(to), why });
}

/// Removes what was set aside long ago.
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
    fn heads() {
        let own = head(2);
        assert_eq!(
            (own.len() as u64, check(&own, 2), check(&own, 3), check(&own[..15], 2)),
            (HEAD, Head::Ours, Head::Damaged, Head::Damaged)
        );
        let mut newer = own.clone();
        newer[8] = 9;
        assert_eq!(check(&newer, 2), Head::Damaged);
        let sum = crc32fast::hash(&newer[..12]);
        newer[12..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(check(&newer, 2), Head::Newer);
    }
}
