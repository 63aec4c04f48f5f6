//! `cleardump`: an empty saved list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::home;

/// Needs no daemon: the list on disk is only read by `resurrect`.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let program = cx.program;
    let home = cx.home()?.to_owned();
    home::prepare(&home, program)?;
    let path = home.join("dump.pm2");
    replace(&path, b"[]").map_err(|source| CliError::File { what: "write", path: path.display().to_string(), source })?;
    cx.out.info(format_args!("Successfully created {}", path.display()));
    Ok(Status::Ok)
}

/// The old file or the new one, whatever happens: written aside, synced, renamed.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}
