//! Names of this process in `ps`.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;

use rustix::io::Errno;

use crate::process::number;

/// Sets the short name of the calling thread (`comm`, 15 bytes; the kernel truncates longer names).
/// The long one is `argv[0]`, set at `execve`.
///
/// # Errors
/// In practice, this never fails; a name with a NUL returns `EINVAL`.
pub fn set_comm(name: &str) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    rustix::thread::set_name(&name)
}

/// Changes the visible identity of a process that is a copy of another. It replaces the command
/// line, truncated to the length of the original. It also replaces the value of one variable of the
/// initial environment, if the new value has exactly the same length.
///
/// # Errors
/// Returns `EIO` or `ENOENT` if `/proc` does not show the areas. The process then looks like the
/// original, without further harm.
pub fn disguise(title: &[u8], variable: &str, value: &str) -> Result<(), Errno> {
    let Areas { args, environment } = Areas::of_self()?;
    // SAFETY: the kernel has put both areas onto our stack, which is writable. No reference into
    // them lives on: `std::env` copies.
    let (args, environment) = unsafe { (bytes(args), bytes(environment)) };
    // The last byte stays 0: it shows readers that the end has not been overwritten.
    let room = args.len().saturating_sub(1);
    let cut = title.get(..title.len().min(room)).unwrap_or_default();
    args.fill(0);
    args.iter_mut().zip(cut).for_each(|(place, &byte)| *place = byte);
    let name = [variable.as_bytes(), b"="].concat();
    let found = environment.split_mut(|&byte| byte == 0).find(|entry| entry.starts_with(&name));
    if let Some(old) = found.and_then(|entry| entry.get_mut(name.len()..)).filter(|old| old.len() == value.len()) {
        old.copy_from_slice(value.as_bytes());
    }
    Ok(())
}

/// Returns a memory area as a slice.
///
/// # Safety
/// The area must be mapped, writable memory without another live reference.
unsafe fn bytes<'a>((start, end): (usize, usize)) -> &'a mut [u8] {
    // SAFETY: the caller guarantees it.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(start), end - start) }
}

/// Areas of arguments and environment of a process.
#[derive(Debug, PartialEq, Eq)]
struct Areas {
    args: (usize, usize),
    environment: (usize, usize),
}

impl Areas {
    fn of_self() -> Result<Self, Errno> {
        let mut line = Vec::new();
        let read = File::open("/proc/self/stat").and_then(|mut file| file.read_to_end(&mut line));
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Self::parse(&line).ok_or(Errno::IO)
    }

    /// Parses fields 48 to 51 of `/proc/<pid>/stat`; they are zero if the kernel does not show
    /// them.
    fn parse(line: &[u8]) -> Option<Self> {
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let fields = line.get(close + 1..)?.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
        // Field 3 is the first after the name.
        let mut addresses = fields.skip(45).map(number::<usize>);
        let mut area = || Some((addresses.next()??, addresses.next()??)).filter(|&(start, end)| start != 0 && start < end);
        Some(Self { args: area()?, environment: area()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_addresses_are_parsed_after_any_name() {
        let numbers: Vec<String> = (4..48).map(|n| n.to_string()).collect();
        let line = format!("7 (a) b (c) S {} 1000 2000 2000 3000 0\n", numbers.join(" "));
        assert_eq!(Areas::parse(line.as_bytes()), Some(Areas { args: (1000, 2000), environment: (2000, 3000) }));
        for hidden in [format!("7 (a) S {} 0 0 0 0 0\n", numbers.join(" ")), "7 (a) S 1 2\n".into(), String::new()] {
            assert_eq!(Areas::parse(hidden.as_bytes()), None, "{hidden}");
        }
    }

    #[test]
    fn own_argument_area_is_readable() {
        let Areas { args, environment } = Areas::of_self().unwrap();
        let shown = std::fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(args.1 - args.0, shown.len());
        assert!(environment.1 > environment.0);
    }
}
