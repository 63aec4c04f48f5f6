//! Giving memory back before a long rest.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Gives back what is not needed while nothing happens: free heap pages, and the mappings of code that ran before. The code stays in
/// the page cache and is mapped again where it is needed; the event after a rest takes some tenths of a millisecond longer for it.
pub fn rest() {
    trim();
    let mut maps = String::new();
    if File::open("/proc/self/maps").and_then(|mut file| file.read_to_string(&mut maps)).is_err() {
        return;
    }
    // All are known before the first is dropped: what reads the next line would be there again at once. Our own code is the first of them.
    let code: Vec<(usize, usize)> = maps.lines().filter_map(code_of_a_file).collect();
    drop(maps);
    for (start, end) in code.into_iter().rev() {
        // SAFETY: a private mapping of a file that was never writable (`r-x`): its pages are the file's, dropping them loses nothing.
        unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
    }
}

/// Free pages of the heap go back. Only glibc keeps many of them; musl gives them back by itself.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: no requirements; it only returns free pages.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
const fn trim() {}

/// The same for a process that must not die: free heap pages are given back, but code and constants that were used stay, and are locked, so
/// that they are there when the disk under them fails. Where the limit of locked memory (`RLIMIT_MEMLOCK`) is too small they stay as long as
/// the kernel has no need of their pages. Returns how many bytes are locked.
pub fn rest_locked() -> usize {
    trim();
    let mut maps = String::new();
    if File::open("/proc/self/maps").and_then(|mut file| file.read_to_string(&mut maps)).is_err() {
        return 0;
    }
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return 0 };
    // SAFETY: no requirements.
    let Ok(page) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) else { return 0 };
    let mut locked = 0;
    for (start, end) in maps.lines().filter_map(|line| of_a_file(line, &["r-xp", "r--p"])) {
        let Some(present) = present(&pagemap, start / page, end / page) else { continue };
        for run in runs(&present) {
            let (start, bytes) = (start + run.start * page, run.len() * page);
            // SAFETY: our own mapping; its pages only stay where they are.
            if unsafe { libc::mlock(std::ptr::with_exposed_provenance(start), bytes) } < 0 {
                return locked;
            }
            locked += bytes;
        }
    }
    locked
}

/// Which of these pages are in memory and mapped.
fn present(pagemap: &File, first: usize, end: usize) -> Option<Vec<bool>> {
    const ENTRY: usize = 8;
    const PRESENT: u8 = 1 << 7;
    let mut entries = vec![0; end.checked_sub(first)? * ENTRY];
    pagemap.read_exact_at(&mut entries, u64::try_from(first * ENTRY).ok()?).ok()?;
    Some(entries.chunks_exact(ENTRY).map(|entry| entry.last().is_some_and(|last| last & PRESENT != 0)).collect())
}

/// Where one true follows the other.
fn runs(present: &[bool]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in (0..present.len()).filter(|at| present.get(*at) == Some(&true)) {
        match found.last_mut().filter(|run| run.end == at) {
            Some(run) => run.end += 1,
            None => found.push(at..at + 1),
        }
    }
    found
}

/// The address range of a line of `/proc/self/maps` that is code from a file: `55d0-55e0 r-xp 00012000 fe:00 1234 /usr/bin/ostler`.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    of_a_file(line, &["r-xp"])
}

fn of_a_file(line: &str, modes: &[&str]) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?;
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    (modes.contains(&mode) && path.starts_with('/')).then_some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_dropped() {
        let line = "7f00-7f10 r-xp 00012000 fe:00 1234 /usr/bin/a b";
        assert_eq!(code_of_a_file(line), Some((0x7f00, 0x7f10)));
        for other in [
            "7f00-7f10 rwxp 00012000 fe:00 1234 /usr/bin/x",
            "7f00-7f10 r--p 00012000 fe:00 1234 /usr/bin/x",
            "7f00-7f10 r-xs 00012000 fe:00 1234 /usr/bin/x",
            "7ffd-7ffe r-xp 00000000 00:00 0 [vdso]",
            "7ffd-7ffe r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code_of_a_file(other), None, "{other}");
        }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "that is what is expected")]
    fn runs_of_pages() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[false, false]), []);
        assert_eq!(runs(&[true, true, false, true]), [0..2, 3..4]);
        assert_eq!(runs(&[false, true]), [1..2]);
    }

    #[test]
    fn what_was_used_is_locked() {
        let locked = rest_locked();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let kib = |line: &str| line.strip_prefix("Locked:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok();
        let seen: usize = smaps.lines().filter_map(kib).sum();
        // A small limit leaves some of it.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
        assert!(locked > 0 || limit.is_some(), "nothing is locked, and nothing limits that");
        // The kernel shows only our part of pages that others have mapped, too.
        assert_eq!(seen > 0, locked > 0, "{seen} KiB of {locked} bytes");
    }

    #[test]
    fn everything_works_on_after_a_rest() {
        let before: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        rest();
        assert!(before.iter().enumerate().all(|(n, text)| text.parse() == Ok(n)));
    }
}
