//! The command line as data. Parsing, help, completion and the reference text all come from one
//! table of options and commands.
//!
//! The row of a command has its own options and names the global options that it uses.
//!
//! PM2 has one flat option space: a user may put every global option before or after any command.
//! The parser therefore does one lookup: first among the options of the command, then among the
//! global ones.

mod arguments;
mod call;
mod commands;
mod completion;
mod elsewhere;
mod exit_codes;
mod help;
mod lookup;
mod man;
mod options;
mod own_options;
mod parse;
mod reference;
mod shared_options;
mod table;
mod table_texts;
mod usual_commands;

pub(crate) use call::Call;
pub(crate) use commands::COMMANDS;
pub(crate) use completion::{Question, Shell, Suggestion, answer, begin_mark, candidates, end_mark, fixed_words, question, script};
pub(crate) use help::{command_help, examples, full_help, short_help};
pub(crate) use lookup::{closest_name, find};
pub(crate) use man::man_page;
pub(crate) use parse::{Parsed, missing_argument, parse, parse_runtime};
#[cfg(test)]
pub(crate) use reference::environment;
pub(crate) use reference::reference;
pub(crate) use table::Availability;
pub(crate) use table::{DaemonUse, Fits, Section};
pub(crate) use table_texts::table_texts;
pub(crate) use usual_commands::usual_help;
