//! Restarts when files change: what counts as a change, when a burst of changes is over, and who wrote.
//!
//! Nothing here looks at the disk. The daemon walks the folders and is told of changes by the kernel; it asks [`Rules`] about each path (the more often
//! the earlier a folder can be left out), tells a [`Burst`] the times, and a [`Guard`] what was restarted why.

mod burst;
mod gitignore;
mod glob;
mod guard;
mod known;
mod own;
mod read;
mod rules;
mod spec;

pub use burst::{Burst, Pace};
pub use gitignore::GitIgnore;
pub use glob::{Glob, GlobError, is_glob, split_base};
pub use guard::{Guard, Habit, Judgement, Outcome};
pub use known::Exactness;
pub use rules::{Place, Root, Rules, Surroundings, Verdict};
pub use spec::{BadWatch, KNOWN_OPTIONS, WatchSpec, option_without_effect};
