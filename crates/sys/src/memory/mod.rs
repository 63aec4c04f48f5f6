//! Memory that is given back before a long rest.

pub mod wiped;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Size of the mappings while the use of memory is tracked; else the kernel maps 64 KiB around each page that is used.
const BLOCK: usize = 16 << 10;

/// Largest hole between used pages that is locked with them: each range that is locked costs the kernel a mapping.
const HOLE: usize = 4 << 10;

/// Gives back what is not needed while nothing happens: free heap pages, and the mappings of code and constants that were used before. They
/// stay in the page cache and are mapped again where they are needed; the event after a rest takes some tenths of a millisecond longer for it.
pub fn rest() {
    trim();
    // All are known before the first is dropped: what finds the next one would be there again at once. Our own are the first of them.
    for segment in segments().into_iter().rev() {
        advise(&segment, libc::MADV_DODUMP);
        advise(&segment, libc::MADV_DONTNEED);
    }
}

/// Gives free pages of the heap back. Only glibc keeps many of them; musl gives them back by itself.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: no requirements; it only returns free pages.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
const fn trim() {}

/// Has all threads allocate from one heap, for a process whose threads mostly wait: else glibc gives each thread one of its own, which keeps what its largest
/// moment needed. To be called before there is a second thread.
#[cfg(target_env = "gnu")]
pub fn one_heap() {
    // SAFETY: no requirements; it only sets a bound.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Has all threads allocate from one heap: musl has no other.
#[cfg(not(target_env = "gnu"))]
pub const fn one_heap() {}

/// Tracks which code and constants are used from now on, for [`rest_locked`]: what only the start needed is dropped. The kernel maps the
/// neighbours of a page that is used, but never beyond a mapping; so each mapping is split into blocks, by an advice that changes nothing
/// else (whether the block is part of a core dump). Costs a system call for two blocks of program and libraries.
pub fn track_use() {
    for segment in segments() {
        advise(&segment, libc::MADV_DONTNEED);
        let every_other = (segment.start + BLOCK..segment.end).step_by(2 * BLOCK);
        every_other.for_each(|start| advise(&(start..segment.end.min(start + BLOCK)), libc::MADV_DONTDUMP));
    }
}

/// Returns the pages of code and constants that are in use since [`track_use`], as ranges of addresses.
pub fn used() -> Vec<Range<usize>> {
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return Vec::new() };
    let page = page_size();
    let in_segment = |segment: Range<usize>| {
        let present = present(&pagemap, segment.start / page, segment.end / page).unwrap_or_default();
        runs(&present, 0).into_iter().map(move |run| segment.start + run.start * page..segment.start + run.end * page)
    };
    segments().into_iter().flat_map(in_segment).collect()
}

/// Counts these pages as used, as far as they are code and constants: they were in [`used`] of a copy of this process.
pub fn use_pages(pages: Range<usize>) {
    for segment in segments() {
        for address in (pages.start.max(segment.start)..pages.end.min(segment.end)).step_by(page_size()) {
            // SAFETY: the address is in a loaded segment that is readable.
            unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() };
        }
    }
}

/// [`rest`] for a process that must not die: free heap pages are given back, but code and constants that were used stay, and are locked, so
/// that they are there when the disk under them fails. Where the limit of locked memory (`RLIMIT_MEMLOCK`) is too small they stay as long as
/// the kernel has no need of their pages. Returns how many bytes are locked.
pub fn rest_locked() -> usize {
    trim();
    let segments = segments();
    // No longer tracked: one mapping each, whatever fails below. What is present stays so.
    segments.iter().for_each(|segment| advise(segment, libc::MADV_DODUMP));
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return 0 };
    let page = page_size();
    let mut locked = 0;
    for segment in segments {
        let present = present(&pagemap, segment.start / page, segment.end / page);
        for run in present.iter().flat_map(|present| runs(present, HOLE / page)) {
            let (start, bytes) = (segment.start + run.start * page, run.len() * page);
            // SAFETY: our own mapping; its pages only stay where they are.
            if unsafe { libc::mlock(std::ptr::with_exposed_provenance(start), bytes) } < 0 {
                return locked;
            }
            locked += bytes;
        }
    }
    locked
}

