//! Programs of the system that the migration runs.

use std::process::{Command, Stdio};

use crate::error::MigrateError;

/// Runs a program until it exits.
///
/// # Errors
/// Returns an error with the program's output if it cannot be run, or if it fails.
pub(crate) fn carry_out(command: &mut Command) -> Result<(), MigrateError> {
    let words = format!("{command:?}");
    let failed = |reason: String| MigrateError::Program { command: words.clone(), reason };
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
}
