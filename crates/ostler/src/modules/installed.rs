//! Installed modules. As in PM2, `module_conf.json` lists them; their files are in `modules/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ostler_core::marked;
use ostler_proto::control::{Action, Request, TableRow};
use serde_json::{Map, Value, json};

use super::built_in::BUILT_IN;
use super::fetch::dependencies;
use super::name;
use super::package::Package;
use super::source::{Source, plain};
use crate::cx::Cx;
use crate::error::{CliError, ModuleError};
use crate::module_conf::{self, is_of};
use crate::render::Wording;

/// Key under which PM2 stores modules that npm has installed.
pub(crate) const INSTALLED: &str = "module-db-v2";
/// Key under which PM2 stores modules from tar files.
pub(crate) const TARBALLS: &str = "tar-modules";
/// Name of the folder for a new download; after the exchange it contains the former module.
pub(super) const FRESH: &str = ".fresh";

/// Kind of an installed module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModuleKind {
    /// ostler does its work itself.
    BuiltIn,
    Npm,
    Tarball,
}

/// An installed module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Installed {
    pub(crate) name: String,
    pub(crate) kind: ModuleKind,
    /// User and group that it runs as, if they were given.
    pub(crate) uid: Option<String>,
    pub(crate) gid: Option<String>,
    /// Address from which a tar file came.
    pub(crate) address: Option<String>,
}

impl Installed {
    /// Returns its folder.
    pub(crate) fn folder(&self, modules: &Path) -> PathBuf {
        modules.join(&self.name)
    }

    /// Returns the folder of its package.
    pub(crate) fn package(&self, modules: &Path) -> PathBuf {
        match self.kind {
            ModuleKind::Tarball | ModuleKind::BuiltIn => self.folder(modules),
            ModuleKind::Npm => self.folder(modules).join("node_modules").join(&self.name),
        }
    }

    /// Adds it to the settings.
    pub(super) fn note(&self, all: &mut Map<String, Value>, now_ms: u64) {
        forget(all, &self.name);
        let mut entry = Map::new();
        for (key, value) in [("uid", &self.uid), ("gid", &self.gid), ("install_url", &self.address)] {
            if let Some(value) = value {
                entry.insert(key.into(), value.clone().into());
            }
        }
        let list = match self.kind {
            ModuleKind::Tarball => {
                entry.insert("source".into(), "tarball".into());
                entry.insert("installed_at".into(), now_ms.into());
                TARBALLS
            }
            ModuleKind::Npm | ModuleKind::BuiltIn => INSTALLED,
        };
        if self.kind == ModuleKind::Npm && BUILT_IN.iter().any(|module| module.name == self.name) {
            entry.insert("npm".into(), true.into());
        }
        table(all, list).insert(self.name.clone(), Value::Object(entry));
    }
}

/// Removes a module from the settings; its own section is kept, as in PM2.
pub(super) fn forget(all: &mut Map<String, Value>, name: &str) {
    for list in [INSTALLED, TARBALLS] {
        if let Some(Value::Object(list)) = all.get_mut(list) {
            list.shift_remove(name);
        }
    }
}

/// Returns the folder of all modules of a home.
pub(super) fn modules_of(home: &Path) -> PathBuf {
    crate::home::shell_paths(home).modules
}

/// Returns all modules in these settings, in order. Names that are invalid for a module are left
/// out.
pub(crate) fn all(settings: &Map<String, Value>) -> Vec<Installed> {
    let entries = |list: &str| settings.get(list).and_then(Value::as_object).into_iter().flatten();
    let text = |entry: &Value, key: &str| match &entry[key] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let of = |name: &String, entry: &Value, kind: ModuleKind| Installed {
        name: name.clone(),
        kind,
        uid: text(entry, "uid"),
        gid: text(entry, "gid"),
        address: text(entry, "install_url"),
    };
    let by_npm = entries(INSTALLED).map(|(name, entry)| {
        let is_built_in = BUILT_IN.iter().any(|module| module.name == name) && entry["npm"] != true;
        of(name, entry, if is_built_in { ModuleKind::BuiltIn } else { ModuleKind::Npm })
    });
    let by_tar = entries(TARBALLS).map(|(name, entry)| of(name, entry, ModuleKind::Tarball));
    by_npm.chain(by_tar).filter(|module| name::check(&module.name).is_ok()).collect()
}

/// Returns the module with this name, if it is installed.
pub(crate) fn find(settings: &Map<String, Value>, name: &str) -> Option<Installed> {
    all(settings).into_iter().find(|module| module.name == name)
}

/// Returns the version of the package in a module's folder.
pub(crate) fn version(home: &Path, module: &Installed) -> Option<String> {
    Package::read(&module.package(&modules_of(home))).ok()?.version
}

