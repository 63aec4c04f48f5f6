//! `watch`: file changes restart the changed app only, once per burst, and never in a loop.

mod effects;
mod matched_changes;
mod trees;

use std::fs;
use std::path::Path;

use ostler_testkit::Home;

use crate::setup::ecosystem;

pub const WAITS: &str = "#!/bin/sh\nexec sleep 1000\n";

/// Starts an app in its own folder, watched with these members of its entry. Waits until it is
/// watched.
#[track_caller]
pub fn watched(home: &Home, name: &str, members: &str) {
    let script = home.write(&format!("{name}/app.sh"), WAITS);
    let cwd = home.work().join(name);
    let file = ecosystem(home, &format!(r#""name": "{name}", "script": "{script}", "cwd": "{}", {members}"#, cwd.display()));
    home.ok(format!("start {file}"));
    wait_for_watching(home, name, 1);
}

/// Waits until watching of the app has started this many times.
#[track_caller]
pub fn wait_for_watching(home: &Home, name: &str, times: usize) {
    home.wait_until(&format!("{name} is watched"), || {
        let log = home.daemon_log();
        log.lines().filter(|line| line.contains("Watching ") && line.ends_with(&format!(" for app {name}"))).count() >= times
    });
}

/// Returns the paths that restarted an app, in order.
pub fn restarted_by(home: &Home, name: &str) -> Vec<String> {
    let tail = format!(" for app {name} - restarting");
    let of_line = |line: &str| Some(line.split_once("Change detected on path ")?.1.strip_suffix(&tail)?.to_owned());
    home.daemon_log().lines().filter_map(of_line).collect()
}

/// Waits until the app was restarted this many times in total, and runs.
#[track_caller]
pub fn restarts(home: &Home, name: &str, count: u64) {
    home.wait_app(name, &format!("restarted {count} times"), |item| item.restarts() == count && item.status() == "online");
}

/// Makes a change that counts, after changes that must not count: only this change restarts the
/// app.
#[track_caller]
pub fn only_the_last_counts(home: &Home, name: &str, last: &str) {
    let (before, app) = (restarted_by(home, name).len(), home.app(name));
    home.write(&format!("{name}/{last}"), format!("{before}"));
    home.wait_app(name, "restarted", |item| item.pid() != app.pid() && item.status() == "online");
    assert_eq!(restarted_by(home, name)[before..], [last]);
}

/// Returns true for a line of an inotify watch that does not end after one event. Logs have watches
/// that end.
fn is_lasting(line: &str) -> bool {
    const ONE_SHOT: u64 = 0x8000_0000;
    let mask = line.split(' ').find_map(|word| u64::from_str_radix(word.strip_prefix("mask:")?, 16).ok());
    line.starts_with("inotify wd:") && mask.is_some_and(|mask| mask & ONE_SHOT == 0)
}

/// Returns the number of the daemon's lasting inotify watches in the kernel, by inode.
pub fn kernel_watches(home: &Home) -> usize {
    let folder = format!("/proc/{}/fdinfo", home.daemon_pid());
    let files = fs::read_dir(folder).unwrap().flatten();
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().filter(|line| is_lasting(line)).count();
    // The descriptor appears twice, because the thread has a copy.
    files.map(|entry| lines(&entry.path())).max().unwrap_or(0)
}
