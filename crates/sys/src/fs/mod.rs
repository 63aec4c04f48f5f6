//! Files: access, changes, locks and replacement.

pub mod access;
pub mod inotify;
pub mod lock;
pub mod replace;
pub mod text_file;
