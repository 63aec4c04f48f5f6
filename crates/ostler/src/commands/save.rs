//! `save`: write the list for `resurrect`.

use std::path::Path;

use ostler_core::home::home_paths::DUMP;
use ostler_proto::control::{Failure, Request, Response, SavedFiles};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::json;

/// Saves the list. An empty list is saved only with `--force` (or `FORCE` in the environment, as in
/// PM2).
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let force = call.has("force") || std::env::var_os("FORCE").is_some_and(|value| !value.is_empty());
    cx.client()?;
    let home = cx.home()?.to_owned();
    cx.refuse_beside_pm2(&home, "save the list")?;
    let paths = cx.paths_with(DUMP)?;
    let text = |path: &Path| path.display().to_string();
    let files = cx.program.is_pm2().then(|| SavedFiles { list: text(&paths.dump), backup: text(&paths.dump_backup) });
    cx.out.info("Saving current process list...");
    match cx.client()?.request(&Request::Save { force, files: files.clone() }, &mut |_| {}) {
        Ok(Response::Paths(paths)) if call.has("json") => json(&mut cx.out, &paths),
        Ok(Response::Paths(paths)) => cx.out.info(format_args!("Successfully saved in {}", paths.first().map_or("", String::as_str))),
        Ok(_) => return Err(ClientError::Unexpected.into()),
        Err(ClientError::Refused(Failure::NothingToSave)) => {
            let (label, name) = (cx.program.label(), cx.program.name());
            cx.out.warn(format_args!("{label} is not managing any process, skipping save..."));
            cx.out.warn(format_args!("To force saving use: {name} save --force"));
            // As in PM2: from now on a list exists; it is empty if none existed before.
            if cx.program.is_pm2() && !paths.dump.exists() {
                cx.client()?.request(&Request::Save { force: true, files }, &mut |_| {})?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Status::Ok)
}
