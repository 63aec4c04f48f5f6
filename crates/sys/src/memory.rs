//! Giving memory back before a long rest.

use std::fs::File;
use std::io::Read;

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

/// The address range of a line of `/proc/self/maps` that is code from a file: `55d0-55e0 r-xp 00012000 fe:00 1234 /usr/bin/ostler`.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?;
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    (mode == "r-xp" && path.starts_with('/')).then_some((number(start)?, number(end)?))
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
    fn everything_works_on_after_a_rest() {
        let before: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        rest();
        assert!(before.iter().enumerate().all(|(n, text)| text.parse() == Ok(n)));
    }
}
