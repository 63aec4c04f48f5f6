//! Threads in containers whose seccomp profile answers `clone3` with EPERM, as those of old
//! container runtimes do.
//!
//! glibc (2.34 and later) creates threads with `clone3` and falls back to `clone` only if the
//! kernel answers ENOSYS. It treats EPERM as final: no thread can be created. Other remedies have
//! costs that apps must not bear (a filter of our own sets `no_new_privs`), or depend on glibc's
//! inner structures (threads created by hand). So we patch the one instruction with which *this
//! process's* copy of glibc enters the kernel. It now yields ENOSYS, which describes this system
//! correctly. musl never uses `clone3`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// `mov $435, %eax; syscall`, and its replacement `mov $-38, %rax`.
#[cfg(target_arch = "x86_64")]
const CALL: ([u8; 7], [u8; 7]) = ([0xb8, 0xb3, 0x01, 0, 0, 0x0f, 0x05], [0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff]);
/// `mov x8, #435; svc #0`, and its replacement `mov x0, #-38; nop`.
#[cfg(target_arch = "aarch64")]
const CALL: ([u8; 8], [u8; 8]) = ([0x68, 0x36, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4], [0xa0, 0x04, 0x80, 0x92, 0x1f, 0x20, 0x03, 0xd5]);

/// Makes threads possible on systems that refuse them: call it before the first thread. Does
/// nothing unless `clone3` is answered with EPERM.
///
/// # Errors
/// Returns an error if threads cannot be created here: the library is unknown, or its memory cannot
/// be written.
pub fn enable() -> io::Result<()> {
    let refused = crate::refused_calls::refused().into_iter().any(|one| one.call == "clone3" && one.errno == rustix::io::Errno::PERM);
    if refused { without_clone3() } else { Ok(()) }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn without_clone3() -> io::Result<()> {
    Err(io::Error::other("not known on this processor"))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn without_clone3() -> io::Result<()> {
    let (call, instead) = CALL;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem")?;
    // A program that contains its library (static glibc) is searched as a whole. Our own call
    // (`clone`) has a different instruction sequence.
    let texts = maps.lines().filter_map(text_of).filter(|text| text.is_libc);
    let mut found = Vec::new();
    for text in texts {
        let bytes = read(&memory, &text)?;
        found.extend(bytes.windows(call.len()).enumerate().filter(|(_, at)| *at == call).map(|(at, _)| text.from + at as u64));
    }
    // glibc has it once. If it does not occur, the library is older or a different one, and threads
    // work. More than one occurrence is ambiguous.
    match found[..] {
        [] => Ok(()),
        [at] => memory.write_all_at(&instead, at),
        _ => Err(io::Error::other("the C library is not as expected")),
    }
}

/// A mapping that contains code.
struct Text {
    from: u64,
    len: usize,
    is_libc: bool,
}

/// Parses a line of `/proc/self/maps`:
/// `7f12-7f34 r-xp 00028000 08:01 123   /usr/lib/x86_64-linux-gnu/libc.so.6`.
fn text_of(line: &str) -> Option<Text> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
    let is_code = words.next()?.starts_with("r-x");
    let name = words.nth(3).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let is_libc = name.starts_with("libc.so") || name.starts_with("libc-2");
    is_code.then_some(Text { from, len: usize::try_from(to.saturating_sub(from)).ok()?, is_libc })
}

fn read(memory: &File, text: &Text) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; text.len];
    memory.read_exact_at(&mut bytes, text.from)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libc_code_is_recognized_in_maps() {
        for (line, expected) in [
            ("7f10-7f20 r-xp 00028000 08:01 123   /usr/lib/x86_64-linux-gnu/libc.so.6", Some(true)),
            ("7f10-7f20 r-xp 00028000 08:01 123   /lib/libc-2.31.so", Some(true)),
            ("7f10-7f20 r--p 00028000 08:01 123   /usr/lib/x86_64-linux-gnu/libc.so.6", None),
            ("7f10-7f20 r-xp 00028000 08:01 123   /usr/lib/libcap.so.2", Some(false)),
            ("7f10-7f20 r-xp 00000000 00:00 0   [vdso]", Some(false)),
            ("7f10-7f20 r-xp 00000000 00:00 0", Some(false)),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(text_of(line).map(|text| text.is_libc), expected, "{line}");
        }
    }
}
