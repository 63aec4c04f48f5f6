//! Limits, clock, and the abilities of the kernel.

use std::path::Path;

use ostler_core::text::language::translated;
use ostler_core::{marked, message};

use super::{DaemonState, Finding, Level};

/// Descriptors for each instance: its logs and channels, with a reserve.
const FILES_PER_INSTANCE: u64 = 8;
/// Descriptors that a daemon needs in any case.
const FILES_AT_LEAST: u64 = 1024;
/// Typical number of folders in a project with dependencies.
const WATCHES: u64 = 8192;

pub(super) fn inspect(daemon: &DaemonState, findings: &mut Vec<Finding>) {
    findings.push(open_files(daemon));
    let watches = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let watched = matches!(daemon, DaemonState::Runs(_, details) if details.iter().any(|detail| detail.spec.watch.on));
    if let Some(most) = watches("max_user_watches").filter(|most| *most < WATCHES && watched) {
        let remedy = message!("sysctl fs.inotify.max_user_watches=524288; further folders are polled");
        findings.push(Finding::new(Level::Warning, "file watches", message!("this user may watch {count} folders", count = most), remedy));
    }
    findings.push(clock());
    findings.push(groups(daemon));
    let refused = ostler_sys::refused_calls::refused();
    if refused.is_empty() {
        findings.push(Finding::fine("system calls", message!("all system calls that ostler needs are allowed")));
    }
    for call in refused {
        findings.push(Finding::new(
            Level::Note,
            "system calls",
            message!("{call} is blocked ({error})", call = call.call, error = call.errno),
            call.cost,
        ));
    }
}

fn open_files(daemon: &DaemonState) -> Finding {
    let (most, instances) = match daemon {
        DaemonState::Runs(peer, details) => (limit_of(peer.pid), details.len() as u64),
        _ => (Some(ostler_sys::process::rlimit::nofile().soft).filter(|most| *most != u64::MAX), 0),
    };
    let needed = FILES_AT_LEAST + FILES_PER_INSTANCE * instances;
    match most {
        Some(most) if most < needed => {
            let found = message!("{limit}, and {count} instances may need {needed}", limit = most, count = instances, needed);
            Finding::new(Level::Warning, "open files", found, message!("LimitNOFILE= of the service, or ulimit -n before the start"))
        }
        Some(most) => Finding::fine("open files", most.to_string()),
        None => Finding::fine("open files", message!("unlimited")),
    }
}

/// Returns the descriptor limit of a process, or none if it is unlimited or unknown.
fn limit_of(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

fn clock() -> Finding {
    match ostler_sys::time::clock::is_synchronized() {
        Some(true) => Finding::fine("clock", message!("synchronized")),
        Some(false) => {
            let remedy = message!("start chrony, ntpd or systemd-timesyncd: cron and the dates in logs depend on the clock");
            Finding::new(Level::Note, "clock", message!("not synchronized (NTP is off)"), remedy)
        }
        None => Finding::new(
            Level::Note,
            "clock",
            message!("the kernel does not report whether it is synchronized"),
            message!("in a container, the host synchronizes it"),
        ),
    }
}

fn groups(daemon: &DaemonState) -> Finding {
    const COST: &str = marked!(
        "memory_max, cpu_quota, pids_max, io_weight have no effect; processes that leave their session and clear their environment are not found"
    );
    let cost = translated(COST);
    let of = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    let instance = match daemon {
        DaemonState::Runs(peer, details) => details.iter().find_map(|detail| detail.instance.pid()).map(|pid| of(pid) != of(peer.pid)),
        _ => None,
    };
    // Version 2 may be mounted beside version 1, at any place. The check is therefore whether
    // instances have their own groups.
    if instance == Some(true) {
        return Finding::fine("cgroups", message!("each instance has its own cgroup"));
    }
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Finding::new(Level::Note, "cgroups", message!("cgroup v2 is not available"), cost);
    }
    if instance == Some(false) {
        let remedy = message!("{cost}; the service needs Delegate=yes (`ostler startup` writes it)", cost);
        return Finding::new(Level::Note, "cgroups", message!("instances have no cgroup"), remedy);
    }
    match ostler_sys::cgroup::own().filter(|group| rustix::fs::access(group, rustix::fs::Access::WRITE_OK).is_ok()) {
        Some(_) => Finding::fine("cgroups", message!("v2, and cgroups can be created")),
        None => Finding::new(
            Level::Note,
            "cgroups",
            message!("cannot create cgroups from here"),
            message!("{cost}; run ostler as a service with Delegate=yes", cost),
        ),
    }
}
