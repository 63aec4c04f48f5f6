//! Commit in the folder of an app, read from git's files. git itself is not run, because it
//! executes programs that the folder's configuration names.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::app::git::{PathKind, WorkingTree, working_tree};

use crate::app_files::{text, with_rights_of};

/// Returns the working tree that contains the app's folder.
pub(crate) fn of_app(spec: &AppSpec) -> Option<WorkingTree> {
    with_rights_of(spec, || working_tree(Path::new(&spec.cwd), kind, text))
}

fn kind(path: &Path) -> Option<PathKind> {
    path.symlink_metadata().ok()?;
    Some(if path.is_dir() { PathKind::Folder } else { PathKind::Other })
}
