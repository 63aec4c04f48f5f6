//! Control groups of version 2, if this machine has any.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Returns the folder of the test's cgroup.
fn own() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    Some(mounts.into_iter().find(|mount| mount.join("cgroup.procs").exists() && mount.join(own).is_dir())?.join(own))
}

/// Returns the folder of the cgroup for a home's apps, whether it exists or not.
pub fn cgroup_of_home(home: &Path) -> Option<PathBuf> {
    let found = home.metadata().ok()?;
    Some(own()?.join(format!("ostler-{:x}-{:x}", found.dev(), found.ino())))
}

/// Removes the cgroups of a home whose keeper and daemon were both killed.
pub(crate) fn remove_of_home(home: &Path) {
    let Some(group) = cgroup_of_home(home).filter(|group| group.is_dir()) else { return };
    for entry in fs::read_dir(&group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        drop(fs::remove_dir(entry.path()));
    }
    drop(fs::remove_dir(group));
}

/// Returns true if `OSTLER_CGROUP=off` turns cgroups off.
pub fn cgroups_are_off() -> bool {
    std::env::var_os("OSTLER_CGROUP").is_some_and(|value| value == "off")
}

/// Returns the folder of the test's cgroup, or `None` if no cgroup can be created in it, or if
/// cgroups are turned off.
pub fn writable_cgroup() -> Option<PathBuf> {
    if cgroups_are_off() {
        return None;
    }
    let folder = own()?;
    let probe = folder.join(format!("ostler-testkit-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir(&probe).ok()?;
    fs::remove_dir(&probe).ok()?;
    Some(folder)
}
