//! Files of apps, read with the rights of the app's user. A symbolic link therefore cannot lead
//! root to a file that this user cannot read.

use std::path::Path;

use ostler_config::walk;
use ostler_core::app::AppSpec;
use ostler_core::home::trust::{Caller, Writer, path_writer};
use ostler_sys::users::rights::as_user;
use ostler_sys::users::user::identity;

/// Longest file that is read; longer files are ignored.
const MAX_BYTES: u64 = 4 << 20;

/// Runs a function with the rights of the app's user, if that user is not the caller.
pub(crate) fn with_rights_of<T: Send>(spec: &AppSpec, act: impl FnOnce() -> Option<T> + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        return act();
    }
    match identity(spec.uid.as_deref(), spec.gid.as_deref()).ok()? {
        Some(user) => as_user(&user.credentials, act).ok()?,
        None => act(),
    }
}

/// Returns true if only root can change the file that this path names, given a user in these
/// groups. The daemon opens such a file with root's rights, too.
pub(crate) fn is_of_root_alone(path: &Path, groups: &[u32]) -> bool {
    let writer = walk(path).map(|walked| path_writer(&Caller::default(), &walked.steps));
    match writer {
        Ok(Writer::OwnerOnly) => true,
        Ok(Writer::Group(gid)) => !groups.contains(&gid),
        Ok(Writer::User(_) | Writer::Everyone) | Err(_) => false,
    }
}

/// Returns a regular file as text. The call never blocks: a fifo is ignored.
pub(crate) fn text(path: &Path) -> Option<String> {
    ostler_sys::fs::text_file::read(path, MAX_BYTES)
}
