//! One app's watched paths: found, walked, followed, and judged.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ostler_core::watch::{Place, Rules, Verdict};
use rustix::fs::inotify::ReadFlags;
use rustix::io::Errno;

use super::engine::{Change, News};
use super::kernel::{Interest, Kernel, NotAdded, Wanted};
use super::tree::{self, MAX_DEPTH, Noticed, Outer, Tree};
use super::way::{self, End, Way};

/// More are not named in one report.
const NAMED: usize = 64;
/// More links to files are not followed.
const MAX_LINKS: usize = 1000;
/// How often to look, where nothing else is said.
const INTERVAL_MS: u64 = 1000;
/// Looking may take this part of the time.
const SHARE: u32 = 20;

/// What is to be watched.
#[derive(Debug)]
pub(super) struct Plan {
    pub rules: Rules,
    /// What runs; it counts also where git ignores it.
    pub script: PathBuf,
    pub gitignore: bool,
    pub follow: bool,
    /// None: where the kernel cannot tell.
    pub polling: Option<bool>,
    pub interval_ms: Option<u64>,
}

/// One watched path.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    way: Way,
    /// Watches on the way, by step.
    watches: Vec<Option<i32>>,
    node: Option<u32>,
    /// By looking only.
    looks: bool,
    outer: Vec<Outer>,
}

impl Root {
    fn new(path: PathBuf) -> Self {
        let way = Way { steps: Vec::new(), end: End::Missing };
        Self { path, way, watches: Vec::new(), node: None, looks: false, outer: Vec::new() }
    }
}

/// What happened to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Made,
    Written,
    Gone,
    /// Noticed just now.
    Found,
}

/// All of one app.
#[derive(Debug)]
pub(super) struct Watched {
    id: u32,
    plan: Arc<Plan>,
    roots: Vec<Root>,
    tree: Tree,
    changes: Vec<Change>,
    more: bool,
    news: Vec<News>,
    /// Roots that have to be found anew.
    lost: Vec<usize>,
    /// The rules of git changed, or events were lost: everything has to be walked anew.
    stale: bool,
    look_due: Option<Instant>,
    told_full: bool,
    told_unreadable: bool,
}

