//! Views of a home that many tests need: pids, names, files, lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::files::text_of;
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

    /// Returns the pids of the entries that are online.
    #[track_caller]
    pub fn online_pids(&self) -> BTreeSet<i32> {
        self.jlist().iter().filter(|item| item.status() == "online").map(ListedApp::pid).collect()
    }

    /// Returns the pids of all entries of the list as texts, as apps write them in answers.
    #[track_caller]
    pub fn pid_texts(&self) -> Vec<String> {
        self.pids().iter().map(i32::to_string).collect()
    }

    /// Returns the pids of the home's processes with this text in their command line (`daemon (`),
    /// from the process table alone.
    pub fn pids_with(&self, text: &str) -> Vec<i32> {
        self.processes().iter().filter(|process| process.cmdline.contains(text)).map(|process| process.pid).collect()
    }

    /// Returns the names of all entries of the list, sorted.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.jlist().iter().map(|item| item.name().to_owned()).collect();
        names.sort();
        names
    }

    /// Returns name and status of all entries of the list, by id.
    #[track_caller]
    pub fn statuses(&self) -> Vec<(String, String)> {
        self.jlist().iter().map(|item| (item.name().to_owned(), item.status().to_owned())).collect()
    }

    /// Returns the pids of app processes with this command line, from the process table alone.
    pub fn pids_of(&self, cmdline: &str) -> Vec<i32> {
        self.app_processes().iter().filter(|process| process.cmdline == cmdline).map(|process| process.pid).collect()
    }

    /// Returns a file of the manager's home as text; empty if it is missing.
    pub fn read_own(&self, name: &str) -> String {
        text_of(self.dir().join(name))
    }

    /// Returns a file of the manager's home as JSON: `dump.pm2`, `module_conf.json`.
    #[track_caller]
    pub fn json_of(&self, name: &str) -> Value {
        let text = self.read_own(name);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name} is not JSON ({error}): {text:?}"))
    }

    /// Returns the log of the daemon as text; empty if it is missing.
    pub fn daemon_log(&self) -> String {
        self.read_own("pm2.log")
    }

    /// Returns the path of a log file below the manager's home.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.dir().join("logs").join(name)
    }

    /// Returns the lines of a file below the work folder; empty if it is missing.
    pub fn lines(&self, name: impl AsRef<Path>) -> Vec<String> {
        self.read(name).lines().map(str::to_owned).collect()
    }
}
