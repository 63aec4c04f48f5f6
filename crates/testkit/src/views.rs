//! Views of a home that many tests need: pids, names, lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::home::Home;
use crate::listing::ListedApp;

impl Home {
    /// Returns the pids of all entries of the list, by id; 0 for an entry that does not run.
    #[track_caller]
    pub fn pids(&self) -> Vec<i32> {
        self.jlist().iter().map(ListedApp::pid).collect()
    }

    /// Returns [`Home::pids`] as a set.
    #[track_caller]
    pub fn pid_set(&self) -> BTreeSet<i32> {
        self.pids().into_iter().collect()
    }

    /// Returns the names of all entries of the list, sorted.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.jlist().iter().map(|item| item.name().to_owned()).collect();
        names.sort();
        names
    }

    /// Returns the pids of app processes with this command line, from the process table alone.
    pub fn pids_of(&self, cmdline: &str) -> Vec<i32> {
        self.app_processes().iter().filter(|process| process.cmdline == cmdline).map(|process| process.pid).collect()
    }

    /// Returns the log of the daemon as text; empty if it is missing.
    pub fn daemon_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir().join("pm2.log")).unwrap_or_default()).into_owned()
    }

    /// Returns the path of a log file below the manager's home.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.dir().join("logs").join(name)
    }

    /// Returns the lines of a file below the work folder; empty if it is missing.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.read(name).lines().map(str::to_owned).collect()
    }
}
