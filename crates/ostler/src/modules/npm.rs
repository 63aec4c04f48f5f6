//! The system's npm, which fetches packages. No shell is involved.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cx::Cx;
use crate::error::ModuleError;

/// Programs that install packages, with their arguments apart from the package. The first available
/// program is used.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("npm", &["install", "--loglevel=error", "--no-audit", "--no-fund", "--omit=dev", "--install-links", "--global=false"]),
    ("bun", &["install", "--production"]),
];

/// Installs a package into a folder.
///
/// # Errors
/// Returns an error if it failed, or if no such program exists; the program's own output was shown.
pub(super) fn install(cx: &mut Cx, folder: &Path, package: &OsStr) -> Result<(), ModuleError> {
    add(cx, folder, Some(package))
}

/// Installs the dependencies of the package in a folder.
///
/// # Errors
/// Returns the errors of [`install`].
pub(super) fn install_needs(cx: &mut Cx, folder: &Path) -> Result<(), ModuleError> {
    add(cx, folder, None)
}

fn add(cx: &mut Cx, folder: &Path, package: Option<&OsStr>) -> Result<(), ModuleError> {
    for (program, words) in PROGRAMS {
        let mut command = Command::new(program);
        command.args(*words);
        if *program == "npm" {
            command.arg("--prefix").arg(folder);
        }
        if let Some(package) = package {
            command.arg("--").arg(package);
        }
        match run_in(cx, command, folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(ModuleError::Run { program, source }),
            Ok(None) => return Ok(()),
            Ok(Some(status)) => return Err(ModuleError::Failed { program, status }),
        }
    }
    Err(ModuleError::NoNpm)
}

/// Runs npm in a folder, with these words.
///
/// # Errors
/// Returns an error if npm fails or is missing.
pub(crate) fn run(cx: &mut Cx, folder: &Path, words: &[&str]) -> Result<(), ModuleError> {
    let mut command = Command::new("npm");
    command.args(words);
    match run_in(cx, command, folder) {
        Err(source) => Err(ModuleError::Run { program: "npm", source }),
        Ok(None) => Ok(()),
        Ok(Some(status)) => Err(ModuleError::Failed { program: "npm", status }),
    }
}

/// Runs a command; returns its status if it failed. If stdout carries data, the command's output
/// goes to stderr.
fn run_in(cx: &mut Cx, mut command: Command, folder: &Path) -> std::io::Result<Option<std::process::ExitStatus>> {
    cx.out.flush();
    command.current_dir(folder).stdin(Stdio::null());
    if cx.out.is_data_only() {
        command.stdout(Stdio::from(std::io::stderr()));
    }
    let status = command.status()?;
    Ok((!status.success()).then_some(status))
}
