//! ostler's own look: marks, borderless columns, short durations and sizes. Output for `pm2` has
//! PM2's look instead.

mod describe;
#[cfg(feature = "web")]
mod errors;
mod events;
mod findings;
mod fold;
mod grid;
mod hang;
mod list;
mod log_line;
mod mark;
mod mistakes;
mod rollout;
mod short;
mod why;

pub(crate) use describe::describe_own;
#[cfg(feature = "web")]
pub(crate) use errors::{ErrorContext, error_own, errors_own, innermost_own};
pub(crate) use events::{EventColumns, UserName};
pub(crate) use findings::{FindingRow, findings};
pub(crate) use grid::{Cell, Column, GAP, fitting, grid, total};
pub(crate) use hang::hang;
#[cfg(feature = "fleet")]
pub(crate) use list::fleet_list;
pub(crate) use list::{AppGroup, AppState, app_list, overview_counts, overview_line, status_word};
pub(crate) use log_line::{AppLabels, LogColumns, LogLabel, TIME_WIDTHS, app_style, rule};
pub(crate) use mark::Mark;
pub(crate) use mistakes::{mistakes, mistakes_verdict};
pub(crate) use rollout::{history_own, rollout_own};
pub(crate) use short::{memory, seconds, short_age};
pub(crate) use why::{WhyContext, why_short};
