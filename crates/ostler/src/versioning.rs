//! The commit in the folder of an app, read from git's files: git itself is not run, as it runs what the folder's configuration says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::git::{Head, commit, head, packed, url};
use ostler_sys::rights::as_user;
use ostler_sys::user::identity;
use rustix::fs::{Mode, OFlags};

/// Longest file that is read; a longer one says nothing.
const MAX_BYTES: u64 = 4 << 20;

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

/// The working tree that the app's folder is in. As root with the rights of the app's user: a link there leads no further than that user gets.
pub(crate) fn of_app(spec: &AppSpec) -> Option<Versioning> {
    let cwd = Path::new(&spec.cwd);
    if !rustix::process::geteuid().is_root() {
        return read(cwd);
    }
    match identity(spec.uid.as_deref(), spec.gid.as_deref()).ok()? {
        Some(user) => as_user(&user.credentials, || read(cwd)).ok()?,
        None => read(cwd),
    }
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

/// A regular file as text. Nothing is waited for: a fifo is none.
fn text(path: &Path) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let is_fit = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_BYTES);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok().filter(|_| is_fit)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
