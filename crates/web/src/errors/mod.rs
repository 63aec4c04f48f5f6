//! Exceptions of apps: collected in groups while the dashboard runs, and kept over restarts.
//!
//! # Theory of operation
//! [`collect`] reads the standard error of all apps (one process, `ostler logs --err --json`) and
//! the reports that apps send over their channels. [`ostler_core::errors`] finds the exceptions,
//! and [`Book`] groups them; it is pure and bounded. [`store`] keeps the groups in
//! `<home>/web/errors.json`, which only this process writes. The marks of resolved groups are in
//! `<home>/web/resolved.json`, which commands also write.

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
