//! Paths of a home's files, for client, daemon and dashboard.
//!
//! PM2's variables move some of them. A daemon reads the variables once, when it starts. Its
//! environment therefore determines the paths of its home for its lifetime. The keeper does not
//! link this crate and has its own copy of the names that it needs; a test of the binary compares
//! them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variable that moves the log of keeper and daemon.
pub const LOG: &str = "PM2_LOG_FILE_PATH";
/// Variable that moves the saved list.
pub const DUMP: &str = "PM2_DUMP_FILE_PATH";
/// Variable that moves the settings.
pub const CONF: &str = "PM2_MODULE_CONF_FILE";

/// Every variable that moves a file, and the usual name of that file.
const MOVABLE: [(&str, &str); 9] = [
    (LOG, "pm2.log"),
    ("PM2_PID_FILE_PATH", "pm2.pid"),
    (DUMP, "dump.pm2"),
    ("PM2_DUMP_BACKUP_FILE_PATH", "dump.pm2.bak"),
    (CONF, "module_conf.json"),
    ("PM2_DEFAULT_MODULE_PATH", "modules"),
    ("PM2_RELOAD_LOCKFILE", "reload.lock"),
    ("PM2_DAEMON_RPC_PORT", "rpc.sock"),
    ("PM2_DAEMON_PUB_PORT", "pub.sock"),
];

/// Paths of a home's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HomePaths {
    /// The folder.
    pub home: PathBuf,
    /// Log of keeper and daemon.
    pub log: PathBuf,
    /// Pid of the keeper.
    pub pid: PathBuf,
    /// Saved list.
    pub dump: PathBuf,
    /// The saved list before the newest one.
    pub dump_backup: PathBuf,
    /// Settings of the home and of modules.
    pub conf: PathBuf,
    /// Folder of installed modules.
    pub modules: PathBuf,
    /// Lock of PM2 for reloads, which ostler does not use.
    pub reload_lock: PathBuf,
    /// PM2's socket for calls.
    pub calls: PathBuf,
    /// PM2's socket for events.
    pub events: PathBuf,
}

impl HomePaths {
    /// Returns the paths of a home in an environment. A relative path of a variable is in the home;
    /// a socket has an absolute path only, because older programs set a port there.
    pub fn new(home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let [log, pid, dump, dump_backup, conf, modules, reload_lock, calls, events] = MOVABLE.map(|(name, usual)| {
            let given = variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            home.join(given.filter(|path| path.is_absolute() || !usual.ends_with(".sock")).unwrap_or_else(|| usual.into()))
        });
        Self { home: home.to_owned(), log, pid, dump, dump_backup, conf, modules, reload_lock, calls, events }
    }

    /// Returns the file that a variable moves.
    pub fn of(&self, variable: &str) -> Option<&Path> {
        self.each().find_map(|(name, _, path)| (name == variable).then_some(path))
    }

    /// Returns the files that are not at their usual place, each with the variable that moved it.
    pub fn moved(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.each().filter(|(_, usual, path)| **path != self.home.join(usual)).map(|(name, _, path)| (name, path))
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, &Path)> {
        let Self { home: _, log, pid, dump, dump_backup, conf, modules, reload_lock, calls, events } = self;
        let paths = [log, pid, dump, dump_backup, conf, modules, reload_lock, calls, events];
        MOVABLE.into_iter().zip(paths).map(|((name, usual), path)| (name, usual, path.as_path()))
    }

    /// Returns the control socket of a home, which no variable moves.
    pub fn socket(home: &Path) -> PathBuf {
        home.join("ostler.sock")
    }

    /// Returns the usual folder of the logs of apps.
    pub fn logs(home: &Path) -> PathBuf {
        home.join("logs")
    }

    /// Returns the folder of the receive times of log lines.
    pub fn line_times(home: &Path) -> PathBuf {
        home.join("line-times")
    }

    /// Returns the copy of the journal on disk.
    pub fn state(home: &Path) -> PathBuf {
        home.join("ostler.state")
    }

    /// Returns the folder of records that a daemon could not read.
    pub fn set_aside(home: &Path) -> PathBuf {
        home.join("set-aside")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables_move_files_of_a_home() {
        let home = Path::new("/home/me/.pm2");
        let paths = |name: &'static str, value: &'static str| HomePaths::new(home, move |asked| (asked == name).then(|| value.into()));
        let usual = paths("", "");
        assert!(usual.dump == home.join("dump.pm2") && usual.calls == home.join("rpc.sock") && usual.moved().next().is_none());
        for (name, usual_name) in MOVABLE {
            assert_eq!(usual.of(name), Some(home.join(usual_name).as_path()));
            assert_eq!(paths(name, ""), usual);
            let moved = paths(name, "/srv/other");
            assert_eq!(moved.moved().collect::<Vec<_>>(), [(name, Path::new("/srv/other"))]);
        }
        assert_eq!(paths(LOG, "my.log").log, home.join("my.log"));
        // A port of an older PM2.
        assert_eq!(paths("PM2_DAEMON_RPC_PORT", "6666"), usual);
        assert_eq!(HomePaths::socket(home), home.join("ostler.sock"));
    }
}
