//! Files that npm's client expects in a home, beside the sockets.
//!
//! The client creates missing files, but prints its greeting first: without `touch` its command
//! line prints a banner of 37 lines, even before the JSON of `jlist`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use ostler_core::home::home_paths::HomePaths;

/// Creates the files that are missing in the home. If that fails, the client prints its banner.
pub(super) fn complete(paths: &HomePaths, now_ms: u64) {
    let home = &paths.home;
    for folder in [&HomePaths::logs(home), &home.join("pids"), &paths.modules] {
        let _ = DirBuilder::new().mode(0o700).create(folder);
    }
    let _ = write_new(&paths.conf, "{}");
    let _ = write_new(&home.join("touch"), &now_ms.to_string());
}

/// Writes a file unless a file or link of that name exists.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
