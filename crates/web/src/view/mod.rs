//! Display forms: shapes of the API, built from the daemon's answers. Pure.

mod app;
mod event;
mod list;

pub(crate) use app::{detail, is_profiled};
pub(crate) use event::event;
pub(crate) use list::{App, apps};

#[cfg(test)]
pub(crate) use list::tests::row as tests_row;
