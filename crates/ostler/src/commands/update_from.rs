//! `update --from`: replaces this program with another, which the running daemon then becomes.

use std::path::Path;

use ostler_core::message;

use crate::cli::Call;
use crate::client::VERSION;
use crate::cx::{self, Cx};
use crate::error::CliError;
use crate::replacement::{ReplaceRequest, ReplacedProgram, UpdateError, replace};

/// Installs the file at the path of this program, and has the daemon become the new program. If
/// that fails, the previous program and its daemon are restored.
pub(super) fn from_file(cx: &mut Cx, call: &Call, from: &Path) -> Result<Option<String>, CliError> {
    let path = cx::own_path()?;
    let exe = cx::path_text(path.clone())?;
    let request = ReplaceRequest { from, sha256: call.value("sha256"), ours: VERSION, may_be_older: call.has("downgrade") };
    let replaced = replace(&path, &request)?;
    cx.out.info(message!("{path} is version {version} now", path = replaced.path.display(), version = replaced.version));
    match cx.replace_daemon_by(exe.clone()) {
        Ok(version) => {
            replaced.keep();
            Ok(version)
        }
        Err(error) => Err(roll_back(cx, replaced, exe, &error)),
    }
}

/// Restores the previous program, and has the running daemon become it.
fn roll_back(cx: &mut Cx, replaced: ReplacedProgram, exe: String, error: &CliError) -> CliError {
    let why = ostler_core::text::causes::with_causes(error);
    let path = replaced.path.clone();
    if let Err(also) = replaced.undo() {
        return UpdateError::NotPutBack { why, path, source: also }.into();
    }
    cx.disconnect();
    match cx.replace_daemon_by(exe) {
        Ok(_) => UpdateError::PutBack { why, path }.into(),
        Err(also) => UpdateError::NoDaemon { why, path, also: ostler_core::text::causes::with_causes(&also) }.into(),
    }
}
