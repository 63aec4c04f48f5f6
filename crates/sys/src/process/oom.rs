//! The kernel's out-of-memory killer.

use std::fs::File;
use std::io::Read;

use rustix::io::Errno;

/// Buffer for the whole of `/proc/vmstat` (some 5 KB). Reading happens between the exit of a
/// process and the start of the next one, so it must take few calls.
const VMSTAT_BYTES: usize = 16 << 10;

/// Returns the number of processes that it has killed since boot, on the whole machine (`oom_kill`
/// of `/proc/vmstat`), or `None` if the kernel does not report it. If the number grows around an
/// exit by SIGKILL, the kernel killed the process.
pub fn kills() -> Option<u64> {
    let mut vmstat = String::with_capacity(VMSTAT_BYTES);
    // `File::read_to_string` would first ask for the file's length, which is 0 here, and start with
    // small reads.
    File::open("/proc/vmstat").ok()?.take(u64::MAX).read_to_string(&mut vmstat).ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Returns our own `oom_score_adj`, -1000 (never) to 1000 (first).
pub fn own_score_adj() -> Option<i32> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// Sets our own `oom_score_adj`. A lower value needs privileges.
///
/// # Errors
/// Returns `EACCES` without privileges.
pub fn set_own_score_adj(adj: i32) -> Result<(), Errno> {
    std::fs::write("/proc/self/oom_score_adj", adj.to_string()).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}
