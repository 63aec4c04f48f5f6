//! Display forms: shapes of the API, built from the daemon's answers. Pure.

mod app;
mod config;
mod event;
mod failure;
mod list;
mod node;
mod reason;
mod routes;

pub(crate) use app::{detail, is_profiled};
pub(crate) use event::event;
pub(crate) use failure::failed;
pub(crate) use list::{App, apps};
pub(crate) use routes::routes;

#[cfg(test)]
pub(crate) use app::tests::detail as tests_detail;
#[cfg(test)]
pub(crate) use list::tests::row as tests_row;
