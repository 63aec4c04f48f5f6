//! Files of a home that client, daemon and dashboard share.
//!
//! PM2's variables move some of them. A daemon reads the variables once, when it starts, so its
//! environment says where the files of its home are for as long as it runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Name of the control socket.
pub const SOCKET_FILE: &str = "ostler.sock";

/// A variable that moves a file, and the file's usual name in the home.
struct Moved(&'static str, &'static str);

const LOG: Moved = Moved("PM2_LOG_FILE_PATH", "pm2.log");
const DUMP: Moved = Moved("PM2_DUMP_FILE_PATH", "dump.pm2");
const DUMP_BACKUP: Moved = Moved("PM2_DUMP_BACKUP_FILE_PATH", "dump.pm2.bak");

/// Every variable that moves a file of the home.
pub const VARIABLES: [&str; 3] = [LOG.0, DUMP.0, DUMP_BACKUP.0];

/// Paths of a home's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomePaths {
    /// The folder.
    pub home: PathBuf,
    /// Log of keeper and daemon.
    pub log: PathBuf,
    /// Saved list.
    pub dump: PathBuf,
    /// The saved list before the newest one.
    pub dump_backup: PathBuf,
}

impl HomePaths {
    /// Returns the paths of a home in an environment. A relative path of a variable is in the home.
    pub fn new(home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |Moved(name, usual): Moved| match variable(name).filter(|value| !value.is_empty()) {
            Some(given) => home.join(given),
            None => home.join(usual),
        };
        Self { home: home.to_owned(), log: path(LOG), dump: path(DUMP), dump_backup: path(DUMP_BACKUP) }
    }

    /// Returns the control socket of a home, which no variable moves.
    pub fn socket(home: &Path) -> PathBuf {
        home.join(SOCKET_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_move_files() {
        let home = Path::new("/home/me/.pm2");
        let paths = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), OsString::from(value));
            HomePaths::new(home, move |asked| (asked == name).then(|| value.clone()))
        };
        let usual = paths("", "");
        assert_eq!(
            [&usual.log, &usual.dump, &usual.dump_backup],
            ["pm2.log", "dump.pm2", "dump.pm2.bak"].map(|name| home.join(name)).each_ref()
        );
        assert_eq!(paths("PM2_DUMP_FILE_PATH", ""), usual);
        assert_eq!(paths("PM2_DUMP_FILE_PATH", "/srv/list").dump, Path::new("/srv/list"));
        assert_eq!(paths("PM2_DUMP_BACKUP_FILE_PATH", "/srv/list").dump_backup, Path::new("/srv/list"));
        assert_eq!(paths("PM2_LOG_FILE_PATH", "my.log").log, home.join("my.log"));
        assert_eq!(HomePaths::socket(home), home.join("ostler.sock"));
    }
}
