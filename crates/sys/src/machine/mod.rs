//! Resources of the machine, or the part of them that we may use.

pub mod cpus;
pub mod host;

use std::fs;
use std::path::Path;

/// Returns the memory in bytes: of the machine, or less if our cgroups limit it.
pub fn memory_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = total_of(&meminfo).unwrap_or(u64::MAX);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let v1 = groups.lines().find_map(|line| line.split_once(":memory:")).map_or("", |(_, path)| path);
    let limits = [
        smallest(crate::cgroup::own().as_deref(), "memory.max"),
        smallest(Some(Path::new("/sys/fs/cgroup")), "memory.max"),
        // In a container, the path is the host's, and the root is ours.
        smallest(Some(&Path::new("/sys/fs/cgroup/memory").join(v1.trim_start_matches('/'))), "memory.limit_in_bytes"),
        smallest(Some(Path::new("/sys/fs/cgroup/memory")), "memory.limit_in_bytes"),
    ];
    limits.into_iter().flatten().fold(total, u64::min)
}

/// Returns the number in `MemTotal:       16384 kB`.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the smallest limit of a group and its ancestors; `max` means no limit.
fn smallest(group: Option<&Path>, file: &str) -> Option<u64> {
    let above = group?.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    above.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_size_is_plausible() {
        let bytes = memory_bytes();
        assert!(bytes > 16 << 20 && bytes < 1 << 60, "{bytes}");
        assert_eq!(total_of("MemTotal:       16 kB\nMemFree: 1 kB"), Some(16 << 10));
        assert_eq!(total_of("rubbish"), None);
    }
}
