//! Watched folders of one app, and the rules of their `.gitignore` files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ostler_core::watch::GitIgnore;

/// Most bytes that are read of a `.gitignore`; no real file is longer.
const GITIGNORE_BYTES: u64 = 256 << 10;
/// Most levels of folders. Links can make the tree appear deeper than it is.
pub(super) const MAX_DEPTH: u32 = 100;

/// Method by which changes in a folder are noticed.
#[derive(Debug)]
pub(super) enum DetectionMethod {
    /// None yet.
    Unset,
    /// The kernel reports them, under this watch number.
    Kernel(i32),
    /// The watching thread compares the folder's content.
    Polling(Snapshot),
}

/// Content of a folder at the last read.
pub(super) type Snapshot = BTreeMap<OsString, FileStamp>;

/// Metadata that shows whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub is_folder: bool,
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

/// Watched folder.
#[derive(Debug)]
pub(super) struct Node {
    pub parent: Option<u32>,
    pub root: usize,
    /// Levels below the root.
    pub depth: u32,
    /// Name of the folder; for a root, the whole path.
    name: Rc<OsStr>,
    children: BTreeMap<Rc<OsStr>, u32>,
    pub noticed: DetectionMethod,
    pub git: Option<Rc<GitIgnore>>,
    /// Whether the app's script is here although git ignores it. Rules of git then exclude nothing.
    pub free: bool,
}

/// All watched folders.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Option<Node>>,
    unused: Vec<u32>,
}

impl Tree {
    pub(super) fn add_root(&mut self, root: usize, path: &Path) -> u32 {
        self.put(None, root, 0, path.as_os_str(), false)
    }

    /// Adds a folder in a folder. Returns `None` if it is there already.
    pub(super) fn add(&mut self, parent: u32, name: &OsStr) -> Option<u32> {
        if self.child(parent, name).is_some() {
            return None;
        }
        let (root, depth, free) = self.get(parent).map(|node| (node.root, node.depth + 1, node.free))?;
        let id = self.put(Some(parent), root, depth, name, free);
        let name = Rc::clone(&self.get(id)?.name);
        self.get_mut(parent)?.children.insert(name, id);
        Some(id)
    }

    fn put(&mut self, parent: Option<u32>, root: usize, depth: u32, name: &OsStr, free: bool) -> u32 {
        let (name, children) = (Rc::from(name), BTreeMap::new());
        let node = Some(Node { parent, root, depth, name, children, noticed: DetectionMethod::Unset, git: None, free });
        if let Some(id) = self.unused.pop()
            && let Some(place) = self.nodes.get_mut(id as usize)
        {
            *place = node;
            return id;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, id: u32) -> Option<&Node> {
        self.nodes.get(id as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)?.as_mut()
    }

    pub(super) fn child(&self, parent: u32, name: &OsStr) -> Option<u32> {
        self.get(parent)?.children.get(name).copied()
    }

    /// Removes a folder and everything below it. Returns the methods by which their changes were
    /// noticed.
    pub(super) fn remove(&mut self, id: u32) -> Vec<(u32, DetectionMethod)> {
        if let Some((parent, name)) = self.get(id).and_then(|node| Some((node.parent?, Rc::clone(&node.name))))
            && let Some(parent) = self.get_mut(parent)
        {
            parent.children.remove(&name);
        }
        let (mut gone, mut open) = (Vec::new(), vec![id]);
        while let Some(id) = open.pop() {
            if let Some(node) = self.nodes.get_mut(id as usize).and_then(Option::take) {
                open.extend(node.children.values());
                gone.push((id, node.noticed));
                self.unused.push(id);
            }
        }
        gone
    }

    /// Returns the path of the folder, as the rules know it.
    pub(super) fn path(&self, id: u32) -> PathBuf {
        let mut names: Vec<&OsStr> = Vec::new();
        let mut at = Some(id);
        while let Some(node) = at.and_then(|id| self.get(id)) {
            names.push(&node.name);
            at = node.parent;
        }
        names.into_iter().rev().collect()
    }

    /// Returns the folders that have to be compared.
    pub(super) fn polled_folders(&self) -> Vec<u32> {
        let ids = self.nodes.iter().enumerate().filter_map(|(id, node)| Some((u32::try_from(id).ok()?, node.as_ref()?)));
        ids.filter(|(_, node)| matches!(node.noticed, DetectionMethod::Polling(_))).map(|(id, _)| id).collect()
    }

    /// Returns the number of folders.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.unused.len()
    }

