//! Watched paths of one app: found, walked, followed, and judged.

mod events;
mod polling;
mod walk;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ostler_core::watch::Rules;
use ostler_sys::time::clock;

use super::kernel::{FolderEvents, Interest, Kernel};
use super::resolved_path::{self, PathTarget, ResolvedPath};
use super::tree::{DetectionMethod, OuterGitIgnore, Tree};

/// Most changes that are named in one report.
const NAMED: usize = 64;
/// Most links to files that are followed.
const MAX_LINKS: usize = 1000;
/// Default time between two comparisons.
const INTERVAL_MS: u64 = 1000;
/// Largest share of the time that comparisons may take: one part in this many.
const SHARE: u32 = 20;

/// Settings of a watch.
#[derive(Debug)]
pub(super) struct WatchSettings {
    pub rules: Rules,
    /// Running script; it counts even if git ignores it.
    pub script: PathBuf,
    pub gitignore: bool,
    pub follow: bool,
    /// Whether to poll. `None` = only if the kernel cannot report.
    pub polling: Option<bool>,
    pub interval_ms: Option<u64>,
}

/// Content of a report.
#[derive(Debug)]
pub(super) enum WatchEvent {
    /// Everything is watched now: this many folders.
    Watching { folders: usize },
    /// Something changed; `more` = other changes are not named.
    Changed { changes: Vec<Change>, more: bool },
    /// A line for the log.
    Trouble(String),
    /// The thread died because of a bug.
    Died(String),
}

/// Changed path.
#[derive(Debug)]
pub(super) struct Change {
    pub path: String,
    /// Time of the change, in milliseconds since the epoch, if the file system has it.
    pub wall_ms: Option<u64>,
}

/// Watched path.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    resolved: ResolvedPath,
    /// Watches on the way, by step.
    watches: Vec<Option<i32>>,
    node: Option<u32>,
    /// Whether it is only polled.
    is_polled: bool,
    outer: Vec<OuterGitIgnore>,
}

impl Root {
    fn new(path: PathBuf) -> Self {
        let way = ResolvedPath { steps: Vec::new(), end: PathTarget::Missing };
        Self { path, resolved: way, watches: Vec::new(), node: None, is_polled: false, outer: Vec::new() }
    }
}

