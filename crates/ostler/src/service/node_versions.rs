//! Current path of the Node of a version manager.
//!
//! If a unit named the folder of one Node version, that folder would be gone after the next update.
//! Most version managers have a lasting path (a link, a folder of shims), and the unit uses it. For
//! nvm, which has none, the default is looked up at each start of the service.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ostler_sys::CStrings;
use ostler_sys::process::exec::{OWN_EXE, replace};

/// Longest chain of aliases: nvm's aliases may name each other.
const MAX_ALIASES: usize = 8;

/// If the environment names nvm, puts its current default at the front of `PATH` and executes this
/// program again.
pub(super) fn enter_present() {
    let Some(nvm) = std::env::var_os("NVM_DIR").filter(|nvm| !nvm.is_empty()) else { return };
    let Some(folder) = present_folder(Path::new(&nvm)) else { return };
    let old = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&old).next().as_deref() == Some(&*folder) {
        return;
    }
    let rest = std::env::split_paths(&old).filter(|entry| *entry != folder);
    let Ok(path) = std::env::join_paths(std::iter::once(folder.clone()).chain(rest)) else { return };
    let argv = std::env::args_os().filter_map(|word| c_string(word.as_bytes())).collect::<CStrings>();
    // If this fails, only one folder is missing in the search path.
    let _ = replace(OWN_EXE, &argv, &environment(Some(&path)));
}

/// Returns text for the kernel, or none if it contains a NUL. Text that came from the kernel never
/// does.
pub(super) fn c_string(bytes: &[u8]) -> Option<CString> {
    CString::new(bytes).ok()
}

/// Returns our environment, with another `PATH` if one is given.
pub(super) fn environment(path: Option<&OsStr>) -> CStrings {
    let ours = std::env::vars_os().filter(|(name, _)| path.is_none() || name != "PATH");
    let path = path.map(|path| (OsString::from("PATH"), path.to_owned()));
    ours.chain(path).filter_map(|(name, value)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat())).collect()
}

/// Returns the program folder of nvm's default version, else of the newest installed version.
fn present_folder(nvm: &Path) -> Option<PathBuf> {
    let installed = installed(&nvm.join("versions/node"));
    let chosen = default_of(nvm, &installed).or_else(|| installed.iter().max().copied())?;
    let [major, minor, patch] = chosen;
    Some(nvm.join(format!("versions/node/v{major}.{minor}.{patch}/bin")))
}

type Version = [u32; 3];

fn installed(folder: &Path) -> Vec<Version> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let has_node = |entry: &std::fs::DirEntry| entry.path().join("bin/node").is_file();
    entries.filter(has_node).filter_map(|entry| full_version(entry.file_name().to_str()?)).collect()
}

/// Parses `v20.1.0`.
fn full_version(name: &str) -> Option<Version> {
    let mut parts = name.strip_prefix('v')?.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

/// Follows the alias `default`: to a version, a part of a version (`20`), another alias
/// (`lts/iron`), or `node`.
fn default_of(nvm: &Path, installed: &[Version]) -> Option<Version> {
    let mut alias = "default".to_owned();
    for _ in 0..MAX_ALIASES {
        // An alias is a name and must never lead out of the folder.
        if alias.split('/').any(|part| part.is_empty() || part == "..") {
            return None;
        }
        let text = std::fs::read_to_string(nvm.join("alias").join(&alias)).ok()?;
        let word = text.trim();
        if matches!(word, "node" | "stable" | "latest") {
            return installed.iter().max().copied();
        }
        if let Some(found) = matching(word, installed) {
            return Some(found);
        }
        alias = word.to_owned();
    }
    None
}

/// Returns the newest installed version that starts with this word.
fn matching(word: &str, installed: &[Version]) -> Option<Version> {
    let wanted: Vec<u32> = word.strip_prefix('v').unwrap_or(word).split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    installed.iter().filter(|version| version.starts_with(&wanted)).max().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nvm(name: &str, versions: &[&str], aliases: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("ostler-nvm-{}-{name}", std::process::id()));
        for version in versions {
            std::fs::create_dir_all(root.join("versions/node").join(version).join("bin")).unwrap();
            std::fs::write(root.join("versions/node").join(version).join("bin/node"), "").unwrap();
        }
        for (alias, target) in aliases {
            let file = root.join("alias").join(alias);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, format!("{target}\n")).unwrap();
        }
        root
    }

    #[test]
    fn nvm_default_version_is_resolved() {
        let versions = ["v18.20.4", "v20.9.0", "v20.10.0", "v22.1.0", "system", "v1.x"];
        for (name, aliases, expected) in [
            ("part", &[("default", "20")][..], Some("v20.10.0")),
            ("whole", &[("default", "v18.20.4")], Some("v18.20.4")),
            ("chain", &[("default", "lts/iron"), ("lts/iron", "v20.9.0")], Some("v20.9.0")),
            ("newest", &[("default", "node")], Some("v22.1.0")),
            ("none", &[], Some("v22.1.0")),
            ("uninstalled", &[("default", "16")], Some("v22.1.0")),
            ("circle", &[("default", "a"), ("a", "default")], Some("v22.1.0")),
            ("escape", &[("default", "../../etc/passwd")], Some("v22.1.0")),
        ] {
            let root = nvm(name, &versions, aliases);
            let expected = expected.map(|version| root.join("versions/node").join(version).join("bin"));
            assert_eq!(present_folder(&root), expected, "{name}");
            std::fs::remove_dir_all(&root).unwrap();
        }
        assert_eq!(present_folder(Path::new("/no/such/nvm")), None);
    }
}
