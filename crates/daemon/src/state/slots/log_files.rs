//! Log files of a slot, and those of a process that another daemon started.

use std::path::Path;

use ostler_core::logs::files::own_stream;
use ostler_sys::process::descriptors::descriptor;

use super::Slot;
use crate::logs;
use crate::logs::reclaim::{FileKey, PathEntry, inspect_path};
use crate::platform::rights::follow_links;

/// Log of a slot by its place: error output, output, combined.
pub(crate) const LOGS: std::ops::Range<u8> = 0..3;

impl Slot {
    /// Returns true if the process writes to its log files itself.
    pub(crate) fn writes_directly(&self) -> bool {
        !logs::needs_pipe(&self.spec().logs)
    }

    /// Returns the path of a log, with the file that the process itself has open. `None` if the slot
    /// has no such file.
    pub(crate) fn log(&self, place: u8) -> Option<(&String, Option<FileKey>)> {
        let [error, out] = self.durable.log_files;
        let is_direct = self.writes_directly();
        let files = &self.live.files;
        let (path, file, is_own) = match place {
            0 => (&files.error, error, is_direct),
            1 => (&files.out, out, is_direct),
            _ => (&files.combined, None, false),
        };
        let path = path.as_ref().filter(|path| own_stream(path).is_none() && !logs::is_nowhere(Path::new(path)))?;
        // A file that an app writes itself is known only by its descriptor.
        (!is_own || file.is_some()).then_some((path, file.filter(|_| is_direct)))
    }

    /// Returns all logs.
    pub(crate) fn logs(&self) -> impl Iterator<Item = (&String, Option<FileKey>)> {
        LOGS.filter_map(|place| self.log(place))
    }

    /// Determines the log files of a process whose daemon died before it recorded them. Only files
    /// at their expected paths are accepted as its logs.
    pub(crate) fn recognise_logs(&mut self, pid: i32) {
        if logs::needs_pipe(&self.spec().logs) {
            return;
        }
        let believe = |path: &Option<String>, fd| {
            let file = descriptor(pid, fd).filter(|found| found.appends).map(|found| found.key)?;
            (inspect_path(&follow_links(path.as_deref()?.as_ref()), file).0 == PathEntry::SameFile).then_some(file)
        };
        self.durable.log_files = [believe(&self.live.files.error, 2), believe(&self.live.files.out, 1)];
    }
}
