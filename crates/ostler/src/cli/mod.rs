//! The command line as data. Parsing, help, completion and the reference text all come from one
//! table of options and commands.
//!
//! The row of a command has its own options and names the global options that it uses.
//!
//! PM2 has one flat option space: a user may put every global option before or after any command.
//! The parser therefore does one lookup: first among the options of the command, then among the
//! global ones.

mod call;
mod commands;
mod completion;
mod exit_codes;
mod help;
mod man;
mod options;
mod own_options;
mod parse;
mod reference;
mod shared_options;
mod table;
mod usual_commands;

pub(crate) use call::Call;
pub(crate) use commands::{COMMANDS, closest_name, find};
pub(crate) use completion::{Shell, begin_mark, candidates, end_mark, script};
pub(crate) use help::{command_help, examples, full_help, short_help};
pub(crate) use man::man_page;
pub(crate) use parse::{Parsed, parse, parse_runtime};
#[cfg(test)]
pub(crate) use reference::environment;
pub(crate) use reference::reference;
pub(crate) use table::Availability;
pub(crate) use table::{DaemonUse, Section};
pub(crate) use usual_commands::usual_help;
