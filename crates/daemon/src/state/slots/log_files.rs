//! Log files of a process that another daemon started.

use ostler_sys::process::descriptors::descriptor;

use super::Slot;
use crate::logs;
use crate::logs::reclaim::{PathEntry, inspect_path};
use crate::platform::rights::follow_links;

impl Slot {
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
