//! Process titles as `ps` and `pgrep -f` show them.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The version of PM2 in the keeper's title when called as pm2.
const PM2_VERSION: &str = "7.0.4";

/// Returns the short process name of the keeper.
pub(crate) fn keeper_comm(as_pm2: bool) -> &'static str {
    if as_pm2 { "PM2 God" } else { "ostler-keeper" }
}

/// Returns `argv[0]` of the keeper. When called as pm2, it is PM2's own title, which scripts search
/// for; `pm2.pid` names this process.
pub(crate) fn keeper_title(home: &Path, as_pm2: bool) -> CString {
    if as_pm2 { title(&format!("PM2 v{PM2_VERSION}: God Daemon"), home) } else { title("ostler: keeper", home) }
}

/// Returns the title of the anchor. It replaces the keeper's title, which the anchor's copy
/// inherits.
pub(crate) fn anchor_title(home: &Path) -> CString {
    title("ostler: anchor", home)
}

/// Returns `argv[0]` of the daemon.
pub fn daemon_title(home: &Path) -> CString {
    title("ostler: daemon", home)
}

fn title(name: &str, home: &Path) -> CString {
    let bytes = [name.as_bytes(), b" (", home.as_os_str().as_bytes(), b")"].concat();
    CString::new(bytes).unwrap_or_else(|_| CString::from(c"ostler"))
}
