//! `cleardump`: an empty saved list.

use ostler_core::home::home_paths::DUMP;
use ostler_core::{marked, message};
use ostler_sys::fs::replace::{Durability, Writers, replace};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::home;

/// Runs the command. It needs no daemon: the list on disk is only read by `resurrect`.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let program = cx.program;
    let home = cx.home()?.to_owned();
    home::prepare(&home, program)?;
    cx.refuse_beside_pm2(&home, &message!("clear the saved list"))?;
    let path = cx.paths_with(DUMP)?.dump;
    replace(&path, b"[]", Durability::Power, Writers::Many).map_err(|error| CliError::File {
        what: marked!("write"),
        path: path.display().to_string(),
        source: error.source,
    })?;
    cx.out.info(message!("Successfully created {path}", path = path.display()));
    Ok(Status::Ok)
}
