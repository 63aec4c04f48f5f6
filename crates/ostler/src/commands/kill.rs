//! `kill`: stop all apps and the daemon.

use std::collections::BTreeSet;
use std::path::Path;

use ostler_core::message;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::left_behind;
use crate::text::shown;

/// Most names in a warning.
const NAMES: usize = 8;

/// Stops everything. PM2 differs: it starts a daemon just to kill it.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let unsaved = if cx.program.is_pm2() { Vec::new() } else { unsaved(cx, &home) };
    // Apps whose daemon was killed are stopped as well.
    if cx.running_client()?.is_none() && !cx.take_over(&home)? {
        cx.refuse_beside_pm2(&home, &message!("kill"))?;
        cx.out.warn_err(message!("No process found"));
    } else {
        cx.stop_daemon()?;
    }
    if cx.program.is_pm2() {
        cx.out.info(message!("[v] All Applications Stopped"));
        cx.out.info(message!("[v] {program} Daemon Stopped", program = cx.program.label()));
    } else {
        cx.out.info(message!("all apps and the daemon were stopped"));
        if !unsaved.is_empty() {
            let program = cx.program.name();
            let more = if unsaved.len() > NAMES { ", …" } else { "" };
            let apps = unsaved.iter().take(NAMES).map(|name| shown(name)).collect::<Vec<_>>().join(", ") + more;
            cx.out.warn(message!("not saved, so `{program} resurrect` does not start them: {apps}", program, apps));
        }
    }
    Ok(Status::Ok)
}

/// Returns the apps that run and are not in the saved list.
fn unsaved(cx: &mut Cx, home: &Path) -> Vec<String> {
    let rows = cx.running_client().ok().flatten().and_then(|client| client.table().ok()).unwrap_or_default();
    let saved = left_behind::saved_apps(home);
    let names: BTreeSet<String> = rows.into_iter().filter(|row| !row.module).map(|row| row.name).collect();
    names.into_iter().filter(|name| !saved.contains(name)).collect()
}
