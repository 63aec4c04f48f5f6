//! Walk into folders. Each folder is judged and then watched.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use ostler_core::watch::{PathVerdict, WatchPath};
use rustix::io::Errno;

use super::super::kernel::{FolderEvents, Interest, Kernel, NotAdded};
use super::super::resolved_path;
use super::super::tree::{self, DetectionMethod, MAX_DEPTH};
use super::{NameEvent, WatchEvent, WatchedPaths, shown};

impl WatchedPaths {
    /// Enters a folder and everything below it that may count. `fresh`: the files in it are new,
    /// for this reason.
    pub(super) fn walk(&mut self, start: u32, fresh: Option<NameEvent>, kernel: &mut Kernel) {
        // Real folders come before links. If the tree contains a folder directly, links to it are
        // ignored.
        let (mut open, mut linked) = (vec![start], Vec::new());
        while let Some(node) = open.pop().or_else(|| linked.pop()) {
            let path = self.tree.path(node);
            // The folder is watched before it is read. A change in between is seen twice instead of
            // never.
            let listing = self.watch_folder(node, &path, kernel).and_then(|()| tree::list(&path, self.plan.follow, fresh.is_some()).ok());
            let Some(listing) = listing else {
                self.drop_node(node, kernel);
                continue;
            };
            if listing.has_gitignore && self.plan.gitignore {
                let git = tree::read_gitignore(&path).map(Rc::new);
                if let Some(node) = self.tree.get_mut(node) {
                    node.git = git;
                }
            }
            self.free_script(node, &path);
            for name in &listing.links {
                if self.judge(node, &path, name, false) == PathVerdict::Counts {
                    self.follow_link(path.join(name), kernel);
                }
            }
            for name in &listing.files {
                if self.judge(node, &path, name, false) == PathVerdict::Counts {
                    self.note(path.join(name), fresh.unwrap_or(NameEvent::Found));
                }
            }
            for name in &listing.folders {
                open.extend(self.enter(node, &path, name));
            }
            for name in &listing.linked {
                linked.extend(self.enter(node, &path, name));
            }
        }
    }

    /// Adds a folder that may count.
    pub(super) fn enter(&mut self, parent: u32, path: &Path, name: &OsStr) -> Option<u32> {
        let depth = self.tree.get(parent)?.depth;
        if depth >= MAX_DEPTH || self.judge(parent, path, name, true) == PathVerdict::Ignored {
            return None;
        }
        let is_ignored = self.is_ignored_by_git(parent, name, true);
        let child = self.tree.add(parent, name)?;
        if is_ignored && let Some(child) = self.tree.get_mut(child) {
            child.free = true;
        }
        Some(child)
    }

    /// If git ignores the app's script, frees its folder from the rules of git. The script and its
    /// neighbours are then build output, and the user wants it to be watched.
    pub(super) fn free_script(&mut self, node: u32, path: &Path) {
        let script = self.plan.script.clone();
        if script.parent() == Some(path)
            && let Some(name) = script.file_name()
            && self.is_ignored_by_git(node, name, false)
            && let Some(node) = self.tree.get_mut(node)
        {
            node.free = true;
        }
    }

    pub(super) fn is_ignored_by_git(&self, folder: u32, name: &OsStr, is_folder: bool) -> bool {
        let Some(node) = self.tree.get(folder).filter(|node| self.plan.gitignore && !node.free) else { return false };
        let outer = self.roots.get(node.root).map_or(&[][..], |root| &root.outer);
        self.tree.is_ignored(folder, name, is_folder, outer)
    }

    pub(super) fn judge(&self, folder: u32, path: &Path, name: &OsStr, is_folder: bool) -> PathVerdict {
        let Some(node) = self.tree.get(folder) else { return PathVerdict::Ignored };
        let place = WatchPath { root: node.root, folder: path.as_os_str().as_bytes(), name: name.as_bytes(), depth: node.depth, is_folder };
        let verdict = self.plan.rules.judge(&place);
        let is_ignored = || self.is_ignored_by_git(folder, name, is_folder) && !self.plan.script.starts_with(path.join(name));
        if verdict != PathVerdict::Ignored && is_ignored() { PathVerdict::Ignored } else { verdict }
    }

    pub(super) fn watch_folder(&mut self, node: u32, path: &Path, kernel: &mut Kernel) -> Option<()> {
        let looks = self.tree.get(node).and_then(|node| self.roots.get(node.root)).is_some_and(|root| root.is_polled);
        let interest = Interest::Tree { group: self.id, node };
        let mut added = if looks { Err(NotAdded::Errno(Errno::NOSYS)) } else { kernel.add(path, FolderEvents::Tree, interest) };
        if let Err(NotAdded::Alias(other)) = added {
            let identity = |path: &Path| path.metadata().ok().map(|meta| resolved_path::identity(&meta));
            if identity(&self.tree.path(other)) == identity(path) {
                return None;
            }
            // The folder was moved here. The event for its former place has not come yet.
            self.drop_node(other, kernel);
            added = kernel.add(path, FolderEvents::Tree, interest);
        }
        let noticed = match added {
            Ok(wd) => DetectionMethod::Kernel(wd),
            Err(NotAdded::Alias(_)) => return None,
            Err(NotAdded::Errno(Errno::NOSYS)) => self.first_snapshot(node, path)?,
            Err(NotAdded::Errno(Errno::NOSPC | Errno::NOMEM)) => {
                self.report_full();
                self.first_snapshot(node, path)?
            }
            Err(NotAdded::Errno(errno)) => {
                if errno == Errno::ACCESS && !std::mem::replace(&mut self.reported_unreadable, true) {
                    self.news.push(WatchEvent::Trouble(format!(
                        "cannot watch \"{}\": permission denied; other folders may be affected",
                        shown(path)
                    )));
                }
                return None;
            }
        };
        self.tree.get_mut(node)?.noticed = noticed;
        Some(())
    }

    /// Reads a folder that will be polled. Returns `None` if a link has led here before.
    fn first_snapshot(&mut self, node: u32, path: &Path) -> Option<DetectionMethod> {
        let identity = |path: &Path| path.metadata().ok().map(|meta| resolved_path::identity(&meta));
        let own = identity(path)?;
        let is_alive = |other: &u32| self.tree.get(*other).is_some_and(|other| matches!(other.noticed, DetectionMethod::Polling(_)));
        if let Some(other) = self.polled.get(&own).copied().filter(is_alive)
            && other != node
            && identity(&self.tree.path(other)) == Some(own)
        {
            return None;
        }
        self.polled.insert(own, node);
        tree::snapshot(path, self.plan.follow).ok().map(DetectionMethod::Polling)
    }

    pub(super) fn report_full(&mut self) {
        if !std::mem::replace(&mut self.reported_full, true) {
            let text = "the limit of inotify watches is reached (raise it: `sysctl fs.inotify.max_user_watches=524288`); \
                        the remaining folders are polled, at most every second";
            self.news.push(WatchEvent::Trouble(text.into()));
        }
    }
}
