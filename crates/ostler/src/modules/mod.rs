//! PM2's modules: packages that run as a separate kind of app beside the others, with settings in
//! `module_conf.json`.
//!
//! A module is fetched into a fresh folder, which replaces the former folder in one step. If the
//! new module is not healthy, the former state is restored. `module_conf.json` lists the installed
//! modules, as in PM2; their files are in `modules/` of the home.

mod built_in;
mod fetch;
mod install;
mod installed;
mod name;
pub(crate) mod npm;
mod pack;
mod package;
mod sample;
mod source;
mod start;

pub(crate) use built_in::{BuiltIn, built_in};
pub(crate) use install::{InstallRequest, install};
pub(crate) use installed::{INSTALLED, Installed, ModuleKind, all, find, newest, table, uninstall, version};
pub(crate) use npm::run as run_npm;
pub(crate) use pack::pack;
pub(crate) use package::check;
pub(crate) use sample::generate;
pub(crate) use source::Source;
pub(crate) use start::start_all;
