//! The commit in the folder of an app, read from git's files: git itself is not run, as it runs what the folder's configuration says.

use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::git::{Head, commit, head, packed, url};

use crate::app_files::{text, with_rights_of};

/// Most folders that are looked at upwards.
const MAX_FOLDERS: usize = 64;

/// Working tree of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versioning {
    /// Folder with `.git` in it.
    pub root: PathBuf,
    /// Commit.
    pub revision: String,
    /// Branch, if there is one.
    pub branch: Option<String>,
    /// Address of `origin`.
    pub url: Option<String>,
}

/// The working tree that the app's folder is in.
pub(crate) fn of_app(spec: &AppSpec) -> Option<Versioning> {
    with_rights_of(spec, || read(Path::new(&spec.cwd)))
}

fn read(cwd: &Path) -> Option<Versioning> {
    let root = cwd.ancestors().take(MAX_FOLDERS).find(|folder| folder.join(".git").symlink_metadata().is_ok())?;
    let at = root.join(".git");
    // A worktree or submodule has a file instead, which says where the folder is.
    let own = if at.is_dir() { at } else { root.join(text(&at)?.strip_prefix("gitdir:")?.trim()) };
    let common = text(&own.join("commondir")).map_or_else(|| own.clone(), |path| own.join(path.trim()));
    let (revision, branch) = match head(&text(&own.join("HEAD"))?)? {
        Head::Commit(revision) => (revision, None),
        Head::Ref(name) => {
            let loose = || text(&common.join(&name)).and_then(|text| commit(&text));
            let revision = loose().or_else(|| packed(&text(&common.join("packed-refs"))?, &name))?;
            (revision, Some(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned()))
        }
    };
    let url = text(&common.join("config")).and_then(|config| url(&config, "origin"));
    Some(Versioning { root: root.to_owned(), revision, branch, url })
}
