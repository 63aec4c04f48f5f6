//! Settings of `ostler set` (`module_conf.json`). Clients replace the file by renaming; the daemon
//! only reads it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_proto::pm2::read_conf;
use serde_json::{Map, Value};

use crate::platform::log::DaemonLog;

/// Stamp that identifies a state of the file: inode, size, time of change.
type ConfStamp = Option<(u64, u64, i64, i64)>;

/// Settings as they were last read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conf {
    path: PathBuf,
    all: Map<String, Value>,
    stamp: ConfStamp,
    /// Number of reads so far.
    version: u64,
}

impl Conf {
    /// Creates empty settings; nothing is read yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// Returns all settings.
    pub(crate) fn all(&self) -> &Map<String, Value> {
        &self.all
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the section of this name.
    pub(crate) fn section(&self, name: &str) -> Option<&Map<String, Value>> {
        self.all.get(name)?.as_object()
    }

    /// Reads the file if it has changed. If it cannot be read or parsed, the error is logged and
    /// the previous settings stay in effect. Returns the number of reads so far, by which each
    /// caller notices changes.
    pub(crate) fn refresh(&mut self, log: &mut DaemonLog) -> u64 {
        let stamp = std::fs::metadata(&self.path).ok().map(|meta| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        if stamp != self.stamp {
            self.stamp = stamp;
            match read_conf(&self.path) {
                Ok(all) => (self.all, self.version) = (all, self.version + 1),
                Err(error) => log.error(format_args!("{error}; the settings are unchanged")),
            }
        }
        self.version
    }
}
