//! Files of apps, read with the rights of the app's user: a link there leads root no further than that user gets.

use std::path::Path;

use ostler_config::walk;
use ostler_core::app::AppSpec;
use ostler_core::home::trust::{Caller, Writer, path_writer};
use ostler_sys::users::rights::as_user;
use ostler_sys::users::user::identity;

/// Longest file that is read; a longer one says nothing.
const MAX_BYTES: u64 = 4 << 20;

/// Does something with the rights of an app's user, where that is another one than ours.
pub(crate) fn with_rights_of<T: Send>(spec: &AppSpec, act: impl FnOnce() -> Option<T> + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        return act();
    }
    match identity(spec.uid.as_deref(), spec.gid.as_deref()).ok()? {
        Some(user) => as_user(&user.credentials, act).ok()?,
        None => act(),
    }
}

/// True if only root can change what this path means, as far as a user in these groups is concerned: the
/// daemon opens such a file with root's rights, too.
pub(crate) fn is_of_root_alone(path: &Path, groups: &[u32]) -> bool {
    let writer = walk(path).map(|walked| path_writer(&Caller::default(), &walked.steps));
    match writer {
        Ok(Writer::Nobody) => true,
        Ok(Writer::Group(gid)) => !groups.contains(&gid),
        Ok(Writer::User(_) | Writer::Anybody) | Err(_) => false,
    }
}

/// A regular file as text. Nothing is waited for: a fifo is none.
pub(crate) fn text(path: &Path) -> Option<String> {
    ostler_sys::fs::text_file::read(path, MAX_BYTES)
}
