//! Other managers on this machine: a PM2 that runs, starts at boot, or is found as a command.

use std::path::Path;

use ostler_core::message;
use ostler_keeper::ROLE_VAR;

use super::{Finding, Level};
use crate::pm2_units::units;

pub(super) fn inspect(home: &Path, findings: &mut Vec<Finding>) {
    let running = daemons();
    for (pid, folder) in &running {
        let found = message!("its daemon runs (pid {pid}) in {folder}", pid, folder);
        findings.push(Finding::new(
            Level::Warning,
            "PM2",
            found,
            message!("ostler migrate {folder}  (one app after the other; --dry-run shows how)", folder),
        ));
    }
    let pm2_home = crate::home::pm2_home();
    for unit in pm2_home.iter().flat_map(|folder| units(folder)) {
        let remedy = message!("sudo systemctl disable {unit}  (ostler migrate does it, too)", unit = unit.name);
        findings.push(Finding::new(Level::Warning, "PM2", message!("{unit} starts it at boot", unit = unit.name), remedy));
    }
    let lock = crate::home::shell_paths(home).reload_lock;
    if running.is_empty() && lock.exists() {
        let remedy = format!("rm {}", lock.display());
        findings.push(Finding::new(Level::Note, "PM2", message!("it left a lock file behind, which ostler ignores"), remedy));
    }
    if !findings.iter().any(|finding| finding.what == "PM2") {
        findings.push(Finding::fine("PM2", message!("not running here")));
    }
}

/// Returns the visible daemons of PM2, with their homes.
fn daemons() -> Vec<(i32, String)> {
    let pids =
        std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut all: Vec<(i32, String)> = pids
        .filter_map(|pid| {
            let title = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let folder = home_of(&String::from_utf8_lossy(&title))?.to_owned();
            // Called as `pm2`, ostler's own daemon has the same title.
            (ostler_sys::process::tree::marker(pid, ROLE_VAR).is_none()).then_some((pid, folder))
        })
        .collect();
    all.sort_unstable();
    all
}

/// Returns the home from the title of PM2's daemon.
fn home_of(title: &str) -> Option<&str> {
    let rest = title.strip_prefix("PM2 v")?;
    let folder = rest.split_once(": God Daemon (")?.1.split(')').next()?;
    (!folder.is_empty()).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_read_from_title_of_pm2_daemon() {
        assert_eq!(home_of("PM2 v7.0.4: God Daemon (/root/.pm2)\0\0\0"), Some("/root/.pm2"));
        for other in ["node /app.js", "ostler: keeper (/root/.ostler)", "PM2 v7", "PM2 v7.0.4: God Daemon ()"] {
            assert_eq!(home_of(other), None, "{other}");
        }
    }
}
