//! Reads git's own files of a working tree: HEAD, its commit, and the remote. The files are
//! untrusted input.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Largest number of parent folders that are searched.
const MAX_FOLDERS: usize = 64;

/// Working tree that contains a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingTree {
    /// Folder with `.git` in it.
    pub root: PathBuf,
    /// Commit.
    pub revision: String,
    /// Branch, unless HEAD is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Address of `origin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Type of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Folder.
    Folder,
    /// Anything else.
    Other,
}

/// Returns the working tree that contains the folder. `kind` returns the type of a path (none =
/// missing); `text` returns the content of a file (none = unreadable).
pub fn working_tree(
    folder: &Path,
    kind: impl Fn(&Path) -> Option<PathKind>,
    text: impl Fn(&Path) -> Option<String>,
) -> Option<WorkingTree> {
    let (root, at, found) = folder.ancestors().take(MAX_FOLDERS).find_map(|folder| {
        let at = folder.join(".git");
        kind(&at).map(|kind| (folder, at, kind))
    })?;
    // A worktree or submodule has a file instead, with the path of the folder.
    let own = if found == PathKind::Folder { at } else { root.join(text(&at)?.strip_prefix("gitdir:")?.trim()) };
    let common = text(&own.join("commondir")).map_or_else(|| own.clone(), |path| own.join(path.trim()));
    let (revision, branch) = match head(&text(&own.join("HEAD"))?)? {
        HeadTarget::Commit(revision) => (revision, None),
        HeadTarget::Ref(name) => {
            let loose = || text(&common.join(&name)).and_then(|text| commit(&text));
            let revision = loose().or_else(|| packed(&text(&common.join("packed-refs"))?, &name))?;
            (revision, Some(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned()))
        }
    };
    let url = text(&common.join("config")).and_then(|config| url(&config, "origin"));
    Some(WorkingTree { root: root.to_owned(), revision, branch, url })
}

/// Target of HEAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadTarget {
    /// Full name of a branch, `refs/heads/main`.
    Ref(String),
    /// Commit without a branch.
    Commit(String),
}

/// Reads `HEAD`.
///
/// ```
/// use ostler_core::app::git::{HeadTarget, head};
/// assert_eq!(head("ref: refs/heads/main\n"), Some(HeadTarget::Ref("refs/heads/main".into())));
/// ```
pub fn head(text: &str) -> Option<HeadTarget> {
    let line = text.lines().next()?.trim();
    match line.strip_prefix("ref:") {
        Some(name) => is_ref(name.trim()).then(|| HeadTarget::Ref(name.trim().to_owned())),
        None => commit(line).map(HeadTarget::Commit),
    }
}

/// Returns the commit if the first line is one.
pub fn commit(text: &str) -> Option<String> {
    let line = text.lines().next()?.trim();
    (matches!(line.len(), 40 | 64) && line.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| line.to_ascii_lowercase())
}

/// Returns the commit of a ref in `packed-refs`.
pub fn packed(text: &str, name: &str) -> Option<String> {
    text.lines().filter_map(|line| line.split_once(' ')).find(|(_, of)| of.trim_end() == name).and_then(|(hash, _)| commit(hash))
}

/// Returns the address of the remote in `config`, without a password.
pub fn url(config: &str, remote: &str) -> Option<String> {
    let wanted = format!("[remote \"{remote}\"]");
    let mut is_inside = false;
    let mut found = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            is_inside = line == wanted;
        } else if is_inside
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("url")
        {
            found = Some(without_password(value.trim()));
        }
    }
    found.filter(|url| !url.is_empty() && !url.chars().any(char::is_control))
}

