//! Memory that a process returns to the kernel before a long rest.

pub mod secret_bytes;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Size of the mappings while the use of memory is tracked. Without tracking, the kernel maps 64
/// KiB around each used page.
const BLOCK: usize = 16 << 10;

/// Largest gap between used pages that is locked together with them. Each locked range costs the
/// kernel a mapping.
const HOLE: usize = 4 << 10;

/// Returns memory that an idle process does not need: free heap pages, and the mappings of code and
/// constants that were used before. The pages stay in the page cache, and the kernel maps them
/// again on use. The first event after a rest therefore takes some tenths of a millisecond longer.
pub fn rest() {
    trim();
    // Collect all segments before the first is dropped, because the search would map pages again.
    // Our own segments come first, so drop them last.
    for segment in segments().into_iter().rev() {
        advise(&segment, libc::MADV_DODUMP);
        advise(&segment, libc::MADV_DONTNEED);
    }
}

/// Returns free heap pages to the kernel. Only glibc keeps many of them; musl returns them by
/// itself.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: no requirements; it only returns free pages.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
const fn trim() {}

/// Makes all threads allocate from one heap, for a process whose threads mostly wait. Otherwise
/// glibc gives each thread its own heap, which never shrinks below its peak. Call it before a
/// second thread starts.
#[cfg(target_env = "gnu")]
pub fn one_heap() {
    // SAFETY: no requirements; it only sets a bound.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Makes all threads allocate from one heap; musl always does.
#[cfg(not(target_env = "gnu"))]
pub const fn one_heap() {}

/// Starts to track which code and constants are used, for [`rest_locked`]. Pages that only the
/// start needed are dropped. The kernel maps the neighbours of a used page, but never beyond a
/// mapping. So each mapping is split into blocks, by an advice without any other effect (whether
/// the block is part of a core dump). This costs one system call per two blocks of program and
/// libraries.
pub fn track_use() {
    for segment in segments() {
        advise(&segment, libc::MADV_DONTNEED);
        let every_other = (segment.start + BLOCK..segment.end).step_by(2 * BLOCK);
        every_other.for_each(|start| advise(&(start..segment.end.min(start + BLOCK)), libc::MADV_DONTDUMP));
    }
}

/// Returns the pages of code and constants that are in use since [`track_use`], as ranges of
/// addresses.
pub fn used() -> Vec<Range<usize>> {
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return Vec::new() };
    let page = page_size();
    let in_segment = |segment: Range<usize>| {
        let present = present(&pagemap, segment.start / page, segment.end / page).unwrap_or_default();
        runs(&present, 0).into_iter().map(move |run| segment.start + run.start * page..segment.start + run.end * page)
    };
    segments().into_iter().flat_map(in_segment).collect()
}

/// Marks these pages as used, if they are code or constants. They come from [`used`] of a copy of
/// this process.
pub fn use_pages(pages: Range<usize>) {
    for segment in segments() {
        for address in (pages.start.max(segment.start)..pages.end.min(segment.end)).step_by(page_size()) {
            // SAFETY: the address is in a loaded segment that is readable.
            unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() };
        }
    }
}

/// Runs [`rest`] for a process that must not die. Free heap pages are returned, but used code and
/// constants stay and are locked, so that they remain available if the disk under them fails. If
/// the limit of locked memory (`RLIMIT_MEMLOCK`) is too small, they stay until the kernel needs
/// their pages. Returns the number of locked bytes.
pub fn rest_locked() -> usize {
    trim();
    let segments = segments();
    // Stop tracking: each segment becomes one mapping again, even if a later step fails. Present
    // pages stay present.
    segments.iter().for_each(|segment| advise(segment, libc::MADV_DODUMP));
    let Ok(pagemap) = File::open("/proc/self/pagemap") else { return 0 };
    let page = page_size();
    let mut locked = 0;
    for segment in segments {
        let present = present(&pagemap, segment.start / page, segment.end / page);
        for run in present.iter().flat_map(|present| runs(present, HOLE / page)) {
            let (start, bytes) = (segment.start + run.start * page, run.len() * page);
            // SAFETY: our own mapping; its pages only stay in memory.
            if unsafe { libc::mlock(std::ptr::with_exposed_provenance(start), bytes) } < 0 {
                return locked;
            }
            locked += bytes;
        }
    }
    locked
}

