//! Events of the kernel, and the searches that they cause.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_core::watch::PathVerdict;
use ostler_sys::fs::inotify::ReadFlags;
use ostler_sys::time::clock;

use super::super::kernel::{Interest, Kernel};
use super::super::resolved_path::PathTarget;
use super::super::tree::{self, DetectionMethod};
use super::{Change, NAMED, NameEvent, WatchedPaths};

/// Kind of the file behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    /// A folder, or a link to a folder that is followed.
    Folder,
    /// A link to a file that is followed.
    Link,
    /// Any other file.
    File,
}

impl WatchedPaths {
    /// Handles one event of the kernel.
    pub(in crate::features::process::watch) fn take(&mut self, interest: Interest, flags: ReadFlags, name: &[u8], kernel: &mut Kernel) {
        let name = OsStr::from_bytes(name);
        match interest {
            Interest::Tree { node, .. } => self.take_in_tree(node, flags, name, kernel),
            Interest::Way { root, step, .. } => self.handle_path_event(root, step, flags, name),
        }
    }

    pub(super) fn handle_path_event(&mut self, root: usize, step: usize, flags: ReadFlags, name: &OsStr) {
        let Some(known) = self.roots.get(root) else { return };
        let goes = flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT);
        let is_named = known.resolved.steps.get(step).and_then(|step| step.name.as_deref()).is_some_and(|own| own == name);
        if goes || is_named {
            self.lost.push(root);
        }
        if is_named && step + 1 == known.resolved.steps.len() && matches!(known.resolved.end, PathTarget::File(..)) {
            let path = self.path_of_root(root);
            // Otherwise the file is made but not yet written, or it is gone. The next search finds
            // out which.
            let is_written = flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO);
            if is_written && self.root_counts(&path) {
                self.note(path, NameEvent::Written);
            }
        }
    }

    pub(super) fn root_counts(&self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return true };
        self.plan.rules.root_counts(folder.as_os_str().as_bytes(), name.as_bytes())
    }

    pub(super) fn take_in_tree(&mut self, node: u32, flags: ReadFlags, name: &OsStr, kernel: &mut Kernel) {
        if name.is_empty() {
            return;
        }
        let what = if flags.contains(ReadFlags::CREATE) {
            NameEvent::Made
        } else if flags.contains(ReadFlags::MOVED_TO) {
            NameEvent::MovedIn
        } else if flags.contains(ReadFlags::DELETE) {
            NameEvent::Removed
        } else if flags.contains(ReadFlags::MOVED_FROM) {
            NameEvent::MovedOut
        } else {
            NameEvent::Written
        };
        self.happened(node, name, flags.contains(ReadFlags::ISDIR), what, kernel);
    }

    /// Handles an event of a name in a folder.
    pub(super) fn happened(&mut self, node: u32, name: &OsStr, is_folder: bool, what: NameEvent, kernel: &mut Kernel) {
        if name == ".gitignore" && self.plan.gitignore {
            self.stale = true;
        }
        if what == NameEvent::Written && self.changes.len() >= NAMED {
            self.more = true;
            return;
        }
        let path = self.tree.path(node);
        let Some(kind) = self.kind(&path, name, is_folder, what) else { return };
        let verdict = self.judge(node, &path, name, kind == FileKind::Folder);
        if what != NameEvent::Written
            && let Some(child) = self.tree.child(node, name)
        {
            self.drop_node(child, kernel);
        }
        let is_there = matches!(what, NameEvent::Made | NameEvent::MovedIn);
        if kind == FileKind::Folder && is_there {
            // If a folder appears, the files in it count. Moved files may be old, but are new here.
            if let Some(child) = self.enter(node, &path, name) {
                self.walk(child, Some(if what == NameEvent::Made { NameEvent::Made } else { NameEvent::Found }), kernel);
            }
            return;
        }
        // A folder is empty before it is removed.
        if verdict != PathVerdict::Counts || kind == FileKind::Folder && what != NameEvent::MovedOut {
            return;
        }
        let whole = path.join(name);
        if kind == FileKind::Link && is_there {
            self.follow_link(whole.clone(), kernel);
        }
        self.note(whole, what);
    }

    /// Returns the kind of a name. `None` if it is a file that is still being written; its end is
    /// another event.
    fn kind(&self, folder: &Path, name: &OsStr, is_folder: bool, what: NameEvent) -> Option<FileKind> {
        if is_folder {
            return Some(FileKind::Folder);
        }
        if !matches!(what, NameEvent::Made | NameEvent::MovedIn) {
            return Some(FileKind::File);
        }
        match folder.join(name).symlink_metadata() {
            Ok(meta) if meta.is_symlink() && self.plan.follow => {
                Some(if tree::leads_down(folder, name) { FileKind::Folder } else { FileKind::Link })
            }
            // A second name of a file is complete at once, as is a link that is not followed.
            Ok(meta) if what == NameEvent::MovedIn || meta.is_symlink() || meta.is_file() && meta.nlink() > 1 => Some(FileKind::File),
            _ => None,
        }
    }

    /// Records a change that counts.
    pub(super) fn note(&mut self, path: PathBuf, what: NameEvent) {
        if self.changes.len() >= NAMED {
            self.more = true;
            return;
        }
        // The folder's time shows when it last got or lost a name.
        let in_folder = || path.parent().and_then(clock::names_changed_ms);
        let wall_ms = match what {
            NameEvent::Removed | NameEvent::MovedOut => in_folder(),
            NameEvent::Written => clock::file_changed_ms(&path),
            // A file that was moved here may be old.
            NameEvent::Made | NameEvent::MovedIn => clock::file_changed_ms(&path).max(in_folder()),
            NameEvent::Found => None,
        };
        let path = String::from_utf8_lossy(&tree::bytes(path)).into_owned();
        match self.changes.last_mut() {
            Some(last) if last.path == path => last.wall_ms = wall_ms,
            _ => self.changes.push(Change { path, wall_ms }),
        }
    }

    /// Handles the end of a watch in the kernel: the folder is gone, or its file system.
    pub(in crate::features::process::watch) fn watch_ended(&mut self, interest: Interest, kernel: &mut Kernel) {
        match interest {
            Interest::Way { root, step, .. } => {
                if let Some(wd) = self.roots.get_mut(root).and_then(|known| known.watches.get_mut(step)) {
                    *wd = None;
                }
                self.lost.push(root);
            }
            Interest::Tree { node, .. } => {
                let Some(known) = self.tree.get_mut(node) else { return };
                known.noticed = DetectionMethod::Unset;
                let (is_root, root) = (known.parent.is_none(), known.root);
                self.drop_node(node, kernel);
                if is_root && let Some(known) = self.roots.get_mut(root) {
                    known.node = None;
                    self.lost.push(root);
                }
            }
        }
    }

    /// Handles lost events: something changed, but it is unknown what.
    pub(in crate::features::process::watch) fn lost_count(&mut self) {
        self.stale = true;
        let path = self.path_of_root(0);
        self.note(path, NameEvent::Found);
        self.more = true;
    }

    /// Searches again, after a batch of events, for everything that may have changed.
    pub(in crate::features::process::watch) fn catch_up(&mut self, kernel: &mut Kernel) {
        if !self.stale && self.lost.is_empty() || clock::boot() < self.not_before {
            return;
        }
        let begin = clock::boot();
        if std::mem::take(&mut self.stale) {
            self.lost.clear();
            self.end(kernel);
            self.walk_all(kernel);
        }
        let mut lost = std::mem::take(&mut self.lost);
        lost.sort_unstable();
        lost.dedup();
        for root in lost {
            self.search_root(root, kernel);
        }
        self.rest_after(clock::boot().saturating_sub(begin));
    }

    /// Searches for a root again. A root that reappears or was replaced counts as a change.
    pub(super) fn search_root(&mut self, root: usize, kernel: &mut Kernel) {
        let before = self.roots.get(root).map(|known| known.resolved.end.clone());
        self.find(root, kernel);
        let after = self.roots.get(root).map(|known| known.resolved.end.clone());
        let path = self.path_of_root(root);
        if before != after && after != Some(PathTarget::Missing) && self.root_counts(&path) {
            self.note(path, NameEvent::Found);
        }
        self.schedule_poll(Duration::ZERO);
    }
}
