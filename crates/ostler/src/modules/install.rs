//! Installation of a module, as a whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ostler_core::text::causes::with_causes;
use ostler_core::{marked, message};
use ostler_proto::control::{Confirm, TableRow};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Map, Value};

use super::fetch::fetch;
use super::installed::{self, Installed, ModuleKind};
use super::package::Package;
use super::source::Source;
use super::start;
use crate::cx::{self, Cx};
use crate::error::{CliError, ModuleError};
use crate::module_conf;

/// Time for which a new module is watched, and the number of restarts that are allowed within it.
const DEFAULT_WATCH_TIME: Duration = Duration::from_secs(1);
/// Time between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Module to install, with its options.
#[derive(Clone, Debug)]
pub(crate) struct InstallRequest {
    pub(crate) source: Source,
    /// Time in which it may restart at most [`InstallRequest::RESTARTS`] times; none = a short time without
    /// any restart.
    pub(crate) safe: Option<Duration>,
    /// Whether the dependencies of a tar file are installed.
    pub(crate) installs_dependencies: bool,
    pub(crate) uid: Option<String>,
    pub(crate) gid: Option<String>,
}

impl InstallRequest {
    /// PM2's number for `--safe`.
    const RESTARTS: u32 = 2;
}

/// Installs and starts a module; returns its package. If that fails, the previous state is
/// restored.
///
/// # Errors
/// Returns one line for the user.
pub(crate) fn install(cx: &mut Cx, request: &InstallRequest) -> Result<Package, CliError> {
    let conf = module_conf::writable(cx)?;
    let modules = installed::modules_of(cx.home()?);
    let _lock = installed::lock(&modules)?;
    if request.source == Source::Here {
        return here(cx, request, &conf);
    }
    let fresh = modules.join(installed::FRESH);
    // Removes the rest of an installation that was killed.
    installed::remove(&fresh)?;
    fs::create_dir(&fresh).map_err(|source| CliError::File { what: marked!("make"), path: fresh.display().to_string(), source })?;
    let done = exchange(cx, request, &conf, &modules, &fresh);
    // The folder now has the former module, or the files of a failed installation.
    let removed = installed::remove(&fresh);
    let package = done?;
    removed?;
    Ok(package)
}

/// Starts the present folder for development. The next daemon does not start it again.
fn here(cx: &mut Cx, request: &InstallRequest, conf: &Path) -> Result<Package, CliError> {
    let folder = PathBuf::from(cx::cwd()?);
    let package = Package::read(&folder)?;
    refuse_app(cx, &package.name)?;
    let before = module_conf::read(conf)?;
    add_defaults(conf, &package)?;
    module_conf::notify_daemon(cx)?;
    let ids = start::start_watched(cx, &package, &folder, Some(CONFIRM)).and_then(|_| watch(cx, &package.name, request));
    if let Err(error) = ids {
        undo(cx, conf, &before, &package.name)?;
        return Err(error);
    }
    Ok(package)
}

/// Proof of a start that the command waits for.
const CONFIRM: Confirm = Confirm { within_ms: 1000, early_exit_fails: true, watches: false, detached: false };

