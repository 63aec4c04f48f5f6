//! ostler's own look: marks, borderless columns, short durations and sizes. Output for `pm2` has
//! PM2's look instead.

mod describe;
mod grid;
mod list;
mod mark;
mod short;
mod why;

pub(crate) use describe::describe_own;
pub(crate) use grid::{Cell, Column, grid};
#[cfg(feature = "fleet")]
pub(crate) use list::fleet_list;
pub(crate) use list::{AppGroup, AppState, app_list, overview_counts, overview_line};
pub(crate) use mark::Mark;
pub(crate) use short::{memory, seconds, short_age};
pub(crate) use why::{SourceLine, WhyContext, last_failure, why_short};
