//! CPU time and memory of processes.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::process::{ProcPath, number};
use crate::tree::Entry;

/// Seven numbers.
const STATM_BYTES: usize = 256;

/// One measurement of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// CPU time since it started, in nanoseconds: of all its threads, and of children it has waited for. So the sum over a tree does
    /// not fall when a member ends.
    pub cpu_ns: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// Measures one process of a table read a moment ago. A zombie has CPU time and no memory.
///
/// Memory comes from `statm`, because `stat`, which the table has read already, may be wrong by megabytes on machines with many
/// processors (Linux counts per processor, and sums up for `statm` only).
///
/// # Errors
/// `ENOENT`/`ESRCH` when it is gone.
pub fn usage(entry: &Entry) -> Result<Sample, Errno> {
    let mut buf = [0u8; STATM_BYTES];
    let resident = number::<u64>(read(entry.pid, "/statm", &mut buf)?.split(|&b| b == b' ').nth(1).unwrap_or_default()).unwrap_or(0);
    let ns_per_tick = 1_000_000_000 / crate::clock::ticks_per_second();
    let children_cpu_ns = entry.children_ticks.saturating_mul(ns_per_tick);
    let own = cpu_ns(entry.pid).ok_or(Errno::SRCH)?;
    Ok(Sample { cpu_ns: own.saturating_add(children_cpu_ns), rss_bytes: resident.saturating_mul(page_bytes()) })
}

/// CPU time of a process by its own clock, exact to the nanosecond where `/proc` counts in ticks of 10 ms.
pub fn cpu_ns(pid: i32) -> Option<u64> {
    // 0 would be ourselves, and so would a number that loses its upper bits below; the kernel has at most 2^22 pids.
    if !(1..1 << 28).contains(&pid) {
        return None;
    }
    // The clock of a process is derived from its pid: ~pid << 3 | CPUCLOCK_SCHED (linux/posix-timers.h, clock_getcpuclockid(3)).
    let clock = (!pid << 3) | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer; an unknown clock is refused.
    let known = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
    let (s, ns) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    known.then(|| s.saturating_mul(1_000_000_000).saturating_add(ns))
}

fn page_bytes() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn read<'b>(pid: i32, file: &str, buf: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let fd = rustix::fs::open(ProcPath::new(pid, file).as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let n = rustix::io::read(fd, &mut *buf)?;
    Ok(buf.get(..n).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::ProcTable;

    #[test]
    fn our_own_work_and_memory_are_seen() {
        let me = std::process::id() as i32;
        let measure = || usage(ProcTable::scan().get(me).unwrap()).unwrap();
        let (before, start) = (measure(), cpu_ns(me).unwrap());
        let mut ballast = vec![1u8; 32 << 20];
        let mut sum = 0u64;
        while cpu_ns(me).unwrap() - start < 5_000_000 {
            for byte in &mut ballast[..1 << 16] {
                *byte = byte.wrapping_mul(3);
                sum += u64::from(*byte);
            }
        }
        let after = measure();
        assert!(after.cpu_ns >= before.cpu_ns + 5_000_000, "{sum}");
        assert!(after.rss_bytes >= before.rss_bytes + (24 << 20), "{before:?} {after:?} {}", ballast.len());
    }

    #[test]
    fn nobody_is_an_error() {
        for pid in [0, -1, i32::MAX] {
            assert!(usage(&Entry { pid, ..Entry::default() }).is_err(), "{pid}");
            assert_eq!(cpu_ns(pid), None, "{pid}");
        }
    }
}
