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

/// Longest `.gitignore`: nobody has a longer one.
const GITIGNORE_BYTES: u64 = 256 << 10;
/// Most levels of folders; links can make more of them than there are.
pub(super) const MAX_DEPTH: u32 = 100;

/// How changes in a folder are noticed.
#[derive(Debug)]
pub(super) enum Noticed {
    /// Not yet.
    Not,
    /// The kernel reports them, under this number.
    ByKernel(i32),
    /// The daemon compares.
    ByLooking(Snapshot),
}

/// Content of a folder at the last read.
pub(super) type Snapshot = BTreeMap<OsString, Stamp>;

/// What shows that a file is another than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
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
    /// Its name; of a root the whole path.
    name: Rc<OsStr>,
    children: BTreeMap<Rc<OsStr>, u32>,
    pub noticed: Noticed,
    pub git: Option<Rc<GitIgnore>>,
    /// True if what runs is here though git ignores it: nothing is left out because of git.
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

    /// Adds a folder in a folder; returns the one that is there already.
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
        let node = Some(Node { parent, root, depth, name, children, noticed: Noticed::Not, git: None, free });
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

    /// Removes a folder and everything below it. Returns what they were noticed by.
    pub(super) fn remove(&mut self, id: u32) -> Vec<(u32, Noticed)> {
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

    /// Path of the folder, as the rules know it.
    pub(super) fn path(&self, id: u32) -> PathBuf {
        let mut names: Vec<&OsStr> = Vec::new();
        let mut at = Some(id);
        while let Some(node) = at.and_then(|id| self.get(id)) {
            names.push(&node.name);
            at = node.parent;
        }
        names.into_iter().rev().collect()
    }

    /// Folders that have to be compared.
    pub(super) fn looked_at(&self) -> Vec<u32> {
        let ids = self.nodes.iter().enumerate().filter_map(|(id, node)| Some((u32::try_from(id).ok()?, node.as_ref()?)));
        ids.filter(|(_, node)| matches!(node.noticed, Noticed::ByLooking(_))).map(|(id, _)| id).collect()
    }

    /// Number of folders.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.unused.len()
    }

    /// True if git ignores this name in this folder. The nearest file with a rule about it decides.
    pub(super) fn is_ignored(&self, folder: u32, name: &OsStr, is_folder: bool, outer: &[Outer]) -> bool {
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
        let said = outer.iter().find_map(|outer| {
            let below = whole.strip_prefix(&outer.folder).ok()?;
            outer.git.verdict(below.as_os_str().as_bytes(), is_folder)
        });
        said.unwrap_or(false)
    }
}

/// `.gitignore` above what is watched.
#[derive(Debug)]
pub(super) struct Outer {
    folder: PathBuf,
    git: GitIgnore,
}

impl Outer {
    /// Files from here up to the top of the repository, the nearest first; none where there is no repository.
    pub(super) fn above(root: &Path) -> Vec<Self> {
        let is_top = |folder: &Path| folder.join(".git").symlink_metadata().is_ok();
        let folders: Vec<&Path> = root.ancestors().collect();
        let Some(top) = folders.iter().position(|folder| is_top(folder)) else { return Vec::new() };
        let files = folders.iter().take(top + 1).skip(1);
        files.filter_map(|folder| Some(Self { folder: folder.to_path_buf(), git: read_gitignore(folder)? })).collect()
    }
}

/// `.gitignore` of a folder.
pub(super) fn read_gitignore(folder: &Path) -> Option<GitIgnore> {
    // Not a fifo that nobody writes to, and not the whole of a disk.
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
    /// Links to folders, where links are followed.
    pub linked: Vec<OsString>,
    /// Links to files, where links are followed.
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

/// True for a link to a folder that is worth entering: not one that leads back up, nor into what the kernel makes up.
pub(super) fn leads_down(folder: &Path, name: &OsStr) -> bool {
    let path = folder.join(name);
    if !fs::metadata(&path).is_ok_and(|meta| meta.is_dir()) || super::way::is_made_up(&path) {
        return false;
    }
    match (fs::canonicalize(&path), fs::canonicalize(folder)) {
        (Ok(target), Ok(here)) => !here.starts_with(target),
        _ => false,
    }
}

/// Reads everything in a folder.
pub(super) fn look(path: &Path, follow: bool) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let whole = path.join(&name);
        let Ok(meta) = fs::symlink_metadata(&whole) else { continue };
        let is_folder = meta.is_dir() || meta.is_symlink() && follow && leads_down(path, &name);
        // Of a link to a file the file counts.
        let meta = if meta.is_symlink() && !is_folder { fs::metadata(&whole).unwrap_or(meta) } else { meta };
        snapshot.insert(name, Stamp::of(&meta, is_folder));
    }
    Ok(snapshot)
}

impl Stamp {
    fn of(meta: &Metadata, is_folder: bool) -> Self {
        // What is in a folder is seen there.
        let (size, modified) = if is_folder { (0, (0, 0)) } else { (meta.size(), (meta.mtime(), meta.mtime_nsec())) };
        Self { is_folder, size, modified, inode: meta.ino() }
    }
}

/// The bytes of a path.
pub(super) fn bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}
