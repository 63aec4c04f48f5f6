//! The only place that prints.

mod age;
mod blocks;
mod describe;
mod diff;
mod event;
mod host;
mod inspect;
mod jobs;
mod json;
mod out;
mod progress;
mod rollout;
mod style;
mod table;
mod why;

pub(crate) use blocks::blocks;
pub(crate) use describe::{Surroundings, describe};
pub(crate) use diff::{AppDiff, Standing, Values, diff, diff_json};
pub(crate) use event::event_line;
pub(crate) use host::host_line;
pub(crate) use inspect::{id_list, inspect};
pub(crate) use jobs::{job, job_json, jobs};
pub(crate) use json::json;
pub(crate) use out::Out;
pub(crate) use progress::{Teller, Wording};
pub(crate) use rollout::{history, rollout};
pub(crate) use style::styles;
pub(crate) use table::{Order, list_table, shown};
pub(crate) use why::why;
