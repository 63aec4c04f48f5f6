//! The kernel's out-of-memory killer.

use rustix::io::Errno;

/// Number of processes it has killed since boot, on the whole machine (`oom_kill` of `/proc/vmstat`); `None` where not told.
/// If it grows around an exit by SIGKILL, the kernel did it.
pub fn kills() -> Option<u64> {
    let vmstat = std::fs::read_to_string("/proc/vmstat").ok()?;
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
