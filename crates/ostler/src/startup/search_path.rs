//! `PATH` of a service, limited to folders that will still exist after the next Node update.

use std::path::{Component, Path, PathBuf};

/// Folders with the programs of the system.
const STANDARD: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Folders that hold one version of a program, or belong to one session: they disappear sooner or
/// later.
const VOLATILE: &[&str] = &[
    ".nvm/versions",
    "nvm/versions/node",
    "fnm_multishells",
    "node-versions",
    ".asdf/installs",
    "mise/installs",
    "rtx/installs",
    ".volta/tools/image",
    ".nodenv/versions",
    ".nodebrew/node",
    "n/versions/node",
    "node_modules/.bin",
    "Cellar",
    ".vscode-server",
    ".cursor-server",
];

/// Lasting folders of version managers below the user's home: links and shims.
const LASTING: &[&str] = &[
    ".volta/bin",
    ".asdf/shims",
    ".local/share/mise/shims",
    ".local/share/fnm/aliases/default/bin",
    ".fnm/aliases/default/bin",
    ".nodenv/shims",
    ".nvm/current/bin",
    ".nodebrew/current/bin",
    ".bun/bin",
    ".deno/bin",
    ".local/bin",
];

/// Search path of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SearchPath {
    /// Its `PATH`.
    pub path: String,
    /// Folder of nvm, if it was in use: its default is looked up at each start.
    pub nvm: Option<PathBuf>,
}

/// Returns the lasting part of the `PATH` of a shell. `exists` checks whether a folder exists.
pub(crate) fn lasting(shell: &str, home: &Path, exists: impl Fn(&Path) -> bool) -> SearchPath {
    let entries: Vec<PathBuf> = std::env::split_paths(shell).collect();
    let nvm = entries.iter().find_map(|entry| of_nvm(entry));
    let mut kept: Vec<PathBuf> = Vec::new();
    let mut keep = |entry: PathBuf| {
        if !kept.contains(&entry) {
            kept.push(entry);
        }
    };
    let mut replaced = false;
    for entry in entries {
        if is_volatile(&entry) {
            // The lasting folders take the place of the first volatile one, so that the order of
            // the shell is kept.
            if !std::mem::replace(&mut replaced, true) {
                LASTING.iter().map(|part| home.join(part)).filter(|place| exists(place)).for_each(&mut keep);
            }
        } else if is_usable(&entry) && exists(&entry) {
            keep(entry);
        }
    }
    STANDARD.into_iter().map(PathBuf::from).for_each(&mut keep);
    let path = kept.iter().filter_map(|entry| entry.to_str()).collect::<Vec<_>>().join(":");
    SearchPath { path, nvm }
}

/// Returns true for a folder that will not last.
pub(crate) fn is_volatile(folder: &Path) -> bool {
    let temporary = ["/tmp", "/var/tmp", "/run/user", "/nix/store"].iter().any(|place| folder.starts_with(place));
    temporary || VOLATILE.iter().any(|parts| has_parts(folder, parts))
}

/// Returns the folder of nvm from that of one of its versions.
fn of_nvm(entry: &Path) -> Option<PathBuf> {
    let named = |folder: &&Path| folder.file_name().is_some_and(|name| name == ".nvm" || name == "nvm");
    let folder = entry.ancestors().find(named).filter(|folder| is_usable(folder))?;
    entry.starts_with(folder.join("versions/node")).then(|| folder.to_owned())
}

fn is_usable(folder: &Path) -> bool {
    let normal = folder.components().all(|part| !matches!(part, Component::ParentDir));
    folder.is_absolute() && normal && folder.to_str().is_some_and(|text| !text.chars().any(char::is_control))
}

/// Returns true if these parts follow one another somewhere in the path.
fn has_parts(path: &Path, parts: &str) -> bool {
    let have: Vec<_> = path.iter().collect();
    let wanted: Vec<_> = Path::new(parts).iter().collect();
    have.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    #[test]
    fn version_and_session_directories_are_omitted() {
        for (shell, expected, nvm) in [
            ("", REST.to_owned(), None),
            ("/usr/bin:/bin", "/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin".into(), None),
            ("/home/u/.nvm/versions/node/v20.1.0/bin:/opt/x", format!("/home/u/.local/bin:/opt/x:{REST}"), Some("/home/u/.nvm")),
            ("/home/u/.config/nvm/versions/node/v20.1.0/bin", format!("/home/u/.local/bin:{REST}"), Some("/home/u/.config/nvm")),
            ("/run/user/1000/fnm_multishells/1_2/bin:/opt/x", format!("/home/u/.local/bin:/opt/x:{REST}"), None),
            ("/home/u/.local/share/fnm/node-versions/v20/installation/bin", format!("/home/u/.local/bin:{REST}"), None),
            ("/home/u/p/node_modules/.bin:/opt/x:/opt/x", format!("/home/u/.local/bin:/opt/x:{REST}"), None),
            ("relative:.:/opt/../etc:/missing:/opt/a\nb", REST.into(), None),
            ("/home/u/nvm-notes/bin", format!("/home/u/nvm-notes/bin:{REST}"), None),
        ] {
            let exists = |path: &Path| {
                path != Path::new("/missing") && (!path.to_str().unwrap().starts_with("/home/u/.") || path.ends_with(".local/bin"))
            };
            let found = lasting(shell, Path::new("/home/u"), exists);
            assert_eq!(found, SearchPath { path: expected, nvm: nvm.map(PathBuf::from) }, "{shell}");
        }
    }
}
