//! Working trees of git that apps were started in, and versions of their packages. A thread reads
//! git's files and `package.json`, with the rights of the app's user, so the loop never waits for a
//! disk. It does not run git, because git executes commands from the folder's configuration.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ostler_core::app::AppSpec;
use ostler_core::app::git::{PathKind, WorkingTree, working_tree};
use ostler_core::app::package;
use ostler_sys::{Credentials, fs::text_file, users::rights};

/// Longest of git's files that is read; a longer one is ignored.
const MOST_BYTES: u64 = 4 << 20;
/// Most questions that wait. Beyond that the disk does not respond, and further questions are
/// dropped.
const MOST_WAITING: usize = 4096;
const STACK_BYTES: usize = 64 << 10;

/// Question about the folder of a process that starts.
#[derive(Clone, Debug)]
pub(crate) struct WorkingTreeQuery {
    /// Slot and incarnation.
    pub process: (u32, u32),
    /// Working directory; none if the app wants no `versioning`.
    pub folder: Option<PathBuf>,
    /// Folder from which its `package.json` is searched upwards.
    pub package: PathBuf,
    /// User with whose rights the files are read; `None` = the daemon's.
    pub user: Option<Credentials>,
}

/// Result for a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkingTreeInfo {
    /// Working tree that its folder is in.
    pub tree: Option<Arc<WorkingTree>>,
    /// Version of its package.
    pub version: String,
}

/// Answer: slot, incarnation and result.
type LookupAnswer = ((u32, u32), WorkingTreeInfo);

#[derive(Debug, Default)]
struct Shared {
    waiting: Vec<WorkingTreeQuery>,
    answers: Vec<LookupAnswer>,
    /// Whether the thread runs.
    is_read: bool,
}

/// Questions and answers. The thread runs as long as there is a question.
#[derive(Debug, Default)]
pub(crate) struct WorkingTrees {
    shared: Arc<Mutex<Shared>>,
}

impl WorkingTrees {
    /// Requests the working tree and version of a folder. Without a thread there is no answer,
    /// which is harmless.
    pub(crate) fn query(&self, question: WorkingTreeQuery) {
        let mut shared = lock(&self.shared);
        if shared.waiting.len() >= MOST_WAITING {
            return;
        }
        shared.waiting.push(question);
        if !shared.is_read {
            let of_thread = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("working-trees".into()).stack_size(STACK_BYTES);
            shared.is_read = builder.spawn(move || read_all(&of_thread)).is_ok();
        }
    }

    /// Takes the answers that have arrived.
    pub(crate) fn answers(&self) -> Vec<LookupAnswer> {
        std::mem::take(&mut lock(&self.shared).answers)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_all(shared: &Mutex<Shared>) {
    // Apps of one file mostly have one folder. Each batch is read again, because a commit may have
    // been made in between.
    loop {
        let batch = {
            let mut shared = lock(shared);
            shared.is_read = !shared.waiting.is_empty();
            std::mem::take(&mut shared.waiting)
        };
        if batch.is_empty() {
            return;
        }
        let mut known: Vec<(WorkingTreeQuery, WorkingTreeInfo)> = Vec::new();
        for question in batch {
            let is_same = |(other, _): &&(WorkingTreeQuery, _)| {
                (&other.folder, &other.package, &other.user) == (&question.folder, &question.package, &question.user)
            };
            let found = match known.iter().find(is_same) {
                Some((_, found)) => found.clone(),
                None => {
                    let found = read(&question);
                    known.push((question.clone(), found.clone()));
                    found
                }
            };
            lock(shared).answers.push((question.process, found));
        }
    }
}

fn read(question: &WorkingTreeQuery) -> WorkingTreeInfo {
    let tree = |folder: &PathBuf| working_tree(folder, kind, |path| text_file::read(path, MOST_BYTES)).map(Arc::new);
    let read = || WorkingTreeInfo { tree: question.folder.as_ref().and_then(tree), version: version(&question.package) };
    match &question.user {
        Some(user) => {
            rights::with_file_rights_of(user, read).unwrap_or_else(|_| WorkingTreeInfo { tree: None, version: package::UNKNOWN.into() })
        }
        None => read(),
    }
}

fn version(folder: &Path) -> String {
    package::version(folder, Path::is_file, |path| text_file::read(path, package::MAX_BYTES))
}

/// Reads the version of an app at once, with the rights of its user: PM2's clients expect it in the
/// reply to a start.
pub(crate) fn version_of(spec: &AppSpec, user: Option<&Credentials>) -> String {
    let folder = package::folder(spec);
    match user {
        Some(user) => rights::with_file_rights_of(user, || version(&folder)).unwrap_or_else(|_| package::UNKNOWN.into()),
        None => version(&folder),
    }
}

fn kind(path: &Path) -> Option<PathKind> {
    path.symlink_metadata().ok()?;
    Some(if path.is_dir() { PathKind::Folder } else { PathKind::Other })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const HASH: &str = "8bd0f60ef66bd0c9f0d63c4c0d3a3d3c1e2f4a5b";

    #[test]
    fn each_query_is_answered_with_the_current_working_tree() {
        let folder = std::env::temp_dir().join(format!("ostler-working-trees-{}", std::process::id()));
        std::fs::create_dir_all(folder.join(".git")).unwrap();
        std::fs::create_dir_all(folder.join("src")).unwrap();
        let trees = WorkingTrees::default();
        let ask = |inc: u32, folder: PathBuf| {
            trees.query(WorkingTreeQuery { process: (7, inc), package: folder.clone(), folder: Some(folder), user: None })
        };
        let answers = |count: usize| {
            let (mut all, until) = (Vec::new(), Instant::now() + Duration::from_secs(20));
            while all.len() < count && Instant::now() < until {
                all.extend(trees.answers());
                std::thread::sleep(Duration::from_millis(1));
            }
            all
        };
        std::fs::write(folder.join(".git/HEAD"), HASH).unwrap();
        ask(1, folder.join("src"));
        ask(2, folder.clone());
        let tree = |hash: &str| WorkingTreeInfo {
            tree: Some(Arc::new(WorkingTree { root: folder.clone(), revision: hash.into(), branch: None, url: None })),
            version: "N/A".into(),
        };
        assert_eq!(answers(2), [((7, 1), tree(HASH)), ((7, 2), tree(HASH))]);
        let other = HASH.replace('8', "9");
        std::fs::write(folder.join(".git/HEAD"), &other).unwrap();
        ask(3, folder.clone());
        assert_eq!(answers(1), [((7, 3), tree(&other))]);
        std::fs::remove_dir_all(folder.join(".git")).unwrap();
        std::fs::write(folder.join("package.json"), "{\"version\":\"1.2.3\"}").unwrap();
        ask(4, folder.join("src"));
        assert_eq!(answers(1), [((7, 4), WorkingTreeInfo { tree: None, version: "1.2.3".into() })]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
