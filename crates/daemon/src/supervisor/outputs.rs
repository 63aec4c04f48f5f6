//! Standard output and error of an app: the log files themselves, or pipes that end in our log writer.

use std::os::fd::OwnedFd;
use std::path::Path;

use ostler_core::app::LogSpec;
use ostler_core::lifecycle::SpawnFailure;
use ostler_proto::control::Files;

use crate::logs::{OpenError, Places};

/// What an app writes to.
#[derive(Debug)]
pub(super) struct Outputs {
    pub out: OwnedFd,
    pub error: OwnedFd,
    /// Sizes of error and output file now: where the last lines of this run begin.
    pub sizes: (u64, u64),
}

fn failure(error: &OpenError) -> SpawnFailure {
    SpawnFailure { step: error.to_string(), errno: error.errno() }
}

/// Opens the log files for the app itself.
pub(super) fn direct(spec: &LogSpec, files: &Files, home: &Path) -> Result<Outputs, SpawnFailure> {
    let places = Places { home, stdout: None, stderr: None };
    let open = |path: &Option<String>| {
        let path = path.as_deref().filter(|_| !spec.disable_logs).unwrap_or("/dev/null");
        places.open(Path::new(path)).map_err(|error| failure(&error))
    };
    let (out, error) = (open(&files.out)?, open(&files.error)?);
    let size = |file: &std::fs::File| file.metadata().map_or(0, |meta| meta.len());
    Ok(Outputs { sizes: (size(&error), size(&out)), out: out.into(), error: error.into() })
}