/// Returns text for a line of the log; a name may contain any bytes.
fn shown(path: &std::path::Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Event of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameEvent {
    /// Created; a file is not written yet.
    Made,
    Written,
    Removed,
    MovedIn,
    MovedOut,
    /// First seen now.
    Found,
}

/// Watched paths of one app.
#[derive(Debug)]
pub(super) struct WatchedPaths {
    id: u32,
    plan: Arc<WatchSettings>,
    roots: Vec<Root>,
    tree: Tree,
    changes: Vec<Change>,
    more: bool,
    news: Vec<WatchEvent>,
    /// Roots that must be searched again.
    lost: Vec<usize>,
    /// Whether everything must be walked again: the rules of git changed, or events were lost.
    stale: bool,
    /// Time of the next comparison. This and the following times count from the machine's boot.
    poll_due: Option<Duration>,
    /// Folder by device and inode, among the folders that are polled.
    polled: HashMap<(u64, u64), u32>,
    /// Time before which nothing is walked again. If a program replaces folders in a loop, walks
    /// thus take only a part of the time.
    not_before: Duration,
    reported_full: bool,
    reported_remote: bool,
    reported_unreadable: bool,
}

impl WatchedPaths {
    pub(super) fn new(id: u32, plan: Arc<WatchSettings>) -> Self {
        Self {
            id,
            plan,
            roots: Vec::new(),
            tree: Tree::default(),
            changes: Vec::new(),
            more: false,
            news: Vec::new(),
            lost: Vec::new(),
            stale: false,
            poll_due: None,
            polled: HashMap::new(),
            not_before: clock::boot(),
            reported_full: false,
            reported_remote: false,
            reported_unreadable: false,
        }
    }

    /// Returns the watched paths.
    #[cfg(test)]
    pub(super) fn paths(&self) -> impl Iterator<Item = &std::path::Path> {
        self.roots.iter().map(|root| root.path.as_path())
    }

    /// Finds and walks everything.
    pub(super) fn begin(&mut self, kernel: &mut Kernel) {
        self.walk_all(kernel);
        self.news.push(WatchEvent::Watching { folders: self.tree.len() });
    }

    fn walk_all(&mut self, kernel: &mut Kernel) {
        self.polled.clear();
        // The order is that of the rules. Links that are found later come after them.
        self.roots = self.plan.rules.roots().iter().map(|root| Root::new(PathBuf::from(&root.path))).collect();
        for root in 0..self.roots.len() {
            self.find(root, kernel);
        }
        self.schedule_poll(Duration::ZERO);
    }

    /// Removes every watch.
    pub(super) fn end(&mut self, kernel: &mut Kernel) {
        for root in 0..self.roots.len() {
            self.leave(root, kernel);
        }
        self.roots.clear();
    }

    /// Follows a link to a file. The link counts when the file does.
    fn follow_link(&mut self, path: PathBuf, kernel: &mut Kernel) {
        if self.roots.len() < MAX_LINKS && !self.roots.iter().any(|root| root.path == path) {
            self.roots.push(Root::new(path));
            self.find(self.roots.len() - 1, kernel);
        }
    }

    /// Returns the time of the next work that no event triggers.
    pub(super) fn due(&self) -> Option<Duration> {
        let catch_up = (self.stale || !self.lost.is_empty()).then_some(self.not_before);
        self.poll_due.into_iter().chain(catch_up).min()
    }

    /// Returns the pause after work that took this long.
    fn rest_after(&mut self, took: Duration) -> Duration {
        const LONGEST: Duration = Duration::from_secs(5);
        let pause = (took * SHARE).min(LONGEST);
        self.not_before = clock::boot() + pause;
        pause
    }

    /// Takes the pending reports.
    pub(super) fn news(&mut self) -> Vec<WatchEvent> {
        let mut news = std::mem::take(&mut self.news);
        if !self.changes.is_empty() {
            let (changes, more) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.more));
            news.push(WatchEvent::Changed { changes, more });
        }
        news
    }

    fn path_of_root(&self, root: usize) -> PathBuf {
        self.roots.get(root).map(|root| root.path.clone()).unwrap_or_default()
    }

    /// Searches for a root, and walks it if it was replaced.
    fn find(&mut self, root: usize, kernel: &mut Kernel) {
        let path = self.path_of_root(root);
        let mut way = resolved_path::find(&path);
        for _ in 0..3 {
            self.watch_path(root, &way, kernel);
            // The path may have changed before it was watched.
            let again = resolved_path::find(&path);
            if again == way {
                break;
            }
            way = again;
        }
        let Some(known) = self.roots.get_mut(root) else { return };
        let is_walked = known.node.is_some() || !matches!(way.end, PathTarget::Folder(..)) || root >= self.plan.rules.roots().len();
        let is_same = known.resolved.end == way.end && is_walked;
        known.resolved = way;
        if is_same {
            return;
        }
        let former = known.node.take();
        if let Some(node) = former {
            self.drop_node(node, kernel);
        }
        let Some(known) = self.roots.get_mut(root) else { return };
        if let PathTarget::Folder(real, _) = &known.resolved.end
            && root < self.plan.rules.roots().len()
        {
            known.is_polled = self.plan.polling.unwrap_or_else(|| resolved_path::is_remote(real));
            if known.is_polled && self.plan.polling.is_none() && !std::mem::replace(&mut self.reported_remote, true) {
                let interval = self.plan.interval_ms.unwrap_or(INTERVAL_MS);
                let text = format!("\"{}\" is on a network file system: polled every {interval} ms", shown(&path));
                self.news.push(WatchEvent::Trouble(text));
            }
            known.outer = if self.plan.gitignore { OuterGitIgnore::above(&path) } else { Vec::new() };
            let node = self.tree.add_root(root, &path);
            known.node = Some(node);
            self.walk(node, None, kernel);
        }
    }

    fn watch_path(&mut self, root: usize, way: &ResolvedPath, kernel: &mut Kernel) {
        let is_file = matches!(way.end, PathTarget::File(..));
        let last = way.steps.len().saturating_sub(1);
        let watches = way.steps.iter().enumerate().map(|(step, way)| {
            let wanted = match &way.name {
                None => FolderEvents::Removal,
                Some(_) if is_file && step == last => FolderEvents::File,
                Some(_) => FolderEvents::Name,
            };
            kernel.add(&way.folder, wanted, Interest::Way { group: self.id, root, step }).ok()
        });
        let watches: Vec<Option<i32>> = watches.collect();
        if let Some(known) = self.roots.get_mut(root) {
            known.resolved.steps.clone_from(&way.steps);
        }
        self.set_watches(root, watches, kernel);
    }

    /// Replaces the watches of a root. Watches that stay are never removed, so no event is lost.
    fn set_watches(&mut self, root: usize, watches: Vec<Option<i32>>, kernel: &mut Kernel) {
        let Some(known) = self.roots.get_mut(root) else { return };
        let former = std::mem::replace(&mut known.watches, watches);
        for (step, wd) in former.into_iter().enumerate() {
            if let Some(wd) = wd
                && known.watches.get(step) != Some(&Some(wd))
            {
                kernel.release(wd, Interest::Way { group: self.id, root, step });
            }
        }
    }

    fn leave(&mut self, root: usize, kernel: &mut Kernel) {
        self.set_watches(root, Vec::new(), kernel);
        if let Some(node) = self.roots.get_mut(root).and_then(|known| known.node.take()) {
            self.drop_node(node, kernel);
        }
    }

    fn drop_node(&mut self, node: u32, kernel: &mut Kernel) {
        for (node, noticed) in self.tree.remove(node) {
            if let DetectionMethod::Kernel(wd) = noticed {
                kernel.release(wd, Interest::Tree { group: self.id, node });
            }
        }
    }
}
