//! Steps that are performed in order. If one fails, the completed steps are undone.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::quote::sh;
use crate::error::StepError;
use ostler_core::{marked, message};
use ostler_sys::fs::replace::{Durability, Writers, replace};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetupStep {
    /// Writes a file, and replaces an existing one.
    Write { path: PathBuf, text: String, mode: u32 },
    /// Removes a file, which may already be gone.
    Remove { path: PathBuf },
    /// Runs a program. If it is not `needed`, it may fail.
    Run { command: Vec<String>, undo: Option<Vec<String>>, needed: bool },
}

impl SetupStep {
    /// Returns the command as a user would type it.
    pub(crate) fn command(&self) -> Option<String> {
        match self {
            Self::Run { command, .. } => Some(typed(command)),
            Self::Write { .. } | Self::Remove { .. } => None,
        }
    }
}

/// Progress for users.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SetupProgress<'a> {
    Writing(&'a Path),
    Removing(&'a Path),
    Executing(&'a str),
    Executed,
    /// A command failed, but was not needed.
    Passed(&'a str),
    Undoing,
}

/// Undoes one step.
enum Undo {
    Restore { path: PathBuf, old: Option<(Vec<u8>, u32)> },
    RemoveFolder(PathBuf),
    Run(Vec<String>),
}

/// Performs all steps or none.
///
/// # Errors
/// Returns the error of the first step that failed; the steps before it were undone.
pub(crate) fn perform(steps: &[SetupStep], report: &mut dyn FnMut(SetupProgress<'_>)) -> Result<(), StepError> {
    let mut undo = Vec::new();
    for step in steps {
        if let Err(error) = one(step, &mut undo, report) {
            report(SetupProgress::Undoing);
            undo.into_iter().rev().for_each(revert);
            return Err(error);
        }
    }
    Ok(())
}

fn one(step: &SetupStep, undo: &mut Vec<Undo>, report: &mut dyn FnMut(SetupProgress<'_>)) -> Result<(), StepError> {
    match step {
        SetupStep::Write { path, text, mode } => {
            report(SetupProgress::Writing(path));
            write(path, text, *mode, undo)
        }
        SetupStep::Remove { path } => {
            report(SetupProgress::Removing(path));
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(StepError::File { what: marked!("remove"), path: path.clone(), source: error })
                }
                _ => Ok(()),
            }
        }
        SetupStep::Run { command, undo: back, needed } => {
            let shown = typed(command);
            report(SetupProgress::Executing(&shown));
            // If the command fails, it may have been carried out in part.
            undo.extend(back.clone().map(Undo::Run));
            match run(command) {
                Ok(()) => report(SetupProgress::Executed),
                Err(reason) if *needed => return Err(StepError::Command { command: shown, reason }),
                Err(reason) => report(SetupProgress::Passed(&reason)),
            }
            Ok(())
        }
    }
}

fn write(path: &Path, text: &str, mode: u32, undo: &mut Vec<Undo>) -> Result<(), StepError> {
    let failed = |what| move |source| StepError::File { what, path: path.to_owned(), source };
    let old = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(marked!("read"))(error)),
        // `systemctl mask` creates a link to nothing: an administrator has disabled this service on
        // purpose.
        Ok(meta) if meta.is_symlink() => {
            return Err(failed(marked!("replace"))(std::io::Error::other(message!(
                "it is a symbolic link, perhaps because the service is masked; remove it first"
            ))));
        }
        Ok(meta) => Some((fs::read(path).map_err(failed(marked!("read")))?, meta.permissions().mode() & 0o7777)),
    };
    for folder in missing_folders(path) {
        fs::create_dir(&folder).map_err(|source| StepError::File { what: marked!("create"), path: folder.clone(), source })?;
        undo.push(Undo::RemoveFolder(folder));
    }
    undo.push(Undo::Restore { path: path.to_owned(), old });
    replace(path, text.as_bytes(), Durability::Power, Writers::Many).map_err(|error| failed(marked!("write"))(error.source))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed(marked!("set the rights of")))
}

/// Returns the missing folders, from the top.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<_> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// Undoes a step as far as possible. Its own errors are ignored, because the first error is
/// reported.
fn revert(undo: Undo) {
    match undo {
        Undo::Restore { path, old: None } => drop(fs::remove_file(path)),
        Undo::Restore { path, old: Some((bytes, mode)) } => {
            if replace(&path, &bytes, Durability::Power, Writers::Many).is_ok() {
                drop(fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
            }
        }
        Undo::RemoveFolder(folder) => drop(fs::remove_dir(folder)),
        Undo::Run(command) => drop(run(&command)),
    }
}

fn run(command: &[String]) -> Result<(), String> {
    let Some((program, words)) = command.split_first() else { return Ok(()) };
    let mut process = Command::new(program);
    process.args(words).stdin(Stdio::null()).env("LC_ALL", "C");
    find_own_systemd(&mut process);
    let output = process.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).map_or_else(|| output.status.to_string(), str::to_owned))
}

/// Finds the user's systemd: after `su` or in a cron job the environment does not name its socket.
pub(super) fn find_own_systemd(process: &mut Command) {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        let folder = format!("/run/user/{}", rustix::process::geteuid().as_raw());
        if Path::new(&folder).is_dir() {
            process.env("XDG_RUNTIME_DIR", folder);
        }
    }
}

fn typed(command: &[String]) -> String {
    command.iter().map(|word| sh(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ostler-steps-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn failed_step_rolls_back_earlier_steps() {
        let place = folder("undo");
        let (old, new, mark) = (place.join("old"), place.join("a/b/new"), place.join("mark"));
        fs::write(&old, "before").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        let touch = |path: &Path| words(&["touch", path.to_str().unwrap()]);
        let steps = [
            SetupStep::Write { path: old.clone(), text: "after".into(), mode: 0o755 },
            SetupStep::Write { path: new.clone(), text: "x".into(), mode: 0o644 },
            SetupStep::Run { command: words(&["true"]), undo: Some(touch(&mark)), needed: true },
            SetupStep::Run { command: words(&["sh", "-c", "echo no such service >&2; exit 3"]), undo: None, needed: true },
            SetupStep::Run { command: touch(&place.join("never")), undo: None, needed: true },
        ];
        let error = perform(&steps, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "sh -c 'echo no such service >&2; exit 3' failed: no such service");
        assert_eq!(fs::read_to_string(&old).unwrap(), "before");
        assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!place.join("a").exists() && !place.join("never").exists() && mark.exists());
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn performing_steps_twice_is_idempotent() {
        let place = folder("twice");
        let file = place.join("unit");
        let write = [SetupStep::Write { path: file.clone(), text: "x".into(), mode: 0o644 }];
        let remove = [SetupStep::Run { command: words(&["false"]), undo: None, needed: false }, SetupStep::Remove { path: file.clone() }];
        for _ in 0..2 {
            perform(&write, &mut |_| {}).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "x");
        }
        for _ in 0..2 {
            perform(&remove, &mut |_| {}).unwrap();
            assert!(!file.exists());
        }
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn masked_service_is_rejected_and_kept() {
        let place = folder("masked");
        let file = place.join("unit");
        std::os::unix::fs::symlink("/dev/null", &file).unwrap();
        let error = perform(&[SetupStep::Write { path: file.clone(), text: "x".into(), mode: 0o644 }], &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("masked"), "{error}");
        assert!(file.is_symlink());
        fs::remove_dir_all(place).unwrap();
    }
}
