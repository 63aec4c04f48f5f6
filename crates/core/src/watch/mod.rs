//! Restarts when files change: which changes count, when a burst of changes is over, and whether
//! the app itself wrote.
//!
//! Nothing here reads the disk. The daemon walks the folders, and the kernel reports changes to it.
//! It asks [`Rules`] about each path, early enough to skip whole folders. It passes the times to a
//! [`Burst`], and the reasons of restarts to a [`Guard`].

mod burst;
mod gitignore;
mod glob;
mod guard;
mod included_changes;
mod own_files;
mod read;
mod rules;
mod spec;

pub use burst::{Burst, Pace};
pub use gitignore::GitIgnore;
pub use glob::{Glob, GlobError, is_glob, split_base};
pub use guard::{ChangeOrigin, Guard, Outcome, StartupWrite};
pub use included_changes::Exactness;
pub use rules::{PathVerdict, Root, Rules, Surroundings, WatchPath};
pub use spec::{BadWatch, KNOWN_OPTIONS, WatchSpec, option_without_effect};
