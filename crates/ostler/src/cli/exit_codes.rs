//! Exit codes and their meaning, for the help, the man page and the reference.

use super::commands::COMMANDS;
use super::table::{ExitCode, exit};
use crate::error::Status;

/// Exit codes that any command may have.
const COMMON: &[ExitCode] = &[
    exit(Status::Ok, "done", "done"),
    exit(Status::Failed, "failed", "failed"),
    exit(Status::Usage, "wrong usage", "the command line is invalid"),
    exit(Status::Unreachable, "no daemon", "no daemon responds"),
    exit(Status::NotFound, "not found", "no such app, id or file"),
    exit(Status::LeftOut, "part left out", "this program was built without this command"),
];

/// Returns every exit code in order: the common ones, and those in the rows of commands.
pub(super) fn exit_codes() -> Vec<&'static ExitCode> {
    let mut codes: Vec<_> = COMMON.iter().chain(COMMANDS.iter().flat_map(|command| command.exit_codes)).collect();
    codes.sort_by_key(|exit| exit.status.code());
    codes
}
