//! Standard output and error of an app: either the log files, or pipes to the log writer.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_core::app::LogSpec;
use ostler_core::lifecycle::SpawnFailure;
use ostler_proto::control::Files;

use rustix::io::Errno;

use super::reclaim::FileKey;
use super::{LogTargets, OpenError, RuntimeStreams, ShownAs};
use crate::platform::rights::Rights;

/// Standard output and error of an app.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub out: OwnedFd,
    pub error: OwnedFd,
    /// Present sizes of error and output file: the positions at which the last lines of this run
    /// begin.
    pub sizes: (u64, u64),
    /// Identities of the error and output files; `None` if they are not regular files of the app.
    pub files: [Option<FileKey>; 2],
    /// Files that were renamed because they were in the way: from, to.
    pub aside: Vec<(String, PathBuf)>,
    /// Descriptions of log files that the disk refuses; the app's output for them is discarded.
    pub lost: Vec<String>,
}

fn failure(error: &OpenError) -> SpawnFailure {
    SpawnFailure { step: error.to_string(), errno: error.errno() }
}

/// Opens the log files for the app itself.
pub(crate) fn direct(spec: &LogSpec, files: &Files, home: &Path, rights: &Rights) -> Result<Outputs, SpawnFailure> {
    let places = LogTargets { home, rights, stdout: None, stderr: None };
    let (mut aside, mut lost) = (Vec::new(), Vec::new());
    let mut open = |path: &Option<String>| {
        let path = path.as_deref().filter(|_| !spec.disable_logs).unwrap_or("/dev/null");
        let opened = places.open(Path::new(path)).or_else(|error| {
            // A failing disk under the home is no reason not to run: an app that was stopped for a
            // restart would stay down.
            if !Path::new(path).starts_with(home) || !is_disk_failure(&error) {
                return Err(failure(&error));
            }
            lost.push(format!("{error}: {}", error.source));
            places.open(Path::new("/dev/null")).map_err(|error| failure(&error))
        })?;
        aside.extend(opened.aside.map(|aside| (path.to_owned(), aside)));
        Ok(opened.file)
    };
    let (out, error) = (open(&files.out)?, open(&files.error)?);
    let ((error_size, error_file), (out_size, out_file)) = (identify(&error), identify(&out));
    Ok(Outputs { sizes: (error_size, out_size), files: [error_file, out_file], out: out.into(), error: error.into(), aside, lost })
}

/// Gives the container's own output to the app itself.
pub(crate) fn shown(shown: ShownAs, streams: &RuntimeStreams) -> Result<Outputs, SpawnFailure> {
    let [out, error] = shown.paths().map(|path| streams.places().open(Path::new(path)).map_err(|error| failure(&error)));
    Ok(Outputs { sizes: (0, 0), files: [None; 2], out: out?.file.into(), error: error?.file.into(), aside: Vec::new(), lost: Vec::new() })
}

/// Returns true if the disk accepts no writes: it is read-only, full, over quota or broken.
fn is_disk_failure(error: &OpenError) -> bool {
    const OF_THE_DISK: [Errno; 4] = [Errno::ROFS, Errno::NOSPC, Errno::DQUOT, Errno::IO];
    OF_THE_DISK.iter().any(|errno| errno.raw_os_error() == error.errno())
}

/// Returns size and identity of a file.
fn identify(file: &std::fs::File) -> (u64, Option<FileKey>) {
    let Ok(meta) = file.metadata() else { return (0, None) };
    (meta.len(), meta.is_file().then(|| (meta.dev(), meta.ino())))
}
