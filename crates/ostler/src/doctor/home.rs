//! The home, its disk, and the daemon in it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_core::message;

use super::{DaemonState, Finding, Level};
use crate::left_behind;
use crate::render::bytes;
use crate::unresponsive::keeper_fault;

/// Free space below which the next log may fill the disk, and the share of the disk.
const LOW_BYTES: u64 = 256 << 20;
const LOW_PERCENT: u64 = 3;
/// Magic numbers of network file systems, on which locks and sockets of several machines meet.
const NETWORK_FILE_SYSTEMS: [(u64, &str); 4] = [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB"), (0x0102_1997, "9p")];

pub(super) fn inspect(home: &Path, daemon: &DaemonState, findings: &mut Vec<Finding>) {
    findings.push(folder(home));
    findings.push(daemon_finding(home, daemon));
    let mut folders: BTreeSet<PathBuf> = BTreeSet::from([home.to_owned()]);
    if let DaemonState::Runs(_, details) = daemon {
        let files = details.iter().flat_map(|detail| [&detail.files.out, &detail.files.error].into_iter().flatten());
        folders.extend(files.filter_map(|file| Path::new(file).parent().map(Path::to_owned)));
    }
    findings.extend(disks(&folders));
}

fn folder(home: &Path) -> Finding {
    let what = "home";
    let shown = home.display();
    let Ok(meta) = std::fs::metadata(home) else {
        return Finding::new(
            Level::Note,
            what,
            message!("{shown} does not exist yet", shown),
            message!("the first command that needs a daemon creates it"),
        );
    };
    let kind = rustix::fs::statfs(home).ok().and_then(|stat| {
        let number = stat.f_type as u64 & 0xffff_ffff;
        NETWORK_FILE_SYSTEMS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
    });
    if let Some(kind) = kind {
        let found = message!("{shown} is on {kind}", shown, kind);
        return Finding::new(
            Level::Warning,
            what,
            found,
            message!("two machines that share a home start each app twice: set OSTLER_HOME to a local folder"),
        );
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Finding::new(
            Level::Wrong,
            what,
            message!("{shown} belongs to user {uid}", shown, uid = meta.uid()),
            message!("run ostler as that user, or set OSTLER_HOME"),
        );
    }
    if meta.mode() & 0o022 != 0 {
        return Finding::new(Level::Warning, what, message!("other users can write to {shown}", shown), format!("chmod 700 {shown}"));
    }
    Finding::fine(what, message!("{shown}, mode {mode}", shown, mode = format!("{:o}", meta.mode() & 0o7777)))
}

fn daemon_finding(home: &Path, daemon: &DaemonState) -> Finding {
    let what = "daemon";
    match daemon {
        DaemonState::Runs(peer, _) if peer.version != env!("CARGO_PKG_VERSION") => {
            let found = message!(
                "the daemon is version {daemon}, this program is {program}",
                daemon = peer.version,
                program = env!("CARGO_PKG_VERSION")
            );
            Finding::new(Level::Warning, what, found, message!("ostler update  (no app is restarted)"))
        }
        DaemonState::Runs(peer, _) if let Some(fault) = keeper_fault(peer.keeper_pid) => Finding::new(
            Level::Wrong,
            "keeper",
            fault.found,
            message!("{remedy}, if the daemon does not replace it within a few seconds", remedy = fault.remedy),
        ),
        DaemonState::Runs(peer, details) => {
            let count = details.len();
            Finding::fine(
                what,
                match count {
                    1 => message!("runs, pid {pid}, keeper {keeper}, 1 instance", pid = peer.pid, keeper = peer.keeper_pid),
                    _ => message!("runs, pid {pid}, keeper {keeper}, {count} instances", pid = peer.pid, keeper = peer.keeper_pid, count),
                },
            )
        }
        DaemonState::None => match left_behind::of(home) {
            Some(left) if !left.other_boot => Finding::new(
                Level::Wrong,
                what,
                message!("it was killed together with its keeper while apps ran"),
                message!("ostler list  (takes over the apps that still run)"),
            ),
            _ => Finding::new(Level::Note, what, message!("not running"), message!("ostler start, or ostler resurrect")),
        },
        DaemonState::Faulty(why) => {
            Finding::new(Level::Wrong, what, why.clone(), message!("see `ostler list` and the daemon's log, pm2.log in the home"))
        }
    }
}

/// Checks each file system once.
fn disks(folders: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for folder in folders {
        let (Ok(meta), Ok(stat)) = (std::fs::metadata(folder), rustix::fs::statvfs(folder)) else { continue };
        if !seen.insert(meta.dev()) || stat.f_blocks == 0 {
            continue;
        }
        let (free, all) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
        let what = format!("disk of {}", folder.display());
        findings.push(match level(free, all, stat.f_favail, stat.f_files) {
            Level::Fine => Finding::fine(what, message!("{free} of {total} free", free = bytes(free), total = bytes(all))),
            level if free > LOW_BYTES => Finding::new(
                level,
                what,
                message!("almost no files can be created: the inodes are used up"),
                message!("remove unneeded files: logs and the state need inodes"),
            ),
            level => {
                let remedy =
                    message!("logs are delayed while the disk is full: ostler flush, or `ostler set pm2-logrotate:retain`, `max_size`");
                Finding::new(level, what, message!("{free} of {total} free", free = bytes(free), total = bytes(all)), remedy)
            }
        });
    }
    findings
}

fn level(free: u64, all: u64, free_files: u64, files: u64) -> Level {
    if free == 0 || files > 0 && free_files == 0 {
        Level::Wrong
    } else if free < LOW_BYTES.min(all / 100 * LOW_PERCENT) || files > 0 && free_files < 100 {
        Level::Warning
    } else {
        Level::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_level_follows_free_space_and_files() {
        let gib = 1 << 30;
        for (free, all, free_files, files, expected) in [
            (50 * gib, 100 * gib, 10, 0, Level::Fine),
            (gib, 100 * gib, 1000, 1000, Level::Fine),
            (100 << 20, 100 * gib, 1000, 1000, Level::Warning),
            // A small disk, half full.
            (32 << 20, 64 << 20, 1000, 1000, Level::Fine),
            (0, 64 << 20, 1000, 1000, Level::Wrong),
            (gib, 100 * gib, 0, 1000, Level::Wrong),
            (gib, 100 * gib, 50, 1000, Level::Warning),
        ] {
            assert_eq!(level(free, all, free_files, files), expected, "{free} of {all}, {free_files} of {files}");
        }
    }
}
