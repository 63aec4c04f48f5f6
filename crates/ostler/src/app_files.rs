//! Files of apps, read with the rights of the app's user: a link there leads root no further than that user gets.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_sys::rights::as_user;
use ostler_sys::user::identity;

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

/// A regular file as text. Nothing is waited for: a fifo is none.
pub(crate) fn text(path: &Path) -> Option<String> {
    ostler_sys::text_file::read(path, MAX_BYTES)
}