fn exchange(cx: &mut Cx, request: &InstallRequest, conf: &Path, modules: &Path, fresh: &Path) -> Result<Package, CliError> {
    let failed = |source: ModuleError| CliError::unchanged(ModuleError::Fetch { shown: request.source.shown(), source: Box::new(source) });
    let place = fetch(cx, &request.source, fresh, request.installs_dependencies).map_err(failed)?;
    let package = Package::read(&place).map_err(failed)?;
    let address = match &request.source {
        Source::TarballAt(address) => Some(address.clone()),
        _ => None,
    };
    let kind = if matches!(request.source, Source::Tarball(_) | Source::TarballAt(_)) { ModuleKind::Tarball } else { ModuleKind::Npm };
    refuse_app(cx, &package.name)?;
    // Read before anything is changed: settings that cannot be read could not be restored.
    let before = module_conf::read(conf)?;
    let former = installed::find(&before, &package.name).filter(|former| former.kind != ModuleKind::BuiltIn);
    // The user and group of the module do not change unless new ones are given.
    let kept = |of: fn(&Installed) -> &Option<String>| former.as_ref().and_then(|former| of(former).clone());
    let uid = request.uid.clone().or_else(|| kept(|former| &former.uid));
    let gid = request.gid.clone().or_else(|| kept(|former| &former.gid));
    let module = Installed { name: package.name.clone(), kind, uid, gid, address };
    let target = module.folder(modules);
    if let Some(scope) = target.parent() {
        fs::create_dir_all(scope).map_err(|source| CliError::File { what: marked!("make"), path: scope.display().to_string(), source })?;
    }
    let is_swapped = swap(fresh, &target)?;
    let taken = add_defaults(conf, &package)
        .and_then(|()| {
            module_conf::change(conf, |all| {
                module.note(all, now_ms());
                Ok(())
            })
        })
        .and_then(|()| module_conf::notify_daemon(cx))
        .and_then(|()| start::start(cx, &module, &package, &module.package(modules), Some(CONFIRM)))
        .and_then(|_| watch(cx, &module.name, request))
        // Removes apps that only the former version had.
        .and_then(|()| installed::delete(cx, &module.name, &package.names()));
    let Err(error) = taken else { return Ok(package) };
    cx.out.error(message!("module {name} does not become healthy: {error}", name = module.name, error = with_causes(&error)));
    // The processes are deleted first, because they run from the folder that is removed. Files and
    // settings are restored even if this fails.
    let deleted = installed::delete(cx, &module.name, &[]);
    if is_swapped {
        swap(&target, fresh)?;
    } else {
        installed::remove(&target)?;
        installed::remove_scope(modules, &module.name);
    }
    restore(conf, &before, &module.name)?;
    module_conf::notify_daemon(cx)?;
    deleted?;
    if let Some(former) = former {
        let folder = former.package(modules);
        let package = Package::read(&folder)?;
        start::start(cx, &former, &package, &folder, None)?;
        cx.out.info(match &package.version {
            Some(version) => message!("module {name} was rolled back to {version}", name = former.name, version),
            None => message!("module {name} was rolled back to its previous version", name = former.name),
        });
    }
    Err(ModuleError::Undone(request.source.shown()).into())
}

/// Moves a folder to a path, and exchanges it with an existing folder there. Returns false if no
/// folder existed there.
fn swap(from: &Path, to: &Path) -> Result<bool, CliError> {
    let failed =
        |errno: rustix::io::Errno| CliError::File { what: marked!("rename"), path: from.display().to_string(), source: errno.into() };
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOENT) => rustix::fs::rename(from, to).map(|()| false).map_err(failed),
        // On a file system that cannot exchange names, this takes three steps.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if to.exists() => {
            let aside = from.with_extension("aside");
            installed::remove(&aside)?;
            rustix::fs::rename(to, &aside).and_then(|()| rustix::fs::rename(from, to)).map_err(failed)?;
            rustix::fs::rename(&aside, from).map(|()| true).map_err(failed)
        }
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => rustix::fs::rename(from, to).map(|()| false).map_err(failed),
        Err(errno) => Err(failed(errno)),
    }
}

/// Rejects a name that an app already has: that app would get the module's description.
fn refuse_app(cx: &mut Cx, module: &str) -> Result<(), CliError> {
    let rows = cx.client()?.table()?;
    match rows.iter().find(|row| row.name == module && !row.module) {
        Some(_) => Err(ModuleError::IsApp(module.to_owned()).into()),
        None => Ok(()),
    }
}

