//! Files that an app reads or that the daemon writes for it.

use std::path::{Path, PathBuf};

use ostler_core::app::secrets::SecretSource;
use ostler_core::app::{AppSpec, CombinedLog};
use ostler_core::message;
use ostler_sys::Credentials;

use super::{Machine, Mistake};
use crate::access::{AccessDenied, EXECUTE, READ, WRITE, may};
use crate::app_access::{folder_problem, program_problem};
use crate::app_files::is_of_root_alone;

/// Returns the mistakes in logs, pid file and secrets of an app that runs as this user.
pub(super) fn mistakes(spec: &AppSpec, user: &Credentials, machine: &Machine) -> Vec<Mistake> {
    let rights = |path: &Path| rights_for(path, user, &machine.caller);
    let logs = log_files(spec).into_iter().filter_map(|(key, path)| {
        let message = unwritable(path, spec.logs.merge_logs, &rights(path))?;
        Some(Mistake::error(key, message))
    });
    let mut found: Vec<Mistake> = logs.collect();
    let pid = spec.pid_file.as_deref().map(Path::new);
    found.extend(pid.and_then(|path| Some(Mistake::warning("pid_file", unwritable(path, false, &rights(path))?))));
    found.extend(secrets(spec, rights));
    found
}

/// Reports a folder, interpreter or script that the app's user cannot use.
pub(super) fn access(spec: &AppSpec, user: &Credentials) -> Option<Mistake> {
    if let Some(problem) = folder_problem(spec, user) {
        return Some(Mistake::error("cwd", problem));
    }
    let env = spec.env.merged();
    let path = env.get("PATH").map(String::as_str);
    let missing =
        |interpreter: &str| message!("its user cannot run {program}: no folder of PATH has it for that user", program = interpreter);
    let problem = program_problem(spec, user, (path, "/usr/local/bin:/usr/bin:/bin"), missing)?;
    Some(Mistake::error(if problem.contains(&spec.script) { "script" } else { "exec_interpreter" }, problem))
}

/// Returns the log files that the configuration names, with their keys.
fn log_files(spec: &AppSpec) -> Vec<(&'static str, &Path)> {
    let combined = match &spec.logs.log_file {
        Some(CombinedLog::Path(path)) => Some(path),
        Some(CombinedLog::Default) | None => None,
    };
    let all = [("out_file", spec.logs.out_file.as_ref()), ("error_file", spec.logs.error_file.as_ref()), ("log_file", combined)];
    let named = all.into_iter().filter_map(|(key, path)| Some((key, Path::new(path?))));
    named.filter(|_| !spec.logs.disable_logs).collect()
}

/// Returns the rights with which the daemon opens a file of the app: those of the app's user, unless
/// only root can change the path.
fn rights_for(path: &Path, user: &Credentials, caller: &Credentials) -> Credentials {
    if user.uid == caller.uid || caller.uid == 0 && is_of_root_alone(path, &user.groups) { caller.clone() } else { user.clone() }
}

/// Returns the reason why a file cannot be written or created. `is_exact`: the file has exactly this
/// name, without the id of an instance.
fn unwritable(path: &Path, is_exact: bool, rights: &Credentials) -> Option<String> {
    if path.starts_with("/dev") || path.starts_with("/proc") {
        return None;
    }
    let shown = path.display();
    let denied = |barred: AccessDenied| match barred {
        AccessDenied::Closed(place) => {
            message!("cannot write {path}: uid {uid} has no access to {place}", path = shown, uid = rights.uid, place = place.display())
        }
        AccessDenied::Missing => message!("cannot write {path}: its folder does not exist", path = shown),
    };
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Some(message!("cannot write {path}: it is a folder", path = shown)),
        Ok(_) if is_exact => return may(path, rights, WRITE).err().map(denied),
        _ => {}
    }
    let folder = nearest_existing(path)?;
    match folder.is_dir() {
        true => may(&folder, rights, WRITE | EXECUTE).err().map(denied),
        false => Some(message!("cannot write {path}: {folder} is not a folder", path = shown, folder = folder.display())),
    }
}

/// Returns the folder of a path, or the nearest folder above it that exists.
fn nearest_existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|folder| folder.symlink_metadata().is_ok()).map(Path::to_owned)
}

/// Reports files of secrets that cannot be read.
fn secrets(spec: &AppSpec, rights: impl Fn(&Path) -> Credentials) -> Vec<Mistake> {
    let unreadable = |(name, source): (&String, &SecretSource)| {
        let SecretSource::File(path) = source else { return None };
        let path = Path::new(path);
        let barred = may(path, &rights(path), READ).err()?;
        let why = match barred {
            AccessDenied::Missing => message!("it does not exist"),
            AccessDenied::Closed(place) => message!("no access to {place}", place = place.display()),
        };
        Some(Mistake::error("secrets", message!("{name}: cannot read {path}: {reason}", name, path = path.display(), reason = why)))
    };
    spec.secrets.iter().filter_map(unreadable).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::preflight::account;

    /// Returns a folder that other users can enter.
    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ostler-preflight-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn unwritable_files_name_the_place() {
        let folder = scratch("files");
        for (name, mode) in [("open", 0o777), ("closed", 0o755)] {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::write(folder.join("closed/own.log"), "").unwrap();
        let stranger = Credentials { uid: 54_321, gid: 54_321, groups: vec![54_321] };
        let own = account::caller();
        for (path, is_exact, rights, expected) in [
            ("open/x.log", false, &stranger, None),
            ("open/new/deep/x.log", false, &stranger, None),
            ("closed/x.log", false, &stranger, Some("closed")),
            ("closed/new/x.log", false, &stranger, Some("closed")),
            ("closed/own.log", true, &stranger, Some("own.log")),
            ("closed/own.log/x.log", false, &own, Some("is not a folder")),
            ("open", false, &own, Some("it is a folder")),
            ("closed/x.log", false, &own, None),
            ("/dev/null", true, &stranger, None),
        ] {
            let found = unwritable(&folder.join(path), is_exact, rights);
            match expected {
                None => assert_eq!(found, None, "{path}"),
                Some(words) => assert!(found.as_ref().is_some_and(|message| message.ends_with(words)), "{path}: {found:?}"),
            }
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn missing_secret_is_an_error() {
        let folder = scratch("secrets");
        fs::write(folder.join("token"), "x").unwrap();
        let file = |name: &str| SecretSource::File(folder.join(name).display().to_string());
        let secrets_of = [("TOKEN".to_owned(), file("token")), ("OTHER".to_owned(), file("none"))].into();
        let found = secrets(&AppSpec { secrets: secrets_of, ..AppSpec::default() }, |_| account::caller());
        let expected = format!("OTHER: cannot read {}: it does not exist", folder.join("none").display());
        assert_eq!(found, [Mistake::error("secrets", expected)]);
        fs::remove_dir_all(folder).unwrap();
    }
}
