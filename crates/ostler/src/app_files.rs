//! Files of apps, read with the rights of the app's user: a link there leads root no further than that user gets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_sys::rights::as_user;
use ostler_sys::user::identity;
use rustix::fs::{Mode, OFlags};

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
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let is_fit = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_BYTES);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok().filter(|_| is_fit)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