/// Returns `https://name:token@host/…` without everything before the `@`, because a token can be
/// the name or the password.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit_once('@').filter(|_| scheme != "ssh").map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// Returns true for a name below `refs/` that cannot escape when it is used as a path.
fn is_ref(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(|c| c.is_control() || c == '\\');
    name.len() <= 1024 && name.starts_with("refs/") && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "8bd0f60ef66bd0c9f0d63c4c0d3a3d3c1e2f4a5b";

    #[test]
    fn git_head_is_parsed() {
        let at = |name: &str| Some(HeadTarget::Ref(name.to_owned()));
        for (text, expected) in [
            ("ref: refs/heads/main\n", at("refs/heads/main")),
            ("ref:refs/heads/a/b", at("refs/heads/a/b")),
            (HASH, Some(HeadTarget::Commit(HASH.into()))),
            ("ref: refs/../../etc/passwd", None),
            ("ref: /etc/passwd", None),
            ("ref: refs//x", None),
            ("root:x:0:0", None),
            ("8bd0", None),
            ("", None),
        ] {
            assert_eq!(head(text), expected, "{text:?}");
        }
        assert_eq!(head(&format!("ref: refs/{}", "x".repeat(2000))), None);
    }

    #[test]
    fn working_tree_is_found_from_a_folder() {
        let tree = |files: &[(&str, &str)], folder: &str| {
            let text = |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned());
            let kind = |path: &Path| {
                let is_folder = files.iter().any(|(name, _)| Path::new(name) != path && Path::new(name).starts_with(path));
                if is_folder { Some(PathKind::Folder) } else { text(path).map(|_| PathKind::Other) }
            };
            working_tree(Path::new(folder), kind, text)
        };
        let config = ("/srv/a/.git/config", "[remote \"origin\"]\nurl = https://me:x@example.com/a");
        let found = |root: &str, branch: Option<&str>, url: Option<&str>| {
            Some(WorkingTree { root: root.into(), revision: HASH.into(), branch: branch.map(str::to_owned), url: url.map(str::to_owned) })
        };
        let loose = [("/srv/a/.git/HEAD", "ref: refs/heads/x/y"), ("/srv/a/.git/refs/heads/x/y", HASH), config];
        assert_eq!(tree(&loose, "/srv/a/src/b"), found("/srv/a", Some("x/y"), Some("https://example.com/a")));
        assert_eq!(tree(&loose, "/srv"), None);
        let packed = format!("{HASH} refs/heads/main\n");
        let packed = [("/srv/a/.git/HEAD", "ref: refs/heads/main"), ("/srv/a/.git/packed-refs", packed.as_str())];
        assert_eq!(tree(&packed, "/srv/a"), found("/srv/a", Some("main"), None));
        // A worktree has its own HEAD; everything else belongs to the repository.
        let other = [
            ("/srv/w/.git", "gitdir: /srv/a/.git/worktrees/w"),
            ("/srv/a/.git/worktrees/w/commondir", "../.."),
            ("/srv/a/.git/worktrees/w/HEAD", HASH),
            ("/srv/a/.git/worktrees/w/../../config", config.1),
        ];
        assert_eq!(tree(&other, "/srv/w/x"), found("/srv/w", None, Some("https://example.com/a")));
        // The nearest `.git` counts, even a broken one.
        let broken = [("/srv/a/b/.git/HEAD", "?"), loose[0], loose[1]];
        assert_eq!((tree(&broken, "/srv/a/b"), tree(&broken, "/srv/a").is_some()), (None, true));
    }

    #[test]
    fn commit_is_found_in_packed_refs() {
        let text = format!(
            "# pack-refs with: peeled fully-peeled sorted\n{HASH} refs/heads/main\n{HASH} refs/tags/v1\n^{HASH}\nx refs/heads/bad\n"
        );
        assert_eq!(packed(&text, "refs/heads/main").as_deref(), Some(HASH));
        assert_eq!((packed(&text, "refs/heads/mai"), packed(&text, "refs/heads/bad")), (None, None));
    }

    #[test]
    fn remote_url_is_read_without_credentials() {
        let config = |url: &str| {
            format!(
                "[core]\n\turl = no\n[remote \"other\"]\n\turl = no\n[remote \"origin\"]\n\tfetch = x\n\turl = {url}\n[branch \"main\"]\n\turl = no\n"
            )
        };
        for (given, shown) in [
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
            ("https://example.com/a", "https://example.com/a"),
            ("https://me:token@example.com/a@b", "https://example.com/a@b"),
            ("https://token@example.com", "https://example.com"),
            ("ssh://git@example.com:22/a", "ssh://git@example.com:22/a"),
            ("/srv/a.git", "/srv/a.git"),
        ] {
            assert_eq!(url(&config(given), "origin").as_deref(), Some(shown));
        }
        assert_eq!(url("[remote \"x\"]\nurl = a", "origin"), None);
    }
}
