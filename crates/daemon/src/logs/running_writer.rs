//! Running log writer of a slot, and its records in the journal and the keeper.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use jiff::tz::TimeZone;
use ostler_core::logs::date_format::{DateFormat, Stamper};
use ostler_sys::fd::pipe::identity;
use serde::{Deserialize, Serialize};

use super::reclaim::FileKey;
use super::{DateWriter, Format, Formats, Handle, ShownAs};
use crate::platform::rights::Rights;

/// Prefix of the names of pipe ends: `log:<instance>:<place>:<end>`.
const PREFIX: &str = "log:";
/// Longest delay of an exit until the last lines are written, so that the crash record shows them.
const LINES_END_WITHIN: Duration = Duration::from_millis(20);

/// Descriptors of one writer: read ends and write ends of output and error, and the holding pipe.
pub(crate) type WriterPipes = [OwnedFd; 5];

/// Record of an instance's pipes. If the keeper lost them, the app still has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPipes {
    /// Index of the writer's record.
    pub place: u32,
    /// Identities of the pipes of output and error.
    pub pipes: [FileKey; 2],
}

impl LogPipes {
    /// Returns the record of these descriptors, or `None` if one of them is not a pipe.
    pub(crate) fn of(place: u32, ends: &WriterPipes) -> Option<Box<Self>> {
        Some(Box::new(Self { place, pipes: [identity(&ends[0])?, identity(&ends[1])?] }))
    }
}

/// Running writer.
#[derive(Debug)]
pub(crate) struct RunningWriter {
    pub handle: Handle,
    pub ends: WriterPipes,
    /// Index of the writer's record.
    pub place: u32,
    /// Destination of this writer; another destination needs another writer.
    pub made_for: Destination,
    /// True from the start of a process until its open lines were completed after its exit.
    pub is_used: bool,
}

/// Destination of lines, and their form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Destination {
    pub paths: [Option<String>; 3],
    pub json: bool,
    pub date_format: Option<String>,
    pub name: String,
    /// `pm_id`.
    #[serde(default)]
    pub process_id: u32,
    /// Form of lines in the container's output, if ostler runs as the container's main program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<ShownAs>,
    /// Rights with which the files are opened.
    #[serde(default, skip_serializing_if = "Rights::is_daemon_user")]
    pub rights: Rights,
}

/// Returns the name under which the keeper holds an end.
pub(crate) fn end_name(id: u32, place: u32, end: usize) -> String {
    format!("{PREFIX}{id}:{place}:{end}")
}

/// Returns instance, index and end of such a name.
pub(crate) fn ends_of_name(name: &str) -> Option<(u32, u32, usize)> {
    let mut numbers = name.strip_prefix(PREFIX)?.split(':').map_while(|number| number.parse::<u32>().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()? as usize))
}

impl RunningWriter {
    /// Returns the descriptors that the keeper holds, by name.
    pub(crate) fn held(&self, id: u32) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.ends.iter().enumerate().map(move |(end, fd)| (end_name(id, self.place, end), fd.as_fd()))
    }

    /// Copies the write ends, for another process of the instance.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more descriptors.
    pub(crate) fn copy_write_ends(&self) -> std::io::Result<[OwnedFd; 2]> {
        Ok([self.ends[2].try_clone()?, self.ends[3].try_clone()?])
    }

    /// Returns the thread and its input, without the write ends.
    pub(crate) fn into_parts(self) -> (Handle, [OwnedFd; 3], Destination) {
        let [out, error, _, _, holding] = self.ends;
        (self.handle, [out, error, holding], self.made_for)
    }

    /// Completes open lines after the exit of a process: bytes without a newline become a line.
    pub(crate) fn end_lines(&mut self) {
        self.is_used = false;
        // A slow or full disk does not block the loop; the lines are then written a little later.
        self.handle.end_lines(LINES_END_WITHIN);
    }

    /// Reopens the files.
    pub(crate) fn reopen(&self) {
        self.handle.reopen();
    }
}

impl Destination {
    /// Returns the forms of a line.
    pub(crate) fn formats(&self) -> Formats {
        let shown = self.shown.and_then(|shown| shown.format(self.process_id, &self.name));
        Formats { files: self.format_of_files(), shown }
    }

    fn format_of_files(&self) -> Format {
        let stamp = self.date_format.as_deref().map(stamp);
        match (self.json, stamp) {
            (true, stamp) => Format::Json { stamp, process_id: self.process_id, app_name: self.name.clone() },
            (false, Some(stamp)) => Format::Dated(stamp),
            (false, None) => Format::Plain,
        }
    }
}

fn stamp(format: &str) -> DateWriter {
    let stamper = Mutex::new(Stamper::new(DateFormat::parse(format), TimeZone::system()));
    Box::new(move |wall_ms, out| {
        let mut stamper = stamper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        out.extend_from_slice(stamper.stamp(wall_ms));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipe_end_names_round_trip() {
        assert_eq!(ends_of_name(&end_name(7, 3, 4)), Some((7, 3, 4)));
        for name in ["log:7:3", "log:7:x:1", "log-notes", "ipc:7"] {
            assert_eq!(ends_of_name(name), None, "{name}");
        }
    }
}
