//! Last lines of an instance, as far as they explain an end.

use ostler_core::logs::error_lines;
use ostler_core::logs::files::own_stream;

use super::Slot;
use crate::platform::rights::Rights;

/// Bytes of a log that are searched for a report of an error.
const LOOKED_AT: usize = 64 * 1024;

impl Slot {
    /// Lines that matter of what its present process wrote.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last_lines_from(self.durable.log_start)
    }

    /// Lines from these positions (bytes) of its error and its output log on: of the first that has any.
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