/// The parts of program and libraries that are never written: code and constants. Their pages are the files', dropping them loses nothing.
fn segments() -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // SAFETY: the callback gets the address of `found`, which lives longer than this call, and nobody else uses it meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(add_segments), (&raw mut found).cast()) };
    found
}

unsafe extern "C" fn add_segments(object: *mut libc::dl_phdr_info, _size: libc::size_t, found: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `segments` gives this address; the loader gives a description that is valid during the call, and so are its headers.
    let (found, object, headers) = unsafe {
        let object = &*object;
        let headers = match object.dlpi_phdr.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)),
        };
        (&mut *found.cast::<Vec<Range<usize>>>(), object, headers)
    };
    let page = page_size();
    // Not a file: the kernel's own code in every process.
    // SAFETY: no requirements.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let address = |offset: u64| usize::try_from(object.dlpi_addr.wrapping_add(header.p_vaddr).wrapping_add(offset)).unwrap_or(0);
        let segment = address(0) / page * page..address(header.p_memsz).next_multiple_of(page);
        if !usize::try_from(vdso).is_ok_and(|vdso| segment.contains(&vdso)) {
            found.push(segment);
        }
    }
    0
}

/// Tells the kernel how this part of a segment will be used. That the kernel ignores it is fine.
fn advise(part: &Range<usize>, advice: libc::c_int) {
    // SAFETY: only called with parts of our own segments (private mappings of files that were never written) and advice that loses nothing there.
    unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(part.start), part.len(), advice) };
}

fn page_size() -> usize {
    // SAFETY: no requirements.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The pages among these that are in memory and mapped.
fn present(pagemap: &File, first: usize, end: usize) -> Option<Vec<bool>> {
    const ENTRY: usize = 8;
    const PRESENT: u8 = 1 << 7;
    let mut entries = vec![0; end.checked_sub(first)? * ENTRY];
    pagemap.read_exact_at(&mut entries, u64::try_from(first * ENTRY).ok()?).ok()?;
    Some(entries.chunks_exact(ENTRY).map(|entry| entry.last().is_some_and(|last| last & PRESENT != 0)).collect())
}

/// The ranges of present pages, with the holes between them that are not larger than this.
fn runs(present: &[bool], hole: usize) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in (0..present.len()).filter(|at| present.get(*at) == Some(&true)) {
        match found.last_mut().filter(|run| at - run.end <= hole) {
            Some(run) => run.end = at + 1,
            None => found.push(at..at + 1),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written_is_dropped() {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut mapping = (0..0, "", "");
        let mut found = Vec::new();
        for line in smaps.lines() {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if let Some((start, end)) = fields[0].split_once('-') {
                let address = |text| usize::from_str_radix(text, 16).unwrap();
                mapping = (address(start)..address(end), fields[1], fields.get(5).copied().unwrap_or_default());
            } else if fields[0] == "Anonymous:" {
                found.push((mapping.clone(), fields[1] == "0"));
            }
        }
        let segments = segments();
        assert!(segments.iter().any(|segment| segment.contains(&(rest as fn() as usize))), "our own code is one of them");
        for segment in segments {
            for ((range, mode, path), is_clean) in &found {
                if range.start < segment.end && segment.start < range.end {
                    assert!(
                        mode.starts_with("r-") && mode.ends_with('p') && path.starts_with('/') && *is_clean,
                        "{range:x?} {mode} {path}"
                    );
                }
            }
        }
    }

    #[test]
    fn tracking_changes_nothing_but_what_is_present() {
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let before = mappings();
        track_use();
        assert!(mappings() > before, "split into blocks");
        assert_eq!((0..1000).map(|n| n.to_string()).filter(|text| text.parse::<u32>().is_ok()).count(), 1000);
        rest();
        // Other tests of this program have mappings of their own.
        assert!(mappings() < before + 20, "one mapping a segment again");
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "that is what is expected")]
    fn runs_of_pages() {
        assert_eq!(runs(&[], 0), []);
        assert_eq!(runs(&[false, false], 9), []);
        assert_eq!(runs(&[true, true, false, true], 0), [0..2, 3..4]);
        assert_eq!(runs(&[true, true, false, true], 1), [0..4]);
        assert_eq!(runs(&[true, false, false, true, false], 1), [0..1, 3..4]);
        assert_eq!(runs(&[false, true], 2), [1..2]);
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
