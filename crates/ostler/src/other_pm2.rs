//! PM2's own daemon in a home for which ostler was called.
//!
//! Two managers in one home do silent harm: the second one lists nothing, and its saved list
//! replaces that of the first. Therefore, ostler starts no daemon beside PM2, and saves nothing
//! there.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ostler_keeper::{LOCK_FILE, ROLE_VAR};
use ostler_sys::net::socket::{connect_at, peer};
use ostler_sys::{ProcRef, process::tree, time::clock};
use rustix::fs::OFlags;

use crate::error::CliError;
use crate::home::shell_paths;

/// Longest `pm2.pid` and longest title of a process that are read.
const MOST_BYTES: u64 = 4096;

/// Tolerance for the compared times: one kernel tick for each.
const CLOCK_TICK_MS: u128 = 20;

/// Returns an error if PM2's daemon runs in this home; `what` is the action that ostler rejects.
///
/// # Errors
/// Returns an error if PM2 runs. The text names the next step.
pub(crate) fn refuse(home: &Path, what: &str) -> Result<(), CliError> {
    let Some(manager) = in_home(home) else { return Ok(()) };
    Err(CliError::BesidePm2 { what: what.to_owned(), pid: manager, home: home.to_owned() })
}

/// Returns the daemon of PM2 in this home, with its pid if that is visible from here.
fn in_home(home: &Path) -> Option<Option<i32>> {
    answers_calls(home).or_else(|| by_pid_file(home).map(Some))
}

/// Returns the process that listens on PM2's socket, unless it is ostler. A process in another pid
/// namespace has no pid here. Then the home counts as PM2's if ostler has never locked it.
fn answers_calls(home: &Path) -> Option<Option<i32>> {
    let socket = shell_paths(home).calls;
    let stream = connect_at(&socket).ok()?;
    match peer(&stream).ok()?.pid {
        pid if pid > 0 => (!is_ours(pid) && (has_title(pid, home) || is_older(pid, &socket))).then_some(Some(pid)),
        _ => (!home.join(LOCK_FILE).exists()).then_some(None),
    }
}

/// Returns true if the process is older than the socket. The kernel reports the process that
/// created the socket. That may be an old daemon of ostler, whose pid another process may now have.
fn is_older(pid: i32, socket: &Path) -> bool {
    let Ok(process) = ProcRef::of(pid) else { return false };
    let age_ms = clock::boot_ms().saturating_sub(clock::ticks_to_ms(process.start_ticks));
    let made = fs::metadata(socket).and_then(|meta| meta.modified()).ok();
    let since_made = made.and_then(|made| made.elapsed().ok());
    process.runs() && since_made.is_some_and(|since| u128::from(age_ms) + CLOCK_TICK_MS >= since.as_millis())
}

/// Returns true if the process has the title of PM2's daemon for this home.
fn has_title(pid: i32, home: &Path) -> bool {
    read(&PathBuf::from(format!("/proc/{pid}/cmdline"))).is_some_and(|title| is_title_of(&title, home))
}

/// Returns the process that `pm2.pid` names, if it is a daemon of PM2 for this home. A stale file
/// may name no process, or a different one.
fn by_pid_file(home: &Path) -> Option<i32> {
    let pid: i32 = read(&shell_paths(home).pid)?.trim().parse().ok().filter(|pid| *pid > 1)?;
    (has_title(pid, home) && !is_ours(pid)).then_some(pid)
}

/// Returns true for `PM2 v5.4.3: God Daemon (/root/.pm2)`.
fn is_title_of(title: &str, home: &Path) -> bool {
    let title = title.trim_end_matches(['\0', ' ']);
    let Some((start, folder)) = title.split_once(": God Daemon (") else { return false };
    let folder = Path::new(folder.trim_end_matches(')'));
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    start.starts_with("PM2 v") && (folder == home || real(folder) == real(home))
}

/// Returns true for a keeper or daemon of ostler.
fn is_ours(pid: i32) -> bool {
    tree::marker(pid, ROLE_VAR).is_some()
}

/// Reads the start of a file. The call never blocks: a fifo counts as empty.
fn read(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn process_younger_than_the_socket_is_not_its_owner() {
        let path = std::env::temp_dir().join(format!("ostler-other-pm2-{}", std::process::id()));
        let file = fs::File::create(&path).unwrap();
        let own = std::process::id().cast_signed();
        assert!(is_older(own, &path));
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(864_000)).unwrap();
        assert!(!is_older(own, &path) && !is_older(i32::MAX, &path));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn title_of_pm2_daemon_is_recognized() {
        for (title, expected) in [
            ("PM2 v7.0.4: God Daemon (/nowhere/.pm2)\0\0", true),
            ("PM2 v5.4.3: God Daemon (/nowhere/.pm2)   ", true),
            ("PM2 v5.4.3: God Daemon (/nowhere/.pm2-dev)", false),
            ("node\0/nowhere/.pm2/app.js\0", false),
            ("vim\0PM2 v5.4.3: God Daemon (/nowhere/.pm2)", false),
            ("", false),
        ] {
            assert_eq!(is_title_of(title, Path::new("/nowhere/.pm2")), expected, "{title}");
        }
    }
}
