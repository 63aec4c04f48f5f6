//! Exceptions of apps: collected while the dashboard runs, in groups, kept over restarts.
//!
//! # Theory of operation
//! [`collect`] follows standard error of all apps (`ostler logs --err --json`, one process) and what apps report over their channels, and has
//! [`ostler_core::errors`] find the exceptions; [`Book`] puts them into groups: pure, bounded. [`store`] keeps the groups in `<home>/web/errors.json`, which this
//! process alone writes, and what was marked as resolved in `<home>/web/resolved.json`, which commands write, too.

mod book;
mod collect;
mod matching;
mod resolved;
mod stops;
mod store;

pub(crate) use book::Occurrence;
pub use book::{Book, Group, Release, Returned, Sample, Seen, State};
pub(crate) use collect::{Collected, Fresh, collect};
pub use resolved::{Mark, Resolved};
pub use store::{ErrorsFileError, read_book, read_resolved, resolve};

#[cfg(test)]
pub(crate) use book::tests::group as tests_group;
