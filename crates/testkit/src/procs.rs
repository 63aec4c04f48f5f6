//! Processes as `/proc` shows them.

use std::collections::HashSet;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Environment variable with the [`crate::Home`] that a process belongs to. It starts with
/// `OSTLER_` because the keeper keeps only a few variables.
pub const MARKER: &str = "OSTLER_TESTKIT_HOME";

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proc {
    /// Process id.
    pub pid: i32,
    /// Its parent.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
    /// State letter; `Z` is a zombie.
    pub state: char,
    /// Start time in clock ticks since boot. Together with the pid, it identifies a process
    /// uniquely.
    pub start_ticks: u64,
    /// Command line, words joined by blanks.
    pub cmdline: String,
}

/// Returns all processes.
pub fn process_table() -> Vec<Proc> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(read).collect()
}

/// Returns a process by pid.
pub(crate) fn read(pid: i32) -> Option<Proc> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything, including parentheses. The fields after
    // the last one are regular.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = cmdline.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    Some(Proc {
        pid,
        state: fields.first()?.chars().next()?,
        ppid: fields.get(1)?.parse().ok()?,
        pgid: fields.get(2)?.parse().ok()?,
        sid: fields.get(3)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
        cmdline: words.join(" ").trim().to_owned(),
    })
}

/// Returns the value of a variable in the initial environment of a process. Fails the test if there
/// is no such process.
#[track_caller]
pub fn variable(pid: i32, name: &str) -> Option<String> {
    assert!(alive(pid), "process {pid} is gone, and {name} with it");
    try_variable(pid, name)
}

/// Works like [`variable`], and returns `None` if there is no such process.
pub fn try_variable(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    let entry = environ.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(prefix.as_bytes()))?;
    Some(String::from_utf8_lossy(entry).into_owned())
}

/// Returns the number in the line of this name (`VmHWM`) of a file of `/proc/<pid>`.
#[track_caller]
pub fn proc_number(pid: i32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let number = |line: &str| {
        let rest = line.split_once(':').filter(|(is, _)| *is == name)?.1;
        rest.split_whitespace().next()?.parse().ok()
    };
    text.lines().find_map(number).unwrap_or_else(|| panic!("no number of {name} in {file} of {pid}:\n{text}"))
}

/// Returns a field of `/proc/<pid>/stat`, numbered as in `proc_pid_stat(5)`. It must follow the
/// name, which is field 2.
#[track_caller]
pub fn stat_field(pid: i32, number: usize) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(") ").expect("the name is in parentheses").1;
    rest.split_whitespace().nth(number - 3).unwrap().parse().unwrap()
}

/// Returns the state letter of a process (`T`: stopped), or `None` if there is no such process.
pub fn state(pid: i32) -> Option<char> {
    Some(read(pid)?.state)
}

/// Returns the living processes that belong to the home with this root folder, by the marker or by
/// the path in their title.
pub(crate) fn of_home(root: &Path) -> Vec<Proc> {
    let root = root.to_string_lossy().into_owned();
    let mine = i32::try_from(std::process::id()).unwrap();
    let below = format!("{root}/");
    // An app of another user does not get the marker, but its `PM2_HOME` names the home.
    let is_reported = |p: &Proc| try_variable(p.pid, "PM2_HOME").is_some_and(|value| value.starts_with(&below));
    let belongs = |p: &Proc| try_variable(p.pid, MARKER).is_some_and(|value| value == root) || p.cmdline.contains(&root) || is_reported(p);
    process_table().into_iter().filter(|p| p.pid != mine && p.state != 'Z' && belongs(p)).collect()
}

/// Returns true if the process exists and is not a zombie.
pub fn alive(pid: i32) -> bool {
    pid > 0 && read(pid).is_some_and(|p| p.state != 'Z')
}

/// Sends a signal; a process that is gone is fine.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _gone = rustix::process::kill_process(pid, signal);
    }
}

/// Kills every process of a home. It stops them first, because keeper and daemon restart each
/// other.
pub(crate) fn kill_all(root: &Path) -> Result<(), Vec<Proc>> {
    let until = Instant::now() + Duration::from_secs(20);
    let mut empty_scans = 0;
    while empty_scans < 2 {
        let found = of_home(root);
        empty_scans = if found.is_empty() { empty_scans + 1 } else { 0 };
        let pids: HashSet<i32> = found.iter().map(|p| p.pid).collect();
        for signal in [Signal::STOP, Signal::KILL] {
            pids.iter().for_each(|pid| kill(*pid, signal));
        }
        if Instant::now() > until {
            return Err(found);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A child process that is killed at the end of its test.
#[derive(Debug)]
pub struct KilledOnDrop(pub Child);

impl KilledOnDrop {
    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Deref for KilledOnDrop {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for KilledOnDrop {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn processes_are_found_by_marker_and_killed() {
        let root = format!("/tmp/no-such-home-{}", std::process::id());
        let mut child = Command::new("sh").args(["-c", "trap '' INT TERM; sleep 600"]).env(MARKER, &root).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while of_home(Path::new(&root)).len() < 2 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(of_home(Path::new(&root)).iter().any(|p| p.pid == pid));
        kill_all(Path::new(&root)).unwrap();
        drop(child.wait());
        assert!(!alive(pid));
    }

    #[test]
    fn read_returns_own_process() {
        let me = read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.start_ticks > 0 && !me.cmdline.is_empty());
    }

    #[test]
    fn read_returns_parent_and_session_of_child() {
        let mut child = Command::new("setsid").args(["sleep", "600"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while read(pid).is_none_or(|p| p.sid != pid) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        let it = read(pid).unwrap();
        assert_eq!((it.ppid, it.sid), (i32::try_from(std::process::id()).unwrap(), pid));
        kill(pid, Signal::KILL);
        drop(child.wait());
    }
}
