//! Moves a daemon that was started from a login, with all its processes, into the service.
//! Otherwise it would end with that login, and at a shutdown systemd would stop it before the
//! service can.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ostler_keeper::SUPERVISOR_GROUP;
use ostler_sys::ProcTable;

use super::job::Unit;
use super::watch::keeper_of;

/// Attempts: systemd rejects the whole request if one process has exited in between, as short
/// helpers of a start do.
const TRIES: u32 = 10;
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Moves the processes of this home into our unit, if they are outside of it. Returns false if the
/// move failed.
pub(super) fn take_into(unit: &Unit, home: &Path) -> bool {
    (0..TRIES).any(|again| {
        if again > 0 {
            std::thread::sleep(PAUSE);
        }
        attach(unit, home)
    })
}

fn attach(unit: &Unit, home: &Path) -> bool {
    let Some(keeper) = keeper_of(home) else { return true };
    let group = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    match (group("self"), group(&keeper.pid.to_string())) {
        (Some(own), Some(theirs)) if !is_within(&own, &theirs) => {}
        _ => return true,
    }
    // The processes go beside this one: if groups are limited, no process may be in a group above
    // them.
    let beside = group("self").is_some_and(|own| group_of(&own).is_some_and(is_beside_apps));
    let place = if beside { format!("/{SUPERVISOR_GROUP}") } else { String::new() };
    let table = ProcTable::scan();
    let mut pids = vec![keeper.pid.to_string()];
    pids.extend(table.descendants(keeper.pid).iter().map(|entry| entry.pid.to_string()));
    let mut command = Command::new("busctl");
    command.arg(if unit.of_user { "--user" } else { "--system" });
    command.args(["call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]);
    command.args(["AttachProcessesToUnit", "ssau", &unit.name, &place, &pids.len().to_string()]).args(&pids);
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// Returns true if the processes of this home were started with other mounts than this process.
pub(super) fn sees_other_files(home: &Path) -> bool {
    let mounts = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let theirs = keeper_of(home).and_then(|keeper| mounts(&keeper.pid.to_string()));
    theirs.is_some() && theirs != mounts("self")
}

/// Returns true if systemd's group is ours, or below ours. The texts are those of
/// `/proc/<pid>/cgroup`.
fn is_within(own: &str, theirs: &str) -> bool {
    let unit = |own| Path::new(own).parent().filter(|_| is_beside_apps(own)).unwrap_or(Path::new(own));
    match (group_of(own), group_of(theirs)) {
        (Some(own), Some(theirs)) => Path::new(theirs).starts_with(unit(own)),
        // Without this information, nothing is moved.
        _ => true,
    }
}

/// Returns true for the group that a unit has for its main process.
fn is_beside_apps(group: &str) -> bool {
    Path::new(group).ends_with(SUPERVISOR_GROUP)
}

/// Returns the group in the text. In addition to cgroup version 1, systemd has its own hierarchy.
fn group_of(text: &str) -> Option<&str> {
    let named = text.lines().find_map(|line| line.split_once(":name=systemd:"));
    named.map(|(_, path)| path).or_else(|| text.lines().find_map(|line| line.strip_prefix("0::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_is_own_or_below() {
        for (own, theirs, within) in [
            ("0::/system.slice/a.service", "0::/system.slice/a.service", true),
            ("0::/system.slice/a.service", "0::/system.slice/a.service/ostler-1-2/0-x", true),
            ("0::/system.slice/a.service", "0::/user.slice/user-0.slice/session-1.scope", false),
            ("0::/system.slice/a.service", "0::/system.slice/a.service.d", false),
            ("9:name=systemd:/system.slice/a.service\n0::/x", "9:name=systemd:/session-1.scope\n0::/x", false),
            ("9:name=systemd:/system.slice/a.service\n0::/x", "9:name=systemd:/system.slice/a.service\n0::/y", true),
            ("0::/a.service/ostler-supervisor", "0::/a.service/ostler-1-2/0-x", true),
            ("0::/a.service/ostler-supervisor", "0::/a.service/ostler-supervisor", true),
            ("0::/a.service/ostler-supervisor", "0::/b.service/ostler-supervisor", false),
            ("", "", true),
        ] {
            assert_eq!(is_within(own, theirs), within, "{own} {theirs}");
        }
    }
}
