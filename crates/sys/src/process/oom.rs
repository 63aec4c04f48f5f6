//! The kernel's out-of-memory killer.

use std::fs::File;
use std::io::Read;

use rustix::io::Errno;

/// Room for the whole of `/proc/vmstat` (some 5 KB): it is read between the end of a process and the start of the next one, so in few large steps.
const VMSTAT_BYTES: usize = 16 << 10;

/// Number of processes it has killed since boot, on the whole machine (`oom_kill` of `/proc/vmstat`); `None` where not told.
/// If it grows around an exit by SIGKILL, the kernel did it.
pub fn kills() -> Option<u64> {
    let mut vmstat = String::with_capacity(VMSTAT_BYTES);
    // Not read by the file itself, which would ask for its length first and, as that is 0, begin with some bytes.
    File::open("/proc/vmstat").ok()?.take(u64::MAX).read_to_string(&mut vmstat).ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Our own `oom_score_adj`, -1000 (never) to 1000 (first).
pub fn own_score_adj() -> Option<i32> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// Sets our own `oom_score_adj`. Lowering it needs privileges.
///
/// # Errors
/// `EACCES` without them.
pub fn set_own_score_adj(adj: i32) -> Result<(), Errno> {
    std::fs::write("/proc/self/oom_score_adj", adj.to_string()).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}
