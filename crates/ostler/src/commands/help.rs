//! `help`.

use crate::cli::{self, Call};
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};

/// Prints the help of the program or of one command.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let name = cx.program.name();
    let text = match call.target() {
        None if call.has("texts") => format!("{}\n", serde_json::json!(cli::table_texts())),
        None if call.has("man") => cli::man_page(name),
        #[cfg(feature = "export")]
        Some("import") if call.has("reference") => ostler_export::import_reference(),
        Some("ecosystem") if call.has("reference") => ostler_config::keys::reference(),
        None | Some("cli") if call.has("reference") => cli::reference(name),
        None if cx.program.is_pm2() || call.has("all") => cli::full_help(name, cx.out.width()),
        None => cli::usual_help(name, cx.out.width()),
        Some(word) => {
            let command = cli::find(word).ok_or(UsageError::UnknownCommand { word: word.into(), closest: cli::closest_name(word) })?;
            cli::command_help(name, command, cx.out.width())
        }
    };
    cx.out.data(text.as_bytes());
    Ok(Status::Ok)
}