    /// Returns true if git ignores this name in this folder. The nearest file with a matching rule
    /// decides.
    pub(super) fn is_ignored(&self, folder: u32, name: &OsStr, is_folder: bool, outer: &[OuterGitIgnore]) -> bool {
        let mut relative = name.as_bytes().to_vec();
        let mut at = self.get(folder);
        let mut top = PathBuf::new();
        while let Some(node) = at {
            if let Some(said) = node.git.as_ref().and_then(|git| git.verdict(&relative, is_folder)) {
                return said;
            }
            at = node.parent.and_then(|parent| self.get(parent));
            match at {
                Some(_) => relative = [node.name.as_bytes(), b"/", &relative].concat(),
                None => top = PathBuf::from(&*node.name),
            }
        }
        let whole = top.join(OsStr::from_bytes(&relative));
        let rule = outer.iter().find_map(|outer| {
            let below = whole.strip_prefix(&outer.folder).ok()?;
            outer.git.verdict(below.as_os_str().as_bytes(), is_folder)
        });
        rule.unwrap_or(false)
    }
}

/// `.gitignore` file above the watched folders.
#[derive(Debug)]
pub(super) struct OuterGitIgnore {
    folder: PathBuf,
    git: GitIgnore,
}

impl OuterGitIgnore {
    /// Reads the files from here up to the top of the repository, the nearest first. Returns none
    /// outside a repository.
    pub(super) fn above(root: &Path) -> Vec<Self> {
        let is_top = |folder: &Path| folder.join(".git").symlink_metadata().is_ok();
        let folders: Vec<&Path> = root.ancestors().collect();
        let Some(top) = folders.iter().position(|folder| is_top(folder)) else { return Vec::new() };
        let files = folders.iter().take(top + 1).skip(1);
        files.filter_map(|folder| Some(Self { folder: folder.to_path_buf(), git: read_gitignore(folder)? })).collect()
    }
}

/// Reads the `.gitignore` of a folder.
pub(super) fn read_gitignore(folder: &Path) -> Option<GitIgnore> {
    // The flags and the limit avoid blocking on a fifo without a writer, and reading a whole disk.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(folder.join(".gitignore")).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(GITIGNORE_BYTES).read_to_end(&mut text).ok()?;
    Some(GitIgnore::parse(&text)).filter(|git| !git.is_empty())
}

/// Content of a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Folders.
    pub folders: Vec<OsString>,
    /// Links to folders, if links are followed.
    pub linked: Vec<OsString>,
    /// Links to files, if links are followed.
    pub links: Vec<OsString>,
    /// Everything but folders, if wanted.
    pub files: Vec<OsString>,
    pub has_gitignore: bool,
}

/// Lists a folder.
pub(super) fn list(path: &Path, follow: bool, files: bool) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(kind) = entry.file_type() else { continue };
        let name = entry.file_name();
        listing.has_gitignore |= name == ".gitignore";
        if kind.is_dir() {
            listing.folders.push(name);
            continue;
        }
        if kind.is_symlink() && follow {
            if leads_down(path, &name) {
                listing.linked.push(name);
                continue;
            }
            listing.links.push(name.clone());
        }
        if files {
            listing.files.push(name);
        }
    }
    Ok(listing)
}

/// Returns true for a link to a folder that should be entered. A link that leads back up, or into a
/// pseudo file system such as `/proc`, is not followed.
pub(super) fn leads_down(folder: &Path, name: &OsStr) -> bool {
    let path = folder.join(name);
    if !fs::metadata(&path).is_ok_and(|meta| meta.is_dir()) || super::resolved_path::is_made_up(&path) {
        return false;
    }
    match (fs::canonicalize(&path), fs::canonicalize(folder)) {
        (Ok(target), Ok(here)) => !here.starts_with(target),
        _ => false,
    }
}

/// Reads everything in a folder.
pub(super) fn snapshot(path: &Path, follow: bool) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let whole = path.join(&name);
        let Ok(meta) = fs::symlink_metadata(&whole) else { continue };
        let is_folder = meta.is_dir() || meta.is_symlink() && follow && leads_down(path, &name);
        // For a link to a file, the file counts.
        let meta = if meta.is_symlink() && !is_folder { fs::metadata(&whole).unwrap_or(meta) } else { meta };
        snapshot.insert(name, FileStamp::of(&meta, is_folder));
    }
    Ok(snapshot)
}

impl FileStamp {
    fn of(meta: &Metadata, is_folder: bool) -> Self {
        // Changes inside a folder are noticed there.
        let (size, modified) = if is_folder { (0, (0, 0)) } else { (meta.size(), (meta.mtime(), meta.mtime_nsec())) };
        Self { is_folder, size, modified, inode: meta.ino() }
    }
}

/// Returns the bytes of a path.
pub(super) fn bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}