/// Returns the read-only parts of program and libraries: code and constants. Their pages belong to
/// files, so dropping them loses nothing.
fn segments() -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // SAFETY: the callback gets the address of `found`, which lives longer than this call, and no
    // other code uses it during the call.
    unsafe { libc::dl_iterate_phdr(Some(add_segments), (&raw mut found).cast()) };
    found
}

/// Adds the segments of one loaded object.
///
/// # Safety
/// Only `dl_iterate_phdr` may call it, with the address of a live list in `found`.
unsafe extern "C" fn add_segments(object: *mut libc::dl_phdr_info, _size: libc::size_t, found: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `segments` gives this address; the loader passes a description that is valid during
    // the call, and so are its headers.
    let (found, object, headers) = unsafe {
        let object = &*object;
        let headers = match object.dlpi_phdr.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)),
        };
        (&mut *found.cast::<Vec<Range<usize>>>(), object, headers)
    };
    let page = page_size();
    // The vDSO is not a file, but the kernel's own code in every process.
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

/// Tells the kernel how this part of a segment will be used. If the kernel ignores it, nothing
/// breaks.
fn advise(part: &Range<usize>, advice: libc::c_int) {
    // SAFETY: only called with parts of our own segments (private mappings of files that were never
    // written) and advice that loses nothing there.
    unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(part.start), part.len(), advice) };
}

fn page_size() -> usize {
    // SAFETY: no requirements.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Returns which of these pages are in memory and mapped.
fn present(pagemap: &File, first: usize, end: usize) -> Option<Vec<bool>> {
    const ENTRY: usize = 8;
    const PRESENT: u8 = 1 << 7;
    let mut entries = vec![0; end.checked_sub(first)? * ENTRY];
    pagemap.read_exact_at(&mut entries, u64::try_from(first * ENTRY).ok()?).ok()?;
    Some(entries.chunks_exact(ENTRY).map(|entry| entry.last().is_some_and(|last| last & PRESENT != 0)).collect())
}

/// Returns the ranges of present pages. A gap of at most `hole` bytes does not split a range.
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
    fn only_clean_pages_are_dropped() {
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
    fn tracking_changes_only_residency() {
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let before = mappings();
        track_use();
        assert!(mappings() > before, "split into blocks");
        assert_eq!((0..1000).map(|n| n.to_string()).filter(|text| text.parse::<u32>().is_ok()).count(), 1000);
        rest();
        // Other tests of this program add their own mappings.
        assert!(mappings() < before + 20, "one mapping a segment again");
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "that is what is expected")]
    fn adjacent_pages_form_runs() {
        assert_eq!(runs(&[], 0), []);
        assert_eq!(runs(&[false, false], 9), []);
        assert_eq!(runs(&[true, true, false, true], 0), [0..2, 3..4]);
        assert_eq!(runs(&[true, true, false, true], 1), [0..4]);
        assert_eq!(runs(&[true, false, false, true, false], 1), [0..1, 3..4]);
        assert_eq!(runs(&[false, true], 2), [1..2]);
    }

    #[test]
    fn used_pages_are_locked() {
        let locked = rest_locked();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let kib = |line: &str| line.strip_prefix("Locked:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok();
        let seen: usize = smaps.lines().filter_map(kib).sum();
        // A small limit allows only a part.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
        assert!(locked > 0 || limit.is_some(), "nothing is locked, and nothing limits that");
        // For pages that other processes map as well, the kernel shows only our share.
        assert_eq!(seen > 0, locked > 0, "{seen} KiB of {locked} bytes");
    }

    #[test]
    fn program_continues_after_a_rest() {
        let before: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        rest();
        assert!(before.iter().enumerate().all(|(n, text)| text.parse() == Ok(n)));
    }
}
