//! Files: access, facts, changes, locks and replacement.

pub mod access;
pub mod facts;
pub mod inotify;
pub mod lock;
pub mod replace;
pub mod text_file;
