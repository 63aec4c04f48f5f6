//! Control groups of version 2. A process that starts in a group stays in it, whatever happens to
//! its session, its parents and its environment.
//!
//! Groups are folders. ostler uses them to find and kill their processes. It enables no controller
//! unless an app asks for a limit, so limits and accounting stay with the creator of our own group.
//! Groups may be unavailable (version 1, read-only, not ours); callers then work without them.

use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::process::{ProcRef, number};

/// Maximum depth of nested groups.
const MAX_DEPTH: usize = 16;
/// Maximum size of a list of pids, in bytes; no machine can have that many processes.
const MAX_PROCS_BYTES: usize = 64 << 20;
/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const MAGIC: rustix::fs::FsWord = 0x6367_7270;

/// Returns the folder of the group of this process, or `None` if version 2 is missing or not
/// mounted.
pub fn own() -> Option<PathBuf> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let folder = folder_of(path_of(&group)?, &mounts)?;
    // Another file system may be mounted over it.
    let is_one = rustix::fs::statfs(&folder).is_ok_and(|found| found.f_type == MAGIC);
    is_one.then_some(folder)
}

/// Returns the group's path in the single hierarchy of version 2, from `/proc/<pid>/cgroup`.
fn path_of(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| !path.ends_with(" (deleted)"))
}

/// Returns the folder of a group's path in the file system, from `/proc/self/mountinfo`. A mount
/// may show only a part of the hierarchy.
fn folder_of(path: &str, mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let below = Path::new(path).strip_prefix(&root).ok()?;
        Some(if below == Path::new("") { point.into() } else { Path::new(&point).join(below) })
    })
}

/// Returns the text of a field of `mountinfo`, in which blanks, tabs, newlines and backslashes are
/// octal.
pub(crate) fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, sign)| if text.contains(code) { text.replace(code, sign) } else { text })
}

/// Opens a group to start processes in it (see [`crate::process::spawn::Placement`]). Creates the
/// group if it does not exist; its parent group has to exist.
///
/// # Errors
/// Returns `EROFS`, `EACCES` or `EPERM` if we may not create groups, and `ENOENT` if the parent
/// group is gone.
pub fn open(group: &Path) -> Result<OwnedFd, Errno> {
    let open = || rustix::fs::open(group, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {
            make(group)?;
            open()
        }
        opened => opened,
    }
}

/// Checks whether processes can start in this group.
///
/// Kernels since 2025 (seen with 6.18) compare how often `cgroup.kill` was used on the group of the
/// child and on the group of its *parent*. If the numbers differ, they kill the child at birth. A
/// group that was killed therefore accepts no more children. If our own group was killed before we
/// started in it, no group does.
///
/// # Errors
/// Returns `EKEYREJECTED` if the child was killed at birth, and `ENOSYS`, `EPERM`, `EINVAL` or
/// others if the kernel cannot do it at all.
pub fn try_birth(group: BorrowedFd<'_>) -> Result<(), Errno> {
    crate::process::clone::try_birth(group).map_err(Errno::from_raw_os_error)
}