impl Watched {
    pub(super) fn new(id: u32, plan: Arc<Plan>) -> Self {
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
            look_due: None,
            told_full: false,
            told_unreadable: false,
        }
    }

    /// Finds and walks everything.
    pub(super) fn begin(&mut self, kernel: &mut Kernel) {
        self.walk_all(kernel);
        self.news.push(News::Watching { folders: self.tree.len() });
    }

    fn walk_all(&mut self, kernel: &mut Kernel) {
        // As the rules number them; links that are found on the way come after them.
        self.roots = self.plan.rules.roots().iter().map(|root| Root::new(PathBuf::from(&root.path))).collect();
        for root in 0..self.roots.len() {
            self.find(root, kernel);
        }
        self.plan_look(Duration::ZERO);
    }

    /// Gives up every watch.
    pub(super) fn end(&mut self, kernel: &mut Kernel) {
        for root in 0..self.roots.len() {
            self.leave(root, kernel);
        }
        self.roots.clear();
    }

    /// A link to a file: it counts when the file does.
    fn follow_link(&mut self, path: PathBuf, kernel: &mut Kernel) {
        if self.roots.len() < MAX_LINKS && !self.roots.iter().any(|root| root.path == path) {
            self.roots.push(Root::new(path));
            self.find(self.roots.len() - 1, kernel);
        }
    }

    /// When to look next.
    pub(super) fn look_due(&self) -> Option<Instant> {
        self.look_due
    }

    /// What there is to tell.
    pub(super) fn news(&mut self) -> Vec<News> {
        let mut news = std::mem::take(&mut self.news);
        if !self.changes.is_empty() {
            let (changes, more) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.more));
            news.push(News::Changed { changes, more });
        }
        news
    }

    fn path_of_root(&self, root: usize) -> PathBuf {
        self.roots.get(root).map(|root| root.path.clone()).unwrap_or_default()
    }

    /// Finds a root, and walks it if it is not what it was.
    fn find(&mut self, root: usize, kernel: &mut Kernel) {
        let path = self.path_of_root(root);
        let mut way = way::find(&path);
        for _ in 0..3 {
            self.watch_way(root, &way, kernel);
            // It may have changed before it was watched.
            let again = way::find(&path);
            if again == way {
                break;
            }
            way = again;
        }
        let Some(known) = self.roots.get_mut(root) else { return };
        let is_walked = known.node.is_some() || !matches!(way.end, End::Folder(..)) || root >= self.plan.rules.roots().len();
        let is_same = known.way.end == way.end && is_walked;
        known.way = way;
        if is_same {
            return;
        }
        let former = known.node.take();
        if let Some(node) = former {
            self.drop_node(node, kernel);
        }
        let Some(known) = self.roots.get_mut(root) else { return };
        if let End::Folder(real, _) = &known.way.end
            && root < self.plan.rules.roots().len()
        {
            known.looks = self.plan.polling.unwrap_or_else(|| way::is_remote(real));
            if known.looks && self.plan.polling.is_none() {
                let interval = self.plan.interval_ms.unwrap_or(INTERVAL_MS);
                let text = format!("\"{}\" is on a network file system: looked at every {interval} ms", path.display());
                self.news.push(News::Trouble(text));
            }
            known.outer = if self.plan.gitignore { Outer::above(&path) } else { Vec::new() };
            let node = self.tree.add_root(root, &path);
            known.node = Some(node);
            self.walk(node, false, kernel);
        }
    }

    fn watch_way(&mut self, root: usize, way: &Way, kernel: &mut Kernel) {
        self.unwatch_way(root, kernel);
        let is_file = matches!(way.end, End::File(..));
        let last = way.steps.len().saturating_sub(1);
        let watches = way.steps.iter().enumerate().map(|(step, way)| {
            let wanted = match &way.name {
                None => Wanted::Itself,
                Some(_) if is_file && step == last => Wanted::File,
                Some(_) => Wanted::Name,
            };
            kernel.add(&way.folder, wanted, Interest::Way { group: self.id, root, step }).ok()
        });
        let watches: Vec<Option<i32>> = watches.collect();
        if let Some(known) = self.roots.get_mut(root) {
            known.watches = watches;
            known.way.steps.clone_from(&way.steps);
        }
    }

    fn unwatch_way(&mut self, root: usize, kernel: &mut Kernel) {
        let Some(known) = self.roots.get_mut(root) else { return };
        for (step, wd) in std::mem::take(&mut known.watches).into_iter().enumerate() {
            if let Some(wd) = wd {
                kernel.release(wd, Interest::Way { group: self.id, root, step });
            }
        }
    }

    fn leave(&mut self, root: usize, kernel: &mut Kernel) {
        self.unwatch_way(root, kernel);
        if let Some(node) = self.roots.get_mut(root).and_then(|known| known.node.take()) {
            self.drop_node(node, kernel);
        }
    }

    fn drop_node(&mut self, node: u32, kernel: &mut Kernel) {
        for (node, noticed) in self.tree.remove(node) {
            if let Noticed::ByKernel(wd) = noticed {
                kernel.release(wd, Interest::Tree { group: self.id, node });
            }
        }
    }

    /// Enters a folder and everything below it that may count. `fresh`: what is found is new.
    fn walk(&mut self, start: u32, fresh: bool, kernel: &mut Kernel) {
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            let path = self.tree.path(node);
            // Watched before it is read: what comes in between is seen twice, not never.
            let listing = self.watch_folder(node, &path, kernel).and_then(|()| tree::list(&path, self.plan.follow, fresh).ok());
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
                if self.judge(node, &path, name, false) == Verdict::Counts {
                    self.follow_link(path.join(name), kernel);
                }
            }
            for name in &listing.files {
                if self.judge(node, &path, name, false) == Verdict::Counts {
                    self.note(path.join(name), What::Made);
                }
            }
            for name in &listing.folders {
                open.extend(self.enter(node, &path, name));
            }
        }
    }

    /// Adds a folder that may count.
    fn enter(&mut self, parent: u32, path: &Path, name: &OsStr) -> Option<u32> {
        let depth = self.tree.get(parent)?.depth;
        if depth >= MAX_DEPTH || self.judge(parent, path, name, true) == Verdict::Ignored {
            return None;
        }
        let is_ignored = self.is_ignored_by_git(parent, name, true);
        let child = self.tree.add(parent, name)?;
        if is_ignored && let Some(child) = self.tree.get_mut(child) {
            child.free = true;
        }
        Some(child)
    }

    /// A script that git ignores, and what is beside it, is what people build and want to see running.
    fn free_script(&mut self, node: u32, path: &Path) {
        let script = self.plan.script.clone();
        if script.parent() == Some(path)
            && let Some(name) = script.file_name()
            && self.is_ignored_by_git(node, name, false)
            && let Some(node) = self.tree.get_mut(node)
        {
            node.free = true;
        }
    }

    fn is_ignored_by_git(&self, folder: u32, name: &OsStr, is_folder: bool) -> bool {
        let Some(node) = self.tree.get(folder).filter(|node| self.plan.gitignore && !node.free) else { return false };
        let outer = self.roots.get(node.root).map_or(&[][..], |root| &root.outer);
        self.tree.is_ignored(folder, name, is_folder, outer)
    }

    fn judge(&self, folder: u32, path: &Path, name: &OsStr, is_folder: bool) -> Verdict {
        let Some(node) = self.tree.get(folder) else { return Verdict::Ignored };
        let place = Place { root: node.root, folder: path.as_os_str().as_bytes(), name: name.as_bytes(), depth: node.depth, is_folder };
        let verdict = self.plan.rules.judge(&place);
        let is_ignored = || self.is_ignored_by_git(folder, name, is_folder) && !self.plan.script.starts_with(path.join(name));
        if verdict != Verdict::Ignored && is_ignored() { Verdict::Ignored } else { verdict }
    }

    fn watch_folder(&mut self, node: u32, path: &Path, kernel: &mut Kernel) -> Option<()> {
        let looks = self.tree.get(node).and_then(|node| self.roots.get(node.root)).is_some_and(|root| root.looks);
        let interest = Interest::Tree { group: self.id, node };
        let mut added = if looks { Err(NotAdded::Errno(Errno::NOSYS)) } else { kernel.add(path, Wanted::Tree, interest) };
        if let Err(NotAdded::Alias(other)) = added {
            let identity = |path: &Path| path.metadata().ok().map(|meta| way::identity(&meta));
            if identity(&self.tree.path(other)) == identity(path) {
                return None;
            }
            // It was moved here; that it left there is an event still to come.
            self.drop_node(other, kernel);
            added = kernel.add(path, Wanted::Tree, interest);
        }
        let noticed = match added {
            Ok(wd) => Noticed::ByKernel(wd),
            Err(NotAdded::Alias(_)) => return None,
            Err(NotAdded::Errno(Errno::NOSYS)) => Noticed::ByLooking(tree::look(path, self.plan.follow).ok()?),
            Err(NotAdded::Errno(Errno::NOSPC | Errno::NOMEM)) => {
                self.tell_full();
                Noticed::ByLooking(tree::look(path, self.plan.follow).ok()?)
            }
            Err(NotAdded::Errno(errno)) => {
                if errno == Errno::ACCESS && !std::mem::replace(&mut self.told_unreadable, true) {
                    self.news.push(News::Trouble(format!("cannot watch \"{}\": permission denied; nor others perhaps", path.display())));
                }
                return None;
            }
        };
        self.tree.get_mut(node)?.noticed = noticed;
        Some(())
    }

    fn tell_full(&mut self) {
        if !std::mem::replace(&mut self.told_full, true) {
            let text = "the kernel gives no more watches (raise them: `sysctl fs.inotify.max_user_watches=524288`); \
                        the folders that are left are looked at every second or less often";
            self.news.push(News::Trouble(text.into()));
        }
    }

    /// One event of the kernel.
    pub(super) fn take(&mut self, interest: Interest, flags: ReadFlags, name: &[u8], kernel: &mut Kernel) {
        let name = OsStr::from_bytes(name);
        match interest {
            Interest::Tree { node, .. } => self.take_in_tree(node, flags, name, kernel),
            Interest::Way { root, step, .. } => self.take_on_way(root, step, flags, name),
        }
    }

    fn take_on_way(&mut self, root: usize, step: usize, flags: ReadFlags, name: &OsStr) {
        let Some(known) = self.roots.get(root) else { return };
        let goes = flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT);
        let is_named = known.way.steps.get(step).and_then(|step| step.name.as_deref()).is_some_and(|own| own == name);
        if goes || is_named {
            self.lost.push(root);
        }
        if is_named && step + 1 == known.way.steps.len() && matches!(known.way.end, End::File(..)) {
            let path = self.path_of_root(root);
            // Made and not yet written, or gone: what it is then is seen when it is found anew.
            let is_written = flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO);
            if is_written && self.root_counts(&path) {
                self.note(path, What::Written);
            }
        }
    }

    fn root_counts(&self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return true };
        self.plan.rules.root_counts(folder.as_os_str().as_bytes(), name.as_bytes())
    }

    fn take_in_tree(&mut self, node: u32, flags: ReadFlags, name: &OsStr, kernel: &mut Kernel) {
        if name.is_empty() {
            return;
        }
        let what = if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            What::Made
        } else if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            What::Gone
        } else {
            What::Written
        };
        let is_folder = flags.contains(ReadFlags::ISDIR);
        // What was just made is not written yet; its end comes as an event of its own.
        let is_begun = flags.contains(ReadFlags::CREATE) && !is_folder;
        self.happened(node, name, is_folder, what, is_begun, kernel);
    }

    fn happened(&mut self, node: u32, name: &OsStr, is_folder: bool, what: What, is_begun: bool, kernel: &mut Kernel) {
        if name == ".gitignore" && self.plan.gitignore {
            self.stale = true;
        }
        if !is_folder && self.changes.len() >= NAMED && what != What::Gone {
            self.more = true;
            return;
        }
        let path = self.tree.path(node);
        let whole = path.join(name);
        let (mut is_folder, mut is_link) = (is_folder, false);
        if is_begun {
            match whole.symlink_metadata() {
                Ok(meta) if meta.is_symlink() => {
                    is_folder = self.plan.follow && tree::leads_down(&path, name);
                    is_link = self.plan.follow && !is_folder;
                }
                // A second name of a file is there at once.
                Ok(meta) if meta.is_file() && meta.nlink() > 1 => {}
                _ => return,
            }
        }
        let verdict = self.judge(node, &path, name, is_folder);
        if what == What::Gone {
            if let Some(child) = self.tree.child(node, name) {
                self.drop_node(child, kernel);
            }
        } else if is_folder && let Some(child) = self.enter(node, &path, name) {
            self.walk(child, true, kernel);
        }
        if verdict == Verdict::Counts {
            if is_link {
                self.follow_link(whole.clone(), kernel);
            }
            self.note(whole, what);
        }
    }

    /// Something that counts.
    fn note(&mut self, path: PathBuf, what: What) {
        if self.changes.len() >= NAMED {
            self.more = true;
            return;
        }
        let time = |seconds: i64, nanos: i64| u64::try_from(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)).ok();
        let changed = |meta: std::io::Result<std::fs::Metadata>| meta.ok().and_then(|meta| time(meta.ctime(), meta.ctime_nsec()));
        // A link and what it leads to.
        let of_file = || changed(path.symlink_metadata()).max(changed(path.metadata()));
        // The folder remembers when it last got or lost a name.
        let in_folder = || path.parent().and_then(|folder| folder.metadata().ok()).and_then(|meta| time(meta.mtime(), meta.mtime_nsec()));
        let wall_ms = match what {
            What::Gone => in_folder(),
            What::Written => of_file(),
            // A file that was moved here may be old.
            What::Made => of_file().max(in_folder()),
            What::Found => None,
        };
        let path = String::from_utf8_lossy(&tree::bytes(path)).into_owned();
        match self.changes.last_mut() {
            Some(last) if last.path == path => last.wall_ms = wall_ms,
            _ => self.changes.push(Change { path, wall_ms }),
        }
    }

    /// The kernel has ended a watch: the folder is gone, or its file system.
    pub(super) fn watch_ended(&mut self, interest: Interest, kernel: &mut Kernel) {
        match interest {
            Interest::Way { root, step, .. } => {
                if let Some(wd) = self.roots.get_mut(root).and_then(|known| known.watches.get_mut(step)) {
                    *wd = None;
                }
                self.lost.push(root);
            }
            Interest::Tree { node, .. } => {
                let Some(known) = self.tree.get_mut(node) else { return };
                known.noticed = Noticed::Not;
                let (is_root, root) = (known.parent.is_none(), known.root);
                self.drop_node(node, kernel);
                if is_root && let Some(known) = self.roots.get_mut(root) {
                    known.node = None;
                    self.lost.push(root);
                }
            }
        }
    }

    /// Events were lost: whatever changed, something did.
    pub(super) fn lost_count(&mut self) {
        self.stale = true;
        let path = self.path_of_root(0);
        self.note(path, What::Found);
        self.more = true;
    }

    /// After a batch of events: what has to be found anew.
    pub(super) fn catch_up(&mut self, kernel: &mut Kernel) {
        if std::mem::take(&mut self.stale) {
            self.lost.clear();
            self.end(kernel);
            self.walk_all(kernel);
        }
        let mut lost = std::mem::take(&mut self.lost);
        lost.sort_unstable();
        lost.dedup();
        for root in lost {
            self.find_again(root, kernel);
        }
    }

    /// A root that is there again, or another than before, is a change.
    fn find_again(&mut self, root: usize, kernel: &mut Kernel) {
        let before = self.roots.get(root).map(|known| known.way.end.clone());
        self.find(root, kernel);
        let after = self.roots.get(root).map(|known| known.way.end.clone());
        let path = self.path_of_root(root);
        if before != after && after != Some(End::Missing) && self.root_counts(&path) {
            self.note(path, What::Found);
        }
        self.plan_look(Duration::ZERO);
    }

    /// Looks at what the kernel does not tell about.
    pub(super) fn look(&mut self, kernel: &mut Kernel) {
        let begin = Instant::now();
        for root in 0..self.roots.len() {
            if self.roots.get(root).is_some_and(|known| known.looks || kernel.fd().is_none()) {
                self.find_again(root, kernel);
            }
        }
        for node in self.tree.looked_at() {
            self.look_at(node, kernel);
        }
        self.catch_up(kernel);
        self.plan_look(begin.elapsed());
    }

    fn look_at(&mut self, node: u32, kernel: &mut Kernel) {
        let path = self.tree.path(node);
        let Ok(now) = tree::look(&path, self.plan.follow) else { return };
        let Some(known) = self.tree.get_mut(node) else { return };
        let Noticed::ByLooking(snapshot) = &mut known.noticed else { return };
        let before = std::mem::replace(snapshot, now.clone());
        for (name, stamp) in &before {
            if now.get(name).is_none_or(|after| after.is_folder != stamp.is_folder) {
                self.happened(node, name, stamp.is_folder, What::Gone, false, kernel);
            }
        }
        for (name, stamp) in &now {
            match before.get(name) {
                Some(former) if former == stamp => {}
                Some(former) if former.is_folder == stamp.is_folder && !stamp.is_folder => {
                    self.happened(node, name, false, What::Written, false, kernel);
                }
                _ => self.happened(node, name, stamp.is_folder, What::Made, false, kernel),
            }
        }
    }

    /// The larger the tree, the more seldom.
    fn plan_look(&mut self, took: Duration) {
        let must = self.plan.polling == Some(true) || self.roots.iter().any(|root| root.looks) || !self.tree.looked_at().is_empty();
        let interval = Duration::from_millis(self.plan.interval_ms.unwrap_or(INTERVAL_MS).max(10));
        self.look_due = must.then(|| Instant::now() + interval.max(took * SHARE));
    }
}