/// Returns the source of the newest version of a module.
///
/// # Errors
/// Returns an error if the module came from a file.
pub(crate) fn newest(cx: &mut Cx, module: &Installed) -> Result<Source, CliError> {
    let modules = modules_of(cx.home()?);
    match (module.kind, &module.address) {
        (ModuleKind::Tarball, Some(address)) => return Ok(Source::TarballAt(address.clone())),
        (ModuleKind::Tarball | ModuleKind::BuiltIn, _) => {
            return Err(ModuleError::FromTar(module.name.clone()).into());
        }
        (ModuleKind::Npm, _) => {}
    }
    let wanted = dependencies(&module.folder(&modules)).into_iter().find(|(name, _)| *name == module.name).map(|(_, wanted)| wanted);
    Ok(match wanted {
        // A folder or file of this machine; npm stores its path relative to the folder of the
        // installation.
        Some(wanted) if wanted.starts_with("file:") => Source::Local(plain(&modules.join(FRESH).join(wanted.trim_start_matches("file:")))),
        Some(wanted) if wanted.contains([':', '/']) => Source::Npm(wanted),
        _ => Source::Npm(format!("{}@latest", module.name)),
    })
}

/// Deletes the processes of a module, its entry and its files. Its settings are kept for the next
/// installation.
///
/// # Errors
/// Returns an error if it cannot be stopped, or if its files cannot be removed.
pub(crate) fn uninstall(cx: &mut Cx, module: &Installed) -> Result<(), CliError> {
    let path = module_conf::writable(cx)?;
    let modules = modules_of(cx.home()?);
    let _lock = lock(&modules)?;
    delete(cx, &module.name, &[])?;
    module_conf::change(&path, |all| {
        forget(all, &module.name);
        Ok(())
    })?;
    module_conf::notify_daemon(cx)?;
    if module.kind == ModuleKind::BuiltIn {
        return Ok(());
    }
    remove(&module.folder(&modules))?;
    remove_scope(&modules, &module.name);
    Ok(())
}

/// Removes the folder of a scope after its last module was removed.
pub(super) fn remove_scope(modules: &Path, name: &str) {
    if let Some((scope, _)) = name.split_once('/') {
        let _ = fs::remove_dir(modules.join(scope));
    }
}

/// Deletes the processes of a module from the list of a running daemon, except the apps in `kept`.
pub(super) fn delete(cx: &mut Cx, module: &str, kept: &[&str]) -> Result<(), CliError> {
    let Some(client) = cx.running_client()? else { return Ok(()) };
    let is_meant = |row: &TableRow| is_of(row, module) && !kept.contains(&row.name.as_str());
    let mut targets: Vec<String> = client.table()?.into_iter().filter(is_meant).map(|row| row.name).collect();
    targets.dedup();
    if targets.is_empty() {
        return Ok(());
    }
    cx.perform(&Request::act(Action::Delete, targets, "uninstall"), Wording::Action).map(drop)
}

/// Removes a folder, or a link with its name.
pub(super) fn remove(folder: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CliError::File { what: marked!("remove"), path: folder.display().to_string(), source })
        }
        _ => Ok(()),
    }
}

/// Creates the folder of the modules, and locks it against other installations.
///
/// # Errors
/// Returns an error if it cannot be created, or if another installation is running.
pub(super) fn lock(modules: &Path) -> Result<std::os::fd::OwnedFd, CliError> {
    let failed = |what, source| CliError::File { what, path: modules.display().to_string(), source };
    fs::create_dir_all(modules).map_err(|source| failed(marked!("make"), source))?;
    match ostler_sys::fs::lock::try_lock(&modules.join(".lock")) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(ModuleError::Locked(modules.to_owned()).into()),
        Err(errno) => Err(failed(marked!("lock"), errno.into())),
    }
}

/// Returns the table with this name; a value of another type is replaced.
pub(crate) fn table<'a>(all: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = all.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(table) => table,
        _ => unreachable!("it was just made one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, kind: ModuleKind) -> Installed {
        Installed { name: name.into(), kind, uid: None, gid: None, address: None }
    }

    #[test]
    fn noted_modules_are_found_again() {
        let mut settings = Map::new();
        let modules = [
            Installed { uid: Some("www".into()), gid: Some("33".into()), ..module("a", ModuleKind::Npm) },
            module("@s/b", ModuleKind::Npm),
            module("pm2-logrotate", ModuleKind::Npm),
            module("pm2-server-monit", ModuleKind::BuiltIn),
            Installed { address: Some("http://h/t.tar.gz".into()), ..module("t", ModuleKind::Tarball) },
        ];
        modules.iter().for_each(|module| module.note(&mut settings, 1));
        assert_eq!(all(&settings), modules);
        // A module with the same name from another source replaces the first.
        module("a", ModuleKind::Tarball).note(&mut settings, 2);
        assert_eq!(find(&settings, "a").unwrap().kind, ModuleKind::Tarball);
        assert_eq!(all(&settings).len(), modules.len());
        forget(&mut settings, "a");
        assert_eq!(find(&settings, "a"), None);
    }

    #[test]
    fn module_names_with_path_traversal_are_ignored() {
        let settings = json!({ INSTALLED: {"../x": {}, "/etc": {}, "good": {}}, TARBALLS: {"..": {}, "__proto__": {}} });
        let names: Vec<String> = all(settings.as_object().unwrap()).into_iter().map(|module| module.name).collect();
        assert_eq!(names, ["good"]);
        assert_eq!(all(json!({ INSTALLED: 1, TARBALLS: [] }).as_object().unwrap()), []);
    }
}
