//! Titles that `ps` and `pgrep -f` show.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The version of PM2 in the keeper's title when called as pm2.
const PM2_VERSION: &str = "7.0.4";

/// Short name of the keeper.
pub(crate) fn keeper_comm(as_pm2: bool) -> &'static str {
    if as_pm2 { "PM2 God" } else { "ostler-keeper" }
}

/// `argv[0]` of the keeper: PM2's own title when called as pm2, which scripts look for; `pm2.pid` names this process.
pub(crate) fn keeper_title(home: &Path, as_pm2: bool) -> CString {
    if as_pm2 { title(&format!("PM2 v{PM2_VERSION}: God Daemon"), home) } else { title("ostler: keeper", home) }
}

/// Title of the anchor, in place of the keeper's, of which it is a copy.
pub(crate) fn anchor_title(home: &Path) -> CString {
    title("ostler: anchor", home)
}

/// `argv[0]` of the daemon.
pub fn daemon_title(home: &Path) -> CString {
    title("ostler: daemon", home)
}

fn title(name: &str, home: &Path) -> CString {
    let bytes = [name.as_bytes(), b" (", home.as_os_str().as_bytes(), b")"].concat();
    CString::new(bytes).unwrap_or_else(|_| CString::from(c"ostler"))
}
