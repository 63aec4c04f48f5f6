//! Files that npm's client expects in a home, beside the sockets.
//!
//! The client makes what is missing, but greets first: without `touch` its command line prints a banner
//! of 37 lines, also before the JSON of `jlist`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use ostler_core::home::home_paths::HomePaths;

/// Makes what is missing in the home. A failure has no other consequence than the banner.
pub(super) fn complete(paths: &HomePaths, now_ms: u64) {
    let home = &paths.home;
    for folder in [&HomePaths::logs(home), &home.join("pids"), &paths.modules] {
        let _ = DirBuilder::new().mode(0o700).create(folder);
    }
    let _ = write_new(&paths.conf, "{}");
    let _ = write_new(&home.join("touch"), &now_ms.to_string());
}

/// Writes a file unless there is one of that name, or a link.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
