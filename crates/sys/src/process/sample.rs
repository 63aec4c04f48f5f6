//! CPU time and memory of processes.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::process::{ProcPath, number};

/// Buffer size for a `statm` line: seven numbers.
const STATM_BYTES: usize = 256;

/// Returns the resident memory of a process in bytes, or 0 for a zombie.
///
/// The value comes from `statm`. The value in `stat`, which a [`crate::ProcTable`] has already
/// read, may be wrong by megabytes on machines with many processors. Linux counts per processor,
/// and sums up for `statm` only.
///
/// # Errors
/// Returns `ENOENT` or `ESRCH` if the process is gone.
pub fn memory(pid: i32) -> Result<u64, Errno> {
    if let Some(usage) = crate::simulated::ask(|kernel| kernel.usage(pid)) {
        return usage.map(|(_, memory)| memory).ok_or(Errno::SRCH);
    }
    let mut buf = [0u8; STATM_BYTES];
    let fd = rustix::fs::open(ProcPath::new(pid, "/statm").as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let n = rustix::io::read(fd, &mut buf)?;
    let resident = buf.get(..n).unwrap_or_default().split(|&b| b == b' ').nth(1).and_then(number::<u64>);
    Ok(resident.unwrap_or(0).saturating_mul(page_bytes()))
}

/// Returns the CPU time of a process's waited-for children (`ProcessEntry::children_ticks`), in
/// nanoseconds. Together with [`cpu_ns`] of all living members, the sum over a tree does not fall
/// when a member exits.
pub fn children_cpu_ns(children_ticks: u64) -> u64 {
    children_ticks.saturating_mul(1_000_000_000 / crate::time::clock::ticks_per_second())
}

/// Returns the CPU time of a process by its own clock. It is exact to the nanosecond; `/proc`
/// counts in ticks of 10 ms.
pub fn cpu_ns(pid: i32) -> Option<u64> {
    if let Some(usage) = crate::simulated::ask(|kernel| kernel.usage(pid)) {
        return usage.map(|(cpu_ns, _)| cpu_ns);
    }
    // 0 would mean this process, and so would a number that loses its upper bits below. The kernel
    // has at most 2^22 pids.
    if !(1..1 << 28).contains(&pid) {
        return None;
    }
    // The id of a process's clock is derived from its pid: ~pid << 3 | CPUCLOCK_SCHED
    // (linux/posix-timers.h, clock_getcpuclockid(3)).
    let clock = (!pid << 3) | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer; the kernel rejects an unknown clock.
    let known = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
    let (s, ns) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    known.then(|| s.saturating_mul(1_000_000_000).saturating_add(ns))
}

fn page_bytes() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cpu_time_and_memory_are_measured() {
        let me = std::process::id() as i32;
        let (before, start) = (memory(me).unwrap(), cpu_ns(me).unwrap());
        let mut ballast = vec![1u8; 32 << 20];
        let mut sum = 0u64;
        while cpu_ns(me).unwrap() - start < 5_000_000 {
            for byte in &mut ballast[..1 << 16] {
                *byte = byte.wrapping_mul(3);
                sum += u64::from(*byte);
            }
        }
        let after = memory(me).unwrap();
        assert!(after >= before + (24 << 20), "{before} {after} {} {sum}", ballast.len());
    }

    #[test]
    fn missing_process_is_an_error() {
        for pid in [0, -1, i32::MAX] {
            assert!(memory(pid).is_err(), "{pid}");
            assert_eq!(cpu_ns(pid), None, "{pid}");
        }
    }
}
