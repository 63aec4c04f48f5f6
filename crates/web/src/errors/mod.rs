//! Exceptions of apps: collected in groups while the dashboard runs, and kept over restarts.
//!
//! # Theory of operation
//! [`collect`] reads the standard error of all apps (one process, `ostler logs --err --json`) and
//! the reports that apps send over their channels. [`ostler_core::errors`] finds the exceptions,
//! and [`ErrorBook`] groups them; it is pure and bounded. [`store`] keeps the groups in
//! `<home>/web/errors.json`, which only this process writes. The marks of resolved groups are in
//! `<home>/web/resolved.json`, which commands also write.

mod book;
mod collect;
mod deduplicate;
mod resolved;
mod stops;
mod store;

pub(crate) use book::Occurrence;
pub use book::{ErrorBook, ExceptionSample, Group, GroupState, Recurrence, Release, ReleaseCount};
pub(crate) use collect::{Collected, NewException, collect};
pub use resolved::{Resolved, ResolvedMark};
pub use store::{read_book, read_resolved, resolve};

#[cfg(test)]
pub(crate) use book::tests::group as tests_group;
