//! Rendering: the only place that prints.

mod age;
mod blocks;
mod connections;
mod describe;
mod diff;
#[cfg(feature = "web")]
mod errors;
mod event;
#[cfg(feature = "export")]
mod export;
pub(crate) mod face;
mod host;
mod inspect;
mod jobs;
mod json;
#[cfg(feature = "web")]
pub(crate) mod metrics;
mod out;
mod progress;
mod rollout;
mod sandbox;
#[cfg(test)]
mod screen;
mod style;
mod table;
mod view;
mod why;

pub(crate) use age::{age, bytes};
pub(crate) use blocks::blocks;
pub(crate) use describe::{DescribeContext, describe};
pub(crate) use diff::{AppChange, AppDiff, ValueDisplay, diff, diff_json};
#[cfg(feature = "web")]
pub(crate) use errors::{error, errors};
pub(crate) use event::event_line;
#[cfg(feature = "export")]
pub(crate) use export::not_carried;
pub(crate) use host::host_line;
pub(crate) use inspect::{id_list, inspect};
pub(crate) use jobs::{job, job_json, jobs};
pub(crate) use json::json;
pub(crate) use out::{MessageStyle, Out, Volume};
pub(crate) use progress::{
    Board, Change, InstanceFacts, InstancesBefore, ProgressMessage, ProgressPrinter, ProjectLook, Wording, waits_for,
};
pub(crate) use rollout::{history, rollout};
#[cfg(test)]
pub(crate) use screen::Screen;
pub(crate) use style::Paint;
pub(crate) use style::styles;
pub(crate) use table::{SortOrder, list_table, module_table};
pub(crate) use view::View;
pub(crate) use why::{events_of, why};
