//! Start at boot: the files of each init system, and their removal.
//!
//! Planning and execution are separate. [`Facts`] hold user, paths and names. [`plan`] turns them
//! into files and commands without touching anything. [`steps`] performs them in order, and undoes
//! completed steps if one fails.

pub(crate) mod check;
mod facts;
mod perform;
mod plan;
mod platform;
mod quote;
mod render;
mod saved;
mod search_path;
pub(crate) mod steps;
mod unit_file;

pub(crate) use facts::{Facts, Scope, gather, own_program, whose};
pub(crate) use perform::{perform, prepare, print_root_command};
pub(crate) use plan::{Plan, plan, unplan};
pub(crate) use platform::Platform;
pub(crate) use quote::{name_part, sh};
