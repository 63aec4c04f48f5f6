//! Control groups of version 2, as far as this machine has any.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the cgroup that the test is in; `None` where none can be made in it, or where `OSTLER_CGROUP=off` switches them off.
pub fn writable_cgroup() -> Option<PathBuf> {
    if std::env::var_os("OSTLER_CGROUP").is_some_and(|value| value == "off") {
        return None;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let folder = mounts.into_iter().find(|mount| mount.join("cgroup.procs").exists() && mount.join(own).is_dir())?.join(own);
    let probe = folder.join(format!("ostler-testkit-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir(&probe).ok()?;
    fs::remove_dir(&probe).ok()?;
    Some(folder)
}
