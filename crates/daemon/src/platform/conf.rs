//! `module_conf.json`: settings that `ostler set` keeps. Clients write it (whole, by renaming), the daemon only reads.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_proto::pm2::read_conf;
use serde_json::{Map, Value};

use crate::platform::log::DaemonLog;

/// Stamp that distinguishes states of the file: inode, size, time of change.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The settings as they were read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conf {
    path: PathBuf,
    all: Map<String, Value>,
    stamp: Stamp,
    /// Number of times that it was read.
    version: u64,
}

impl Conf {
    /// An empty one: nothing is read yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// All settings.
    pub(crate) fn all(&self) -> &Map<String, Value> {
        &self.all
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The section of this name.
    pub(crate) fn section(&self, name: &str) -> Option<&Map<String, Value>> {
        self.all.get(name)?.as_object()
    }

    /// Reads it if it is not what was read last; a file that cannot be read or makes no sense is logged, and what was read before still
    /// holds. How often it was read so far, so that each who needs something of it sees whether there is anything new.
    pub(crate) fn refresh(&mut self, log: &mut DaemonLog) -> u64 {
        let stamp = std::fs::metadata(&self.path).ok().map(|meta| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        if stamp != self.stamp {
            self.stamp = stamp;
            match read_conf(&self.path) {
                Ok(all) => (self.all, self.version) = (all, self.version + 1),
                Err(error) => log.error(format_args!("{error}; the settings stay as they were")),
            }
        }
        self.version
    }
}