/// Creates a group unless it exists.
///
/// # Errors
/// Returns the errors of [`open`].
pub fn make(group: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(group, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Moves this process into a group.
///
/// # Errors
/// Returns `EACCES`, `EBUSY` or others if the process may not enter the group.
pub fn enter(group: &Path) -> Result<(), Errno> {
    write(&group.join("cgroup.procs"), b"0")
}

/// Returns true if a living process is in the group or in a group below it. Returns false if the
/// group does not exist.
pub fn is_populated(group: &Path) -> bool {
    let mut text = [0u8; 128];
    let read = rustix::fs::open(group.join("cgroup.events"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|events| rustix::io::read(events, &mut text));
    let text = read.ok().and_then(|n| text.get(..n)).unwrap_or_default();
    text.split(|&byte| byte == b'\n').any(|line| line == b"populated 1")
}

/// Enables a controller (`cpu`, `memory`, `pids`, `io`) for the groups in this group, so that they
/// can have limits. An already enabled controller is fine.
///
/// # Errors Returns `ENODEV` if the system has no such controller here, and `EBUSY` if the group
/// itself contains processes. Returns `EACCES` or others if the group is not ours.
///
/// For `cpu` and `pids`, the kernel would not refuse a group with processes. It would turn the
/// group into a threaded one (`cgroup.type`: "domain threaded"), and then no process could be in
/// the groups below it. This function returns `EBUSY` before that.
pub fn enable(group: &Path, controller: &str) -> Result<(), Errno> {
    let has = |file: &str| fs::read_to_string(group.join(file)).is_ok_and(|names| names.split_whitespace().any(|name| name == controller));
    if !has("cgroup.controllers") {
        return Err(Errno::NODEV);
    }
    if has("cgroup.subtree_control") {
        return Ok(());
    }
    if !is_first(group) && !own_members(group).is_empty() {
        return Err(Errno::BUSY);
    }
    write(&group.join("cgroup.subtree_control"), format!("+{controller}").as_bytes())
}

/// Returns true if the group is the root of the hierarchy. Only there may processes and limited
/// groups coexist.
pub fn is_first(group: &Path) -> bool {
    !group.join("cgroup.type").exists()
}

/// Writes one of the limits of a group: `cpu.max`, `memory.max`, `pids.max`, `io.weight`.
///
/// # Errors
/// Returns `ENOENT` if its controller is not enabled, and `EINVAL` or `ERANGE` if the kernel
/// rejects the value.
pub fn limit(group: &Path, file: &str, value: &str) -> Result<(), Errno> {
    write(&group.join(file), value.as_bytes())
}

/// Returns the pids of the processes in the group itself.
pub fn own_members(group: &Path) -> Vec<i32> {
    let text = read_procs(group).unwrap_or_default();
    text.split(|&byte| byte == b'\n').filter_map(number::<i32>).collect()
}

/// Moves another process into a group.
///
/// # Errors
/// Returns the errors of [`enter`].
pub fn adopt(group: &Path, pid: i32) -> Result<(), Errno> {
    write(&group.join("cgroup.procs"), pid.to_string().as_bytes())
}

/// Returns how many processes the kernel killed because the group used too much memory, or `None`
/// if the kernel does not count them.
pub fn oom_kills(group: &Path) -> Option<u64> {
    let events = fs::read_to_string(group.join("memory.events")).ok()?;
    events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Returns the CPU time of all current and former processes in the group and below it, in
/// nanoseconds. The kernel counts it without any controller.
pub fn cpu_ns(group: &Path) -> Option<u64> {
    let mut text = [0u8; 1024];
    let file = rustix::fs::open(group.join("cpu.stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let n = rustix::io::read(file, &mut text).ok()?;
    let mut lines = text.get(..n)?.split(|&byte| byte == b'\n');
    let micros = lines.find_map(|line| line.strip_prefix(b"usage_usec ")).and_then(number::<u64>)?;
    Some(micros.saturating_mul(1000))
}

/// Returns the pids of the processes in the group and in groups below it, in no particular order.
/// Processes in foreign pid namespaces are missing.
pub fn members(group: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    walk(group, 0, &mut |folder| {
        let text = read_procs(folder).unwrap_or_default();
        pids.extend(text.split(|&byte| byte == b'\n').filter_map(number::<i32>).filter(|&pid| pid > 0));
    });
    pids
}

/// Reads the whole list of pids with as few calls as possible, because every stop calls this.
fn read_procs(group: &Path) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::open(group.join("cgroup.procs"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(4096);
    // The limit matters if a process forks all the time: the list would never end.
    while text.len() < MAX_PROCS_BYTES && rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text))? > 0 {
        text.reserve(4096);
    }
    Ok(text)
}

/// Sends SIGKILL to every process in the group and below it. From Linux 5.14 on, the kernel does
/// this atomically, so no process escapes by forking; on older kernels, this kills each process
/// that it finds. The processes exit a moment later, so callers have to check again. Afterwards no
/// process can start in the group (see [`try_birth`]): remove the group and create it again.
///
/// # Errors
/// Returns `ENOENT` if the group does not exist, and `EACCES` if we may not kill it.
pub fn kill(group: &Path) -> Result<(), Errno> {
    match write(&group.join("cgroup.kill"), b"1") {
        Err(Errno::NOENT) if group.is_dir() => {
            for process in members(group).into_iter().filter_map(|pid| ProcRef::of(pid).ok()) {
                // It may have exited since then.
                let _ = process.signal(libc::SIGKILL);
            }
            Ok(())
        }
        done => done,
    }
}

/// Removes an empty group and the empty groups below it. A missing group is fine.
///
/// # Errors
/// Returns `EBUSY` if a process is in it.
pub fn remove(group: &Path) -> Result<(), Errno> {
    match rustix::fs::rmdir(group) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) if has_groups(group) => {
            let mut groups = Vec::new();
            walk(group, 0, &mut |folder| groups.push(folder.to_owned()));
            let mut removed = Ok(());
            for folder in groups.iter().rev() {
                removed = rustix::fs::rmdir(folder);
            }
            // The last result is that of the group itself.
            removed
        }
        removed => removed,
    }
}

/// Returns the names of the groups in a group.
pub fn names(group: &Path) -> Vec<String> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Visits the group and all groups below it, parents first.
fn walk(group: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    visit(group);
    if depth < MAX_DEPTH && has_groups(group) {
        for name in names(group) {
            walk(&group.join(name), depth + 1, visit);
        }
    }
}

/// Returns true if the group contains groups. It uses the link count, which avoids reading the
/// folder.
fn has_groups(group: &Path) -> bool {
    fs::metadata(group).is_ok_and(|found| found.nlink() != 2)
}

fn write(path: &Path, text: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_that_of_cgroup_v2() {
        assert_eq!(path_of("0::/\n"), Some("/"));
        assert_eq!(path_of("4:memory:/x\n1:name=systemd:/y\n0::/user.slice/a b.scope\n"), Some("/user.slice/a b.scope"));
        for none in ["", "4:memory:/x\n", "0::/gone (deleted)\n"] {
            assert_eq!(path_of(none), None, "{none:?}");
        }
    }

    #[test]
    fn folder_is_below_the_mount_that_contains_it() {
        let unified = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let part = "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let twice = "30 23 0:28 /other /mnt/a rw - cgroup2 none rw\n31 23 0:28 / /mnt/b\\040c\\134 rw - cgroup2 none rw\n";
        for (path, mounts, folder) in [
            ("/", unified, Some("/sys/fs/cgroup")),
            ("/system.slice/o.service", unified, Some("/sys/fs/cgroup/system.slice/o.service")),
            ("/x", hybrid, Some("/sys/fs/cgroup/unified/x")),
            ("/docker/abc", part, Some("/sys/fs/cgroup")),
            ("/docker/abc/sub", part, Some("/sys/fs/cgroup/sub")),
            ("/docker/abcd", part, None),
            ("/x", twice, Some("/mnt/b c\\/x")),
            ("/x", "", None),
            ("/x", "rubbish - cgroup2\n - cgroup2 x\n", None),
        ] {
            assert_eq!(folder_of(path, mounts), folder.map(PathBuf::from), "{path} in {mounts}");
        }
    }

    #[test]
    fn limits_are_written_to_the_group_files() {
        let group = std::env::temp_dir().join(format!("ostler-limits-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        let file = |name: &str, text: &str| fs::write(group.join(name), text).unwrap();
        assert_eq!(enable(&group, "cpu"), Err(Errno::NODEV));
        file("cgroup.controllers", "cpuset cpu io\n");
        file("cgroup.subtree_control", "");
        assert_eq!((enable(&group, "memory"), enable(&group, "cpu")), (Err(Errno::NODEV), Ok(())));
        assert_eq!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap(), "+cpu");
        // This is not the root group: the kernel would make it threaded if a process were in it.
        for name in ["cgroup.type", "cgroup.subtree_control"] {
            file(name, "");
        }
        file("cgroup.procs", "1\n");
        assert_eq!(
            (enable(&group, "cpu"), fs::read_to_string(group.join("cgroup.subtree_control")).unwrap().as_str()),
            (Err(Errno::BUSY), "")
        );
        file("cgroup.procs", "");
        assert_eq!(enable(&group, "cpu"), Ok(()));
        file("cgroup.procs", "1\n");
        file("cgroup.subtree_control", "cpu\n");
        assert_eq!(enable(&group, "cpu"), Ok(()));
        assert_eq!(limit(&group, "cpu.max", "50000 100000"), Err(Errno::NOENT));
        file("cpu.max", "");
        assert_eq!(limit(&group, "cpu.max", "50000 100000"), Ok(()));
        file("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n");
        file("cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
        assert_eq!((oom_kills(&group), cpu_ns(&group)), (Some(1), Some(1_500_000)));
        fs::remove_dir_all(&group).unwrap();
    }

    #[test]
    fn missing_group_is_treated_as_empty() {
        let none = Path::new("/no/such/group");
        assert!(!is_populated(none) && members(none).is_empty() && names(none).is_empty());
        assert_eq!((remove(none), kill(none), open(none).map(drop)), (Ok(()), Err(Errno::NOENT), Err(Errno::NOENT)));
    }
}