/// Adds the default settings of a package that the user has not set. As in PM2, the values keep
/// their types.
fn add_defaults(conf: &Path, package: &Package) -> Result<(), CliError> {
    if package.defaults.is_empty() {
        return Ok(());
    }
    module_conf::change(conf, |all| {
        let section = installed::table(all, &package.name);
        for (key, value) in &package.defaults {
            section.entry(key).or_insert_with(|| value.clone());
        }
        Ok(())
    })
}

/// Watches a module that was just started. A module that keeps restarting is not healthy.
fn watch(cx: &mut Cx, module: &str, request: &InstallRequest) -> Result<(), CliError> {
    let (time, restarts) = request.safe.map_or((DEFAULT_WATCH_TIME, 0), |time| (time, InstallRequest::RESTARTS));
    let begin = Instant::now();
    let first = rows(cx, module)?;
    loop {
        let now = rows(cx, module)?;
        if let Some(why) = trouble(&first, &now, restarts, begin.elapsed() >= time) {
            return Err(why.into());
        }
        if begin.elapsed() >= time {
            return Ok(());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn rows(cx: &mut Cx, module: &str) -> Result<Vec<TableRow>, CliError> {
    Ok(cx.client()?.table()?.into_iter().filter(|row| module_conf::is_of(row, module)).collect())
}

/// Returns the problem with the processes of a module, if they have one. At the end of the time,
/// all must run.
fn trouble(first: &[TableRow], now: &[TableRow], restarts: u32, is_end: bool) -> Option<ModuleError> {
    for row in now {
        let before = first.iter().find(|first| first.id == row.id).map_or(0, |first| first.restarts);
        let count = row.restarts.saturating_sub(before);
        if row.status == "errored" || count > restarts {
            return Some(ModuleError::Restarted { name: row.name.clone(), count, status: row.status.clone() });
        }
        // The status `stopped` is no problem: the app exited, and its settings do not restart it.
        if row.status == "waiting restart" && (is_end || restarts == 0) {
            return Some(ModuleError::Crashed(row.name.clone()));
        }
    }
    now.is_empty().then_some(ModuleError::Gone)
}

/// Removes a module that did not exist before.
fn undo(cx: &mut Cx, conf: &Path, before: &Map<String, Value>, module: &str) -> Result<(), CliError> {
    let deleted = installed::delete(cx, module, &[]);
    restore(conf, before, module)?;
    module_conf::notify_daemon(cx)?;
    deleted
}

/// Restores the parts that an installation may have changed: the entry of the module, and its
/// section.
fn restore(conf: &Path, before: &Map<String, Value>, module: &str) -> Result<(), CliError> {
    module_conf::change(conf, |all| {
        for list in [installed::INSTALLED, installed::TARBALLS] {
            match before.get(list).and_then(Value::as_object) {
                Some(before) => put_back(installed::table(all, list), before, module),
                None => drop(all.shift_remove(list)),
            }
        }
        put_back(all, before, module);
        Ok(())
    })
}

fn put_back(table: &mut Map<String, Value>, before: &Map<String, Value>, key: &str) {
    match before.get(key) {
        Some(value) => drop(table.insert(key.to_owned(), value.clone())),
        None => drop(table.shift_remove(key)),
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::data::row;

    #[test]
    fn trouble_reports_restarting_or_missing_module() {
        let of = |status: &str, restarts: u32| vec![TableRow { status: status.into(), restarts, module: true, ..row(3, "m") }];
        for (now, allowed, is_end, is_trouble) in [
            (of("online", 4), 0, false, false),
            (of("online", 5), 0, false, true),
            (of("online", 6), 2, true, false),
            (of("online", 7), 2, false, true),
            (of("waiting restart", 4), 0, false, true),
            (of("waiting restart", 5), 2, false, false),
            (of("waiting restart", 5), 2, true, true),
            (of("errored", 4), 2, false, true),
            (of("stopped", 4), 0, true, false),
            (vec![], 2, true, true),
        ] {
            assert_eq!(trouble(&of("online", 4), &now, allowed, is_end).is_some(), is_trouble, "{now:?}");
        }
    }
}
