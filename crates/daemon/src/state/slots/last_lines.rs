//! Last lines of an instance that explain an exit.

use ostler_core::logs::error_lines;
use ostler_core::logs::files::own_stream;

use super::Slot;
use crate::platform::rights::Rights;

/// Bytes of a log that are searched for an error report.
const LOOKED_AT: usize = 64 * 1024;

impl Slot {
    /// Returns the relevant lines of its present process.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last_lines_from(self.durable.log_start)
    }

    /// Returns lines from these positions (bytes) of its error and output log. The first log with
    /// such lines counts.
    pub(crate) fn last_lines_from(&self, (error, out): (u64, u64)) -> Vec<String> {
        let rights = Rights::of(self.spec());
        [(self.live.files.error.as_deref(), error), (self.live.files.out.as_deref(), out)]
            .into_iter()
            .filter_map(|(path, start)| Some((path.filter(|path| own_stream(path).is_none())?, start)))
            .map(|(path, start)| crate::logs::last_lines(&rights, path.as_ref(), start, usize::MAX, LOOKED_AT))
            .map(|lines| error_lines::pick(&lines.iter().map(String::as_str).collect::<Vec<_>>()))
            .find(|lines| !lines.is_empty())
            .unwrap_or_default()
    }
}
